"""Pictures of several cameras and scaled vectors, there and back, with gaps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.models.unisim.sensors import Cameras, Vectors, forgotten

EYES = {"left": Space((3, 4, 6), "uint8", 0, 255), "right": Space((1, 4, 6), "uint8")}
ARM = {
    "joints": Space((3,), low=(-2.0, 0.0, 5.0), high=(4.0, 1.0, 5.0)),
    "speed": Space((2,)),
    "weight": Space((2,), low=0.0),
}


def seen(*lead: int) -> dict[str, Tensor]:
    return {name: space.sample(*lead) for name, space in EYES.items()}


def test_cameras_become_channels_of_one_picture_in_their_order() -> None:
    cameras, obs = Cameras({**EYES, "speed": Space((2,))}), seen(2)
    assert cameras.shape == (4, 4, 6)
    frame = cameras.read(obs, torch.zeros(2, 4, 4, 6))
    expected = torch.cat([obs["left"], obs["right"]], 1) / 127.5 - 1
    torch.testing.assert_close(frame, expected)
    shown = cameras.show(frame)
    assert list(shown) == ["left", "right"]
    for name, picture in shown.items():
        torch.testing.assert_close(picture, obs[name] / 255)


def test_black_is_minus_one_and_white_is_one_in_bytes_and_in_floats() -> None:
    cameras, last = Cameras({"eye": Space((1, 1, 3), "uint8")}), torch.zeros(1, 1, 1, 3)
    expected = torch.tensor([[[[-1.0, 0.2, 1.0]]]])
    for image in (torch.tensor([0, 153, 255], dtype=torch.uint8), torch.tensor([0, 0.6, 1.0])):
        frame = cameras.read({"eye": image.view(1, 1, 1, 3)}, last)
        torch.testing.assert_close(frame, expected)
    double = cameras.read({"eye": torch.ones(1, 1, 1, 3)}, last.double())
    assert double.dtype == torch.float64


def test_where_a_camera_is_not_its_last_picture_stands() -> None:
    cameras, obs, last = Cameras(EYES), seen(3), torch.rand(3, 4, 4, 6)
    obs["right.present"] = torch.tensor([True, False, True])
    frame = cameras.read(obs, last)
    torch.testing.assert_close(frame[:, :3], obs["left"] / 127.5 - 1)
    torch.testing.assert_close(frame[1, 3:], last[1, 3:])
    torch.testing.assert_close(frame[[0, 2], 3:], obs["right"][[0, 2]] / 127.5 - 1)


def gaps(batch: int, steps: int, *names: str) -> dict[str, Tensor]:
    return {f"{name}.present": torch.rand(batch, steps) < 0.4 for name in names}


@pytest.mark.parametrize("gappy", [(), ("left",), ("left", "right")])
def test_whole_sequences_of_pictures_are_read_as_row_after_row(gappy: tuple[str, ...]) -> None:
    cameras, obs, last = Cameras(EYES), seen(3, 7), torch.rand(3, 4, 4, 6)
    obs |= gaps(3, 7, *gappy)
    first = torch.rand(3, 7) < 0.3
    whole = cameras.read_all(obs, last, first)
    for b in range(3):
        held = last[b]
        for t in range(7):
            if first[b, t]:
                held = torch.zeros_like(held)  # another episode is not looked back to
            parts = []
            for name, part in (("left", held[:3]), ("right", held[3:])):
                there = name not in gappy or bool(obs[f"{name}.present"][b, t])
                parts.append(obs[name][b, t] / 127.5 - 1 if there else part)
            held = torch.cat(parts)
            torch.testing.assert_close(whole[b, t], held)


def test_nothing_of_another_episode_is_held() -> None:
    held = {"a": torch.ones(3, 2), "b": torch.ones(3)}
    first = torch.tensor([False, True, False])
    cleared = forgotten(held, first)
    assert cleared["a"].tolist() == [[1, 1], [0, 0], [1, 1]]
    assert cleared["b"].tolist() == [1, 0, 1]
    assert torch.equal(held["a"], torch.ones(3, 2))


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        ({"speed": Space((2,))}, r"is given speed; add an image .*--env\.pixels"),
        ({}, "is given nothing"),
        ({**EYES, "top": Space((3, 8, 8), "uint8")}, r"different sizes.*'top': \(8, 8\)"),
    ],
)
def test_cameras_that_cannot_be_read_are_refused(obs: dict[str, Space], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Cameras(obs)


def test_a_picture_that_does_not_fit_or_is_not_there_is_named() -> None:
    cameras, last = Cameras(EYES), torch.zeros(2, 4, 4, 6)
    wide = {**seen(2), "left": torch.zeros(2, 3, 4, 8, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"'left' is \(3, 4, 8\); .* \(3, 4, 6\)"):
        cameras.read(wide, last)
    with pytest.raises(ValueError, match=r"'right' is missing; .*given left.*'right\.present'"):
        cameras.read({"left": seen(2)["left"]}, last)
    with pytest.raises(ValueError, match="'left' is missing"):
        cameras.read_all({}, last, torch.zeros(2, 3, dtype=torch.bool))


# -------------------------------------------------------------------------------------------------
# Vectors


def sensed(*lead: int) -> dict[str, Tensor]:
    return {name: space.sample(*lead) for name, space in ARM.items()}


def test_bounded_entries_are_scaled_and_others_left_until_something_was_met() -> None:
    vectors = Vectors(ARM)
    obs = {
        "joints": torch.tensor([[-2.0, 0.75, 5.0], [4.0, 0.0, 6.0]]),
        "speed": torch.tensor([[100.0, -3.0], [0.0, 1.0]]),
        "weight": torch.tensor([[7.0, 0.0], [1.0, 2.0]]),
    }
    scaled = vectors.read(obs, vectors.zeros(2, torch.zeros(1)))
    expected = torch.tensor([[-1.0, 0.5, 0.0], [1.0, -1.0, 1.0]])
    torch.testing.assert_close(scaled["joints"], expected)
    torch.testing.assert_close(scaled["speed"], obs["speed"])
    torch.testing.assert_close(scaled["weight"], obs["weight"])
    for name, value in vectors.show(scaled).items():
        torch.testing.assert_close(value, obs[name])
    half = vectors.read(obs, vectors.zeros(2, torch.zeros(1, dtype=torch.float64)))
    assert half["joints"].dtype == torch.float64


@pytest.mark.parametrize("missing", [("joints", "speed"), ()])
def test_whole_sequences_of_vectors_are_read_as_row_after_row(missing: tuple[str, ...]) -> None:
    vectors, obs, first = Vectors(ARM), sensed(3, 7), torch.rand(3, 7) < 0.3
    obs |= gaps(3, 7, *missing)
    last = {n: torch.rand(3, *s.shape) for n, s in ARM.items()}
    whole = vectors.read_all(obs, last, first)
    scaled = vectors.read({n: obs[n] for n in ARM}, {n: obs[n] for n in ARM})
    for name in ARM:
        shown = obs.get(f"{name}.present", torch.ones(3, 7, dtype=torch.bool))
        for b in range(3):
            held = last[name][b]
            for t in range(7):
                held = torch.zeros_like(held) if first[b, t] else held
                held = scaled[name][b, t] if shown[b, t] else held
                torch.testing.assert_close(whole[name][b, t], held)


def test_entries_without_bounds_are_scaled_by_what_was_met_and_present() -> None:
    vectors = Vectors(ARM)
    obs = sensed(4, 6) | {"speed": 50 + 20 * torch.randn(4, 6, 2)} | gaps(4, 6, "speed")
    vectors.meet(obs)
    last = {n: obs[n] for n in ARM}
    again = vectors.read({n: obs[n] for n in ARM}, last)["speed"]
    assert torch.equal(again, obs["speed"]), "a loss changes nothing"
    vectors.adopt()
    scaled = vectors.read({n: obs[n] for n in ARM}, last)
    there = obs["speed.present"]
    torch.testing.assert_close(scaled["speed"][there].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled["speed"][there].var(0, correction=0), torch.ones(2))
    assert scaled["joints"].abs().max() <= 1
    torch.testing.assert_close(vectors.show(scaled)["speed"], obs["speed"])


def test_no_vectors_are_no_trouble() -> None:
    vectors = Vectors(EYES)
    assert vectors.zeros(2, torch.zeros(1)) == vectors.read({}, {}) == {}
    assert vectors.read_all(seen(2, 3), {}, torch.zeros(2, 3, dtype=torch.bool)) == {}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space((3,), "int64"), r"cannot read 'odd', int64 of shape \(3,\)"),
        (Space((2, 2)), r"float32 of shape \(2, 2\)"),
        (Space((4,), "uint8"), "uint8"),
    ],
)
def test_what_is_no_vector_of_floats_is_refused(space: Space, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Vectors({"odd": space})


@pytest.mark.parametrize("name", ["text", "text_embedding", "embodiment"])
def test_context_is_no_vector(name: str) -> None:
    spaces: dict[str, Any] = {**ARM, name: Space((4,), "uint8")}
    assert list(Vectors(spaces).spaces) == list(ARM)
