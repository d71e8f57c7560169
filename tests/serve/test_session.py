"""A model that is played in: states follow from its own interface, and from nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reverie.core.rollout import encode
from reverie.serve.session import Session, camera_of
from tests.serve.painted import Frames
from tests.serve.painter import CPU, Painter, Told, session, world
from tests.toys import Chunked, Latent, Pendulum

RIGHT = np.ones(1, np.float32)


def test_it_shows_what_the_loop_over_the_interface_shows() -> None:
    played = session()
    begun = played.begin(4)
    assert begun.first
    model, generator = Painter(), torch.Generator().manual_seed(4)
    first = torch.from_numpy(world().begin(4).obs["image"])[None]
    state = encode(model, {"image": first}, None, generator)
    for _ in range(5):
        (moment,) = played.advance(RIGHT)
        noise = model.noise(1, generator)
        state = model.step(state, torch.ones(1, 1, 1), noise).state
        expected = round(255 * float(state.place.clamp(0, 1)))
        assert abs(int(moment.picture[0, 0, 0]) - expected) <= 1
        assert moment.reward == 1
    assert played.last.decisions == 5
    played.close()


def test_the_same_seed_and_actions_show_the_same() -> None:
    played, films = session(), []
    for seed in (1, 1, 2):
        played.begin(seed)
        films.append(np.stack([played.advance(RIGHT)[0].picture for _ in range(4)]))
    np.testing.assert_array_equal(films[0], films[1])
    assert (films[0] != films[2]).any()
    played.close()


def test_the_simulator_goes_beside_and_the_distance_is_measured() -> None:
    played, alone = session(beside=True), world(beside=True)
    played.begin(0)
    alone.begin(0)
    for _ in range(3):
        (moment,) = played.advance(RIGHT)
        seen = alone.step(RIGHT)
        assert seen.picture is not None
        np.testing.assert_array_equal(moment.real, seen.picture)
        assert moment.actual == seen.reward
        error = (moment.picture.astype(float) - seen.picture) / 255
        assert moment.distance == pytest.approx(math.sqrt((error**2).mean()))
        assert moment.psnr == pytest.approx(-10 * math.log10((error**2).mean()))
    played.close()
    alone.close()


def test_text_reaches_the_model_in_bytes_from_the_beginning() -> None:
    played = session(text="zoom")
    assert played.begin(0).picture[0, 0, 1] == ord("z")
    assert played.text_size == 12
    assert played.begin(1).picture[0, 0, 1] == ord("z")
    played.close()


def test_told_goes_on_from_the_state() -> None:
    played = session(Told())
    played.begin(0)
    for _ in range(3):
        before = played.advance(RIGHT)[0]
    place = float(played._state.place)
    after = played.tell("go")
    assert after.first
    assert after.decisions == before.decisions
    assert float(played._state.place) == place
    assert after.picture[0, 0, 1] == ord("g")
    played.close()


def test_without_told_it_begins_anew_from_what_is_shown() -> None:
    played = session(Painter())
    played.begin(0)
    for _ in range(3):
        before = played.advance(RIGHT)[0]
    after = played.tell("go")
    assert after.decisions == 0
    assert after.picture[0, 0, 0] == before.picture[0, 0, 0]
    assert after.picture[0, 0, 1] == ord("g")
    assert played.text == "go"
    played.close()


@pytest.mark.parametrize("text", ["", "thirteen byte", "a\nb"])
def test_text_that_does_not_fit_changes_nothing(text: str) -> None:
    played = session(text="so")
    played.begin(0)
    with pytest.raises(ValueError):
        played.tell(text)
    assert played.text == "so"
    played.close()


def test_text_for_a_model_without_is_refused() -> None:
    with pytest.raises(ValueError, match="reads no text"):
        session(Painter(text=False), text="go")


def test_every_frame_of_a_chunk_is_shown() -> None:
    model = Chunked(chunk=3)
    played = Session(model, Frames(), CPU)
    played.begin(5)
    generator = torch.Generator().manual_seed(5)
    camera = torch.full((1, 3, 4, 4), 99, dtype=torch.uint8)
    choice = np.float32([0, 1, 0, 0])
    with torch.no_grad():
        state = encode(model, {"camera": camera}, None, generator)
        taken = torch.from_numpy(np.tile(choice, (1, 3, 1)))
        step = model.step(state, taken, model.noise(1, generator))
        expected = (model.frames(state, step)["camera"][0] * 255).round().byte()
    moments = played.advance(choice)
    assert [m.decisions for m in moments] == [1, 2, 3]
    for moment, frame in zip(moments, expected, strict=True):
        np.testing.assert_array_equal(np.moveaxis(moment.picture, -1, 0), frame)
    assert [m.uncertainty is None for m in moments] == [True, True, False]
    assert moments[-1].uncertainty == pytest.approx(float(step.uncertainty[0]))
    assert played.frame_time == pytest.approx(0.1)
    assert list(played.recordable) == ["camera"]


def test_a_model_that_shows_nothing_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"--env\.pixels"):
        camera_of(Pendulum())
    with pytest.raises(ValueError, match="no camera 'top'; it has camera"):
        camera_of(Latent(), "top")


def test_a_world_that_lacks_a_sensor_is_refused() -> None:
    played = Session(Latent(), world(), CPU)
    with pytest.raises(ValueError, match="no position, camera to begin with"):
        played.begin(0)
    played.close()
