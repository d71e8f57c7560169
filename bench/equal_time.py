"""Models that learn from the same recorded rows in turns, each for the same time.

Legend: see `bench/pusht.py`, whose measures of quality are taken on the way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from bench.pusht import quality
from reverie.data import EpisodeStore, ReplayConfig
from reverie.eval.windows import Windows
from reverie.learn.device import DeviceConfig, settle
from reverie.learn.fit import Fitter
from reverie.learn.optim import OptimiserConfig
from reverie.plan.learner import PlanningLearner

LAGS = (1, 4, 16)
MARKS = (0.125, 0.25, 0.5, 1.0)
"""Shares of the time after which quality is measured."""


class Trainee:
    """One subject: learns for a while, goes on when told."""

    def __init__(
        self,
        learner: PlanningLearner,
        optimiser: OptimiserConfig,
        device: DeviceConfig,
        store: EpisodeStore,
        replay: ReplayConfig,
        last: int = 0,
    ) -> None:
        """`last` is the update after which it learns no more, 0 where there is none."""
        self.model, self.device, self.last = learner.model, settle(device), last
        self.fitter = Fitter(learner, optimiser, self.device, last=last)
        self.replay = replay.build(store, seed=0)
        self.generator = torch.Generator().manual_seed(0)
        self.seconds = 0.0

    def learn(self, until: float) -> None:
        """Updates, reading of data included, until so many seconds were spent in all, or until the
        last."""
        while self.seconds < until and not 0 < self.last <= self.fitter.updates:
            begun = time.perf_counter()
            batch = self.replay.sample().batch
            batch = batch._replace(obs={"image": batch.obs["image"]})
            self.fitter.fit(batch, (), self.generator)
            self.seconds += time.perf_counter() - begun

    def judged(self, windows: Windows) -> dict[str, Any]:
        """PSNR at the lags, and the block's error after the last."""
        with torch.no_grad(), self.device.autocast():
            found = quality(self.model, windows, seed=0)
        psnr = {str(lag): found["psnr"][lag - 1] for lag in LAGS}
        repeat = {str(lag): found["repeat"][lag - 1] for lag in LAGS}
        counts = {"seconds": self.seconds, "updates": self.fitter.updates}
        block = {name: found[name] for name in ("block error", "block error of repeat")}
        return {**counts, "psnr": psnr, "repeat": repeat, **block}


def acts_not(model: Any) -> Any:
    """For learners that are only trained."""
    raise RuntimeError("It is trained here, and does not act.")


def race(
    subjects: Mapping[str, Trainee], windows: Windows, seconds: float, turn: float
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """By name what was measured of each so far, after each of the `MARKS` of `seconds`; they take
    turns of `turn` seconds."""
    result: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
    done = 0.0
    for mark in MARKS:
        while done < mark * seconds:
            done = min(done + turn, mark * seconds)
            for subject in subjects.values():
                subject.learn(done)
        for name, subject in subjects.items():
            result[name].append(subject.judged(windows))
            say(name, result[name])
        yield result


def say(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the last row."""
    row = rows[-1]
    told = ", ".join(f"{lag}: {value:.2f}" for lag, value in row["psnr"].items())
    share = row["block error"] / row["block error of repeat"]
    print(
        f"{row['seconds']:6.0f} s {name:20} {row['updates']:6} updates, PSNR {told}; block "
        f"{share:.2f} of repeat's",
        flush=True,
    )
