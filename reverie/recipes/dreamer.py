"""Dreamer on an environment or on recorded episodes: which parts, wired how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from reverie.core.spec import Space
from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.imagine import ActorCriticConfig, ImaginationLearner, ReturnConfig
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.dreamer import CellConfig, Dreamer, DreamerConfig, LatentConfig, sized
from reverie.recipes.data import DataConfig
from reverie.recipes.run import require_budget

Size = Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m", "custom"]


@dataclass(frozen=True)
class DreamerRecipe:
    """Learn a Dreamer world model, and a policy inside its imagination."""

    run: Path = Path("runs/dreamer")
    """Directory of the run: checkpoints, log, episodes. The same command resumes it."""
    env: EnvConfig = field(default_factory=lambda: EnvConfig(name="dmc:cartpole_swingup"))
    """The environment; --env NAME is short for --env.name NAME."""
    size: Size = "1m"
    """Published size of the networks; custom takes the widths given under model."""
    envs: int = 1
    """Environments acted in side by side."""
    workers: int = 0
    """Worker processes that step them; 0 steps them in this process."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes to learn from alone, or before acting: --data PATH with
    --training.updates, or with --training.prefill.updates."""
    model: DreamerConfig = field(default_factory=DreamerConfig)
    """Parts of the world model."""
    behaviour: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """Actor and critic."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """How recorded rows are sampled."""
    training: RunConfig = field(default_factory=RunConfig)
    """Budget and settings of the run."""

    def __post_init__(self) -> None:
        if self.envs < 1 or self.workers < 0:
            raise ValueError(
                f"DreamerRecipe envs is {self.envs} and workers {self.workers}; at least 1 "
                "environment and 0 workers are needed."
            )
        require_budget(self)

    @property
    def discount(self) -> float:
        """Of one decision."""
        return self.behaviour.returns.discount

    @property
    def family(self) -> str:
        """The model family."""
        return "dreamer"

    def build(self, obs: Mapping[str, Space], action: Space, dt: float) -> ImaginationLearner:
        """A new learner for these spaces, with weights drawn from the run's seed."""
        config = self.model if self.size == "custom" else sized(self.size, self.model)
        torch.manual_seed(self.training.seed)
        model = Dreamer(obs, action, dt, config)
        behaviour = self.behaviour
        if self.size != "custom":
            behaviour = replace(behaviour, units=config.units)
        return ImaginationLearner(model, behaviour)


def quick(
    run: Path, env: EnvConfig, frames: int, train_ratio: float = 64.0, discount: float = 0.975
) -> DreamerRecipe:
    """A Dreamer for minutes on a laptop: DreamerV3's model, small, with an actor that learns by
    backpropagation through it (Dreamer v1), from fewer and shorter sequences and a higher rate.

    The gradient through the dynamics and a nearer horizon (0.975: 40 decisions) suit few updates;
    `bench/learning.py` measures what comes of them.
    """
    return DreamerRecipe(
        run=run,
        env=env,
        size="custom",
        model=DreamerConfig(
            latent=LatentConfig(variables=16, classes=4),
            cell=CellConfig(deter=128, hidden=64),
            units=64,
            depth=4,
        ),
        behaviour=ActorCriticConfig(
            starts=4, gradient="dynamics", returns=ReturnConfig(discount=discount)
        ),
        replay=ReplayConfig(batch=16, length=32),
        training=RunConfig(
            frames=frames,
            train_ratio=train_ratio,
            prefill=PrefillConfig(decisions=500),
            optimiser=OptimiserConfig(lr=1e-3, warmup=100),
        ),
    )


RECIPE = DreamerRecipe
"""What `reverie train dreamer` is given."""
