"""The section on imagination: a film, moments of it, the sensors, and what is lacking."""

import dataclasses
import io
import sys

import numpy as np
import pytest
from PIL import Image

from reverie.viz.film import Film, Trace
from reverie.viz.imagination import imagination
from tests.viz.reading import Page

FRAMES = np.repeat(np.arange(30, dtype=np.uint8)[:, None, None, None] * 8, 3, 3)
FRAMES = np.tile(FRAMES, (1, 12, 16, 1))
WAVE = np.sin(np.arange(30) / 4)
FILM = Film(
    "toy:pendulum",
    0.1,
    6,
    (Trace("velocity", "rad/s", WAVE, WAVE + 0.1), Trace("reward", "", WAVE, WAVE)),
    tuple(range(0, 30, 3)),
    FRAMES[::3],
    FRAMES[::-3].copy(),
    ("The distance is integrated.",),
)


def test_the_film_moves_and_the_strip_shows_moments() -> None:
    page = Page(imagination(FILM))
    moving, held, *strip = page.pictures()
    with Image.open(io.BytesIO(moving)) as picture:
        assert picture.n_frames == 10
    with Image.open(io.BytesIO(held)) as picture:
        assert getattr(picture, "n_frames", 1) == 1
    assert len(strip) == 12
    assert "2.20 s ahead" in page.text
    assert "The distance is integrated." in page.text
    assert "watches the sensors for 0.50 s" in page.text
    assert all(v for tag, name, v in page.attributes if tag == "img" and name == "alt")


def test_real_and_imagined_sensors_are_drawn() -> None:
    page = Page(imagination(FILM))
    labels = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert labels == ["velocity, real and imagined", "reward, real and imagined"]
    assert "[rad/s]" in page.text
    many = dataclasses.replace(FILM, traces=FILM.traces * 10)
    assert "14 more sensor entries are not drawn" in imagination(many)


def test_without_pictures_the_curves_move_and_the_lack_is_said() -> None:
    lacking = dataclasses.replace(
        FILM, real=None, imagined=None, notes=("The robot could not be drawn. apt install libegl1",)
    )
    page = Page(imagination(lacking))
    moving, _ = page.pictures()
    with Image.open(io.BytesIO(moving)) as picture:
        assert picture.n_frames == 10
    assert "apt install libegl1" in page.text


def test_without_pillow_the_section_completes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = Page(imagination(FILM))
    assert page.pictures() == []
    assert 'pip install "reverie[viz]"' in page.text
    assert "velocity" in page.text
