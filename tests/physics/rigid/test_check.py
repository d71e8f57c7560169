import warnings

import pytest
import torch

from reverie.physics.rigid import check_rigid, overlapping, rigid_step
from tests.physics.rigid.scenes import F64, QUADRUPED, loaded, world


def quadruped():
    found = loaded(QUADRUPED)
    return found, found.poses["default"]


def changed(found, part, name, index, value):
    """The same with one number of the parameters changed."""
    group = getattr(found.params, part)
    x = getattr(group, name).clone()
    x[index] = value
    return found.params._replace(**{part: group._replace(**{name: x})})


def test_a_sound_model_is_let_through():
    found, state = quadruped()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_rigid(found.model, found.params, state) == []


@pytest.mark.parametrize(
    ("part", "name", "index", "value", "words"),
    [
        ("bodies", "mass", (0, 3), 0.0, "Body .* has the mass 0 kg"),
        ("bodies", "mass", (0, 0), -1.0, "Body 'trunk' has the mass -1 kg"),
        ("bodies", "inertia", (0, 0, 1), -0.1, "Body 'trunk' has the inertia"),
        ("bodies", "inertia", (0, 0, 1), 90.0, "at most the sum of the others"),
        ("bodies", "centre", (0, 0, 1), torch.nan, "bodies holds a number that is not finite"),
        ("joints", "damping", (0, 7), -0.1, "damping is -0.1"),
        ("joints", "lower", (0, 7), 5.0, "lower limit above"),
        ("contacts", "stiffness", (0, 0), -1.0, "contact stiffness is -1"),
    ],
)
def test_bad_parameters_are_named(part, name, index, value, words):
    found, state = quadruped()
    params = changed(found, part, name, index, value)
    with pytest.raises(ValueError, match=words):
        check_rigid(found.model, params, state)


def test_a_body_that_only_carries_may_have_no_mass():
    scene = """<mujoco><compiler boundmass="0"/><worldbody><body><joint axis="1 0 0"/><inertial
    pos="0 0 0" mass="1" diaginertia="1 1 1"/><body><joint axis="0 1 0"/><geom size="0.1"/></body>
    </body></worldbody></mujoco>"""
    found = loaded(scene)
    params = changed(found, "bodies", "mass", (0, 0), 0.0)
    params = params._replace(
        bodies=params.bodies._replace(
            inertia=torch.cat([torch.zeros(1, 1, 6, dtype=F64), params.bodies.inertia[:, 1:]], 1)
        )
    )
    check_rigid(found.model, params, found.poses["default"])
    moved = rigid_step(found.model, found.poses["default"], params, None, 0.01)
    assert torch.isfinite(moved.velocity).all()


def test_overlaps_at_the_start_are_named_deepest_first():
    ball = '<body name="{0}" pos="{1} 0 {2}"><freejoint/><geom name="{0}" size="0.1"/></body>'
    found = loaded(world(ball.format("a", 0, 0.09) + ball.format("b", 0.15, 0.3)
                         + ball.format("c", 0.15, 0.13)))  # fmt: skip
    state = found.poses["default"]
    with pytest.warns(RuntimeWarning, match="in each other") as said:
        overlaps = check_rigid(found.model, found.params, state)
    assert [{o.first, o.second} for o in overlaps] == [{"a", "c"}, {"b", "c"}, {"a", "floor"}]
    assert overlaps[-1].depth == pytest.approx(0.01)
    assert len(said) == 3 and "30.0 mm" in str(said[1].message)
    assert len(overlapping(found.model, found.params, state, 0.02)) == 2


def test_actuators_that_push_along_are_warned_of():
    text = """<mujoco><worldbody><body><joint name="j"/><geom size="0.1"/></body></worldbody>
    <actuator><general joint="j" biastype="affine" biasprm="0 1 0"/></actuator></mujoco>"""
    found = loaded(text)
    with pytest.warns(RuntimeWarning, match="pushes along"):
        check_rigid(found.model, found.params, found.poses["default"])


def test_shapes_types_and_numbers_of_a_step_are_checked():
    found, state = quadruped()
    u = torch.zeros(1, 12, dtype=F64)

    def step(state=state, u=u, dt=0.004, substeps=1, external=None, params=found.params):
        return rigid_step(found.model, state, params, u, dt, substeps, external)

    bad = state.velocity.clone()
    bad[0, 3] = torch.nan
    two = state._replace(position=state.position.repeat(2, 1), velocity=bad.repeat(2, 1) * 0)
    three = changed(found, "bodies", "mass", (0, 0), 1.0)
    three = three._replace(gravity=three.gravity.repeat(3, 1))
    for words, keys in {
        "control has the shape": {"u": u[:, :3]},
        "position has the shape": {"state": state._replace(position=state.position[:, 1:])},
        "velocity is not finite in worlds": {"state": state._replace(velocity=bad)},
        "control is not finite": {"u": u + torch.inf},
        "control is torch.float32": {"u": u.float()},
        "external has the shape": {"external": torch.zeros(1, 2, 6, dtype=F64)},
        "dt > 0 and at least one substep": {"dt": 0.0},
        "at least one substep": {"substeps": 0},
        "Parameters have": {"state": two, "u": u.repeat(2, 1), "params": three},
    }.items():
        with pytest.raises(ValueError, match=words):
            step(**keys)
