"""A frame as bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from reverie.serve.packet import pack, unpack


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_small_pictures_come_back_pixel_by_pixel() -> None:
    one, other = frame(64, 48), frame(64, 64)
    head, pictures = unpack(pack({"frame": 3, "psnr": None}, {"model": one, "real": other}))
    assert head["frame"] == 3
    assert [p["type"] for p in head["pictures"]] == ["image/png", "image/png"]
    for sent, name in ((one, "model"), (other, "real")):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(pictures[name]))), sent)


def test_large_pictures_are_jpegs_of_the_same_size() -> None:
    smooth = np.linspace(0, 255, 300 * 200 * 3).reshape(200, 300, 3).astype(np.uint8)
    head, pictures = unpack(pack({}, {"model": smooth, "real": None}))
    assert [p["type"] for p in head["pictures"]] == ["image/jpeg"]
    back = np.asarray(Image.open(io.BytesIO(pictures["model"]))).astype(float)
    assert back.shape == (200, 300, 3)
    assert np.abs(back - smooth).mean() < 4
    assert len(pictures["model"]) < smooth.nbytes / 10


def test_numbers_that_json_does_not_know_are_null() -> None:
    head, _ = unpack(pack({"reward": float("nan"), "total": float("inf"), "x": 1.5}, {}))
    assert (head["reward"], head["total"], head["x"]) == (None, None, 1.5)
