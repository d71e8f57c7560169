"""Options as JSON: nested frozen dataclasses to plain objects and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass (or a field's value) as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    return value


def from_json(kind: type[T], value: Any, where: str = "config") -> T:
    """The dataclass `kind` from what `to_json` gave.

    Raises:
        ValueError: a field is unknown or of the wrong type; the message says which. Missing fields
            take their defaults.
    """
    return typing.cast("T", _read(kind, value, where))


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_fields(typing.cast("type", kind), value, where)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(kind), value, where)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), value, where)
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            raise ValueError(f"{where} is {value!r}; choose one of {typing.get_args(kind)}.")
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{where} is {value!r}; a value of type {kind.__name__} is needed.")
    return kind(value)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if isinstance(value, list) and kinds[1:] == (Ellipsis,):
        return tuple(_read(kinds[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if not isinstance(value, list) or len(value) != len(kinds):
        raise ValueError(f"{where} is {value!r}; {len(kinds)} values are needed.")
    return tuple(_read(k, v, where) for k, v in zip(kinds, value, strict=True))


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _read(kind, value, where)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(" ".join(errors))


def _read_fields(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}; an object of options is needed.")
    types_of = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    strange = sorted(set(value) - known)
    if strange:
        raise ValueError(f"{where} has no option {', '.join(strange)}; there are {sorted(known)}.")
    fields = {name: _read(types_of[name], v, f"{where}.{name}") for name, v in value.items()}
    return kind(**fields)
