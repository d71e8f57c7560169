"""What a page may say: checked before anything else sees it.

Every message is a JSON object of at most `LARGEST` bytes with a `kind`:

    {"kind": "act", "action": [0.5], "id": 17}     {"kind": "got", "frame": 203}
    {"kind": "reset", "seed": 3}                   {"kind": "pause", "on": true}
    {"kind": "step"}                               {"kind": "speed", "times": 0.5}
    {"kind": "tell", "text": "push the block"}     {"kind": "stop"}
    {"kind": "record", "film": "mp4", "data": true}
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reverie.core.spec import Space

LARGEST = 64 * 1024
"""Bytes of a message."""
HUGE = 1024 * 1024
"""Bytes from which a message is not even read: it ends the connection."""
SLOWEST, FASTEST = 0.1, 4.0
FILMS = ("mp4", "gif", "")
_SEEDS = 2**32
_WHOLE = 2**53


class RefusedError(ValueError):
    """A message that is not carried out; the words are for the person who sent it."""


@dataclass(frozen=True)
class Act:
    """Hold this action from now on."""

    action: NDArray[np.float32]
    """`[A]`, within the bounds of the space; a choice as a one-hot vector."""
    id: int = 0
    """Comes back with the first picture that it led to."""


@dataclass(frozen=True)
class Got:
    """A frame was shown."""

    frame: int


@dataclass(frozen=True)
class Reset:
    """Begin an episode; without a seed, the next one."""

    seed: int | None = None


@dataclass(frozen=True)
class Pause:
    """Hold, or go on."""

    on: bool


@dataclass(frozen=True)
class Step:
    """One more frame while it holds."""


@dataclass(frozen=True)
class Speed:
    """So many times the world's own pace."""

    times: float


@dataclass(frozen=True)
class Tell:
    """Go on with this text."""

    text: str


@dataclass(frozen=True)
class Record:
    """Record from now on: a film, a dataset, or both."""

    film: str = "mp4"
    data: bool = True


@dataclass(frozen=True)
class Stop:
    """End the recording."""


Message = Act | Got | Reset | Pause | Step | Speed | Tell | Record | Stop


def parse(raw: str, action: Space, text_size: int) -> Message:
    """The message in a JSON text.

    Raises:
        RefusedError: it is none that can be carried out; says what was given and what was expected.
    """
    if len(raw.encode(errors="replace")) > LARGEST:
        raise RefusedError(f"The message is larger than {LARGEST} bytes.")
    try:
        said = json.loads(raw, parse_constant=_constant)
    except RefusedError:
        raise
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            f"The message is no JSON ({type(error).__name__}); send an object."
        ) from None
    if not isinstance(said, dict):
        raise RefusedError(f"The message is a JSON {type(said).__name__}; send an object.")
    kind = said.get("kind")
    if kind == "act":
        return Act(_action(said.get("action"), action), _whole(said, "id", 0, _WHOLE))
    if kind == "got":
        return Got(_whole(said, "frame", 0, _WHOLE))
    if kind == "reset":
        seed = None if said.get("seed") is None else _whole(said, "seed", 0, _SEEDS)
        return Reset(seed)
    if kind == "tell":
        return Tell(_text(said.get("text"), text_size))
    return _control(kind, said)


def _control(kind: Any, said: dict[str, Any]) -> Message:
    if kind == "pause":
        return Pause(_flag(said, "on", True))
    if kind == "step":
        return Step()
    if kind == "speed":
        return Speed(_between(said.get("times"), "times", SLOWEST, FASTEST))
    if kind == "record":
        film, data = said.get("film", "mp4"), _flag(said, "data", True)
        if film not in FILMS:
            raise RefusedError(
                f"There is no film {str(film)[:40]!r}; choose mp4, gif or an empty word."
            )
        if not film and not data:
            raise RefusedError("Nothing is to be recorded; choose a film, the dataset or both.")
        return Record(film, data)
    if kind == "stop":
        return Stop()
    raise RefusedError(
        f"There is no message of kind {str(kind)[:40]!r}; there are act, got, reset, pause, step, "
        "speed, tell, record and stop."
    )


def text_bytes(text: str, size: int) -> bytes:
    """A text in UTF-8, for a model that reads `size` bytes.

    Raises:
        RefusedError: it is empty, too long, or has characters that cannot be told.
    """
    if not text.strip():
        raise RefusedError("The text is empty; say what shall happen.")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise RefusedError("The text holds half a character (a lone surrogate).") from None
    if len(raw) > size:
        raise RefusedError(
            f"The text has {len(raw)} bytes; this model reads {size}. Say it shorter."
        )
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise RefusedError("The text holds control characters; write it in one line.")
    return raw


def _text(text: Any, size: int) -> str:
    if not isinstance(text, str):
        raise RefusedError(f"The text is a {type(text).__name__}; send a string.")
    if not size:
        raise RefusedError("This model reads no text.")
    text_bytes(text, size)
    return text


def _action(values: Any, space: Space) -> NDArray[np.float32]:
    """Numbers within the bounds of the space; a choice becomes one-hot."""
    size = space.size
    if not isinstance(values, list) or len(values) != size:
        given = f"{len(values)} entries" if isinstance(values, list) else f"{values!r:.40}"
        raise RefusedError(f"The action has {given}; this model takes a list of {size} numbers.")
    numbers = [_between(value, f"action {k}", -1e9, 1e9) for k, value in enumerate(values)]
    made = np.array(numbers, np.float32)
    if space.discrete:
        return np.eye(size, dtype=np.float32)[int(made.argmax())]
    return np.clip(made, np.asarray(space.low, np.float32), np.asarray(space.high, np.float32))


def _between(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"{name} is {value!r:.40}; send a number.")
    number = float(value) if abs(value) < 1e300 else math.inf
    if not low <= number <= high:
        raise RefusedError(f"{name} is {number}; it must lie in {low:g} to {high:g}.")
    return number


def _whole(said: dict[str, Any], name: str, low: int, stop: int) -> int:
    value = said.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < stop:
        raise RefusedError(
            f"{name} is {value!r:.40}; send a whole number from {low} to {stop - 1}."
        )
    return value


def _flag(said: dict[str, Any], name: str, default: bool) -> bool:
    value = said.get(name, default)
    if not isinstance(value, bool):
        raise RefusedError(f"{name} is {value!r:.40}; send true or false.")
    return value


def _constant(word: str) -> NoReturn:
    raise RefusedError(f"The message holds {word}, which is no number.")
