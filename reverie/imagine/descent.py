"""Adam whose learning rate falls linearly, over weights whose gradient is bounded.

    g <- g min(1, clip / |g|)
    p <- p - lr_i Adam(g),   lr_i = lr + (final - lr) min(1, i / updates)

with |g| over all weights together. Kingma and Ba 2015; the constants are those of Xu et al. 2022,
"Accelerated Policy Learning with Parallel Differentiable Simulation".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def require(kind: str, **given: tuple[float, float, float]) -> None:
    """Raise where a (value, low, high) is not low <= value <= high."""
    for name, (value, low, high) in given.items():
        if not low <= value <= high:
            raise ValueError(f"{kind} {name} is {value}; give at least {low} and at most {high}.")


@dataclass(frozen=True)
class DescentConfig:
    """How weights move: Adam whose learning rates fall linearly."""

    actor_lr: float = 2e-3
    """At the first update."""
    critic_lr: float = 2e-3
    """At the first update."""
    final_lr: float = 1e-5
    """From update `updates` on, of both."""
    updates: int = 2000
    """In which the learning rates fall."""
    betas: tuple[float, float] = (0.7, 0.95)
    """Decay of Adam's momentum and of its mean square."""
    clip: float = 1.0
    """Largest norm of a gradient; a longer one is shortened."""
    skips: int = 10
    """So many updates in a row without a finite gradient are an error."""

    def __post_init__(self) -> None:
        require(
            "DescentConfig",
            actor_lr=(self.actor_lr, 0, math.inf),
            critic_lr=(self.critic_lr, 0, math.inf),
            final_lr=(self.final_lr, 0, math.inf),
            updates=(self.updates, 1, math.inf),
            skips=(self.skips, 1, math.inf),
        )
        if not (self.clip > 0 and all(0 <= beta < 1 for beta in self.betas)):
            raise ValueError(
                f"DescentConfig clip is {self.clip} and betas are {self.betas}; give a clip above "
                "0 and betas in [0, 1)."
            )


class Descent:
    """Adam over the weights of a module, its gradient bounded; nothing moves by a broken one."""

    def __init__(self, module: nn.Module, lr: float, config: DescentConfig) -> None:
        self._named = dict(module.named_parameters())
        self._lr, self._config = lr, config
        self._core = torch.optim.Adam(self._named.values(), lr, config.betas, fused=True)

    def step(self, loss: Tensor, share: float) -> float:
        """Move along the gradient of `loss`, and return its norm before it was shortened.

        `share` in 0..1 is how far the learning rate has fallen. A gradient whose norm is not finite
        changes nothing.
        """
        weights = list(self._named.values())
        slopes = torch.autograd.grad(loss, weights)
        size = nn.utils.get_total_norm(slopes)
        norm = float(size)
        if math.isfinite(norm):
            for p, slope in zip(weights, slopes, strict=True):
                p.grad = slope
            nn.utils.clip_grads_with_norm_(weights, self._config.clip, size)
            for group in self._core.param_groups:
                group["lr"] = self._lr + (self._config.final_lr - self._lr) * share
            self._core.step()
            self._core.zero_grad()
        return norm

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Adam's moments and step numbers, by kind and by the weight's name."""
        kept: dict[str, dict[str, Tensor]] = {}
        for name, p in self._named.items():
            for kind, value in self._core.state[p].items() if p in self._core.state else ():
                kept.setdefault(kind, {})[name] = value
        return kept

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue bitwise; the moments are copied."""
        self._core.state.clear()
        for kind, values in state.items():
            for name, value in values.items():
                p = self._named[name]
                self._core.state[p][kind] = value.to(p.device, copy=True)
