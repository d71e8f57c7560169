"""Crafter as an environment: its seeds decide, and looking at it changes nothing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from reverie.envs import Env, RenderError, Row, available, make


def played(env: Env, seed: int, decisions: int, look: bool = False) -> list[Row]:
    random = np.random.default_rng(seed)
    rows = [env.reset(seed)]
    while len(rows) <= decisions and not rows[-1].last:
        rows.append(env.step(np.eye(17)[random.integers(17)]))
        if look:
            env.render(45, 60)
    return rows


def test_the_same_seed_and_actions_give_the_same_rows_looked_at_or_not() -> None:
    pytest.importorskip("crafter")
    one, two = (
        make("crafter:reward", pixels=True, with_state=True, size=(36, 36)) for _ in range(2)
    )
    first = played(one, 3, 230, look=True)  # into the night, which is drawn with noise
    again = played(two, 3, 230)
    assert len(first) == len(again) > 180
    for a, b in zip(first, again, strict=True):
        assert (a.reward, a.terminated) == (b.reward, b.terminated)
        assert all(np.array_equal(a.obs[name], b.obs[name]) for name in a.obs)
    assert sum(row.reward for row in first) > 1


def test_creatures_lie_in_the_order_in_which_they_came() -> None:
    pytest.importorskip("crafter")
    env = make("crafter:reward")
    env.reset(4)
    world = env.simulator._env._world  # type: ignore[attr-defined]
    crowds = [[world.objects.index(creature) for creature in c] for c in world.chunks.values()]
    assert all(crowd == sorted(crowd) for crowd in crowds)
    assert sum(len(crowd) > 2 for crowd in crowds) > 3


def test_it_is_a_choice_among_17_with_pictures_and_belongings() -> None:
    pytest.importorskip("crafter")
    env = make("crafter:noreward", pixels=True, with_state=True)
    assert env.action.discrete
    assert env.action.size == 17
    assert env.simulator.choices[:3] == ("noop", "move_left", "move_right")  # type: ignore[attr-defined]
    row = env.reset(1)
    assert row.obs["image"].shape == (3, 64, 64)
    assert row.obs["image"].std() > 10
    assert row.obs["inventory"].tolist() == [9.0] * 4 + [0.0] * 12
    other = env.reset(2)
    assert not np.array_equal(row.obs["image"], other.obs["image"])
    wide = env.render(64, 96)
    assert np.array_equal(wide[:, 16:80], np.moveaxis(other.obs["image"], 0, -1))
    assert not wide[:, :16].any()
    with pytest.raises(RenderError, match="at least 18 x 18"):
        env.render(12, 40)


def test_who_does_nothing_dies_in_the_end() -> None:
    pytest.importorskip("crafter")
    env = make("crafter:reward")
    row, rewards = env.reset(0), 0.0
    while not row.last:
        row = env.step(np.eye(17)[0])
        rewards += row.reward
    assert row.terminated
    assert row.obs["inventory"][0] == 0
    assert rewards == pytest.approx(-0.9)
    assert env.decisions == 10_000


def test_a_wrong_name_a_camera_and_a_missing_package_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = (
        "did you mean crafter:reward" if find_spec("crafter") else "'crafter:rewards' is unknown"
    )
    with pytest.raises(ValueError, match=close):
        make("crafter:rewards")
    with pytest.raises(ValueError, match="no camera 'top'"):
        make("crafter:reward", camera="top")
    (family,) = [family for family in available() if family.name == "crafter"]
    assert family.install == 'pip install "reverie[crafter]"'
    monkeypatch.setitem(sys.modules, "crafter", None)
    with pytest.raises(ModuleNotFoundError, match=r"reverie\[crafter\]"):
        make("crafter:reward")
