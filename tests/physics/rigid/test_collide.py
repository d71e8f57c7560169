import pytest
import torch

from reverie.physics.rigid.collide import contacts, groups
from reverie.physics.rigid.kinematics import expanded, frames
from tests.physics.rigid.scenes import F64, loaded, world

BALL = '<body name="{0}" pos="{1} 0 {2}"><freejoint/><geom name="{0}" size="0.1" mass="1"/></body>'


def found(scene, **options):
    made = loaded(scene, **options)
    state, params = made.poses["default"], expanded(made.params, 1)
    return made.model, *contacts(made.model, frames(made.model, state), params)


def test_the_world_and_moving_bodies_are_told_apart():
    model, ground, mutual = found(world(BALL.format("a", 0, 0.09) + BALL.format("b", 0.1, 0.24)))
    assert (ground.body, ground.other) == ((0, 1), (-1, -1))
    assert (mutual.body, mutual.other) == ((0,), (1,))
    assert ground.depth[0].tolist() == pytest.approx([0.01, -0.14])
    assert torch.allclose(ground.normal[0], torch.tensor([0.0, 0, 1], dtype=F64))
    away = torch.tensor([-0.1, 0, -0.15], dtype=F64)
    assert torch.allclose(mutual.normal[0, 0], away / away.norm())
    assert float(mutual.depth) == pytest.approx(0.2 - float(away.norm()))
    assert [len(g) for g in groups(model)] == [2, 1]


def test_normals_point_into_what_moves():
    """A fixed ball under a moving box: the ball has the points, the box is pushed up."""
    scene = (
        '<mujoco><worldbody><geom name="a" size="0.1"/><body name="b" pos="0 0 0.19"><freejoint/>'
        '<geom type="box" size="0.1 0.1 0.1" mass="1"/></body></worldbody></mujoco>'
    )
    model, ground, mutual = found(scene)
    assert mutual is None and model.geoms[model.pairs[0].first].name == "a"
    assert ground.normal[0, 0].tolist() == pytest.approx([0, 0, 1])
    assert float(ground.depth) == pytest.approx(0.01)


def test_a_body_that_is_welded_to_the_world_is_the_world():
    scene = (
        '<mujoco><worldbody><body name="table"><geom type="box" size="1 1 0.1"/></body>'
        f"{BALL.format('a', 0, 0.2)}</worldbody></mujoco>"
    )
    _, ground, mutual = found(scene)
    assert ground.body == (1,) and mutual is None
    assert float(ground.depth) == pytest.approx(0.0, abs=1e-12)


def test_a_margin_makes_the_contact_deeper():
    scene = world(BALL.format("a", 0, 0.1)).replace('size="0.1"', 'size="0.1" margin="0.02"')
    _, ground, _ = found(scene)
    assert float(ground.depth) == pytest.approx(0.02)


def test_without_pairs_there_is_nothing():
    _, ground, mutual = found(
        world("")
        .replace("<worldbody>", "<worldbody>" + BALL.format("a", 0, 1))
        .replace('<geom name="floor" type="plane" size="9 9 1"/>', "")
    )
    assert ground is None and mutual is None
