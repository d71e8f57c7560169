"""Gymnasium spaces as Minari writes them in JSON: leaves, each one sensor or part of an action.

`n` rows, `C h w` picture. As Reverie's environments show them: a Box keeps its shape and is
float32, pictures turn to `(C, h, w)`, Discrete and MultiDiscrete become one-hot vectors, and
MultiBinary zeros and ones. Nothing of Gymnasium is needed, and nothing that is named is loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from reverie.core.spec import Bound, Space
from reverie.data.arrays import Stored, cast, dress, picture_axis, sensor_name
from reverie.data.container import Array

_MOST_ENTRIES = 1 << 26
_DEEPEST = 16
_UNBOUNDED = 1e30
"""A Box whose bounds only fill the range of its dtype has none."""


class Leaf(NamedTuple):
    """One space that is no Dict and no Tuple."""

    name: str
    path: tuple[str | int, ...]
    """Keys that lead to it, numbers in a Tuple; () for a lone space."""
    space: Space | None
    """What its values become; None for text."""
    shape: tuple[int, ...]
    """Of one stored value."""
    dress: Callable[[Array], Array]
    """Stored values `[n, *shape]` to `[n, *space.shape]`; ValueError where they are outside."""


def parse_space(text: Any) -> list[Leaf]:
    """The leaves of a space in JSON.

    Raises:
        ValueError: it is damaged, or of a kind that has no fixed size.
    """
    try:
        value = json.loads(text) if isinstance(text, str) else text
        leaves = list(_leaves(value, ()))
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"the space {str(text)[:80]!r} is damaged ({error!r}).") from error
    names = [leaf.name for leaf in leaves]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"two of its entries would be called {double[0]!r}.")
    return leaves


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[Leaf]:
    kind = value["type"]
    if len(path) > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep.")
    if kind == "Dict":
        for key, inner in value["subspaces"].items():
            yield from _leaves(inner, (*path, str(key)))
    elif kind == "Tuple":
        for index, inner in enumerate(value["subspaces"]):
            yield from _leaves(inner, (*path, index))
    elif kind in _KINDS:
        yield _KINDS[kind](value, path)
    else:
        raise ValueError(
            f"a space of type {kind!r} is not supported; supported are Dict, Tuple, "
            f"{', '.join(_KINDS)}."
        )


def _box(value: Any, path: tuple[str | int, ...]) -> Leaf:
    shape, dtype = _shape(value["shape"]), np.dtype(str(value["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError(f"a Box of {dtype} holds no numbers.")
    axis = picture_axis(dtype, shape)
    if axis is not None:
        sides = [n for k, n in enumerate(shape) if k != axis]
        picture = Space((1 if axis < 0 else shape[axis], *sides), "uint8", 0, 255)
        sensor = Stored(picture, shape, axis)
        return Leaf(_name(path, "image"), path, picture, shape, lambda x: dress(x, sensor))
    low, high = _bound(value["low"], shape), _bound(value["high"], shape)
    space = Space(shape or (1,), low=low, high=high)
    return Leaf(_name(path), path, space, shape, lambda x: _flat(cast(x, "float32"), space))


def _discrete(value: Any, path: tuple[str | int, ...]) -> Leaf:
    n, start = _count(value["n"]), int(value.get("start", 0))
    space = Space((n,), low=0.0, high=1.0, discrete=n > 1)
    return Leaf(_name(path), path, space, (), lambda x: _one_hot(x, n, start))


def _multi_discrete(value: Any, path: tuple[str | int, ...]) -> Leaf:
    shape = np.asarray(value["nvec"], np.int64).shape
    sizes = [_count(n) for n in np.asarray(value["nvec"], np.int64).ravel()]
    starts = np.broadcast_to(np.asarray(value.get("start", 0), np.int64), shape).ravel().tolist()
    space = Space((_count(sum(sizes)),), low=0.0, high=1.0)

    def one_hots(values: Array) -> Array:
        columns = zip(values.reshape(len(values), -1).T, sizes, starts, strict=True)
        return np.concatenate([_one_hot(c, n, start) for c, n, start in columns], axis=1)

    return Leaf(_name(path), path, space, shape, one_hots)


def _multi_binary(value: Any, path: tuple[str | int, ...]) -> Leaf:
    n = value["n"]
    shape = _shape(n if isinstance(n, list) else [n])
    space = Space(shape, low=0.0, high=1.0)
    return Leaf(_name(path), path, space, shape, lambda x: cast(x, "float32"))


def _text(value: Any, path: tuple[str | int, ...]) -> Leaf:
    return Leaf(_name(path), path, None, (), lambda x: x)


_KINDS: dict[str, Callable[[Any, tuple[str | int, ...]], Leaf]] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": _multi_binary,
    "Text": _text,
}


def _name(path: tuple[str | int, ...], lone: str = "state") -> str:
    """As the environment's adapter names it: "outer/inner"."""
    return (
        "/".join([sensor_name(path[:1]), *(sensor_name([f"_{p}"])[1:] for p in path[1:])])
        if path
        else lone
    )


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in value)
    _count(math.prod(shape))
    return shape


def _count(value: Any) -> int:
    count = int(value)
    if not 0 < count <= _MOST_ENTRIES:
        raise ValueError(f"it has {count} entries; expected 1 to {_MOST_ENTRIES}.")
    return count


def _bound(value: Any, shape: tuple[int, ...]) -> Bound:
    """One number if all are equal."""
    values = np.broadcast_to(np.asarray(value, np.float64), shape).ravel()
    flat = np.where(np.abs(values) < _UNBOUNDED, values, np.copysign(np.inf, values)).tolist()
    same: float = flat[0]
    return same if all(v == same for v in flat) else tuple(flat)


def _flat(values: Array, space: Space) -> Array:
    return values.reshape(len(values), *space.shape)


def _one_hot(values: Array, n: int, start: int) -> Array:
    """Choices `[n]` to one-hot vectors."""
    choices = values.reshape(len(values)).astype(np.int64) - start
    outside = (choices < 0) | (choices >= n)
    if outside.any():
        found = int(choices[outside][0]) + start
        raise ValueError(f"a choice is {found}; the space has {start} to {start + n - 1}.")
    out = np.zeros((len(values), n), np.float32)
    out[np.arange(len(values)), choices] = 1
    return out


def join_action(leaves: Sequence[Leaf]) -> tuple[Space, tuple[str, ...]]:
    """The leaves of an action, each flattened, as one vector, and the names of its entries where
    there are several leaves.

    Raises:
        ValueError: there is none, or one is a picture or text.
    """
    parts: list[tuple[str, Space]] = []
    for leaf in leaves:
        if leaf.space is None or leaf.space.dtype != "float32":
            raise ValueError(f"its entry {leaf.name!r} is a picture or text, no action.")
        parts.append((leaf.name, leaf.space))
    if not parts:
        raise ValueError("it has no entries.")
    if len(parts) == 1:
        space = parts[0][1]
        flat = Space((space.size,), low=space.low, high=space.high, discrete=space.discrete)
        return flat, ()
    low, high = (tuple(v for _, s in parts for v in _each(s, end)) for end in ("low", "high"))
    names = [f"{n}_{i}" if s.size > 1 else n for n, s in parts for i in range(s.size)]
    return Space((len(names),), low=low, high=high), tuple(names)


def _each(space: Space, end: str) -> tuple[float, ...]:
    bound: Bound = getattr(space, end)
    return bound if isinstance(bound, tuple) else (bound,) * space.size
