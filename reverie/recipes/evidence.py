"""What a run is measured on: the episodes of an evaluation, and the model that is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from reverie.core.model import Featured
from reverie.envs import EnvConfig
from reverie.envs.parallel import Maker, parallel
from reverie.eval.graded import Graded, grades
from reverie.eval.probe import Probed, probe
from reverie.eval.windows import Windows, from_episodes
from reverie.imagine import PolicyAgent
from reverie.learn.collect import play
from reverie.learn.explore import Explorer
from reverie.recipes.data import DataConfig, closing, opened, require_alike
from reverie.recipes.run import Loaded

Part = Literal["prediction", "calibration", "control", "change", "physics", "use", "speed"]
PARTS: tuple[Part, ...] = (
    *("prediction", "calibration", "control", "change", "physics", "use", "speed"),
)
SCENES = "scene:"
"""Family of the environments whose physics is known."""

LEARNT = (
    "It was measured on the episodes that it learnt from, so it may know the answers: give others "
    "with --data."
)

Rows = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Evaluation:
    """How a run is evaluated."""

    parts: tuple[Part, ...] = PARTS
    """What is measured."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes to measure on; by default new ones are played. --data PATH is short."""
    observed: int = 20
    """Rows that the model watches before it is left alone."""
    horizon: int = 100
    """Decisions that it then imagines; fewer where episodes are shorter."""
    samples: int = 16
    """Draws of the noise."""
    windows: int = 64
    """Stretches of episodes that are predicted."""
    policies: int = 21
    """Shares of random actions from 0 to 1, each a policy that is played and imagined; four with
    weaker or late actions come on top."""
    episodes: int = 2
    """Of each of these policies."""
    judged: int = 10
    """Episodes of the run's own agent, and of random actions."""
    planned: int = 5
    """Episodes of the planner, at most so many; 0 leaves it out."""
    steps: int = 0
    """Denoising steps of a frame, 1, 2, 4 .., of a model that denoises, which keeps to them
    afterwards; 0 leaves it as it is."""
    seed: int = 4_000_003
    """Of the episodes and of everything random."""
    out: str = ""
    """Directory for the results; by default they stay in the run."""


def acts(loaded: Loaded) -> bool:
    """Whether the run acts in an environment; not one that learnt from recordings alone."""
    return not loaded.recipe.data.path or bool(loaded.recipe.training.prefill.updates)


def recorded(loaded: Loaded, data: DataConfig, count: int, seed: int) -> Rows:
    """At most `count` recorded episodes of `data`, or of what the run learnt from where that names
    nothing, with actions scaled as the model learnt them.

    Raises:
        ValueError: they lack what the model reads, or are in other units than it learnt.
    """
    learnt, known, model = loaded.recipe.data, loaded.known, loaded.model
    data = data if data.path else learnt
    data = replace(data, sensors=data.sensors or learnt.sensors, size=learnt.size)
    with closing(opened(data, known.scaling if known else None)) as dataset:
        if known is not None:
            require_alike(known, dataset, data.path)
        lacking = [name for name in model.spec.obs if name not in dataset.obs]
        if lacking:
            raise ValueError(
                f"The model reads {', '.join(model.spec.obs)}, and {data.path} lacks "
                f"{', '.join(lacking)}."
            )
        chosen = np.random.default_rng(seed).permutation(len(dataset.episodes()))
        listed = [dataset.episodes()[k] for k in sorted(chosen[:count].tolist())]
        return [_seen(dataset.read(e.name), dataset.obs) for e in listed if e.rows > 2]


class Subject:
    """A run, the episodes it is measured on, and what several parts share; each is made once."""

    def __init__(self, loaded: Loaded, config: Evaluation) -> None:
        self.loaded, self.config, self.device = loaded, config, loaded.device
        self.notes: list[str] = []
        self.readout: dict[str, float] = {}
        self.acts = acts(loaded)
        self.env: EnvConfig = loaded.env
        if self.env.name.startswith(SCENES) and self.env.pixels:
            self.env = replace(
                self.env, with_state=True
            )  # the truth, which the model does not read
        self.played: list[Rows] = []
        """Episodes of each graded policy."""
        self.grades = self._grades()
        self.episodes = self._recorded() if config.data.path or not self.acts else self._play()
        half = int(np.median([len(rows["reward"]) for rows in self.episodes]))  # are as long
        self.observed = min(config.observed, max(2, half // 3))
        self.horizon = min(config.horizon, max(half - self.observed, 1))
        self.windows = self.cut(self.episodes, config.seed)
        self.model = self._shown()

    def cut(self, episodes: Rows, seed: int, count: int = 0) -> Windows:
        """Windows of episodes, on the device."""
        length = self.observed + self.horizon
        cut = from_episodes(episodes, length, count or self.config.windows, seed=seed)
        return cut._replace(batch=self.device.put(cut.batch))

    @property
    def ahead(self) -> dict[str, Any]:
        """What every measure of predictions is given; its noise is the same each time."""
        return {
            "observed": self.observed,
            "horizon": self.horizon,
            "generator": self.device.generator(self.config.seed),
            "seed": self.config.seed,
        }

    def _grades(self) -> Sequence[Any]:
        discrete = self.loaded.model.spec.action.discrete
        return grades(self.config.policies, scales=() if discrete else (0.25, 0.5))

    def _recorded(self) -> Rows:
        """Recorded episodes, with actions scaled as the model learnt them."""
        config = self.config
        if not config.data.path:
            self.notes.append(LEARNT)
        return recorded(self.loaded, config.data, config.windows, config.seed)

    def _play(self) -> Rows:
        """Episodes of graded policies: many ways to act, from the run's own to random ones."""
        policy = self.loaded.learner.policy
        agent = PolicyAgent(self.loaded.model, policy) if policy else Explorer(None, self.action)
        graded = Graded(agent, self.action, self.grades, self.config.seed)
        self.played = self.record(graded, self.env, len(self.grades), self.config.episodes)
        return [rows for each in self.played for rows in each]

    def record(self, agent: Any, env: Maker, count: int, episodes: int) -> list[Rows]:
        """Episodes of `count` environments side by side, those of each in a list."""
        with parallel(env, count, self.config.seed) as envs:
            total = count * episodes
            played = play(
                agent, envs, total, device=self.device, seed=self.config.seed, record=True
            )
        return [played.rows[k * episodes : (k + 1) * episodes] for k in range(count)]

    @property
    def action(self) -> Any:
        """Space of the action."""
        return self.loaded.model.spec.action

    def _shown(self) -> Any:
        """The model, with a readout where it decodes nothing; fitted on the odd episodes."""
        model = self.loaded.model
        if "obs" in model.spec.provides:
            return model
        if not isinstance(model, Featured) or len(self.episodes) < 6:
            self.notes.append("The model shows nothing: only its rewards are measured.")
            return model
        with torch.no_grad():
            probed: Probed = probe(
                model, self.cut(self.episodes[1::2], self.config.seed), self.device.generator(0)
            )
        self.readout = probed.share
        self.windows = self.cut(self.episodes[::2], self.config.seed)
        self.notes.append(
            "The model predicts no observations. Its features were read out linearly, by a readout "
            "fitted on other episodes than those measured."
        )
        return probed


def _seen(rows: dict[str, np.ndarray], sensors: Iterable[str]) -> dict[str, np.ndarray]:
    """Without a last row that repeats the sensors of the row before it: what came of the last
    action was not recorded there, so that a prediction of it cannot be judged."""
    if all(np.array_equal(rows[name][-1], rows[name][-2]) for name in sensors):
        return {name: value[:-1] for name, value in rows.items()}
    return rows
