"""The loop of a run: act, learn, judge, save; and go on exactly where it was saved."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.core import tree
from reverie.core.spec import Space
from reverie.data import Replay
from reverie.learn.accounting import Counters, TrainRatio
from reverie.learn.checkpoint import Checkpoint, CheckpointError, Checkpoints, load_weights
from reverie.learn.collect import Collector, Environments, play
from reverie.learn.device import Device
from reverie.learn.directory import RunDirectory
from reverie.learn.fit import DivergenceError, Fitter
from reverie.learn.interrupt import Interrupt
from reverie.learn.learner import Learner, latents_before
from reverie.learn.log import Log, Means, TensorBoard
from reverie.learn.progress import Progress
from reverie.learn.run import Result, RunConfig

PATIENCE = 600.0
"""How long a run goes on while nothing can be written [s]."""

_RETRY = 30.0  # s between attempts to save on a full disk


class Loop:
    """The parts of a run and their order.

    Whatever the next step depends on is in the checkpoint: weights, optimiser, generators, the
    replay, the environments' position, the agent's memory, counters. Nothing that the clock says
    changes what is learned.
    """

    def __init__(
        self,
        learner: Learner,
        replay: Replay,
        config: RunConfig,
        directory: RunDirectory,
        device: Device,
        family: str,
        envs: Environments | None,
        evaluation: Callable[[], Environments] | None,
        recipe: Mapping[str, Any],
    ) -> None:
        self.config, self.directory, self.device = config, directory, device
        self.learner, self.replay, self.envs, self.evaluation = learner, replay, envs, evaluation
        self.family, self.recipe = family, recipe
        self.counters = Counters()
        self.fitter = Fitter(learner, config.optimiser, device, config.updates)
        self.noise = device.generator(_derived(config.seed, 0))
        self.ratio = TrainRatio(config.train_ratio, replay.config.batch, replay.config.length)
        self.collector = (
            None
            if envs is None
            else Collector(learner, envs, replay, device, _derived(config.seed, 1))
        )
        self.checkpoints = Checkpoints(directory.checkpoints, config.checkpoint.keep)
        self.checkpoint: Path | None = None
        self.means = Means()
        self.returns: deque[float] = deque(maxlen=10)
        self.evaluations = 0
        self._begun = time.monotonic()
        self._saved = self._begun
        self._trouble: float | None = None
        self._changed = False
        self._multiple = 0
        self.board: TensorBoard | None = None

    # -- the loop --------------------------------------------------------------------------------

    def run(self) -> Result:
        """Until the budget is spent or a signal comes."""
        goal = self._goal()
        settings = self.config.log
        with (
            ExitStack() as self._closing,
            Interrupt() as interrupt,
            Progress(goal, self.counters, settings.progress, settings.seconds) as self.progress,
        ):
            self._open()
            try:
                while not (finished := self._finished()) and interrupt.asked is None:
                    self._step()
                    self._upkeep()
                if self._changed:
                    self._save()
                self._say_end(finished)
            except DivergenceError as error:
                error.add_note(f"The last good checkpoint is {self.checkpoint}.")
                self.log.write("note", self._now(), {"text": str(error)})
                raise
            except (OSError, CheckpointError) as error:
                error.add_note(
                    "The run stopped. Free some space if that is what is lacking, and run the same "
                    f"command again: it goes on from {self.checkpoint}."
                )
                raise
        assert self.checkpoint is not None
        return Result(self._now(), finished, self.checkpoint, list(self.returns))

    def _goal(self) -> tuple[Any, int]:
        offline = self.collector is None
        return ("updates", self.config.updates) if offline else ("frames", self.config.frames)

    def _finished(self) -> bool:
        if self.config.updates and self.counters.updates >= self.config.updates:
            return True
        if self.collector is None or self.counters.frames < self.config.frames:
            return False
        return not self.ratio.owed(self.counters.decisions) and not self._evaluation_due()

    def _step(self) -> None:
        """One update, one evaluation or one row of each environment."""
        if self.collector is None or self._before_acting():
            self._learn()
        elif self.ratio.owed(self.counters.decisions):
            self._learn()
            self.ratio.paid()
        elif self._evaluation_due():
            self._evaluate()
        else:
            self._collect(self.collector)
        self._changed = True

    def _before_acting(self) -> bool:
        """Whether updates on recorded episodes come first; once they are made, none is owed."""
        if self.counters.updates < self.config.prefill.updates:
            return True
        if self.config.prefill.updates:
            self.ratio.begin(self.counters.decisions)
        return False

    def _learn(self) -> None:
        sample = self.replay.sample()
        begun = {name: value[:, 0] for name, value in sample.batch.obs.items()}
        before = latents_before(self.learner, sample.state, sample.known, begun)
        fit = self.fitter.fit(sample.batch, before, self.noise)
        if tree.leaves(fit.latents):
            self.replay.write_back(sample.ids, fit.latents)
        self.counters = replace(self.counters, updates=self.fitter.updates)
        self.means.add(fit.metrics)
        if self.counters.updates % self.config.log.every == 0:
            self._record("fit", self.means.take())
        self.progress.update(self._now(), "learning", {"loss": fit.metrics["loss"]})

    def _collect(self, collector: Collector) -> None:
        filling = self.ratio.start is None
        collected = collector.collect(random=filling)
        decisions = self.counters.decisions + collected.decisions
        self._count(decisions)
        for episode in collected.episodes:
            self.returns.append(episode.ret)
            values = {"stream": episode.stream, "episode": episode.number}
            self._record("episode", {**values, "return": episode.ret, "length": episode.decisions})
        if collected.problem is not None:
            self._bear(collected.problem)
        if decisions >= self.config.prefill.decisions and self.replay.ready:
            fresh = self.config.prefill.catch_up and not self.counters.updates
            self.ratio.begin(0 if fresh else decisions)
        shown = {"return": sum(self.returns) / len(self.returns)} if collected.episodes else None
        self.progress.update(self._now(), "random actions" if filling else "learning", shown)

    def _count(self, decisions: int) -> None:
        repeat = self.envs.repeat if self.envs is not None else 1
        self.counters = replace(self.counters, decisions=decisions, frames=decisions * repeat)

    def _evaluation_due(self) -> bool:
        every = self.config.evaluate.every
        return (
            self.evaluation is not None
            and bool(every)
            and self.counters.frames // every > self.evaluations
        )

    def _evaluate(self) -> None:
        assert self.evaluation is not None
        settings = self.config.evaluate
        self.progress.update(self._now(), "evaluating")
        envs = self.evaluation()
        try:
            played = play(
                self.learner.agent,
                envs,
                settings.episodes,
                device=self.device,
                seed=self.config.seed,
                sample=settings.sample,
            )
        finally:
            close = getattr(envs, "close", None)
            if close is not None:
                close()
        self.evaluations = self.counters.frames // settings.every
        mean = float(played.returns.mean())
        values = {"return": mean, "returns": played.returns.tolist()}
        self._record("evaluate", {**values, "length": float(played.decisions.mean())})
        self.progress.update(self._now(), "learning", {"evaluation": mean})

    # -- records and checkpoints -----------------------------------------------------------------

    def _now(self) -> Counters:
        return replace(self.counters, seconds=self.counters.seconds + self._passed())

    def _passed(self) -> float:
        return time.monotonic() - self._begun

    def _record(self, kind: str, values: Mapping[str, Any]) -> None:
        now = self._now()
        self.log.write(kind, now, values)
        if self.board is not None:
            self.board.write(kind, now, values)

    def _upkeep(self) -> None:
        """Save where it is time to."""
        settings, now = self.config.checkpoint, time.monotonic()
        multiple = settings.decisions and self.counters.decisions // settings.decisions
        due = now - self._saved >= settings.seconds or multiple != self._multiple
        self._multiple = multiple
        if due:
            try:
                self._save()
            except CheckpointError as error:
                self._saved = now - settings.seconds + min(_RETRY, settings.seconds)
                self._bear(error)

    def _bear(self, error: Exception) -> None:
        """Go on although something could not be written; not for ever."""
        now = time.monotonic()
        if self._trouble is None:
            self._trouble = now
            warnings.warn(f"{error} The run goes on and tries again.", stacklevel=2)
        elif now - self._trouble > PATIENCE:
            error.add_note(f"Nothing could be written for {PATIENCE / 60:.0f} minutes.")
            raise error

    def _save(self) -> None:
        self.fitter.check_weights()
        parts: dict[str, Any] = {
            "model": self.learner.state_dict(),
            "optimiser": self.fitter.state_dict(),
            "run": self._state(),
            "replay": self.replay.save,
        }
        if self.collector is not None:
            parts["collector"] = self.collector.state_dict()
        try:
            parts["run"]["log"] = self.log.sync()
        except OSError as error:
            raise CheckpointError(f"{self.log.path} could not be written ({error}).") from error
        about = {
            "counters": self._now().to_json(),
            "spaces": self._spaces(),
            "device": self.device.describe(),
            "recipe": dict(self.recipe),
        }
        self.checkpoint = self.checkpoints.save(parts, self.family, about)
        self._saved, self._trouble, self._changed = time.monotonic(), None, False

    def _state(self) -> dict[str, Any]:
        return {
            "counters": self._now().to_json(),
            "ratio": self.ratio.state_dict(),
            "noise": self.noise.get_state(),
            "torch": torch.get_rng_state(),
            "means": self.means.state_dict(),
            "returns": list(self.returns),
            "evaluations": self.evaluations,
        }

    def _spaces(self) -> dict[str, Any]:
        source: Any = self.replay.store.schema if self.envs is None else self.envs
        obs = {name: space.to_json() for name, space in source.obs.items()}
        return {"obs": obs, "action": source.action.to_json()}

    # -- beginning and resuming ------------------------------------------------------------------

    def _open(self) -> None:
        """Begin, or go on from the newest checkpoint."""
        self.checkpoints.tidy()
        found = self.checkpoints.latest(folders=True)
        size = 0
        if found is not None:
            self.checkpoints.set_aside_after(found)
            found.require_family(self.family)
            _require_spaces(found, self._spaces())
            size = int(found.part("run")["log"])
        self.log = Log(self.directory.log, size)
        self._closing.callback(self.log.close)
        if found is not None:
            self._resume(found)
        settings = self.config.log
        if settings.tensorboard:
            self.board = TensorBoard(self.directory.tensorboard, self.counters)
            self._closing.callback(self.board.close)
        every = self.config.checkpoint.decisions
        self._multiple = every and self.counters.decisions // every
        self._begun = self._saved = time.monotonic()
        self.progress.update(self._now(), "starting")
        if found is None:
            self._save()

    def _resume(self, found: Checkpoint) -> None:
        state = found.part("run")
        load_weights(self.learner, found.part("model"), str(found.path))
        self.fitter.load_state_dict(found.part("optimiser"))
        self.ratio.load_state_dict(state["ratio"])
        self.noise.set_state(state["noise"])
        torch.set_rng_state(state["torch"])
        self.means.load_state_dict(state["means"])
        self.returns.extend(state["returns"])
        self.evaluations = int(state["evaluations"])
        self.counters = Counters(**state["counters"])
        self.checkpoint = found.path
        self.replay.load(found.folder("replay"))
        gained = self._return_to(found)
        note = f"Resumed from {found.path} at {self.counters.frames:,} frames."
        if gained:
            note += f" {gained:,} rows recorded after it were taken in."
        there, here = found.about["device"], self.device.describe()
        changed = [
            f"{name} {there.get(name)} -> {here[name]}"
            for name in here
            if there.get(name) != here[name]
        ]
        if changed:
            note += f" Not bitwise what it would have been: {', '.join(changed)}."
        self.log.write("note", self._now(), {"text": note})
        self.progress.note(note)

    def _return_to(self, found: Checkpoint) -> int:
        """Bring the environments back. Where they cannot be, take in what was recorded after the
        checkpoint, since it will not be recorded again; returns those rows."""
        if self.collector is not None and self.envs is not None:
            returned = self.collector.load_state_dict(found.part("collector"))
            if returned and self.envs.repeatable:
                return 0
        opened = {part.key for part in self.replay.store.opened.values()}
        resets = sum(key.part == 0 and key not in opened for key in self.replay.later)
        gained = self.replay.adopt_later()
        if self.collector is not None:
            self._count(self.counters.decisions + gained - resets)
        return gained

    def _say_end(self, finished: bool) -> None:
        now = self._now()
        what = "Finished" if finished else "Stopped"
        how = "" if finished else " Run the same command again to go on."
        where = f"{now.frames:,} frames and {now.updates:,} updates"
        self.progress.note(f"{what} at {where}; saved in {self.checkpoint}.{how}")


def _derived(seed: int, use: int) -> int:
    """A seed for one use, unlike that of any other use of any other seed."""
    return int(np.random.SeedSequence([seed, use]).generate_state(1, np.uint64)[0] >> 1)


def _require_spaces(found: Checkpoint, now: Mapping[str, Any]) -> None:
    """Raise where the robot senses or does something else than when the checkpoint was written."""
    then = found.about["spaces"]
    old = {"action": then["action"], **{f"observation {k!r}": v for k, v in then["obs"].items()}}
    new = {"action": now["action"], **{f"observation {k!r}": v for k, v in now["obs"].items()}}
    differences = [
        f"{name} was {_said(old.get(name))} and is {_said(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"The environment is not the one of {found.path}: {'; '.join(differences)}. Resume "
            "with the environment of that run, or begin a new run directory."
        )


def _said(space: Mapping[str, Any] | None) -> str:
    if space is None:
        return "absent"
    s = Space.from_json(space)
    kind = "discrete " if s.discrete else ""
    return f"{kind}{s.dtype} {s.shape} in [{s.low}, {s.high}]"
