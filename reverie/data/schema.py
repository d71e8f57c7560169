"""What one row of a store holds: which entries, of which shapes, and how they are laid out."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.codec import rows_per_block
from reverie.data.container import Array

PRESENT = ".present"
"""Ending of the entry that says in which rows a sensor was there."""

FLAGS = ("first", "last", "terminated")
LARGE = 1024
"""Sensors of at least this many bytes per row are compressed in blocks, smaller ones are plain."""

_RESERVED = ("action", "reward", *FLAGS)
_ENDINGS = (PRESENT, ".blocks", ".offsets", ".crc")
_FILE_ROWS = 1024
_FILE_BYTES = 64 << 20


class Schema:
    """The entries of a row: sensors, `"<name>.present"` of optional ones, action, reward, flags.

    Args:
        obs: space of each sensor.
        action: space of the action.
        optional: sensors that may be missing in some rows.
        file_rows: most rows in one file; None chooses about 1,000 rows or 64 MiB uncompressed.
    """

    def __init__(
        self,
        obs: Mapping[str, Space],
        action: Space,
        optional: Iterable[str] = (),
        file_rows: int | None = None,
    ) -> None:
        self.obs = dict(obs)
        self.action = action
        self.optional = frozenset(optional)
        self._check_names()
        self.entries: dict[str, Space] = dict(self.obs)
        for name in self.obs:
            if name in self.optional:
                self.entries[name + PRESENT] = Space((), "bool")
        self.entries["action"] = action
        self.entries["reward"] = Space(())
        self.entries.update({name: Space((), "bool") for name in FLAGS})
        self.dtypes = {name: np.dtype(space.dtype) for name, space in self.entries.items()}
        sizes = {n: space.size * self.dtypes[n].itemsize for n, space in self.entries.items()}
        self.blocked = {n: rows_per_block(size) for n, size in sizes.items() if size >= LARGE}
        """Compressed entries, and how many rows make one block."""
        self.plain = sorted(
            (n for n in self.entries if n not in self.blocked),
            key=lambda n: -self.dtypes[n].itemsize,
        )
        """Uncompressed entries, the widest dtype first so that each lies aligned in a file."""
        self.row_bytes = sum(sizes.values())
        self.file_rows = file_rows or max(16, min(_FILE_ROWS, _FILE_BYTES // self.row_bytes))
        parts = [f"{n}:{s.dtype}:{s.shape}:{n in self.blocked}" for n, s in self.entries.items()]
        self.signature = f"{zlib.crc32(' '.join(sorted(parts)).encode()):08x}"
        """Equal for two stores exactly where their files can be read alike."""

    def _check_names(self) -> None:
        for name in self.obs:
            if name in _RESERVED or name.endswith(_ENDINGS) or name.startswith("__"):
                raise ValueError(
                    f"A sensor cannot be called {name!r}: {', '.join(_RESERVED)}, names that begin "
                    f"with '__' and the endings {', '.join(_ENDINGS)} are taken. Rename the sensor."
                )
        unknown = sorted(self.optional - set(self.obs))
        if unknown:
            raise ValueError(
                f"optional names {unknown}, which are no sensors; these are {sorted(self.obs)}."
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same schema."""
        return {
            "obs": {name: space.to_json() for name, space in self.obs.items()},
            "action": self.action.to_json(),
            "optional": sorted(self.optional),
            "file_rows": self.file_rows,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`."""
        return Schema(
            {name: Space.from_json(space) for name, space in value["obs"].items()},
            Space.from_json(value["action"]),
            value["optional"],
            int(value["file_rows"]),
        )

    def require_equal(self, stored: Schema, where: str) -> None:
        """Raise a ValueError that names each entry in which a stored schema differs from this."""
        differences = []
        for name in sorted(set(self.entries) | set(stored.entries)):
            mine, theirs = self.entries.get(name), stored.entries.get(name)
            if mine is None or theirs is None or _kind(mine) != _kind(theirs):
                differences.append(f"{name!r}: stored {_kind(theirs)}, given {_kind(mine)}")
        if differences:
            raise ValueError(
                f"The spaces given differ from those stored in {where}: {'; '.join(differences)}. "
                "Use the environment that recorded it, or another directory for the new data."
            )

    def check_row(self, row: Mapping[str, Any]) -> dict[str, Array]:
        """The entries of one row as arrays of the right dtype and shape.

        A sensor listed in `optional` may be absent, or None, or come with `"<name>.present"` False:
        zeros are stored for it. Raises ValueError that names the entry otherwise.
        """
        values: dict[str, Any] = dict(row)
        for name in self.optional:
            there = values.get(name) is not None and bool(values.get(name + PRESENT, True))
            values[name + PRESENT] = there
            if not there:
                values[name] = np.zeros(self.entries[name].shape, self.dtypes[name])
        if values.keys() != self.entries.keys():
            self._explain_names(values)
        checked = {name: self._check(name, value) for name, value in values.items()}
        if not (np.isfinite(checked["reward"]) and np.isfinite(checked["action"]).all()):
            raise ValueError(
                f"A row has reward {checked['reward']} and action {checked['action']}; "
                "both must be finite. The environment or the policy returned NaN or infinity."
            )
        if checked["terminated"] and not checked["last"]:
            raise ValueError("A row is terminated but not last; a terminated row ends its episode.")
        return checked

    def _check(self, name: str, value: Any) -> Array:
        array = np.asarray(value)
        dtype, shape = self.dtypes[name], self.entries[name].shape
        exact = dtype.kind != "f" and not (dtype.kind == "i" and array.dtype.kind == "i")
        if array.dtype != dtype and (exact or not np.can_cast(array.dtype, dtype, "same_kind")):
            raise ValueError(f"{name!r} has dtype {array.dtype}; the store holds {dtype}.")
        if array.shape != shape:
            raise ValueError(f"{name!r} has shape {array.shape}; the store holds {shape}.")
        return array

    def _explain_names(self, row: Mapping[str, Any]) -> None:
        missing = sorted(self.entries.keys() - row.keys())
        extra = sorted(row.keys() - self.entries.keys())
        hint = ""
        if any(name in self.obs for name in missing) or any(n.endswith(PRESENT) for n in extra):
            hint = " Sensors that may be missing are named in optional= when the store is made."
        raise ValueError(
            f"A row has not the entries of the store: missing {missing}, unknown {extra}.{hint}"
        )

    def empty(self, *axes: int) -> dict[str, Array]:
        """Uninitialised arrays `[*axes, ...]` for every entry."""
        return {n: np.empty((*axes, *s.shape), self.dtypes[n]) for n, s in self.entries.items()}


def _kind(space: Space | None) -> str:
    if space is None:
        return "nothing"
    discrete = " discrete" if space.discrete else ""
    return f"{space.dtype} {space.shape}{discrete}"
