"""UniSim on recorded episodes or in an environment: which parts, wired how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from reverie.core.spec import Space
from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.learn.device import DeviceConfig
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.unisim import UniSim, UniSimConfig
from reverie.plan import CEM, MPC, MPCConfig
from reverie.plan.learner import PlanningLearner
from reverie.recipes.data import DataConfig
from reverie.recipes.run import require_budget


@dataclass(frozen=True)
class UniSimRecipe:
    """Learn a UniSim world model of pictures; it acts by planning in it."""

    run: Path = Path("runs/unisim")
    """Directory of the run: checkpoints, log, episodes. The same command resumes it."""
    env: EnvConfig = field(
        default_factory=lambda: EnvConfig("gym:gym_pusht/PushT-v0", pixels=True, max_decisions=100)
    )
    """The environment; --env NAME is short for --env.name NAME."""
    envs: int = 1
    """Environments acted in side by side."""
    workers: int = 0
    """Worker processes that step them; 0 steps them in this process."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes to learn from alone, or before acting: --data PATH with
    --training.updates, or with --training.prefill.updates."""
    model: UniSimConfig = field(default_factory=UniSimConfig)
    """Parts of the world model."""
    plan: MPCConfig = field(default_factory=lambda: MPCConfig(horizon=8, discount=0.99))
    """How far and how often it plans when it acts."""
    replay: ReplayConfig = field(
        default_factory=lambda: ReplayConfig(batch=8, length=6, context=0, online=False)
    )
    """How recorded rows are sampled."""
    training: RunConfig = field(
        default_factory=lambda: RunConfig(
            frames=100_000,
            train_ratio=48.0,
            prefill=PrefillConfig(decisions=5000),
            optimiser=OptimiserConfig(
                kind="adam",
                lr=1e-3,
                warmup=200,
                cooldown=0.3,
                agc=0.0,
                beta2=0.99,
                eps=1e-8,
                clip=1.0,
            ),
            device=DeviceConfig(precision="auto"),
        )
    )
    """Budget and settings of the run."""

    def __post_init__(self) -> None:
        if self.envs < 1 or self.workers < 0:
            raise ValueError(
                f"UniSimRecipe envs is {self.envs} and workers {self.workers}; at least 1 "
                "environment and 0 workers are needed."
            )
        if self.replay.length <= self.model.frames:
            raise ValueError(
                f"UniSimRecipe replay.length is {self.replay.length} and model.frames "
                f"{self.model.frames}; a sequence needs more rows than are looked back to."
            )
        require_budget(self)

    @property
    def discount(self) -> float:
        """Of one decision."""
        return self.plan.discount

    @property
    def family(self) -> str:
        """The model family."""
        return "unisim"

    def build(self, obs: Mapping[str, Space], action: Space, dt: float) -> PlanningLearner:
        """A new learner for these spaces, with weights drawn from the run's seed."""
        torch.manual_seed(self.training.seed)
        model = UniSim(obs, action, dt, self.model)
        return PlanningLearner(model, self._planner, stores=False)

    def _planner(self, model: Any) -> MPC:
        search = replace(CEM(), samples=64, elites=8, iterations=3)
        return MPC(model, search, self.plan)


RECIPE = UniSimRecipe
"""What `reverie train unisim` is given."""
