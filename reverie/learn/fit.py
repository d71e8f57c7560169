"""One update: losses, checks, gradient, step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch
from reverie.learn.device import Device
from reverie.learn.learner import Grouped, Learner, Update
from reverie.learn.optim import Optimiser, OptimiserConfig


class DivergenceError(RuntimeError):
    """A loss, a gradient or a weight is not finite; the weights have not been moved by it."""

    def __init__(self, what: str, update: int) -> None:
        self.what = what
        """The loss, gradient or weight, by name."""
        self.update = update
        """The update at which it happened, from 1."""
        super().__init__(
            f"{what} is not finite at update {update}; the weights were not changed by it. The "
            "last checkpoint is good. Look for NaN or huge values in rewards and observations, or "
            "lower the learning rate, and continue from that checkpoint."
        )


class Fit(NamedTuple):
    """What one update was."""

    metrics: dict[str, float]
    """The reduced losses as "loss/<name>", their scaled sum "loss", "grad_norm", and the learner's
    own."""
    latents: Any
    """To write back to the replay, detached; or `()`."""


class Fitter:
    """Fits a learner: minimises sum_k scale_k mean(loss_k), one batch at a time.

    One transfer from the device per update carries every number that is checked or logged.
    """

    def __init__(
        self,
        learner: Learner,
        optimiser: OptimiserConfig,
        device: Device,
        last: int = 0,
    ) -> None:
        """`last` is the update that the run ends at, 0 where nobody knows."""
        self.learner = learner
        self.device = device
        self._named = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        if not self._named:
            raise ValueError("The learner has no parameter that requires a gradient.")
        groups = learner.groups if isinstance(learner, Grouped) else None
        self.optimiser = Optimiser(self._named, optimiser, groups, last)

    @property
    def updates(self) -> int:
        """How many were made."""
        return self.optimiser.updates

    def fit(self, batch: Batch, state: Any, generator: Generator) -> Fit:
        """One update on a batch `[B, T, ...]` from the latents `[B, ...]` of the row before it.

        Raises `DivergenceError` before the weights are touched, and `ValueError` where the losses
        do not fit their scales.
        """
        batch, state = self.device.put((batch, state))
        with self.device.autocast():
            update = self.learner.update(batch, state, generator)
        means, scales = _reduce(update)
        self.optimiser.zero_grad()
        loss = torch.dot(means, scales)
        loss.backward()
        metrics = self._checked(update, means, loss)
        self.optimiser.step()
        self.learner.after_update()
        return Fit(metrics, tree.detach(update.latents))

    def _checked(self, update: Update, means: Tensor, loss: Tensor) -> dict[str, float]:
        grads = [p.grad for p in self._named.values() if p.grad is not None]
        if not grads:
            raise ValueError("The losses have no gradient with respect to any parameter.")
        norm = torch.stack(torch._foreach_norm(grads)).norm()
        metrics = [_scalar(name, value) for name, value in update.metrics.items()]
        numbers = torch.stack([*means.detach().unbind(), loss.detach(), norm, *metrics]).tolist()
        names = [*(f"loss/{name}" for name in update.losses), "loss", "grad_norm", *update.metrics]
        result = dict(zip(names, numbers, strict=True))
        for name in update.losses:
            if not _finite(result[f"loss/{name}"]):
                raise DivergenceError(f"Loss {name!r}", self.updates + 1)
        if not _finite(result["loss"]):
            raise DivergenceError("The sum of the losses", self.updates + 1)
        if not _finite(result["grad_norm"]):
            raise DivergenceError(f"The gradient of {self._worst()!r}", self.updates + 1)
        return result

    def _worst(self) -> str:
        for name, p in self._named.items():
            if p.grad is not None and not bool(torch.isfinite(p.grad).all()):
                return name
        return "all weights together (its norm)"

    def check_weights(self) -> None:
        """Raise `DivergenceError` naming the first weight or buffer that is not finite."""
        for name, value in self.learner.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise DivergenceError(f"Weight {name!r}", self.updates)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's moments by parameter name, and the number of updates."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue bitwise; the moments are copied. Learning rates stay the configured ones."""
        self.optimiser.load_state_dict(state)


def _reduce(update: Update) -> tuple[Tensor, Tensor]:
    """The mean of each loss and its scale, `[K]` each, in one order."""
    losses, scales = update.losses, update.scales
    if not losses:
        raise ValueError("The learner returned no losses; an update needs at least one.")
    if losses.keys() != scales.keys():
        missing, unknown = losses.keys() - scales.keys(), scales.keys() - losses.keys()
        raise ValueError(
            "Losses and scales must have the same names; without a scale: "
            f"{sorted(missing) or 'none'}; without a loss: {sorted(unknown) or 'none'}."
        )
    means = torch.stack([loss.to(torch.float32).mean() for loss in losses.values()])
    weights = [float(scales[name]) for name in losses]
    return means, torch.tensor(weights, dtype=torch.float32, device=means.device)


def _scalar(name: str, value: Tensor) -> Tensor:
    if value.ndim:
        raise ValueError(
            f"Metric {name!r} has shape {tuple(value.shape)}; a metric is a scalar, reduce it."
        )
    return value.detach().to(torch.float32)


def _finite(value: float) -> bool:
    return value - value == 0.0
