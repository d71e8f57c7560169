"""Stacks against the rule of the centre of mass, and the solver against closed forms."""

import numpy as np
import pytest

from reverie.envs.scenes import describe, start
from reverie.envs.scenes.layout import DT, ROOM, Array, Constants
from reverie.envs.scenes.simulator import rows_of, states_of
from reverie.envs.scenes.stack import margin, stands, topple
from reverie.envs.scenes.tasks import TASKS


def boxes(masses: list[float], halves: list[list[float]], **rest: float) -> Constants:
    given = {"gravity": 10.0, "friction": 0.5, "restitution": 0.0, **rest}
    return Constants(np.array(masses), np.array(halves), **given, mark=np.zeros(2))


def run(constants: Constants, state: Array, frames: int, force: float = 0.0) -> Array:
    states = [state]
    for _ in range(frames):
        states.append(topple(constants, states[-1], np.array([force])))
    return np.stack(states)


def test_the_rule_of_the_centre_of_mass() -> None:
    assert stands([0.4, 0.0], [0.5, 0.5], [1.0, 1.0])
    assert not stands([0.6, 0.0], [0.5, 0.5], [1.0, 1.0])
    assert margin([0.4, 0.0], [0.5, 0.5], [1.0, 1.0]) == pytest.approx(0.1)
    # The well-known overhang: 1/2, then 1/4 of a length, no more.
    assert stands([0.74, 0.245, 0.0], [0.5] * 3, [1.0] * 3)
    assert not stands([0.76, 0.255, 0.0], [0.5] * 3, [1.0] * 3)
    # A heavy box on top, over the lower one, holds the middle one.
    assert not stands([0.6, 0.6, 0.0], [0.5] * 3, [1.0] * 3)
    assert stands([0.2, 0.6, 0.0], [0.5] * 3, [3.0, 1.0, 1.0])
    # A narrow support: only where the boxes touch.
    assert not stands([0.3, 0.0], [0.5, 0.2], [1.0, 1.0])


def test_stacks_stand_or_fall_as_the_rule_says() -> None:
    falling = 0
    for seed in range(14):
        constants, state = start("stacking", seed)
        inside = margin(state[:, 0], constants.halves[:, 0], constants.masses)
        if abs(inside) < 0.01:
            continue
        states = run(constants, state, 30)
        moved = np.abs(states[-1] - state)
        if inside > 0:
            assert moved[:, [0, 1, 4]].max() < 0.005, seed
        else:
            assert moved[:, 4].max() > 0.2, seed
            falling += 1
    assert 4 <= falling <= 10


def test_a_box_over_an_edge_tips_with_the_acceleration_of_its_weight() -> None:
    """(I + m (x^2 + h^2)) theta'' = m g x at first, about the edge."""
    constants = boxes([1.0, 1e6], [[0.5, 0.1], [0.4, 0.5]], friction=5.0)
    over = 0.2
    state = np.array([[2.0 + 0.4 + over, 1.1, 0, 0, 0, 0], [2.0, 0.5, 0, 0, 0, 0]])
    inertia = (0.5**2 + 0.1**2) / 3 + over**2 + 0.1**2
    alpha = 10.0 * over / inertia
    states = run(constants, state, 3)
    assert -states[2:, 0, 5] == pytest.approx(alpha * DT * np.array([2, 3]), rel=0.04)
    assert np.abs(states[:, 1, :2] - state[1, :2]).max() < 0.002


def test_a_sliding_box_stops_where_friction_says() -> None:
    constants = boxes([1.0], [[0.4, 0.1]], friction=0.4)
    states = run(constants, np.array([[1.0, 0.1, 2.0, 0, 0, 0]]), 20)[:, 0]
    assert states[-1, 0] - 1.0 == pytest.approx(4.0 / (2 * 0.4 * 10.0), abs=0.01)
    assert abs(states[-1, 2]) < 1e-9
    assert np.abs(states[:, 4]).max() < 1e-3


def test_boxes_that_meet_without_gravity_keep_momentum_and_lose_energy() -> None:
    constants = boxes([1.0, 2.0], [[0.3, 0.2], [0.25, 0.3]], gravity=0.0)
    state = np.array([[1.0, 2.0, 1.5, 0, 0.3, 0], [2.2, 2.1, -1.0, 0.2, 0, -0.5]])
    states = run(constants, state, 20)
    p = (constants.masses[:, None] * states[..., 2:4]).sum(1)
    assert p == pytest.approx(np.tile(p[0], (21, 1)), abs=1e-12)
    inertia = constants.masses * (constants.halves**2).sum(1) / 3
    x, v = states[..., :2], states[..., 2:4]
    turn = x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]
    spin = (constants.masses * turn + inertia * states[..., 5]).sum(1)
    assert spin == pytest.approx(np.full(21, spin[0]), rel=0.01)
    energy = (constants.masses / 2 * (v**2).sum(-1) + inertia / 2 * states[..., 5] ** 2).sum(1)
    assert energy[-1] < 0.5 * energy[0]
    assert states[-1, 1, 0] > states[-1, 0, 0]


def test_falling_stacks_gain_no_energy_stay_in_the_room_and_apart() -> None:
    for seed in range(4):
        constants, state = start("stacking", seed)
        states = states_of(TASKS["stacking"], constants, state, np.zeros((60, 1)))
        rows = rows_of(TASKS["stacking"], constants, states, size=(8, 8))
        truth = describe("stacking", rows)
        assert np.diff(truth.energy).max() < 0.01 * truth.energy[0]
        assert truth.gap.min() > -0.03
        assert (states[..., 0] > 0).all()
        assert (states[..., 0] < ROOM).all()


def test_a_push_on_the_top_box_moves_it_only_against_friction() -> None:
    constants = boxes([1.0, 3.0], [[0.4, 0.15], [0.6, 0.15]], friction=0.5)
    state = np.array([[2.0, 0.45, 0, 0, 0, 0], [2.0, 0.15, 0, 0, 0, 0]])
    assert np.abs(run(constants, state, 10, 4.0)[-1, :, 0] - 2.0).max() < 0.005
    pushed = run(constants, state, 8, 7.0)[-1]
    assert pushed[0, 0] - 2.0 == pytest.approx((7.0 - 5.0) * (8 * DT) ** 2 / 2, rel=0.1)
    assert abs(pushed[1, 0] - 2.0) < 0.005


def test_the_same_twice_and_the_given_state_is_left_alone() -> None:
    constants, state = start("stacking", 3)
    before = state.copy()
    one, two = (topple(constants, state, np.array([2.0])) for _ in range(2))
    assert one.tolist() == two.tolist()
    assert state.tolist() == before.tolist()
