r"""Does what the model imagines obey the action?

The model imagines each window again with other actions, and with the same noise:

    shuffled  the actions of another window, as a whole    random  uniform in the space of actions
    held      the mean action of the data (of a discrete choice, the most frequent one)

    ratio       = RMSE with other actions / RMSE with the true ones: 1 if the action is ignored
    PSNR gap    = PSNR with the true actions - PSNR with random ones [dB] (Delta_t PSNR of Bruce et
                  al. 2024, Genie, who report t = 4)
    sensitivity = how far the imagined futures of a window under two plans of the data (its own, the
                  shuffled one) are apart, by how far the real futures of the two windows are, each
                  told from its last observed row (RMS both)

Whether the data itself tells: regression from the last rows and the actions on what changed, with
true and with shuffled actions, on episodes that it was not fitted to. Where not even that errs more
with the wrong actions, a model that does not either is not blamed.

Legend: `K` samples, `N` windows, `T` rows, `H` steps, `D` entries, `A` action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, WorldModel
from reverie.core.spec import Space, Spec
from reverie.eval.interval import Groups
from reverie.eval.inverse import Regressor, coarse, folds
from reverie.eval.nulls import to_null
from reverie.eval.pairs import Pairs, column, deviation, find, predicted, real
from reverie.eval.score import Curve, Kind, Verdict, decibel, ratio, summarise
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
Answer = Literal["obeys", "weak", "ignores the action", "cannot be told"]

WEAK = 1.1
"""A ratio above 1 and below this is called weak."""
FLOOR = 1e-12
"""Smallest mean square that errors are compared with, in squared standard deviations: a model that
makes no error at all has a large ratio, and not an infinite one."""
ASKED = 4
"""Steps at which the data is asked whether it depends on actions, at most."""
OTHERS = ("shuffled", "random", "held")


@dataclass(frozen=True)
class SensorControl:
    """How much the imagined future of one sensor, or of the reward, depends on the action."""

    name: str
    kind: Kind
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    ratio: Mapping[str, Curve]
    """Against step, of `shuffled`, `random` and `held`. Errors of the mean of the samples; entries
    of a vector in their standard deviations."""
    psnr_gap: Curve | None
    """[dB], against step, of images; None for others."""
    sensitivity: Curve
    """0: one future whatever is done; 1: futures as different as the real ones of other windows."""
    data: tuple[float, float, float]
    """Ratio, shuffled by true, of the regression on the data, with its interval."""
    verdict: Verdict
    """On the ratio of `shuffled` over all steps: "obeys" and "weak" (below 1.1) where its interval
    excludes 1; "ignores the action" where it does not, and lies below 1.1 and below what the data
    shows; "cannot be told" where it is wide, or the data does not depend on the action."""

    def gap_at(self, step: int = 4) -> tuple[float, float, float]:
        """The PSNR gap [dB] at one step, with its interval."""
        if self.psnr_gap is None or step not in self.steps:
            raise ValueError(
                f"There is no PSNR gap of {self.name} ({self.kind}) at step {step}; images have "
                f"one, at the steps {self.steps}."
            )
        k = self.steps.index(step)
        return self.psnr_gap.mean[k], self.psnr_gap.low[k], self.psnr_gap.high[k]


@dataclass(frozen=True)
class Controllability:
    """The result of `controllability`."""

    sensors: tuple[SensorControl, ...]
    verdict: Verdict
    """The worst of those of the sensors that can be told; the reward's where it is alone."""
    observed: int
    horizon: int
    samples: int
    windows: int
    episodes: int
    dt: float
    """World time per decision [s]."""

    def sensor(self, name: str) -> SensorControl:
        """One sensor by name."""
        found: SensorControl = find(self.sensors, name)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


