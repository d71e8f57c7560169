r"""Can the commanded action be read off what the model imagines, as off what really happens?

An inverse model is fitted to real transitions (o_t, o_{t+1}) -> a_t of some episodes, and asked
about transitions of the others: the real ones, which is the most that can be recovered, and those
that the world model imagined under the actions that it was given.

    R^2 = 1 - sum (a - a^)^2 / sum (a - a_mean)^2        share = R^2_imagined / R^2_real

with each entry of the action in its standard deviations. Recovery by an inverse model is used to
judge video models that generate for robots (UniPi, Du et al. 2023; Genie, Bruce et al. 2024). A
model that imagines otherwise than the world looks (blurred) loses share too.

The inverse model is ridge regression on the rows and their differences, images first averaged to
few pixels, and on random rectified features of them (Rahimi and Recht 2008), its penalty by
generalised cross-validation (Golub, Heath and Wahba 1979): nothing to train, nothing to tune.

Legend: `K` samples, `N` windows, `R` rows, `H` steps, `n` chunk, `A` action, `D` entries,
`F` features, `P` transitions, `Y` targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, Obs, WorldModel
from reverie.core.spec import Space, Spec
from reverie.eval.interval import Groups, Resampling
from reverie.eval.nulls import to_null
from reverie.eval.pairs import Pairs, find, predicted, read
from reverie.eval.score import Verdict
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]

PIXELS = 8
"""Images are averaged to at most so many rows and columns."""
RANDOM = 128
"""Random features beside the linear ones."""
FOLDS = 5
CEILING = 0.2
"""Where less of the real action can be recovered, no more can be asked of a model."""
SHARE = 0.5
"""More than this share of what can be recovered: the action is in what the model imagines."""
PENALTIES = tuple(10.0**k for k in range(-6, 5))
"""Of ridge regression, per row, features being standardised."""


@dataclass(frozen=True)
class SensorInverse:
    """Recovery of the action from one sensor."""

    name: str
    transitions: int
    """Real ones that were asked."""
    real: tuple[float, float, float]
    """R^2 of real transitions of held-out episodes, with its interval."""
    imagined: tuple[float, float, float]
    """R^2 of imagined transitions, by the same inverse models."""
    verdict: Verdict
    """On the share: "recovered" above a half, "lost" below, by its whole interval; "cannot be
    told" where the interval holds a half, or so little can be recovered of the real ones."""


@dataclass(frozen=True)
class Inverse:
    """The result of `inverse`."""

    sensors: tuple[SensorInverse, ...]
    rows: int
    """Rows that the inverse model reads."""
    observed: int
    horizon: int
    samples: int
    windows: int
    episodes: int

    def sensor(self, name: str) -> SensorInverse:
        """One sensor by name."""
        found: SensorInverse = find(self.sensors, name)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


class Moves(NamedTuple):
    """Transitions of some windows: what an inverse model reads and is asked."""

    seen: Tensor
    """`[N, P, F]`."""
    action: Tensor
    """`[N, P, n A]`, the actions from the last row but one to the last."""
    weight: Tensor
    """`[N, P]`, 0 where the sensor was missing."""


