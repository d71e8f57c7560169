"""Is what cannot happen more surprising than what can?

A model filters a film; its surprise at row t is how far o_t is from what one step from the state
at t - 1 predicts. Of two films that are the same until something impossible happens in one, a model
that knows how the scene goes on is more surprised by that one (after IntPhys, Riochet et al. 2018);
one that does not is right in half of the pairs.

Legend: `T` rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from reverie.core import rollout, tree
from reverie.core.model import WorldModel
from reverie.eval.interval import Array
from reverie.eval.nulls import from_null, to_null

Rows = Mapping[str, NDArray[Any]]
Surprise = Callable[[Rows], Array]
"""From a film's rows, each `[T, ...]`, to the surprise of each row after the first."""
_Z = 1.959964


class Films(Protocol):
    """A possible and an impossible film of one scene."""

    @property
    def possible(self) -> Rows:
        """What can happen."""
        ...

    @property
    def impossible(self) -> Rows:
        """What cannot."""
        ...

    @property
    def kind(self) -> str:
        """What is impossible in it."""
        ...


@dataclass(frozen=True)
class Share:
    """How many of some pairs, and Wilson's 95 % interval."""

    share: float
    low: float
    high: float
    scenes: int
    """Independent pieces of evidence."""


@dataclass(frozen=True)
class Plausibility:
    """In how many pairs the impossible film surprises more; ties count half."""

    all: Share
    kinds: Mapping[str, Share]
    """The same of each kind of impossibility."""
    pairs: int
    chance: float = 0.5

    @property
    def beats(self) -> bool:
        """Whether it is more than chance, with 95 % confidence."""
        return self.all.low > self.chance

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Plausibility:
        """The inverse of `to_json`."""

        def share(s: Mapping[str, Any]) -> Share:
            low, high = from_null(s["low"]), from_null(s["high"])
            return Share(from_null(s["share"]), low, high, s["scenes"])

        kinds = {kind: share(s) for kind, s in value["kinds"].items()}
        return Plausibility(share(value["all"]), kinds, value["pairs"], value["chance"])


def plausibility(
    surprise: Surprise,
    scenes: Sequence[Sequence[Films]],
    reduce: Literal["max", "mean"] = "max",
) -> Plausibility:
    """How often the impossible film is the one that surprises more.

    Args:
        surprise: `one_step_surprise` of a model, or another.
        scenes: the pairs of each scene. Pairs of one scene resemble each other, so that the
            interval is that of as many trials as there are scenes, not pairs.
        reduce: a film surprises as much as its most surprising row, or as its rows on average.
    """
    scores: list[list[tuple[str, float]]] = [
        [(pair.kind, _prefers(surprise, pair, reduce)) for pair in pairs]
        for pairs in scenes
        if pairs
    ]
    if not scores:
        raise ValueError("There are no pairs of films; give the pairs of at least one scene.")
    kinds: dict[str, list[float]] = {}
    for pairs in scores:
        for kind, score in pairs:
            kinds.setdefault(kind, []).append(score)
    each = [float(np.mean([score for _, score in pairs])) for pairs in scores]
    return Plausibility(
        _share(each), {k: _share(v) for k, v in kinds.items()}, sum(map(len, scores))
    )


def one_step_surprise(
    model: WorldModel[Any, Any],
    sensor: str,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> Callable[[Rows], Array]:
    """The mean squared error of one step's prediction of a sensor, row by row, in a film.

    Images are compared in 0..1. The model is on `device`, by default the CPU. The noise is the same
    for every film. A model that takes n actions at a time predicts every n-th row.

    Raises:
        ValueError: the model does not predict observations, or not this sensor.
    """
    model.spec.require("obs")
    if sensor not in model.spec.obs:
        raise ValueError(f"The model predicts {', '.join(model.spec.obs)}, but no {sensor!r}.")

    shape = model.spec.obs[sensor].shape

    @torch.no_grad()
    def surprise(rows: Rows) -> Array:
        if rows[sensor].shape[1:] != shape:
            raise ValueError(
                f"The model predicts {sensor!r} of shape {shape}, but the film has "
                f"{rows[sensor].shape[1:]}; make films of its size."
            )
        generator, chunk = torch.Generator(device or "cpu").manual_seed(seed), model.spec.chunk
        count = (len(rows["first"]) - 1) // chunk

        def column(name: str) -> torch.Tensor:
            return torch.as_tensor(np.asarray(rows[name])[None], device=device)

        obs = {k: column(k)[:, : count * chunk + 1 : chunk] for k in model.spec.obs}
        action = column("action").float()[:, 1 : count * chunk + 1].unflatten(1, (-1, chunk))
        led = torch.cat([torch.zeros_like(action[:, :1]), action], 1)
        first = torch.zeros(1, count + 1, dtype=torch.bool, device=device)
        first[:, 0] = True
        begun = {name: value[:, 0] for name, value in obs.items()}
        state = model.initial(1, rollout.context_of(model.spec, begun))
        noise = rollout.draw(model, count + 1, 1, generator)
        states = rollout.filter(model, state, led, obs, first, noise)
        before = tree.map(lambda x: x[0, :-1], states)
        after = model.step(before, action[0], model.noise(count, generator))
        seen = model.decode(after.state)[sensor].double()
        real = obs[sensor][0, 1:].double() / (255 if obs[sensor].dtype == torch.uint8 else 1)
        found: Array = (seen - real).square().flatten(1).mean(1).cpu().numpy()
        return found

    return surprise


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927); it is in 0..1 and not empty at the ends."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} of {trials} is no share; give 0 <= successes <= trials >= 1."
        )
    share, square = successes / trials, _Z**2 / trials
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _prefers(surprise: Surprise, pair: Films, reduce: Literal["max", "mean"]) -> float:
    """1 where the impossible film surprises more, 0 where less, 1/2 where alike."""
    two = [np.asarray(surprise(rows), np.float64) for rows in (pair.possible, pair.impossible)]
    if not all(np.isfinite(values).all() for values in two):
        raise ValueError(
            f"The surprise at a film ({pair.kind}) is not finite; the model is broken."
        )
    can, cannot = (float(v.max() if reduce == "max" else v.mean()) for v in two)
    return 0.5 if can == cannot else float(cannot > can)


def _share(scores: Sequence[float]) -> Share:
    low, high = wilson(sum(scores), len(scores))
    return Share(float(np.mean(scores)), low, high, len(scores))
