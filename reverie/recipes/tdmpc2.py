"""TD-MPC2 on an environment or on recorded episodes: which parts, wired how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from reverie.core.spec import Space
from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.envs import tasks as shared
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.tdmpc2 import TDMPC2, Task, TDMPC2Config, discount, sized
from reverie.plan import MPC, MPPI, MPCConfig, tdmpc2_mppi
from reverie.plan.learner import PlanningLearner
from reverie.recipes.data import DataConfig
from reverie.recipes.run import require_budget

Size = Literal["1m", "5m", "19m", "48m", "317m", "custom"]


@dataclass(frozen=True)
class TDMPC2Recipe:
    """Learn a TD-MPC2 world model, and act by planning in it."""

    run: Path = Path("runs/tdmpc2")
    """Directory of the run: checkpoints, log, episodes. The same command resumes it."""
    env: EnvConfig = field(default_factory=lambda: EnvConfig("dmc:cartpole_swingup", repeat=2))
    """The environment; --env NAME is short for --env.name NAME."""
    tasks: tuple[str, ...] = ()
    """Environments that share one model, such as dmc:walker_walk dmc:cheetah_run, with the options
    under env; two or more. Empty: env alone."""
    size: Size = "1m"
    """Published size of the networks; custom takes the widths given under model."""
    envs: int = 1
    """Environments acted in side by side; with tasks a multiple of their number, or 1 for one of
    each."""
    workers: int = 0
    """Worker processes that step them; 0 steps them in this process."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes to learn from alone, or before acting: --data PATH with
    --training.updates, or with --training.prefill.updates."""
    model: TDMPC2Config = field(default_factory=TDMPC2Config)
    """Parts of the world model; its discount holds for planning, too. With tasks, it is that of
    tasks without a clock, and each other one has its own by the length of its episodes."""
    search: MPPI = field(default_factory=tdmpc2_mppi)
    """How a plan is searched."""
    plan: MPCConfig = field(default_factory=lambda: MPCConfig(horizon=3, proposals=24))
    """How far and how often it plans; its discount is that of the model."""
    replay: ReplayConfig = field(
        default_factory=lambda: ReplayConfig(batch=256, length=4, context=0, online=False)
    )
    """How recorded rows are sampled: the rows of a sequence are one more than steps."""
    training: RunConfig = field(
        default_factory=lambda: RunConfig(
            frames=100_000,
            train_ratio=1024.0,
            prefill=PrefillConfig(decisions=2500, catch_up=True),
            optimiser=OptimiserConfig(kind="adam", lr=3e-4, warmup=0, eps=1e-8, agc=0.0, clip=20.0),
        )
    )
    """Budget and settings of the run; one update per decision is train-ratio batch x length."""

    def __post_init__(self) -> None:
        if self.envs < 1 or self.workers < 0:
            raise ValueError(
                f"TDMPC2Recipe envs is {self.envs} and workers {self.workers}; at least 1 "
                "environment and 0 workers are needed."
            )
        require_budget(self)
        if self.replay.length < 2:
            raise ValueError(
                f"TDMPC2Recipe replay.length is {self.replay.length}; a sequence needs at least "
                "2 rows, one more than the steps it is rolled out for."
            )
        if self.tasks:
            self._require_equal_shares()

    def _require_equal_shares(self) -> None:
        """Every task is acted in, and judged, as often as any other."""
        count, judged = len(self.tasks), self.training.evaluate
        if self.envs > 1 and self.envs % count:
            raise ValueError(
                f"TDMPC2Recipe envs is {self.envs} and there are {count} tasks; give a multiple of "
                f"{count}, or 1 for one environment of each."
            )
        if judged.every and judged.episodes % count:
            raise ValueError(
                f"TDMPC2Recipe training.evaluate.episodes is {judged.episodes} and there are "
                f"{count} tasks; give a multiple of {count}."
            )

    @property
    def discount(self) -> float:
        """Of one decision; with tasks each has its own."""
        return self.model.discount

    @property
    def family(self) -> str:
        """The model family."""
        return "tdmpc2"

    def build(
        self,
        obs: Mapping[str, Space],
        action: Space,
        dt: float,
        tasks: Sequence[shared.Task] = (),
    ) -> PlanningLearner:
        """A new learner for these spaces, with weights drawn from the run's seed. With `tasks`, the
        sensor "task" says which one a row is of."""
        config = self.model if self.size == "custom" else sized(self.size, self.model)
        several = [Task(task.name, task.actions, self._discount_of(task)) for task in tasks]
        sensed = {name: s for name, s in obs.items() if not several or name != shared.TASK}
        torch.manual_seed(self.training.seed)
        model = TDMPC2(sensed, action, dt, config, several)
        return PlanningLearner(model, self._planner, stores=False)

    def _discount_of(self, task: shared.Task) -> float:
        return discount(task.decisions) if task.decisions else self.model.discount

    def _planner(self, model: Any) -> MPC:
        furthest = max((task.discount for task in model.tasks), default=self.model.discount)
        plan = replace(self.plan, discount=furthest)
        return MPC(model, self.search, plan, policy=model.policy, terminal=model.critic)


RECIPE = TDMPC2Recipe
"""What `reverie train tdmpc2` is given."""
