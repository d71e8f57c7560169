"""What is known of recorded rows, against values worked out by hand."""

import numpy as np
import pytest

from reverie.envs.scenes import TASKS, describe, pairs, truth
from reverie.envs.scenes.truth import gaps, kinetic, momentum, potential, spin


def test_energy_momentum_and_gaps_of_two_pucks() -> None:
    constants = [1.0, 0.2, 0.2, 3.0, 0.3, 0.3, 2.0, 0.0, 0.9, 0.0, 0.0]
    state = [[1.0, 1.0, 2.0, 0.0, 1.0, 1.6, 0.0, -1.0], [0.2, 1, 0, 0, 3, 3, 0, 0]]
    found = describe("collision", {"state": state, "constants": [constants]})
    assert found.kinetic == pytest.approx([2.0 + 1.5, 0.0])
    assert found.potential == pytest.approx([2.0 * (1 + 3 * 1.6), 2.0 * (1 + 9)])
    assert found.energy == pytest.approx(found.kinetic + found.potential)
    assert found.momentum == pytest.approx(np.array([[2.0, -3.0], [0, 0]]))
    labels = pairs(TASKS["collision"])
    gap = dict(zip(labels, found.gap[0], strict=True))
    assert gap["puck", "other"] == pytest.approx(0.1)
    assert gap["puck", "floor"] == pytest.approx(0.8)
    assert gap["other", "ceiling"] == pytest.approx(2.1)
    assert gap["other", "right"] == pytest.approx(2.7)
    assert found.contact[0].sum() == 0
    touched = [label for label, touch in zip(labels, found.contact[1], strict=True) if touch]
    assert touched == [("puck", "left")]


def test_turned_boxes_reach_as_far_as_their_corners() -> None:
    task = TASKS["stacking"]
    halves = np.tile([0.4, 0.3], (3, 1))
    place = np.array([[1.0, 2.0], [1.0, 2.65], [3.0, 2.0]])
    found = gaps(task, place, np.array([np.pi / 2, 0.0, np.pi / 4]), halves)
    gap = dict(zip(pairs(task), found, strict=True))
    assert gap["top", "floor"] == pytest.approx(1.6)
    assert gap["top", "middle"] == pytest.approx(0.65 - 0.4 - 0.3)
    assert gap["bottom", "floor"] == pytest.approx(2.0 - 0.7 / np.sqrt(2))
    alone = gaps(task, place[::-1], np.zeros(3), halves)
    assert dict(zip(pairs(task), alone, strict=True))["top", "bottom"] == pytest.approx(1.2)


def test_the_laws_hold_for_arrays_of_any_lead_and_in_space() -> None:
    masses = np.array([1.0, 2.0])
    velocity = np.ones((5, 4, 2, 3))
    assert kinetic(masses, velocity).tolist() == np.full((5, 4), 4.5).tolist()
    assert momentum(masses, velocity).shape == (5, 4, 3)
    assert potential(masses, np.array(10.0), np.array([[1.0, 0.5]])).tolist() == [20.0]
    halves = np.array([[0.3, 0.4], [0.0, 0.0]])
    assert spin(masses, halves, np.array([2.0, 5.0])) == pytest.approx(0.25 / 3 * 4 / 2)


@pytest.mark.parametrize("name", ["pendulum", "projectile", "collision", "sliding"])
def test_without_action_energy_is_kept_or_lost_in_contact(name: str) -> None:
    found = truth(name, 2)
    assert found.energy.shape == (61,)
    change = np.diff(found.energy) / found.energy[0]
    assert change.max() < 1e-5
    if name == "pendulum":
        assert np.abs(change).max() < 1e-5
    else:
        assert found.energy[-1] < 0.99 * found.energy[0]


def test_rows_without_truth_say_what_they_lack() -> None:
    with pytest.raises(ValueError, match="there is no constants; record"):
        describe("sliding", {"state": np.zeros(4)})
    with pytest.raises(ValueError, match="4 entries and 8 constants"):
        describe("sliding", {"state": np.zeros(6), "constants": np.zeros(8)})
