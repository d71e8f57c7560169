"""Spaces and specs refuse what cannot be, survive JSON, and sample what they describe."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from reverie.core.spec import Space, Spec

CAMERA = Space((3, 64, 64), "uint8")
BOUNDED = Space((2,), low=(-1.0, 0.0), high=(1.0, math.inf), unit="rad/s")
CHOICE = Space((4,), discrete=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Space((3,), "float16"), "'float16' is unknown; choose one of"),
        (lambda: Space((3, 0)), "empty axis"),
        (lambda: Space((3,), low=(0.0, 1.0)), "low has 2 entries but shape (3,) has 3"),
        (lambda: Space((2, 2), high=(0.0, 1.0)), "high has 2 entries but shape (2, 2) has 4"),
        (lambda: Space((1,), discrete=True), "at least 2 entries, not (1,)"),
        (lambda: Space((2, 2), discrete=True), "one-hot vector"),
        (lambda: Spec({}, Space((2,)), dt=0.1, chunk=0), "chunk is 0"),
        (lambda: Spec({}, Space((2, 2)), dt=0.1), "an action is a vector"),
        (lambda: Spec({}, Space((2,)), dt=0.0), "dt is 0.0 s"),
        (lambda: Spec({}, Space((2,)), dt=math.nan), "dt is nan s"),
    ],
)
def test_impossible_spaces_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError) as error:
        make()  # type: ignore[operator]
    assert words in str(error.value)


def test_what_a_space_says_of_itself() -> None:
    assert CAMERA.is_image
    assert CAMERA.size == 3 * 64 * 64
    assert CAMERA.torch_dtype == torch.uint8
    assert not BOUNDED.is_image
    assert not Space((64, 64), "uint8").is_image
    assert Space(()).size == 1


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    if draw(st.booleans()):
        return Space((draw(st.integers(2, 9)),), discrete=True)
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    size = math.prod(shape)

    def bound(missing: float) -> float | tuple[float, ...]:
        if draw(st.booleans()):
            values = draw(st.lists(numbers, min_size=size, max_size=size))
            return tuple(missing if v is None else v for v in values)
        value = draw(numbers)
        return missing if value is None else value

    dtype = draw(st.sampled_from(["float32", "float64", "uint8", "int64", "bool"]))
    return Space(
        shape, dtype, bound(-math.inf), bound(math.inf), draw(st.sampled_from(["", "m/s²", "rad"]))
    )


@settings(max_examples=40)
@given(spaces())
def test_json_round_trip(space: Space) -> None:
    text = json.dumps(space.to_json(), allow_nan=False)
    assert Space.from_json(json.loads(text)) == space


def test_samples_lie_in_their_space() -> None:
    def sample(space: Space) -> torch.Tensor:
        return space.sample(50, 4, generator=Generator().manual_seed(0))

    camera = sample(Space((1, 2, 2), "uint8"))
    assert camera.shape == (50, 4, 1, 2, 2)
    assert camera.dtype == torch.uint8
    assert camera.min() < 10
    assert camera.max() > 245
    bounded = sample(BOUNDED)
    assert bounded[..., 0].min() >= -1
    assert bounded[..., 0].max() <= 1
    assert bounded[..., 1].min() >= 0
    assert bounded[..., 1].max() > 1  # Not bounded above.
    choice = sample(CHOICE)
    assert torch.equal(choice.sum(-1), torch.ones(50, 4))
    assert (choice.sum((0, 1)) > 20).all()
    assert set(sample(Space((), "int64", low=3, high=5)).unique().tolist()) == {3, 4, 5}
    assert set(sample(Space((), "bool")).unique().tolist()) == {False, True}
    assert torch.equal(sample(CHOICE), choice)


def test_require_names_what_is_missing_and_what_is_there() -> None:
    spec = Spec({"camera": CAMERA}, CHOICE, dt=0.1, provides=frozenset({"obs", "reward"}))
    spec.require("obs", "reward")
    with pytest.raises(ValueError, match=r"predicts cost, continues; the model provides obs, rew"):
        spec.require("reward", "cost", "continues")
    with pytest.raises(ValueError, match="provides nothing"):
        Spec({}, CHOICE, dt=0.1).require("obs")
