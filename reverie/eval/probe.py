"""A readout for models that show nothing: what do their states know of the sensors?

A model such as TD-MPC2 predicts rewards and values, no observations. A linear readout fitted on
recorded rows, `o = W [phi(s), 1]`, says how much of each sensor its features phi hold, and lets
predictions of all families be judged alike. Nothing of the model is fitted.

Legend: `N` windows, `T` rows, `F` features, `D` entries of a sensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Featured, Obs, Transition
from reverie.core.spec import Spec
from reverie.eval.windows import Windows

RIDGES = (1e-6, 1e-4, 1e-2, 1.0)
"""Penalties tried, in units of the mean eigenvalue of the features' covariance."""


class Probed:
    """A model with a readout in the place of a decoder; made by `probe`."""

    def __init__(
        self, model: Any, readouts: Mapping[str, Tensor], share: Mapping[str, float]
    ) -> None:
        self._model, self._readouts = model, dict(readouts)
        self.spec: Spec = replace(model.spec, provides=model.spec.provides | {"obs"})
        self.share = dict(share)
        """R^2 of each readout on rows that it was not fitted on: 1 where the features hold the
        sensor whole, 0 where nothing of it."""

    def initial(self, batch: int, context: Obs | None = None) -> Any:
        """As the model."""
        return self._model.initial(batch, context)

    def noise(self, batch: int, generator: Generator | None = None) -> Any:
        """As the model."""
        return self._model.noise(batch, generator)

    def observe(self, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
        """As the model."""
        return self._model.observe(state, action, obs, first, noise)

    def step(self, state: Any, action: Tensor, noise: Any) -> Transition[Any]:
        """As the model."""
        moved: Transition[Any] = self._model.step(state, action, noise)
        return moved

    def decode(self, state: Any) -> Obs:
        """The readout of each sensor that has one, `[B, ...]`."""
        features = _lengthen(self._model.features(state))
        shapes = {name: self.spec.obs[name].shape for name in self._readouts}
        return {n: (features @ w).reshape(-1, *shapes[n]) for n, w in self._readouts.items()}


@torch.no_grad()
def probe(model: Any, windows: Windows, generator: Generator | None = None) -> Probed:
    """Fit a readout of every vector sensor on filtered states.

    Ridge regression; the penalty is that of `RIDGES` which predicts best the rows of the last
    third of the episodes, and `Probed.share` says how well, after which all rows are used.

    Raises:
        ValueError: the model has no features, or there are fewer than three episodes.
    """
    spec: Spec = model.spec
    if not isinstance(given := model, Featured):
        raise ValueError(
            f"{type(given).__name__} predicts no observations and has no features to read them "
            "from; it can be judged by its rewards alone."
        )
    episodes = windows.episode.unique(sorted=True)
    if len(episodes) < 3:
        raise ValueError(
            f"A readout is fitted on some episodes and judged on others: {len(episodes)} are too "
            "few, give at least 3."
        )
    features = _filtered(model, windows, generator)
    held = torch.isin(windows.episode, episodes[2 * len(episodes) // 3 :])
    readouts, share = {}, {}
    for name, space in spec.obs.items():
        if space.is_image or space.dtype == "int64" or name not in windows.batch.obs:
            continue
        truth = windows.batch.obs[name].flatten(2).to(features)
        readouts[name], share[name] = _fit(features, truth, held.to(features.device))
    return Probed(model, readouts, share)


def _filtered(model: Any, windows: Windows, generator: Generator | None) -> Tensor:
    """Features of the filtered states, `[N, T, F + 1]`."""
    batch, chunk = windows.batch, model.spec.chunk
    rows = slice(0, None, chunk)
    action = torch.cat([torch.zeros_like(batch.action[:, :1])] * chunk + [batch.action[:, 1:]], 1)
    count = len(range(0, batch.action.shape[1], chunk))
    action = action[:, : count * chunk].unflatten(1, (count, chunk))
    obs = {
        k: v[:, rows] for k, v in batch.obs.items() if k.removesuffix(".present") in model.spec.obs
    }
    first = torch.zeros(action.shape[:2], dtype=torch.bool, device=action.device)
    first[:, 0] = True
    begun = {name: value[:, 0] for name, value in batch.obs.items()}
    state = model.initial(len(first), rollout.context_of(model.spec, begun, None))
    noise = rollout.draw(model, count, len(first), generator)
    states = rollout.filter(model, state, action, obs, first, noise)
    flat = tree.map(lambda x: x.flatten(0, 1), states)
    features: Tensor = model.features(flat)
    return _lengthen(features.float()).unflatten(0, first.shape)


def _lengthen(features: Tensor) -> Tensor:
    """With a one at the end, for the offset."""
    return torch.cat(
        [features.float(), torch.ones_like(features[..., :1], dtype=torch.float32)], -1
    )


def _fit(features: Tensor, truth: Tensor, held: Tensor) -> tuple[Tensor, float]:
    """The readout `[F + 1, D]`, and its R^2 on the windows that were held out."""
    fit = features[~held].flatten(0, 1).double(), truth[~held].flatten(0, 1).double()
    judge = features[held].flatten(0, 1).double(), truth[held].flatten(0, 1).double()
    found = {ridge: _ridge(*fit, ridge) for ridge in RIDGES}
    errors = {r: float((judge[0] @ w - judge[1]).square().sum()) for r, w in found.items()}
    best = min(errors, key=lambda ridge: errors[ridge])
    spread = float((judge[1] - judge[1].mean(0)).square().sum())
    whole = _ridge(features.flatten(0, 1).double(), truth.flatten(0, 1).double(), best)
    return whole.float(), 1 - errors[best] / spread if spread > 0 else 1.0


def _ridge(features: Tensor, truth: Tensor, ridge: float) -> Tensor:
    """`(X^T X + lambda I)^-1 X^T Y`; the offset is not penalised."""
    square = features.T @ features
    penalty = torch.full((len(square),), ridge * float(square.diagonal()[:-1].mean()) + 1e-9)
    penalty[-1] = 0
    return torch.linalg.solve(square + penalty.to(square).diag(), features.T @ truth)
