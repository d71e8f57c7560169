"""What recorded values are like: moments, bounds and quantiles of every entry, in one pass.

    mean, M2 of two parts together (Chan et al. 1983): d = mean_b - mean_a, n = n_a + n_b
    mean = mean_a + d n_b / n,    M2 = M2_a + M2_b + d^2 n_a n_b / n,    std = sqrt(M2 / n)

Quantiles are exact while all rows fit in memory, and beyond that those of a uniform sample of K
rows (algorithm R, Vitter 1985), so that a quantile q told is, 95 times in 100, a true quantile
between q +- 1.96 sqrt(q (1 - q) / K). `shift` compares two datasets and says which entries cannot
be in the same units.

Legend: `T` rows, `D` entries of a sensor, `K` rows kept, `Q` quantiles, `C h w` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import Dataset
from reverie.data.schema import PRESENT

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
KEPT = 16384
"""Most rows of a sensor that are kept for its quantiles; fewer where a row is long."""

Progress = Callable[[int, int], None]
"""Called with the episodes done and those there are."""

_KEPT_VALUES = 1 << 21
_SLAB = 4096
_FLOATS = ("missing", "mean", "std", "low", "high")


@dataclass(frozen=True)
class Summary:
    """Values of one sensor, the action or the reward; each tuple has an entry for each of its own.

    An image has one entry for each channel, its values in 0..1. NaN where no value is finite.
    """

    kind: Literal["vector", "image"]
    count: int
    """Rows seen; of an image, the frames sampled."""
    missing: tuple[float, ...]
    """Share of the rows in which an entry is NaN or infinite, or its sensor was not there."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Over all rows (divided by n)."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    """`[Q][D]`, in the order of `QUANTILES`."""
    kept: int
    """Rows that the quantiles rest on; `count` where they are exact."""
    names: tuple[str, ...] = ()
    """Of the entries, where they are known."""

    @property
    def rank_error(self) -> float:
        """Half-width of the 95 % interval of a quantile's rank; 0 where they are exact."""
        return 0.0 if self.kept >= self.count else 1.96 * 0.5 / math.sqrt(self.kept)

    def entry(self, index: int) -> str:
        """How a person calls an entry."""
        return f"{index} ({self.names[index]})" if self.names else str(index)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; null stands for NaN."""
        rows = {name: _nulls(getattr(self, name)) for name in _FLOATS}
        quantiles = [_nulls(row) for row in self.quantiles]
        return {
            "kind": self.kind,
            "count": self.count,
            **rows,
            "quantiles": quantiles,
            "kept": self.kept,
            "names": list(self.names),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Summary:
        """The inverse of `to_json`."""
        size = len(value["mean"])
        rows = {name: _floats(value[name], size) for name in _FLOATS}
        quantiles = tuple(_floats(row, size) for row in value["quantiles"])
        names = tuple(str(n) for n in value["names"])
        if value["kind"] not in ("vector", "image") or len(quantiles) != len(QUANTILES):
            raise ValueError(f"kind {value['kind']!r} with {len(quantiles)} rows of quantiles")
        if names and len(names) != size:
            raise ValueError(f"{len(names)} names for {size} entries")
        return Summary(
            value["kind"],
            int(value["count"]),
            **rows,
            quantiles=quantiles,
            kept=int(value["kept"]),
            names=names,
        )


@dataclass(frozen=True)
class Statistics:
    """Of a whole dataset. The action and the reward of row 0, which stand for none, are left
    out."""

    obs: Mapping[str, Summary]
    action: Summary
    reward: Summary
    lengths: Summary
    """Rows of the episodes."""
    dt: float
    """World time per decision [s]."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same."""
        return {
            "format": "reverie.statistics/1",
            "dt": self.dt,
            "obs": {name: summary.to_json() for name, summary in self.obs.items()},
            **{n: getattr(self, n).to_json() for n in ("action", "reward", "lengths")},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Statistics:
        """The inverse of `to_json`.

        Raises:
            ValueError: it is something else.
        """
        try:
            if value["format"] != "reverie.statistics/1":
                raise ValueError(f"format is {value['format']!r}")
            obs = {str(name): Summary.from_json(v) for name, v in value["obs"].items()}
            action, reward, lengths = (
                Summary.from_json(value[name]) for name in ("action", "reward", "lengths")
            )
            return Statistics(obs, action, reward, lengths, float(value["dt"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"These are no statistics of format 'reverie.statistics/1' ({error!r}). Give the "
                "object that Statistics.to_json made."
            ) from error


def measure(
    dataset: Dataset, *, frames: int = 512, seed: int = 0, progress: Progress | None = None
) -> Statistics:
    """Statistics of a dataset, in memory that does not grow with it.

    Args:
        dataset: what is measured.
        frames: pictures of each camera that are looked at, evenly spaced over all rows (which is
            enough for means of channels, and reading pictures is what costs); 0 leaves cameras out.
        seed: of the sample behind the quantiles of a large dataset.
        progress: called after each episode.
    """
    rng = np.random.default_rng(seed)
    vectors = {name: space for name, space in dataset.obs.items() if not space.is_image}
    gather = {name: _Gather(space, rng) for name, space in vectors.items()}
    action, reward = _Gather(dataset.action, rng), _Gather(Space(()), rng)
    lengths = _Gather(Space(()), rng)
    episodes = dataset.episodes()
    for done, episode in enumerate(episodes):
        lengths.add(np.asarray([float(episode.rows)]))
        for start in range(0, episode.rows, _SLAB):
            stop = min(start + _SLAB, episode.rows)
            rows = dataset.read(episode.name, start, stop, list(vectors))
            for name, one in gather.items():
                one.add(rows[name], rows.get(name + PRESENT))
            skip = int(start == 0)
            action.add(rows["action"][skip:])
            reward.add(rows["reward"][skip:])
        if progress is not None:
            progress(done + 1, len(episodes))
    obs = {name: one.summary() for name, one in gather.items()}
    obs.update(_cameras(dataset, frames))
    return Statistics(
        {name: obs[name] for name in dataset.obs if name in obs},
        action.summary(dataset.about.action.names),
        reward.summary(),
        lengths.summary(),
        dataset.about.dt,
    )


class _Gather:
    """Moments of all rows of one sensor, and a uniform sample of them."""

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.size = space.size
        self.count = 0
        self._n = np.zeros(self.size)
        self._mean, self._m2 = np.zeros(self.size), np.zeros(self.size)
        self._low, self._high = np.full(self.size, np.inf), np.full(self.size, -np.inf)
        self._most = max(64, min(KEPT, _KEPT_VALUES // self.size))
        self._kept = np.empty((0, self.size))
        self._rng = rng

    def add(self, values: Array, present: Array | None = None) -> None:
        """Rows `[T, ...]`; where `present` is False the sensor was not there."""
        rows = values.reshape(len(values), self.size).astype(np.float64)
        if present is not None:
            rows[~present] = np.nan
        if not len(rows):
            return
        fine = np.isfinite(rows)
        n = fine.sum(0)
        mean = np.where(fine, rows, 0).sum(0) / np.maximum(n, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            m2 = np.square(np.where(fine, rows - mean, 0)).sum(0)
        total = np.maximum(self._n + n, 1)
        away = mean - self._mean
        self._mean += away * n / total
        self._m2 += m2 + np.square(away) * self._n * n / total
        self._n += n
        self._low = np.minimum(self._low, np.where(fine, rows, np.inf).min(0))
        self._high = np.maximum(self._high, np.where(fine, rows, -np.inf).max(0))
        self._sample(rows)
        self.count += len(rows)

    def _sample(self, rows: Array) -> None:
        """Algorithm R: row i replaces a random one of the K kept with probability K / (i + 1)."""
        room = self._most - len(self._kept)
        if room > 0:
            self._kept = np.concatenate([self._kept, rows[:room]])
        late = rows[max(room, 0) :]
        index = self.count + max(room, 0) + np.arange(len(late))
        slot = self._rng.integers(0, index + 1)
        for row, at in zip(late[slot < self._most], slot[slot < self._most], strict=True):
            self._kept[at] = row

    def summary(self, names: Sequence[str] = ()) -> Summary:
        """What was gathered so far."""
        none = self._n == 0
        count = max(self.count, 1)
        variance = self._m2 / np.maximum(self._n, 1)
        mean, std, low, high = (
            _tuple(np.where(none, np.nan, values))
            for values in (self._mean, np.sqrt(variance), self._low, self._high)
        )
        quantiles = tuple(_tuple(q) for q in _quantiles(self._kept))
        missing = _tuple(1 - self._n / count)
        return Summary(
            *("vector", self.count, missing, mean, std, low, high),
            *(quantiles, len(self._kept), tuple(names)),
        )


def _quantiles(kept: Array) -> Array:
    """`[Q, D]` of the finite values of each column `[K, D]`, interpolated linearly."""
    out = np.full((len(QUANTILES), kept.shape[1]), np.nan)
    for index, column in enumerate(kept.T):
        fine = column[np.isfinite(column)]
        if len(fine):
            out[:, index] = np.quantile(fine, QUANTILES)
    return out


def _cameras(dataset: Dataset, frames: int) -> Iterator[tuple[str, Summary]]:
    """Of each camera, from the histogram of every channel over evenly spaced frames."""
    cameras = {name: space for name, space in dataset.obs.items() if space.is_image}
    if not cameras or not frames:
        return
    counts = {name: np.zeros((space.shape[0], 256), np.int64) for name, space in cameras.items()}
    seen, there = 0, dict.fromkeys(cameras, 0)
    for name, row in evenly_spaced(dataset, frames):
        rows = dataset.read(name, row, row + 1, list(cameras))
        seen += 1
        for camera, total in counts.items():
            if rows.get(camera + PRESENT, np.ones(1, bool))[0]:
                there[camera] += 1
                for channel, picture in enumerate(rows[camera][0]):
                    total[channel] += np.bincount(picture.reshape(-1), minlength=256)
    for camera, total in counts.items():
        yield camera, _of_histogram(total, seen, there[camera])


def evenly_spaced(dataset: Dataset, count: int) -> Iterator[tuple[str, int]]:
    """At most `count` rows (episode, row), evenly spaced over all that a dataset has."""
    episodes = dataset.episodes()
    ends = np.cumsum([episode.rows for episode in episodes])
    total = int(ends[-1]) if len(ends) else 0
    for place in np.linspace(0, max(total - 1, 0), min(count, total)).astype(int):
        index = int(np.searchsorted(ends, place, "right"))
        yield episodes[index].name, int(place - (ends[index] - episodes[index].rows))


def _of_histogram(counts: Array, seen: int, there: int) -> Summary:
    """From how often each of the 256 values occurs in each channel `[C, 256]`."""
    values, pixels = np.arange(256) / 255, np.maximum(counts.sum(1), 1)
    mean = counts @ values / pixels
    std = np.sqrt((counts * np.square(values - mean[:, None])).sum(1) / pixels)
    share = counts.cumsum(1) / pixels[:, None]
    share[:, -1] = 1  # also where no frame was there, and beyond rounding
    rows = [np.array([values[np.searchsorted(row, q)] for row in share]) for q in QUANTILES]
    low = np.array([values[row.argmax()] for row in counts > 0])
    high = np.array([values[255 - row[::-1].argmax()] for row in counts > 0])
    if not there:
        mean, std, low, high, *rows = (np.full(len(counts), np.nan) for _ in range(4 + len(rows)))
    missing = np.full(len(counts), 1 - there / max(seen, 1))
    return Summary(
        "image",
        seen,
        _tuple(missing),
        _tuple(mean),
        _tuple(std),
        _tuple(low),
        _tuple(high),
        tuple(_tuple(row) for row in rows),
        kept=seen,
    )


def _tuple(values: Array) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _nulls(values: Sequence[float]) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in values]


def _floats(values: Sequence[float | None], size: int) -> tuple[float, ...]:
    if len(values) != size:
        raise ValueError(f"{len(values)} values for {size} entries")
    return tuple(math.nan if v is None else float(v) for v in values)
