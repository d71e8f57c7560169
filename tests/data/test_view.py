"""Part of a dataset: what is chosen is what is read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reverie.core.spec import Space
from reverie.data.view import View, resize
from tests.data.memory import Memory


def dataset(episodes: int = 3) -> Memory:
    rng = np.random.default_rng(0)
    rows = [
        {
            "camera": rng.integers(0, 256, (5, 3, 12, 16), dtype=np.uint8),
            "pose": rng.normal(size=(5, 2)).astype(np.float32),
            "action": np.zeros((5, 1), np.float32),
            "reward": np.arange(5, dtype=np.float32),
            "first": np.arange(5) == 0,
            "last": np.arange(5) == 4,
            "terminated": np.zeros(5, bool),
        }
        for _ in range(episodes)
    ]
    obs = {"camera": Space((3, 12, 16), "uint8", 0, 255), "pose": Space((2,))}
    return Memory(obs, Space((1,)), rows)


def test_some_sensors_and_some_episodes() -> None:
    view = View(dataset(), ("pose",), episodes=2)
    assert set(view.obs) == {"pose"}
    assert len(view.episodes()) == 2
    rows = view.read("1", 1, 4)
    assert set(rows) == {"pose", "action", "reward", "first", "last", "terminated"}
    assert np.array_equal(rows["reward"], [1, 2, 3])
    assert not view.whole
    assert View(dataset()).whole
    assert View(dataset(), episodes=3).whole


def test_pictures_are_resized_as_pillow_does_it() -> None:
    view = View(dataset(), size=(6, 8))
    assert view.obs["camera"].shape == (3, 6, 8)
    assert not view.whole
    small = view.read("0", only=("camera",))["camera"]
    assert small.shape == (5, 3, 6, 8)
    whole = dataset().read("0")["camera"]
    for frame, found in zip(whole, small, strict=True):
        image = Image.fromarray(frame.transpose(1, 2, 0)).resize((8, 6), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(image).transpose(2, 0, 1).astype(int) - found).max() <= 1


def test_a_picture_keeps_its_level() -> None:
    assert (resize(np.full((2, 3, 40, 30), 77, np.uint8), (7, 9)) == 77).all()


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no sensor speed; it has camera, pose"):
        View(dataset(), ("speed",))
    with pytest.raises(ValueError, match=r"resized to \(0, 8\)"):
        View(dataset(), size=(0, 8))
