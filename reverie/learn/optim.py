"""Optimisers: LaProp with adaptive gradient clipping, that of DreamerV3, and Adam.

For a parameter tensor p with gradient g, at update t = 1, 2, ... (Frobenius norms):

    g  <- g / max(1, |g| / (agc max(pmin, |p|)))      clipping, relative to the weights
    v  <- beta2 v + (1 - beta2) g^2                   v_hat = v / (1 - beta2^t)
    m  <- beta1 m + (1 - beta1) g / (sqrt(v_hat) + eps)
    p  <- p - lr_t (m / (1 - beta1^t) + decay p)

    lr_t = lr min(1, (t - 1) / warmup, (N - t + 1) / (cooldown N))    N the last update of the run

Adam, where it is asked for, is torch's, with the same learning rates. A learner may divide its
weights into groups with settings of their own; the norm of their gradients is bounded first.

Sources: LaProp, Ziyin et al. 2020 (the momentum is taken of the scaled gradient, not before the
scaling as in Adam); clipping, Brock et al. 2021; constants, Hafner et al. 2023;
cool-down after a constant rate, Haegele et al. 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

PMIN = 1e-3
"""The norm that a smaller tensor is taken to have in clipping, so that zero weights can move."""


class Group(NamedTuple):
    """Settings of the weights whose names begin with a prefix."""

    lr: float
    """Learning rate after the warm-up."""
    eps: float
    """See `OptimiserConfig`."""
    clip: float
    """Largest norm of the gradient, together over all groups of the same `clipped`; 0: none."""
    clipped: str
    """With which groups the norm is taken."""


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights move; a learner's own groups come before lr, eps and clip."""

    kind: Literal["laprop", "adam"] = "laprop"
    """The equations of LaProp, or those of Adam, which knows no agc and no decay."""
    lr: float = 4e-5
    """Learning rate after the warm-up."""
    warmup: int = 1000
    """Updates in which the learning rate rises linearly from zero; 0 for none."""
    cooldown: float = 0.0
    """Share of the run's updates, the last ones, in which the learning rate falls linearly to zero;
    none where the run does not end at a number of updates."""
    agc: float = 0.3
    """Largest gradient norm of a tensor relative to the norm of the tensor; 0 turns it off."""
    beta1: float = 0.9
    """Decay of the momentum."""
    beta2: float = 0.999
    """Decay of the mean square of the gradients."""
    eps: float = 1e-20
    """Added to the root mean square before dividing."""
    decay: float = 0.0
    """Weight decay of matrices and kernels, relative to the learning rate."""
    clip: float = 0.0
    """Largest norm of the gradient of all weights together; 0 turns it off."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("lr", 0.0, float("inf")),
            ("agc", 0.0, float("inf")),
            ("beta1", 0.0, 1.0),
            ("beta2", 0.0, 1.0),
            ("eps", 0.0, 1.0),
            ("decay", 0.0, float("inf")),
            ("warmup", 0, float("inf")),
            ("cooldown", 0.0, 1.0),
            ("clip", 0.0, float("inf")),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(
                    f"OptimiserConfig {name} is {value}; give at least {low} and less than {high}."
                )
        if self.kind not in ("laprop", "adam"):
            raise ValueError(f"OptimiserConfig kind is {self.kind!r}; choose laprop or adam.")
        if self.kind == "adam" and self.decay:
            raise ValueError("OptimiserConfig decay is for laprop alone; leave it at 0 with adam.")


class Optimiser:
    """Moves named weights by their gradients: groups, norms, learning rates and the equations."""

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        config: OptimiserConfig,
        groups: Mapping[str, Group] | None = None,
        last: int = 0,
    ) -> None:
        """`groups` by prefix; a name belongs to the longest that fits, and "" fits all. `last` is
        N, 0 where nobody knows."""
        self._named, self._config, self._last = dict(named), config, last
        self.updates = 0
        self._norms: dict[str, tuple[float, list[nn.Parameter]]] = {}
        rest = Group(config.lr, config.eps, config.clip, "")
        parts: dict[str, list[nn.Parameter]] = {}
        groups = {"": rest, **(groups or {})}
        for name, p in named.items():
            prefix = max((g for g in groups if name.startswith(g)), key=len)
            parts.setdefault(prefix, []).append(p)
            group = groups[prefix]
            if group.clip:
                self._norms.setdefault(group.clipped, (group.clip, []))[1].append(p)
        settings = [
            {"params": params, "lr": groups[prefix].lr, "eps": groups[prefix].eps}
            for prefix, params in parts.items()
        ]
        self._rates = [float(s["lr"]) for s in settings]  # type: ignore[arg-type]
        self._core: torch.optim.Optimizer
        if config.kind == "adam":
            betas = (config.beta1, config.beta2)
            self._core = torch.optim.Adam(settings, betas=betas, fused=True)
        else:
            self._core = LaProp(settings, config)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._core.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One update."""
        for limit, params in self._norms.values():
            nn.utils.clip_grad_norm_(params, limit)
        self.updates += 1
        share = self._share()
        for group, lr in zip(self._core.param_groups, self._rates, strict=True):
            group["lr"] = lr * share
        self._core.step()

    def _share(self) -> float:
        """lr_t / lr of this update."""
        config, share = self._config, 1.0
        if config.warmup:
            share = min(share, (self.updates - 1) / config.warmup)
        falling = config.cooldown * self._last
        if falling:
            share = min(share, max(0.0, (self._last - self.updates + 1) / falling))
        return share

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and the moments by their kind and the parameter's name."""
        moments: dict[str, Any] = {}
        for name, p in self._named.items():
            for kind, value in self._core.state[p].items() if p in self._core.state else ():
                moments.setdefault(kind, {})[name] = value
        return {"updates": self.updates, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue bitwise; the moments are copied. Learning rates stay the configured ones."""
        self.updates = int(state["updates"])
        for group in self._core.param_groups:
            group["updates"] = self.updates
        self._core.state.clear()
        for kind, values in state.items():
            if kind == "updates":
                continue
            for name, value in values.items():
                p = self._named[name]
                like = p if value.shape == p.shape else value
                self._core.state[p][kind] = torch.empty_like(like, device=p.device).copy_(value)


class LaProp(torch.optim.Optimizer):
    """The equations above over all tensors at once, at the rate `group["lr"]`; parameters without a
    gradient are left alone.

    `state[p]` holds "nu" and "mu"; the number of updates is `group["updates"]`.
    """

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], config: OptimiserConfig
    ) -> None:
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
        t, lr, decay = group["updates"], group["lr"], group["decay"]
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

        if decay:
            torch._foreach_mul_([p for p in params if p.ndim > 1], 1 - lr * decay)
        torch._foreach_add_(params, mu, alpha=-lr / (1 - beta1**t))


def _clip(
    grads: list[Tensor], params: list[Tensor], group: dict[str, Any]
) -> tuple[Tensor, ...] | list[Tensor]:
    """Gradients no longer than `agc` times their tensor; new tensors, `.grad` stays as it is."""
    agc = group["agc"]
    if not agc:
        return grads
    size = torch.stack(torch._foreach_norm(grads))
    upper = agc * torch.stack(torch._foreach_norm(params)).clamp(min=PMIN)
    factor: tuple[Tensor, ...] = (1 / (size / upper).clamp(min=1)).unbind()
    scaled: tuple[Tensor, ...] = torch._foreach_mul(grads, factor)
    return scaled