def inverse(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    rows: int = 2,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> Inverse:
    """How much of the action can be recovered from imagined transitions, sensor by sensor.

    Only transitions between two imagined rows count, so that no seam between what was seen and
    what is imagined helps or harms.

    Args:
        model: any world model that predicts observations.
        windows: what really happened, `observed + horizon` rows or more each.
        observed: C, rows the model filters first.
        horizon: H, decisions it then imagines; `rows` steps of the model or more.
        samples: K, draws of the noise, all of which count.
        rows: that the inverse model reads, at least 2; with 3 it sees how fast things already
            moved, which pictures need.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        at_once: windows predicted together; lower it where images do not fit in memory.
        generator: of the model's noise.
        seed: of the folds, the random features and the bootstrap.
    """
    model.spec.require("obs")
    if rows < 2 or horizon < rows * model.spec.chunk:
        raise ValueError(
            f"An inverse model of {rows} rows was asked about {horizon} imagined decisions; it "
            f"needs rows >= 2 and a horizon of at least {rows * model.spec.chunk}."
        )
    groups = windows.episode.cpu().numpy()
    real: dict[str, list[Moves]] = {}
    imagined: dict[str, list[Moves]] = {}
    chunks = predicted(model, windows, observed, horizon, samples, context, at_once, generator)
    for span, found in chunks:
        batch = tree.select(windows.batch, span)
        for pair in found:
            if pair.kind != "reward":
                space = model.spec.obs[pair.name]
                happened = _real(model.spec, batch, pair.name, pair.steps[0], rows)
                real.setdefault(pair.name, []).append(happened)
                made = _imagined(batch, pair, space, observed, rows)
                imagined.setdefault(pair.name, []).append(made)
    scored = (_scored(k, _joined(real[k]), _joined(imagined[k]), groups, seed) for k in real)
    episodes = len(np.unique(groups))
    return Inverse(tuple(scored), rows, observed, horizon, samples, len(groups), episodes)


class Regressor(NamedTuple):
    """Ridge regression on standardised inputs and on random rectified features of them."""

    center: Tensor
    scale: Tensor
    mix: Tensor
    """`[F, RANDOM]`."""
    shift: Tensor
    weight: Tensor
    """`[1 + F + RANDOM, Y]`."""

    @staticmethod
    def fit(x: Tensor, y: Tensor, seed: int = 0) -> Regressor:
        """From inputs `[P, F]` and targets `[P, Y]`, in float64.

        The penalty l has the least P |y - y^|^2 / (P - tr H)^2, H = X (X'X + l P I)^{-1} X'.
        """
        x, y = x.double(), y.double()
        spread = x.std(0, correction=0)
        scale = torch.where(spread > 1e-9, spread, torch.inf)
        generator = torch.Generator().manual_seed(seed)
        size = (x.shape[1], RANDOM)
        moving = max(int((spread > 1e-9).sum()), 1)
        mix = torch.randn(size, generator=generator, dtype=torch.float64).to(x.device)
        shift = torch.randn(RANDOM, generator=generator, dtype=torch.float64).to(x.device)
        made = Regressor(x.mean(0), scale, mix / moving**0.5, shift, mix)
        table = made._table(x)
        mean, target = table.mean(0), y.mean(0)
        # The constant column is left out of the penalty: all is centred.
        inner, out = table - mean, y - target
        size_of, basis = torch.linalg.eigh(inner.T @ inner)
        size_of = size_of.clamp_min(0)
        loads = basis.T @ (inner.T @ out)
        best = min(reversed(PENALTIES), key=lambda p: _validation(size_of, loads, out, p * len(x)))
        weight = basis @ (loads / (size_of + best * len(x))[:, None])
        return made._replace(weight=torch.cat([(target - mean @ weight)[None], weight]))

    def __call__(self, x: Tensor) -> Tensor:
        """Predictions `[..., Y]` of inputs `[..., F]`."""
        return self.weight[0] + self._table(x.double()) @ self.weight[1:]

    def _table(self, x: Tensor) -> Tensor:
        z = (x - self.center) / self.scale
        return torch.cat([z, F.relu(z @ self.mix + self.shift)], -1)


def _validation(size: Tensor, loads: Tensor, out: Tensor, penalty: float) -> float:
    """The score of generalised cross-validation, from the eigenvalues and the loads on them; none
    for a fit with half as many degrees of freedom as rows or more, where it is not to be trusted
    (both its parts go to 0)."""
    left = (
        out.square().sum()
        - (loads.square() * ((size + 2 * penalty) / (size + penalty).square())[:, None]).sum()
    )
    freedom = len(out) - 1 - (size / (size + penalty)).sum()
    if freedom <= len(out) / 2:
        return math.inf
    return float(left.clamp_min(0) / freedom.square())


def folds(groups: Groups, seed: int = 0, count: int = FOLDS) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows to fit and windows to ask, masks `[N]`: each episode is asked once, never while
    windows of it are fitted. None where there is one episode only."""
    episodes = np.random.default_rng(seed).permutation(np.unique(groups))
    if len(episodes) > 1:
        for part in np.array_split(episodes, min(count, len(episodes))):
            asked = torch.from_numpy(np.isin(groups, part))
            yield ~asked, asked


def coarse(values: Tensor, space: Space | None, pixels: int = PIXELS) -> Tensor:
    """Entries `[..., D]` of a sensor; images averaged to few pixels first."""
    if space is None or not space.is_image:
        return values
    height, width = (min(pixels, side) for side in space.shape[1:])
    pooled = F.adaptive_avg_pool2d(values.reshape(-1, *space.shape), (height, width))
    return pooled.reshape(*values.shape[:-1], -1)


def _real(spec: Spec, batch: Batch, name: str, stride: int, rows: int) -> Moves:
    """Real transitions between rows `stride` apart, of whole windows."""
    at = torch.arange(0, batch.action.shape[1], stride, device=batch.action.device)
    window = torch.arange(len(batch.action), device=at.device)[:, None]
    frames = coarse(read(spec, batch, name, window, at), spec.obs[name])
    there = batch.obs.get(name + ".present", torch.ones_like(batch.first))[:, at].bool()
    weight = there.unfold(1, rows, 1).all(2).float()
    action = batch.action[:, 1 : int(at[-1]) + 1].unflatten(1, (-1, stride)).flatten(2)
    return Moves(_read_off(frames, rows), action[:, rows - 2 :], weight)


def _imagined(batch: Batch, pair: Pairs, space: Space, observed: int, rows: int) -> Moves:
    """Transitions between imagined rows; the samples of a window follow each other."""
    stride, count = pair.steps[0], len(pair.steps)
    samples = pair.samples.transpose(0, 1)
    seen = _read_off(coarse(samples, space).flatten(0, 1), rows).unflatten(0, samples.shape[:2])
    future = batch.action[:, observed : observed + count * stride]
    action = future.unflatten(1, (-1, stride)).flatten(2)[:, rows - 1 :]
    repeated = action.repeat(1, samples.shape[1], 1)
    return Moves(seen.flatten(1, 2), repeated, torch.ones_like(repeated[..., 0]))


def _read_off(frames: Tensor, rows: int) -> Tensor:
    """Last row and the differences before it `[N, P, F]`, for each stretch of rows `[N, R, D]`."""
    stretch = frames.unfold(1, rows, 1).movedim(-1, 2)
    return torch.cat([stretch[:, :, -1:], stretch.diff(dim=2)], 2).flatten(2)


def _scored(name: str, real: Moves, imagined: Moves, groups: Groups, seed: int) -> SensorInverse:
    """R^2 of both kinds of transitions, each episode by inverse models of other episodes."""
    there = real.weight.flatten() > 0
    scale = real.action.flatten(0, 1)[there].double().std(0, correction=0)
    moving = scale > 1e-6
    sums = torch.zeros(len(groups), 4, dtype=torch.float64)
    for fit, ask in folds(groups, seed):
        known = real.weight[fit] > 0
        targets = real.action[fit][known].double()[:, moving] / scale[moving]
        if len(targets) < 3 or not moving.any():
            continue
        model = Regressor.fit(real.seen[fit][known], targets, seed)
        mean = targets.mean(0)
        for k, moves in enumerate((real, imagined)):
            truth = moves.action[ask].double()[..., moving] / scale[moving]
            weight = moves.weight[ask].double()
            wrong = (model(moves.seen[ask]) - truth).square().sum(-1)
            sums[ask, 2 * k] = (wrong * weight).sum(1)
            sums[ask, 2 * k + 1] = ((mean - truth).square().sum(-1) * weight).sum(1)
    drawn = Resampling(groups, seed)
    wrong_real, total_real, wrong, total = (drawn.counts @ sums.numpy()).T
    with np.errstate(all="ignore"):
        found = 1 - wrong_real / total_real, 1 - wrong / total
        share = np.where(found[0] > 0.01, found[1] / found[0], np.nan)
    ceiling, own, part = (_triple(drawn.interval(x)) for x in (*found, share))
    answer = "cannot be told"
    if ceiling[1] >= CEILING and part[1] > SHARE:
        answer = "recovered"
    elif ceiling[1] >= CEILING and part[2] < SHARE:
        answer = "lost"
    verdict = Verdict(answer, "share of the recoverable action", *part)
    return SensorInverse(name, int(there.sum()), ceiling, own, verdict)


def _triple(numbers: Sequence[Any]) -> tuple[float, float, float]:
    value, low, high = (float(x) for x in numbers)
    return value, low, high


def _joined(parts: Sequence[Moves]) -> Moves:
    return Moves(*(torch.cat([p[k] for p in parts]).cpu() for k in range(3)))
