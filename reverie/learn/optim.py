"""LaProp with adaptive gradient clipping: the optimiser of DreamerV3.

For a parameter tensor p with gradient g, at update t = 1, 2, ... (Frobenius norms):

    g  <- g / max(1, |g| / (agc max(pmin, |p|)))      clipping, relative to the weights
    v  <- beta2 v + (1 - beta2) g^2                   v_hat = v / (1 - beta2^t)
    m  <- beta1 m + (1 - beta1) g / (sqrt(v_hat) + eps)
    p  <- p - lr_t (m / (1 - beta1^t) + decay p)      lr_t = lr min(1, (t - 1) / warmup)

Sources: LaProp, Ziyin et al. 2020 (the momentum is taken of the scaled gradient, not before the
scaling as in Adam); clipping, Brock et al. 2021; constants, Hafner et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OptimiserConfig:
    """One optimiser for all weights."""

    lr: float = 4e-5
    """Learning rate after the warm-up."""
    warmup: int = 1000
    """Updates in which the learning rate rises linearly from zero; 0 for none."""
    agc: float = 0.3
    """Largest gradient norm of a tensor relative to the norm of the tensor; 0 turns it off."""
    pmin: float = 1e-3
    """The norm that a smaller tensor is taken to have, so that zero weights can move."""
    beta1: float = 0.9
    """Decay of the momentum."""
    beta2: float = 0.999
    """Decay of the mean square of the gradients."""
    eps: float = 1e-20
    """Added to the root mean square before dividing."""
    decay: float = 0.0
    """Weight decay of matrices and kernels, relative to the learning rate."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("lr", 0.0, float("inf")),
            ("agc", 0.0, float("inf")),
            ("pmin", 0.0, float("inf")),
            ("beta1", 0.0, 1.0),
            ("beta2", 0.0, 1.0),
            ("eps", 0.0, 1.0),
            ("decay", 0.0, float("inf")),
            ("warmup", 0, float("inf")),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(
                    f"OptimiserConfig {name} is {value}; give at least {low} and less than {high}."
                )


class LaProp(torch.optim.Optimizer):
    """The equations above over all tensors at once; parameters without a gradient are left alone.

    `state[p]` holds "nu" and "mu"; the number of updates is `group["updates"]`.
    """

    def __init__(self, params: Iterable[nn.Parameter], config: OptimiserConfig) -> None:
        super().__init__(params, {**asdict(config), "updates": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move the weights by one update."""
        if closure is not None:
            raise ValueError("LaProp takes no closure; compute the gradients, then call step().")
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            group["updates"] += 1
            if params:
                self._move(params, group)

    def _move(self, params: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2, eps = group["beta1"], group["beta2"], group["eps"]
        t, lr, warmup, decay = group["updates"], group["lr"], group["warmup"], group["decay"]
        nu, mu = [], []
        for p in params:
            state = self.state[p]
            if not state:
                state["nu"], state["mu"] = torch.zeros_like(p), torch.zeros_like(p)
            nu.append(state["nu"])
            mu.append(state["mu"])
        grads = _clip([p.grad for p in params if p.grad is not None], params, group)

        torch._foreach_mul_(nu, beta2)
        torch._foreach_addcmul_(nu, grads, grads, 1 - beta2)
        # g / (sqrt(v / k^2) + eps) = k g / (sqrt(v) + k eps): the correction k is one number
        correction = (1 - beta2**t) ** 0.5
        scale = torch._foreach_sqrt(nu)
        torch._foreach_add_(scale, correction * eps)
        torch._foreach_mul_(mu, beta1)
        torch._foreach_addcdiv_(mu, grads, scale, (1 - beta1) * correction)

        if warmup:
            lr *= min(1.0, (t - 1) / warmup)
        if decay:
            torch._foreach_mul_([p for p in params if p.ndim > 1], 1 - lr * decay)
        torch._foreach_add_(params, mu, alpha=-lr / (1 - beta1**t))


def _clip(
    grads: list[Tensor], params: list[Tensor], group: dict[str, Any]
) -> tuple[Tensor, ...] | list[Tensor]:
    """Gradients no longer than `agc` times their tensor; new tensors, `.grad` stays as it is."""
    agc, pmin = group["agc"], group["pmin"]
    if not agc:
        return grads
    size = torch.stack(torch._foreach_norm(grads))
    upper = agc * torch.stack(torch._foreach_norm(params)).clamp(min=pmin)
    factor: tuple[Tensor, ...] = (1 / (size / upper).clamp(min=1)).unbind()
    scaled: tuple[Tensor, ...] = torch._foreach_mul(grads, factor)
    return scaled
