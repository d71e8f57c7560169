"""An arm reaches places around posts."""

import math

import pytest
import torch

from reverie.models.physics.scenarios.arm import REACH, any_bends, bends, held, tip_at
from reverie.models.physics.scenarios.scenario import world_model
from reverie.models.physics.scenarios.tasks import aside, named, where
from reverie.physics.rigid import rigid_step
from tests.models.physics.scenarios.played import done, made, put, slope, solved, spaces

LINKS = (0.3, 0.25, 0.15)


def test_bends_bring_the_tip_to_the_place() -> None:
    scene = made(REACH, 0, 0.0)[1]
    robot = scene.world.robot
    for place, pitch in (
        ((0.4, 0.1, 0.2), 0.5),
        ((-0.1, 0.35, 0.1), 1.5),
        ((0.3, -0.2, 0.5), -0.4),
    ):
        q, able = bends(LINKS, torch.tensor(place), torch.tensor(pitch))
        assert bool(able)
        named_ = zip(("turn", "bend0", "bend1", "bend2"), q.tolist(), strict=True)
        state = put(scene, {name: (angle,) for name, angle in named_})
        tip = where(robot, state.world, named(robot, "tip"))[0]
        torch.testing.assert_close(tip, torch.tensor(place), atol=1e-5, rtol=0)
        torch.testing.assert_close(tip_at(LINKS, q), torch.tensor(place), atol=1e-5, rtol=0)
        assert float(q[1:].sum()) == pytest.approx(pitch, abs=1e-5)


def test_what_is_out_of_reach_is_said_to_be() -> None:
    assert not bool(bends(LINKS, torch.tensor([0.9, 0.0, 0.2]), torch.tensor(0.5))[1])
    assert any_bends(LINKS, torch.tensor([0.9, 0.0, 0.2])) is None
    assert any_bends(LINKS, torch.tensor([0.4, 0.0, 0.2])) is not None


@torch.no_grad()
def test_the_arm_rests_where_it_is_held() -> None:
    """Against its weight, within a thousandth of a radian; without that it sags a hundred times."""
    robot = made(REACH, 0, 0.0)[1].world.robot
    q = torch.tensor([0.3, -0.6, 1.1, 0.4])
    ends = []
    for told in (held(robot, LINKS, q), q):
        state = robot.poses["default"]
        state = state._replace(position=q[None].clone())
        for _ in range(50):
            state = rigid_step(robot.model, state, robot.params, told[None], 0.04, 10)
        ends.append(float((state.position[0] - q).abs().max()))
    assert ends[0] < 1e-3
    assert ends[1] > 0.05


def test_all_scenes_have_the_same_spaces() -> None:
    assert len(spaces(REACH)) == 1


def test_posts_stand_beside_the_planes_of_the_arm() -> None:
    for seed in range(10):
        numbers, _ = made(REACH, seed, 1.0)
        angle = math.atan2(numbers["goal"][1], numbers["goal"][0])
        for post in numbers["posts"]:
            for way in (0.0, angle):
                end = (math.cos(way), math.sin(way))
                assert post[0] < -0.5 or aside(post, (0.0, 0.0), end) > 0.129


def test_harder_is_nearer_to_the_goal_with_more_posts() -> None:
    easy, hard = (made(REACH, 0, difficulty)[0] for difficulty in (0.0, 1.0))
    assert hard["near"] < easy["near"] and hard["wander"] > easy["wander"]
    there = [
        sum(post[0] > -0.5 for s in range(10) for post in made(REACH, s, d)[0]["posts"])
        for d in (0.0, 0.5, 1.0)
    ]
    assert there[0] == 0 < there[1] < there[2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_solves_it_and_nothing_does_not(seed: int) -> None:
    assert solved(REACH, seed, 0.8) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_plans_solve_twenty(difficulty: float) -> None:
    assert sum(solved(REACH, seed, difficulty)[0] for seed in range(20)) >= 19


def test_the_reward_has_a_gradient_along_the_plan() -> None:
    found = slope(REACH, slice(20, 40))
    assert bool(torch.isfinite(found).all()) and bool(found[:, 1:].abs().amax(0).gt(1e-3).all())


def test_where_it_begins_nothing_is_done() -> None:
    assert not done(made(REACH, 0, 0.5)[1], {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("near", -1.0, "'near' is -1.0"), ("posts", [[0.3, 0.3, 9.0]] * 3, "0.05 to 1 m high")],
)
def test_bad_numbers_are_refused(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        REACH.scene({**made(REACH, 0, 0.5)[0], name: value})


def test_a_goal_out_of_reach_has_no_plan() -> None:
    numbers = {**made(REACH, 0, 0.5)[0], "goal": [2.0, 0.0, 0.3]}
    with pytest.raises(ValueError, match=r"No pose .* \[2.0"):
        REACH.plan(world_model(REACH.scene(numbers)), numbers)
