"""A run: experience is gathered and learned from until the budget is spent, and survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reverie.data import Replay
from reverie.learn.accounting import Counters
from reverie.learn.collect import Environments
from reverie.learn.device import DeviceConfig, settle
from reverie.learn.directory import RunDirectory
from reverie.learn.learner import Compilable, Learner
from reverie.learn.log import LogConfig
from reverie.learn.optim import OptimiserConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """How a run is judged on the way."""

    every: int = 0
    """Frames between evaluations; 0 for none."""
    episodes: int = 5
    """Episodes each time, always the same ones."""
    sample: bool = False
    """Sample actions instead of taking the mode of the policy."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.episodes < 1:
            raise ValueError(
                f"EvaluateConfig every is {self.every} and episodes {self.episodes}; "
                "give at least 0 frames and 1 episode."
            )


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved, besides at its beginning and its end."""

    seconds: float = 300.0
    """At most so long after the last time [s]."""
    decisions: int = 0
    """And each time so many decisions have been made; 0 leaves that out."""
    keep: int = 2
    """How many are kept."""

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.decisions < 0 or self.keep < 1:
            raise ValueError(
                f"CheckpointConfig seconds is {self.seconds}, decisions {self.decisions} and keep "
                f"{self.keep}; give positive seconds, decisions >= 0 and keep >= 1."
            )


@dataclass(frozen=True)
class PrefillConfig:
    """What comes before learning."""

    decisions: int = 1000
    """Decisions with random actions; none where updates are made on recorded episodes first."""
    catch_up: bool = False
    """Once learning begins, make the updates that they pay for at once; else they pay for none."""
    updates: int = 0
    """Updates on recorded episodes before it acts at all (offline to online)."""

    def __post_init__(self) -> None:
        if self.decisions < 0 or self.updates < 0:
            raise ValueError(
                f"PrefillConfig decisions is {self.decisions} and updates {self.updates}; give at "
                "least 0."
            )


@dataclass(frozen=True)
class RunConfig:
    """How a learner is trained."""

    seed: int = 0
    """Of all randomness of acting, learning and exploring."""
    frames: int = 500_000
    """Simulator frames to act for, action repeat included."""
    updates: int = 0
    """Gradient steps to end at, whatever the frames; 0 for no limit. Recorded data need it."""
    train_ratio: float = 512.0
    """Replayed rows per decision: updates per decision = train_ratio / (batch x length)."""
    prefill: PrefillConfig = field(default_factory=PrefillConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)

    def __post_init__(self) -> None:
        for name in ("seed", "frames", "updates", "train_ratio"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"RunConfig {name} is {value}; it must be at least 0 and finite.")


class Result(NamedTuple):
    """Where a run stands when it returns."""

    counters: Counters
    finished: bool
    """False where a signal stopped it: the same call goes on."""
    checkpoint: Path
    """The newest one."""
    returns: list[float]
    """Of the last training episodes."""


def train(
    learner: Learner,
    replay: Replay,
    config: RunConfig,
    directory: RunDirectory,
    *,
    family: str,
    envs: Environments | None = None,
    evaluation: Callable[[], Environments] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Result:
    """Train a learner in a run directory, from its newest checkpoint on if it has one.

    Args:
        learner: what learns and acts.
        replay: what it learns from; in a resumed run over the store of that run.
        config: budget and settings.
        directory: where checkpoints and the log go; locked meanwhile, if it is not yet.
        family: the name of the model family, kept with the checkpoints.
        envs: where it acts; None learns from what is recorded.
        evaluation: makes the environments of one evaluation.
        recipe: JSON object from which the learner can be built again, kept with the checkpoints.

    Returns:
        Where the run stands. Ctrl-C and SIGTERM save and return with `finished=False`.

    Raises:
        DivergenceError: a loss, gradient or weight is not finite; the last checkpoint is good.
        CheckpointError: a checkpoint does not fit what was given, or none could be written for
            ten minutes; until then a run on a full disk goes on and tries again.
        OSError: rows could not be kept even in memory and scratch files; resume when they can.
    """
    from reverie.learn.loop import Loop

    if envs is None and not config.updates:
        raise ValueError(
            "Learning from recorded episodes alone ends after a number of updates; set "
            "RunConfig.updates."
        )
    if config.evaluate.every and evaluation is None:
        raise ValueError(
            "RunConfig asks for evaluations; pass evaluation=, which makes their envs."
        )
    device = settle(config.device)
    learner.to(device.device)
    if device.compile and isinstance(learner, Compilable):
        learner.compile_parts(device.compiled)
    with ExitStack() as stack:
        if not directory.is_locked:
            stack.enter_context(directory)
        parts = (learner, replay, config, directory, device)
        return Loop(*parts, family, envs, evaluation, recipe or {}).run()
