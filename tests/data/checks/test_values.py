import dataclasses

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.check import check
from reverie.data.datasets import ActionInfo
from tests.data.checks.planted import found, only, place
from tests.data.memory import ACTION, OBS, Memory, clean


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_found_with_their_rows(value):
    data = clean()
    data.rows[2]["state"][5:9, 1] = value
    finding = only(data, "error", "not finite", "state")
    assert place(finding) == ("2", 5, 9) and "4 of 45 rows" in finding.message
    assert "entry 1" in finding.message


@pytest.mark.parametrize("name", ["action", "reward"])
def test_actions_and_rewards_are_looked_at_too(name):
    data = clean()
    data.rows[1][name][7] = np.nan
    assert place(only(data, "error", "not finite", name)) == ("1", 7, 8)


def test_a_large_sensor_of_floats_is_looked_at():
    data = clean()
    depth = Space((1, 20, 20), low=0, high=10)
    rng = np.random.default_rng(0)
    for rows in data.rows:
        rows["depth"] = rng.uniform(1, 9, (len(rows["reward"]), 1, 20, 20)).astype(np.float32)
    data = Memory({**OBS, "depth": depth}, ACTION, data.rows)
    assert found(data) == set()
    data.rows[3]["depth"][4, 0, 3, 3] = np.nan
    assert place(only(data, "error", "not finite", "depth")) == ("3", 4, 5)
    data.rows[3]["depth"][4, 0, 3, 3] = -1
    assert place(only(data, "error", "out of bounds", "depth")) == ("3", 4, 5)


def test_nothing_is_said_of_rows_in_which_a_sensor_was_not_there():
    data = clean()
    for rows in data.rows:
        rows["state.present"] = np.ones(len(rows["reward"]), bool)
    data.rows[0]["state"][3:5] = np.nan
    data.rows[0]["state.present"][3:5] = False
    assert found(data) == set()


def test_values_beyond_the_declared_bounds():
    data = clean()
    data.rows[4]["state"][10:12, 2] = 4.5
    data.rows[4]["state"][20, 2] = -6
    finding = only(data, "error", "out of bounds", "state")
    assert place(finding) == ("4", 10, 12)
    assert "entry 2 by up to 2 beyond -4 .. 4" in finding.message


def test_rounding_is_no_violation_and_a_bound_of_each_entry_is_its_own():
    data = clean()
    data.rows[0]["action"][3] = [1 + 1e-6, -1 - 1e-6]
    assert found(data) == set()
    data.action = Space((2,), low=(-1.0, -0.01), high=(1.0, 1.0))
    assert ("error", "out of bounds", "action") in found(data)
    data.action = Space((2,), low=(-1.0, -np.inf), high=(1.0, np.inf))
    assert found(data) == set()


def test_row_zero_of_the_action_has_no_bounds():
    data = clean()
    for rows in data.rows:
        rows["action"][1:] += 3
    data.action = Space((2,), low=2.0, high=4.0)
    assert found(data) == set()


def test_choices_are_one_hot():
    data = clean()
    rng = np.random.default_rng(0)
    for rows in data.rows:
        choice = np.eye(2, dtype=np.float32)[rng.integers(0, 2, len(rows["reward"]))]
        choice[0] = 0
        rows["action"] = choice
    data.action = Space((2,), discrete=True)
    assert found(data) == set()
    data.rows[1]["action"][6] = 1
    finding = only(data, "error", "no choice", "action")
    assert place(finding) == ("1", 6, 7) and "adds up to 2" in finding.message


def test_entries_that_never_change_are_named():
    data = clean(info=ActionInfo(names=("slide", "lift")))
    for rows in data.rows:
        rows["action"][1:, 1] = 0.25
        rows["state"][:, 2] = 1
    kinds = {f.sensor: f for f in check(data).findings if f.kind == "constant"}
    assert set(kinds) == {"action", "state"}
    assert "1 (lift) is always 0.25" in kinds["action"].message
    assert {f.severity for f in kinds.values()} == {"warning"}
    for rows in data.rows:
        rows["state"][:] = 1
        rows["action"][1:] = 0.25
    assert {("warning", "constant", "state"), ("error", "constant", "action")} <= found(data)


def test_an_entry_that_moves_in_one_episode_only_is_not_constant():
    data = clean()
    for rows in data.rows[1:]:
        rows["state"][:, 2] = data.rows[0]["state"][0, 2]
    assert not {kind for _, kind, _ in found(data)} & {"constant"}


@pytest.mark.parametrize("bound", [1.0, np.inf])
def test_saturated_actions(bound):
    data = clean()
    for rows in data.rows:
        rows["action"][:, 0] = np.clip(4 * rows["action"][:, 0], -1, 1)
    data.action = Space((2,), low=-bound, high=bound)
    finding = only(data, "warning", "saturated", "action")
    at = np.concatenate([np.abs(rows["action"][1:, 0]) == 1 for rows in data.rows]).mean()
    assert f"entry 0 ({at:.0%} of the rows)" in finding.message and "entry 1" not in finding.message


def test_a_gripper_may_be_open_or_closed():
    data = clean()
    for rows in data.rows:
        rows["action"][1:, 1] = np.sign(rows["action"][1:, 1])
    assert "saturated" not in {kind for _, kind, _ in found(data)}


def test_a_reward_that_was_never_given():
    data = clean()
    for rows in data.rows:
        rows["reward"][:] = 0
    only(data, "warning", "no reward", "reward")
    data.rows[3]["reward"][-1] = 1
    assert found(data) == set()


def test_the_bounds_of_pictures_are_those_of_bytes():
    data = clean()
    data.obs["front"] = dataclasses.replace(data.obs["front"], high=100)
    assert found(data) == {("error", "out of bounds", "front")}
