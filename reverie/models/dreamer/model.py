"""The Dreamer world model: a recurrent state-space model with decoder, reward and continue heads.

See README.md beside this file for the equations, the published version and the departures from it.
Legend: `B` batch, `T` time, `D` deter, `Z` flat latent, `A` action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition, WorldModelLoss
from reverie.core.returns import symexp_bins, twohot_loss, twohot_mean
from reverie.core.spec import Input, Space, Spec
from reverie.models.dreamer.config import DreamerConfig
from reverie.models.dreamer.loss import continues_loss, kl_losses, scales
from reverie.models.dreamer.rssm import RSSM, RSSMState
from reverie.models.dreamer.sensors import Decoder, Encoder
from reverie.models.dreamer.sequence import Steps, backward_step, forward_step
from reverie.nn.layers import MLP


class Dreamer(nn.Module):
    """A `WorldModel` over `RSSMState`, `Sequential`, `Trainable`, `Deferred`, `Featured`."""

    bins: Tensor

    def __init__(
        self, obs: Mapping[str, Space], action: Space, dt: float, config: DreamerConfig
    ) -> None:
        """A model that reads and decodes `obs` and acts in `action`; `dt` [s] per action.

        Raises:
            ValueError: no observation is given, or widths do not fit together.
        """
        super().__init__()
        if not obs:
            raise ValueError("A Dreamer model needs at least one observation; it got none.")
        for name in obs:
            if "." in name or hasattr(nn.ModuleDict, name) or name in ("", "training"):
                raise ValueError(f"A sensor cannot be called {name!r} here; rename it.")
        inputs: set[Input] = {"params", "state", "action"}
        self.spec = Spec(
            obs=dict(obs),
            action=action,
            dt=dt,
            provides=frozenset({"obs", "reward", "continues"}),
            grad=frozenset(inputs),
        )
        self.config = config
        deter, latent = config.cell.deter, config.latent.size
        self.encoder = Encoder(obs, config)
        self.rssm = RSSM(config.cell, config.latent, self.encoder.size, action.size)
        self.decoder = Decoder(obs, deter, latent, config)
        self.feature_size = deter + latent
        self.reward = MLP(self.feature_size, config.bins, config.units, layers=1, scale=0.0)
        self.continues = MLP(self.feature_size, 1, config.units, layers=1)
        self.register_buffer("bins", symexp_bins(config.bins), persistent=False)

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> RSSMState:
        """h = 0, z = 0; the family has no context."""
        return self.rssm.initial(batch)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """`[B, S]`: uniform for categorical latents, normal for Gaussian ones."""
        return self.rssm.latent.noise(batch, self.bins, generator)

    def observe(
        self, state: RSSMState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> RSSMState:
        """s_t ~ q(. | s_{t-1}, a_{t-1}, o_t); action `[B, 1, A]`."""
        embedding = self.encoder(obs)
        return self.rssm.observe(state, action[:, 0], embedding, first, noise)[0]

    def step(self, state: RSSMState, action: Tensor, noise: Tensor) -> Transition[RSSMState]:
        """s_{t+1} ~ p(. | s_t, a_t), with reward and continuation there; action `[B, 1, A]`."""
        return self.heads(self.advance(state, action, noise))

    def decode(self, state: RSSMState) -> dict[str, Tensor]:
        """The mean of p(o | s) for each sensor."""
        return self.decoder.mean(self.decoder(state.deter, state.stoch))

    # ------------------------------------------------------------------ optional parts

    def advance(self, state: RSSMState, action: Tensor, noise: Tensor) -> RSSMState:
        """s_{t+1} ~ p(. | s_t, a_t); action `[B, 1, A]`."""
        return self.rssm.step(state, action[:, 0], noise)

    def heads(self, state: RSSMState) -> Transition[RSSMState]:
        """The means of p(r | s) and p(continue | s)."""
        features = self.features(state)
        reward = twohot_mean(self.reward(features), self.bins)
        continues = torch.sigmoid(self.continues(features)).squeeze(-1)
        return Transition(state, reward=reward, continues=continues)

    def compile_parts(self, compiled: Callable[[Any], Any]) -> None:
        """Run the steps of filter and prediction through `compiled`, as `torch.compile` is."""
        self.rssm.steps = Steps(compiled(forward_step), compiled(backward_step))
        self.step = compiled(self.step)  # type: ignore[method-assign]
        self.advance = compiled(self.advance)  # type: ignore[method-assign]
        self.heads = compiled(self.heads)  # type: ignore[method-assign]

    def features(self, state: RSSMState) -> Tensor:
        """[h, z], `[B, D + Z]`."""
        return torch.cat([state.deter, state.stoch], -1)

    def observe_all(
        self, state: RSSMState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> RSSMState:
        """The states `[B, T, ...]` of a whole sequence; equal to a loop of `observe`."""
        return self._posterior(state, action[:, :, 0], obs, first, noise)[0]

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the losses that `loss` returns."""
        return scales(list(self.spec.obs), self.config.loss)

    def loss(self, batch: Batch, state: RSSMState, noise: Tensor) -> WorldModelLoss:
        """Dynamics, representation, reconstruction, reward and continue losses, each `[B, T]`.

        The reward target of row t is r_t, which arrived with o_t; on the first row of an episode
        it is zero, as recorded.
        """
        states, posterior = self._posterior(state, batch.action, batch.obs, batch.first, noise)
        losses = kl_losses(
            self.rssm.latent, posterior, self.rssm.prior(states.deter), self.config.loss
        )
        features = self.features(states)
        losses["reward"] = twohot_loss(self.reward(features), batch.reward, self.bins)
        losses["continues"] = continues_loss(self.continues(features).squeeze(-1), batch.terminated)
        deter, stoch = tree.flatten_time(tuple(states))
        raw = self.decoder(deter, stoch)
        for name, loss in self.decoder.losses(raw, tree.flatten_time(dict(batch.obs))).items():
            losses[f"decode/{name}"] = loss.unflatten(0, batch.first.shape)
        return WorldModelLoss(losses, states)

    def _posterior(
        self, state: RSSMState, action: Tensor, obs: Obs, first: Tensor, noise: Any
    ) -> tuple[RSSMState, Tensor]:
        embedding = self.encoder(tree.flatten_time(dict(obs))).unflatten(0, first.shape)
        return self.rssm.observe_all(state, action, embedding, first, noise)
