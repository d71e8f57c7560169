"""Where episodes begin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.datasets import open_dataset
from reverie.envs import EnvConfig, make
from reverie.serve.worlds import Recorded, Simulated, colour
from tests.serve.painter import SIZE, world


def test_the_simulator_shows_what_it_senses() -> None:
    simulated = world(beside=True)
    begun = simulated.begin(3)
    assert begun.picture is not None
    np.testing.assert_array_equal(begun.picture, colour(begun.obs["image"]))
    again = simulated.begin(3)
    np.testing.assert_array_equal(begun.obs["image"], again.obs["image"])
    simulated.close()


def test_one_that_senses_no_picture_is_drawn() -> None:
    simulated = Simulated(make(EnvConfig("toy:pendulum")), "image", (12, 16), beside=True)
    picture = simulated.begin(0).picture
    assert picture is not None
    assert picture.shape == (12, 16, 3)
    simulated.close()


def test_after_the_end_nothing_happens() -> None:
    simulated = world(beside=True, decisions=2)
    simulated.begin(0)
    push = np.ones(1, np.float32)
    assert not simulated.step(push).over
    end = simulated.step(push)
    assert end.over
    after = simulated.step(push)
    assert after.over
    assert after.reward == 0
    assert after.picture is end.picture
    simulated.close()


def test_one_that_is_not_beside_cannot_be_asked() -> None:
    alone = world(beside=False)
    assert alone.begin(0).picture is None
    with pytest.raises(RuntimeError, match="does not act here"):
        alone.step(np.zeros(1, np.float32))
    alone.close()


def test_recorded_episodes_are_counted_by_the_seed(tmp_path: Path) -> None:
    spaces = {"image": Space((3, *SIZE), "uint8", 0, 255)}, Space((1,), low=-1.0, high=1.0)
    with EpisodeStore(tmp_path / "store", *spaces, meta={"dt": 0.05, "repeat": 1}) as store:
        for episode in range(3):
            for t in range(4):
                image = np.full((3, *SIZE), 10 * episode + t, np.uint8)
                flags = {"first": t == 0, "last": t == 3, "terminated": False}
                row = {"image": image, "action": np.zeros(1, np.float32), "reward": 0.0, **flags}
                store.append(0, row)
    recorded = Recorded(open_dataset(tmp_path / "store"))
    values = [int(recorded.begin(seed).obs["image"].flat[0]) for seed in range(4)]
    assert values == [0, 10, 20, 0]
    with pytest.raises(RuntimeError, match="is recorded"):
        recorded.step(np.zeros(1, np.float32))
    recorded.close()


def test_pictures_in_0_to_1_grey_or_diverged() -> None:
    grey = colour(np.array([[[0.0, 0.5, 2.0]]], np.float32))
    assert grey.tolist() == [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]
    with pytest.raises(ValueError, match="diverged"):
        colour(np.full((3, 2, 2), np.nan, np.float32))
