"""PushT's picture: no mark of the action, and everything else where the simulator has it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from reverie.data.datasets import open_dataset
from reverie.envs import EnvConfig, make
from reverie.envs.gymnasium import make_registered
from reverie.envs.pusht import SIDE, without_cross
from reverie.recipes.collecting import Collecting, collect

pytest.importorskip("gym_pusht")
NAME = "gym:gym_pusht/PushT-v0"
BLOCK, AGENT = (143, 163, 184), (78, 126, 255)
CENTRE = (3600 * 15 + 2700 * 75) / 6300
"""From where the block is said to be to its middle: a bar of 120 x 30 and a stem of 30 x 90."""


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def red(picture: np.ndarray) -> np.ndarray:
    """Where a picture `[h, w, 3]` is redder than anything on the table."""
    r, g, b = np.moveaxis(picture.astype(int), -1, 0)
    return (r > g + 60) & (r > b + 60)


def middle(picture: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """x, y [pixels] of the middle of what has a colour."""
    there = (np.abs(picture.astype(int) - colour) < 14).all(-1)
    assert there.any()
    rows, columns = np.nonzero(there)
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_the_picture_shows_no_mark_of_the_action_and_all_else_as_it_was() -> None:
    size = {"visualization_width": SIDE, "visualization_height": SIDE}
    marked = make_registered("gym_pusht/PushT-v0", **size)
    plain = without_cross(make_registered("gym_pusht/PushT-v0", **size))
    for env in (marked, plain):
        env.reset(seed=2)
        env.step(np.float32([100, 400]))
    one, two = marked.render(), plain.render()
    assert two.shape == (SIDE, SIDE, 3)
    assert two.dtype == np.uint8
    assert red(one).sum() > 100
    assert not red(two).any()
    assert np.array_equal(one[~red(one)], two[~red(one)])
    for env in (marked, plain):
        env.close()


def test_an_environment_of_pictures_shows_where_everything_is() -> None:
    size = 128
    env = make(NAME, pixels=True, with_state=True, size=(size, size), max_decisions=60)
    seen = 0
    for seed in range(4):
        row, dice = env.reset(seed), np.random.default_rng(seed)
        for _ in range(4):
            row = env.step(dice.uniform(-1, 1, 2).astype(np.float32))
            picture = np.moveaxis(row.obs["image"], 0, -1)
            assert not red(picture).any()
            x, y, block_x, block_y, angle = row.obs["state"].tolist()
            far = CENTRE * np.array([-math.sin(angle), math.cos(angle)])
            block = (np.array([block_x, block_y]) + far) * size / SIDE
            pixel = 1.5
            assert np.abs(middle(picture, BLOCK) - block).max() < pixel
            assert np.abs(middle(picture, AGENT) - np.array([x, y]) * size / SIDE).max() < pixel
            seen += 1
    assert seen == 16
    env.close()


def test_what_is_done_is_seen_a_decision_later() -> None:
    env = make(NAME, pixels=True, size=(96, 96))
    first = env.reset(1).obs["image"]
    other, same = (env.reset(1).obs["image"] for _ in range(2))
    assert np.array_equal(first, other)
    assert np.array_equal(first, same)
    ends = []
    for action in ([-1.0, -1.0], [1.0, 1.0]):
        env.reset(1)
        ends.append(env.step(np.float32(action)).obs["image"])
    assert (ends[0] != ends[1]).any()
    assert (ends[0] != first).any()
    env.close()


def test_its_script_is_recorded_with_pictures(tmp_path: Path) -> None:
    env = EnvConfig(NAME, pixels=True, with_state=True, size=(32, 32), max_decisions=12)
    made = collect(Collecting(tmp_path / "a", env, "scripted", episodes=2, format="store"))
    assert made.episodes == 2
    dataset = open_dataset(tmp_path / "a")
    rows = dataset.read(dataset.episodes()[0].name)
    assert rows["image"].shape == (13, 3, 32, 32)
    assert len({image.tobytes() for image in rows["image"]}) > 6
    assert not red(np.moveaxis(rows["image"], 1, -1)).any()
    assert np.abs(rows["action"]).max() <= 1
    dataset.close()