def controllability(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> Controllability:
    """Errors with the true actions and with others, in the same windows with the same noise.

    Sensors of which nothing moves in the windows have no part in it.

    Args:
        model: any world model that predicts observations, the reward or both.
        windows: what really happened, two or more of `observed + horizon` rows or more each.
        observed: C, rows the model filters first, always with the true actions.
        horizon: H, decisions it then imagines.
        samples: K, draws of the noise, whose mean is held to the truth.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        at_once: windows predicted together; lower it where images do not fit in memory.
        generator: of the model's noise; by default one seeded with `seed`.
        seed: of other actions, of the regression on the data and of the bootstrap.
    """
    action = windows.batch.action
    plans, partner = other_actions(model.spec.action, action, observed, horizon, seed)
    generator = generator or torch.Generator(action.device).manual_seed(seed)
    runs = []
    for plan in (action, *plans.values()):
        same = torch.Generator(generator.device).set_state(generator.get_state())
        given = windows._replace(batch=windows.batch._replace(action=plan))
        runs.append(predicted(model, given, observed, horizon, samples, context, at_once, same))
    scale = deviation(model, windows, at_once)
    parts: dict[str, list[dict[str, Tensor]]] = {}
    heads: dict[str, Pairs] = {}
    for chunks in zip(*runs, strict=True):
        for same_sensor in zip(*(found for _, found in chunks), strict=True):
            name = same_sensor[0].name
            if (scale[name] > 0).any():
                heads[name] = same_sensor[0]
                rows = observed, heads[name].steps, partner[chunks[0][0]]
                apart = real(model.spec, windows.batch, name, *rows)
                parts.setdefault(name, []).append(_errors(same_sensor, apart, scale[name]))
    generator.set_state(same.get_state())
    groups = windows.episode.cpu().numpy()
    found = []
    for name, pair in heads.items():
        told = _data(model.spec, windows, name, observed, pair.steps, partner, seed)
        found.append(_control(pair, parts[name], told, groups, seed))
    return Controllability(
        tuple(found),
        _overall(found),
        observed,
        horizon,
        samples,
        len(groups),
        len(np.unique(groups)),
        model.spec.dt,
    )


def other_actions(
    space: Space, action: Tensor, observed: int, horizon: int, seed: int = 0
) -> tuple[dict[str, Tensor], Tensor]:
    """Recorded actions `[N, T, A]` with others in the H rows that are imagined, by name (see the
    module), and whose actions each window has when shuffled `[N]`, never its own.

    Random entries without bounds are uniform between the least and the largest of the data.
    """
    count, future = len(action), slice(observed, observed + horizon)
    if count < 2:
        raise ValueError(
            "Controllability shuffles actions between windows, and got one window; give 2 or more, "
            "of several episodes."
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    partner = partner.to(action.device)
    taken = action[:, future]
    chosen = space.sample(count, taken.shape[1], generator=generator).to(action)
    uniform = torch.rand(chosen.shape, generator=generator).to(action)
    mean = taken.mean((0, 1))
    if space.discrete:
        mean = torch.nn.functional.one_hot(mean.argmax(), len(mean)).to(action)
    else:
        low, high = (
            torch.tensor(b, dtype=torch.float64).expand(len(mean)) for b in (space.low, space.high)
        )
        bounded = (high - low).isfinite().to(action.device)
        least, most = taken.amin((0, 1)), taken.amax((0, 1))
        chosen = torch.where(bounded, chosen, least + uniform * (most - least))
    made = {}
    others = (taken[partner], chosen, mean.expand_as(taken))
    for name, plan in zip(OTHERS, others, strict=True):
        made[name] = action.clone()
        made[name][:, future] = plan
    return made, partner


def _errors(
    runs: Sequence[Pairs], partner: tuple[Tensor, Tensor], scale: Tensor
) -> dict[str, Tensor]:
    """Mean square errors `[N, H]` with each of the actions; how far the futures of the true and of
    the shuffled plan are apart; and how far the real future is from the partner's."""
    first = runs[0]
    if first.kind == "image":
        keep, unit = torch.ones_like(scale, dtype=torch.bool), torch.ones_like(scale)
    else:
        keep = scale > 0
        unit = scale[keep]

    def mean_square(difference: Tensor) -> Tensor:
        return (difference[..., keep] / unit).square().mean(-1)

    guesses = [run.samples.mean(0) for run in runs]
    found = {
        name: mean_square(guess - first.truth)
        for name, guess in zip(("true", *OTHERS), guesses, strict=True)
    }
    there, start = partner
    found["apart"] = mean_square(guesses[0] - guesses[1])
    found["real"] = mean_square(first.truth - first.last - there + start)
    return {**found, "weight": first.weight}


def _control(
    pair: Pairs,
    parts: Sequence[Mapping[str, Tensor]],
    told: tuple[float, float, float],
    groups: Groups,
    seed: int,
) -> SensorControl:
    """Averages over windows, with intervals over episodes, in which all plans stay together."""
    lines = {k: column([p[k] for p in parts]) for k in parts[0]}
    weight = lines["weight"]
    at = {k: v * weight for k, v in lines.items()}
    long = groups.repeat(weight.shape[1])
    gap = None
    if pair.kind == "image":
        decibels = decibel(lines["true"]) - decibel(lines["random"])
        gap = summarise(decibels, weight, groups, np.asarray, seed)
    flat = at["shuffled"].reshape(-1, 1), at["true"].reshape(-1, 1), long
    overall = ratio(*flat, np.sqrt, seed, FLOOR)
    return SensorControl(
        name=pair.name,
        kind=pair.kind,
        steps=pair.steps,
        ratio={k: ratio(at[k], at["true"], groups, np.sqrt, seed, FLOOR) for k in OTHERS},
        psnr_gap=gap,
        sensitivity=ratio(at["apart"], at["real"], groups, np.sqrt, seed, FLOOR),
        data=told,
        verdict=_verdict((overall.mean[0], overall.low[0], overall.high[0]), told[1]),
    )


def _verdict(measured: tuple[float, float, float], data_low: float) -> Verdict:
    value, low, high = measured
    answer: Answer = "cannot be told"
    if low > 1:
        answer = "obeys" if value >= WEAK else "weak"
    elif high <= WEAK and high < data_low and data_low > 1:
        answer = "ignores the action"
    return Verdict(answer, "error with shuffled by error with true actions", *measured)


def _overall(found: Sequence[SensorControl]) -> Verdict:
    order: tuple[Answer, ...] = ("ignores the action", "weak", "obeys")
    sensors = [s for s in found if s.kind != "reward"] or list(found)
    told = [s.verdict for s in sensors if s.verdict.answer in order]
    if told:
        return min(told, key=lambda v: order.index(v.answer))
    nothing = Verdict("cannot be told", "nothing moves", np.nan, np.nan, np.nan)
    return sensors[0].verdict if sensors else nothing


def _data(
    spec: Spec,
    windows: Windows,
    name: str,
    observed: int,
    steps: Sequence[int],
    partner: Tensor,
    seed: int,
) -> tuple[float, float, float]:
    """Ratio of the errors of a regression with shuffled and with true actions, over some steps."""
    batch, space = windows.batch, spec.obs.get(name)
    asked = sorted({steps[int(k)] for k in np.linspace(0, len(steps) - 1, ASKED).round()})
    truth, last = real(spec, batch, name, observed, asked)
    there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
    there = there[:, [observed - 1, *(observed - 1 + k for k in asked)]].all(1).cpu()
    start = _past(spec, windows, observed)
    change = coarse(truth - last, space).double().cpu()
    groups = windows.episode.cpu().numpy()
    sums = torch.zeros(len(groups), 2, dtype=torch.float64)
    for k, step in enumerate(asked):
        plans = _summary_of_plan(batch.action[:, observed : observed + step])
        both = [torch.cat([*start, p], 1).cpu() for p in (plans, plans[partner])]
        spread = change[there, k].std(0, correction=0)
        target = change[:, k, spread > 1e-6] / spread[spread > 1e-6]
        for known, held in folds(groups, seed):
            fit, ask = known & there, held & there
            if fit.sum() < 4 or not target.shape[1]:
                continue
            model = Regressor.fit(both[0][fit], target[fit], seed)
            for plan in range(2):
                wrong = (model(both[plan][ask]) - target[ask]).square().mean(1)
                sums[ask, plan] += wrong
    true, shuffled = sums[:, :1].numpy(), sums[:, 1:].numpy()
    curve = ratio(shuffled, true, groups, np.sqrt, seed)
    return curve.mean[0], curve.low[0], curve.high[0]


def _past(spec: Spec, windows: Windows, observed: int) -> list[Tensor]:
    """The last observed row of every sensor, and how it differs from the one before `[N, d]`."""
    found = []
    for name, space in spec.obs.items():
        if space.dtype != "int64" and name in windows.batch.obs:
            steps = [0, -1] if observed > 1 else [0]
            rows, _ = real(spec, windows.batch, name, observed, steps)
            low = coarse(rows, space)
            found += [low[:, 0], *(low[:, 0] - low[:, k] for k in range(1, len(steps)))]
    return found


def _summary_of_plan(plan: Tensor) -> Tensor:
    """Actions `[N, H, A]` as one row: all of them while they are few, then their mean, their mean
    weighted by how long each has acted, and the last."""
    if plan[0].numel() <= 32:
        return plan.flatten(1)
    age = torch.arange(plan.shape[1], 0, -1, device=plan.device)[:, None] / plan.shape[1]
    return torch.cat([plan.mean(1), (plan * age).mean(1), plan[:, -1]], 1)
