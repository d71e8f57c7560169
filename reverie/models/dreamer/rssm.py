"""The recurrent state-space model (Hafner et al. 2019): deterministic path and stochastic latent.

h_t = cell(h_{t-1}, z_{t-1}, a_{t-1})        recurrent state
z_t ~ p(z_t | h_t)                           prior: imagination
z_t ~ q(z_t | h_t, e_t)                      posterior: e_t embeds what was sensed at t
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reverie.models.dreamer.cell import BlockGRU, cell
from reverie.models.dreamer.config import CellConfig, LatentConfig
from reverie.models.dreamer.latent import Categorical, latent
from reverie.models.dreamer.sequence import Steps, unroll
from reverie.nn.layers import MLP, fill_truncated_normal, linear, norm_silu, precise


class RSSMState(NamedTuple):
    """s_t."""

    deter: Tensor
    """h_t `[B, D]`."""
    stoch: Tensor
    """Flat sample z_t `[B, Z]`."""


class Posterior(nn.Module):
    """Raw outputs of q(z | h, e), `[.., outputs]`, with e's share computed apart from h's."""

    def __init__(self, deter: int, embedding: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.from_deter = linear(deter, hidden)
        self.from_embedding = nn.Linear(embedding, hidden, bias=False)
        fill_truncated_normal(self.from_deter.weight, deter + embedding)
        fill_truncated_normal(self.from_embedding.weight, deter + embedding)
        self.gain = nn.Parameter(torch.ones(hidden))
        self.output = linear(hidden, outputs)

    def forward(self, deter: Tensor, embedded: Tensor) -> Tensor:
        """From h `[.., D]` and `from_embedding(e)` `[.., H]`."""
        return precise(self.output(norm_silu(self.from_deter(deter) + embedded, self.gain)))


class RSSM(nn.Module):
    """Filter and predictor over `RSSMState`."""

    def __init__(
        self, cell_config: CellConfig, latent_config: LatentConfig, embedding: int, action: int
    ) -> None:
        super().__init__()
        deter, hidden, outputs = cell_config.deter, cell_config.hidden, latent_config.outputs
        self.latent = latent(latent_config)
        self.cell = cell(cell_config, latent_config.size, action)
        self.prior_net = MLP(deter, outputs, hidden, layers=2)
        self.posterior_net = Posterior(deter, embedding, hidden, outputs)
        self.sizes = (deter, latent_config.size)
        self.steps = Steps()

    def initial(self, batch: int) -> RSSMState:
        """Zeros."""
        like = self.posterior_net.gain
        return RSSMState(*(like.new_zeros(batch, size) for size in self.sizes))

    def prior(self, deter: Tensor) -> Tensor:
        """Parameters of p(z | h)."""
        return self.latent.parameters(self.prior_net(deter))

    def step(self, state: RSSMState, action: Tensor, noise: Tensor) -> RSSMState:
        """s_{t+1} ~ p(. | s_t, a_t); action `[B, A]`."""
        deter = self.cell(state.deter, state.stoch, self.cell.embed(action))
        return RSSMState(deter, self.latent.sample(self.prior(deter), noise))

    def observe(
        self, state: RSSMState, action: Tensor, embedding: Tensor, first: Tensor, noise: Tensor
    ) -> tuple[RSSMState, Tensor]:
        """s_t ~ q(. | s_{t-1}, a_{t-1}, e_t) and q's parameters; rows where `first` start anew."""
        keep = (~first).to(action.dtype).unsqueeze(-1)
        deter, stoch = state.deter * keep, state.stoch * keep
        deter = self.cell(deter, stoch, self.cell.embed(action * keep))
        raw = self.posterior_net(deter, self.posterior_net.from_embedding(embedding))
        posterior = self.latent.parameters(raw)
        return RSSMState(deter, self.latent.sample(posterior, noise)), posterior

    def observe_all(
        self, state: RSSMState, action: Tensor, embedding: Tensor, first: Tensor, noise: Tensor
    ) -> tuple[RSSMState, Tensor]:
        """The loop of `observe` over `[B, T, ...]`, noise `[T, B, ...]`; states and parameters.

        For the block GRU with categorical latents the gradient is written out by hand
        (`sequence.unroll`); other parts, and all under autocast, use the plain loop.
        """
        mixed = torch.is_autocast_enabled(embedding.device.type)
        if isinstance(self.cell, BlockGRU) and isinstance(self.latent, Categorical) and not mixed:
            keep = (~first).to(action.dtype).unsqueeze(-1)
            actions = self.cell.embed(action * keep)
            embedded = self.posterior_net.from_embedding(embedding)
            deter, stoch, posterior = unroll(
                self.cell,
                self.posterior_net,
                self.latent,
                state,
                actions,
                embedded,
                keep,
                noise,
                self.steps,
            )
            return RSSMState(deter, stoch), posterior
        states, posteriors = [], []
        for t in range(first.shape[1]):
            state, posterior = self.observe(
                state, action[:, t], embedding[:, t], first[:, t], noise[t]
            )
            states.append(state)
            posteriors.append(posterior)
        deter, stoch = (torch.stack(column, 1) for column in zip(*states, strict=True))
        return RSSMState(deter, stoch), torch.stack(posteriors, 1)
