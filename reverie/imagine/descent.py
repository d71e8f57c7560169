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
from typing import Any

import torch
from torch import Tensor, nn

KINDS = ("exp_avg", "exp_avg_sq")
"""Of moments, as torch calls them."""


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
        self._moments: dict[str, list[Tensor]] = {}

    def step(self, loss: Tensor, share: float) -> float:
        """Move along the gradient of `loss`, and return its norm before it was shortened.

        `share` in 0..1 is how far the learning rate has fallen. A gradient whose norm is not finite
        changes nothing.
        """
        config, weights = self._config, list(self._named.values())
        slopes = torch.autograd.grad(loss, weights)
        norm = float(torch.stack(torch._foreach_norm(slopes)).norm())
        if math.isfinite(norm):
            with torch.no_grad():
                if norm > config.clip:
                    torch._foreach_mul_(slopes, config.clip / (norm + 1e-6))
                self._move(weights, slopes, self._lr + (config.final_lr - self._lr) * share)
        return norm

    def _move(self, weights: list[nn.Parameter], slopes: tuple[Tensor, ...], lr: float) -> None:
        """Adam, by torch's kernel: for small networks its `optim` takes ten times as long."""
        if not self._moments:
            for kind in KINDS:
                self._moments[kind] = [torch.zeros_like(p) for p in weights]
            self._moments["step"] = [torch.zeros((), device=p.device) for p in weights]
        first, second, steps = self._moments.values()
        torch._foreach_add_(steps, 1)
        one, two = self._config.betas
        given: Any = weights, slopes, first, second, [], steps
        options: dict[str, Any] = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        torch._fused_adam_(*given, lr=lr, beta1=one, beta2=two, eps=1e-8, **options)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Adam's moments and step numbers, by kind and by the weight's name."""
        return {
            kind: dict(zip(self._named, values, strict=True))
            for kind, values in self._moments.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue bitwise; the moments are copied."""
        self._moments = {
            kind: [state[kind][name].to(p.device, copy=True) for name, p in self._named.items()]
            for kind in (*KINDS, "step")
            if state
        }
