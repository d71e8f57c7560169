"""What was done is read from pictures as it is from the truth; the script does what it is told."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.envs import make
from reverie.envs.instructions import (
    ARRIVED,
    INSTRUCTIONS,
    TABLE,
    TEXT_BYTES,
    follow,
    progress,
    spoken,
    told,
    told_at,
    understand,
    where,
    written,
)
from reverie.envs.tabletop import Tabletop, drawn


def acted(seed: int, text: str | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Pictures, true places and the return of an episode of the script."""
    env = make("toy:tabletop", pixels=True, with_state=True)
    env.simulator.instruct(text)  # type: ignore[attr-defined]
    rows = [env.reset(seed)]
    while not rows[-1].last:
        rows.append(env.step(follow(rows[-1].obs)))
    places = np.stack([row.obs["state"].reshape(4, 2) for row in rows])
    return np.stack([row.obs["image"] for row in rows]), places, sum(row.reward for row in rows)


def test_texts_are_bytes_and_come_back() -> None:
    for text in INSTRUCTIONS:
        data = written(text)
        assert data.shape == (TEXT_BYTES,)
        assert data.dtype == np.uint8
        assert spoken(data) == text
    assert len(set(INSTRUCTIONS)) == 16
    assert understand("push the blue block up") == (2, (0.0, 1.0))
    assert understand("go to the bottom right corner") == (None, (0.8, -0.8))
    with pytest.raises(ValueError, match=r"understands 'sing'.*push the red block left"):
        understand("sing")


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (128, 128)])
def test_things_are_found_where_they_are(size: tuple[int, int]) -> None:
    world = Tabletop()
    for seed in range(30):
        world.begin(seed)
        picture = np.moveaxis(drawn(world.layout, *size), -1, 0)
        np.testing.assert_allclose(where(picture), world.layout.array(), atol=0.01)
        noisy = picture + np.random.default_rng(seed).normal(size=picture.shape) * 8
        np.testing.assert_allclose(where(noisy), world.layout.array(), atol=0.02)


def test_what_is_not_there_is_not_found() -> None:
    world = Tabletop()
    world.begin(0)
    picture = np.moveaxis(drawn(world.layout, 64, 64), -1, 0).copy()
    red = (picture[0] > 150) & (picture[1] < 120)
    picture[:, red] = np.array(TABLE)[:, None]
    found = where(picture[None])[0]
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2, 3]], world.layout.array()[[0, 2, 3]], atol=0.01)


def test_progress_is_the_share_of_the_way() -> None:
    places = np.zeros((3, 4, 2))
    places[1, 1] = (-0.14, 0.5)
    places[2, 1] = (-0.28, np.nan)
    done = progress(places, "push the red block left")
    np.testing.assert_allclose(done, [0, 0.14 / ARRIVED, 0.28 / ARRIVED])
    np.testing.assert_allclose(progress(places, "push the red block up")[1:], 0.5 / ARRIVED)
    np.testing.assert_allclose(progress(places, "push the green block left"), 0)
    places[1:, 0] = ((0.8, 0.0), (0.8, 0.8))
    done = progress(places, "go to the top right corner")
    np.testing.assert_allclose(done, [0, 1 - 0.5**0.5, 1])
    with pytest.raises(ValueError, match="no instruction"):
        told_at(places, [])


@pytest.mark.parametrize("text", INSTRUCTIONS)
def test_the_script_does_what_the_text_says(text: str) -> None:
    for seed in (1, 2):
        _, places, total = acted(seed, text)
        assert progress(places, text)[-1] > 0.97
        assert total == pytest.approx(min(progress(places, text)[-1], 1), abs=1e-6)
        # Not at once: most of an episode is motion.
        assert (np.abs(np.diff(places, axis=0)).max((1, 2)) > 1e-3).sum() > 8


def test_of_two_instructions_pictures_tell_which_was_carried_out() -> None:
    right = agreed = early = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        pair = [INSTRUCTIONS[k] for k in random.choice(len(INSTRUCTIONS), 2, replace=False)]
        pictures, places, _ = acted(seed, pair[seed % 2])
        right += told(pictures, pair) == seed % 2
        early += told(pictures[:20], pair) == seed % 2
        agreed += told(pictures, pair) == told_at(places, pair)
    assert right >= 49
    assert early >= 45
    assert agreed >= 49
