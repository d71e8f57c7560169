"""Where episodes of a scene begin, in training and outside of it."""

import numpy as np
import pytest

from reverie.envs.scenes import ROOM, TASKS, describe, find, names, start


def test_a_name_finds_a_task_and_its_ranges() -> None:
    assert find("sliding") == (TASKS["sliding"], TASKS["sliding"].training)
    assert find("sliding-out") == (TASKS["sliding"], TASKS["sliding"].out)
    assert names() == (*TASKS, *(f"{name}-out" for name in TASKS))
    with pytest.raises(ValueError, match="did you mean 'projectile'"):
        find("projectil")
    with pytest.raises(ValueError, match="stacking-out"):
        find("xyz")


@pytest.mark.parametrize("name", names())
def test_parameters_are_in_their_ranges_and_nothing_overlaps_at_first(name: str) -> None:
    task, ranges = find(name)
    for seed in range(40):
        constants, state = start(name, seed)
        assert (np.array(ranges.mass[0]) <= constants.masses).all()
        assert (constants.masses <= ranges.mass[1]).all()
        assert (constants.halves[:, 1] >= ranges.size[0]).all()
        assert (constants.halves[:, 1] <= ranges.size[1]).all()
        assert ranges.gravity[0] <= constants.gravity <= ranges.gravity[1]
        assert ranges.friction[0] <= constants.friction <= ranges.friction[1]
        assert ranges.restitution[0] <= constants.restitution <= ranges.restitution[1]
        speed = np.hypot(state[:, 2], state[:, 3])
        assert (speed >= ranges.speed[0] - 1e-9).all()
        assert (speed <= ranges.speed[1] + 1e-9).all()
        rows = {"state": state.ravel(), "constants": constants.pack()}
        assert describe(name, rows).gap.min() > -1e-9
        assert (np.abs(constants.mark - ROOM / 2) < ROOM / 2).all()
    assert task.objects


@pytest.mark.parametrize("name", TASKS)
def test_outside_of_training_things_are_larger_heavier_and_no_slower(name: str) -> None:
    task = TASKS[name]
    assert task.out.size[0] > task.training.size[1]
    assert task.out.mass[0] > task.training.mass[1]
    assert task.out.speed[0] >= task.training.speed[1]
    if name != "stacking":
        assert task.out.speed[0] > task.training.speed[1]


def test_most_pucks_collide() -> None:
    """Moved on in a straight line, they would overlap."""
    hits = 0
    for seed in range(50):
        constants, state = start("collision", seed)
        t = np.linspace(0, 3, 200)[:, None]
        way = state[1, :2] - state[0, :2] + t * (state[1, 2:] - state[0, 2:])
        hits += np.hypot(*way.T).min() < constants.halves[:, 0].sum()
    assert hits > 40
