"""The recurrent cell: h_t from h_{t-1}, the latent sample z_{t-1} and the action a_{t-1}.

Legend: `D` deter, `H` hidden, `G` blocks, `Z` flat latent, `A` action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reverie.models.dreamer.config import CellConfig
from reverie.nn.layers import (
    BlockLinear,
    Dense,
    fill_truncated_normal,
    linear,
    norm_silu,
    tanh,
    tanh_,
)
from reverie.nn.products import linear as affine


def bounded(action: Tensor) -> Tensor:
    """a / max(1, |a|): what lies outside [-1, 1] reaches the model as its clipped value."""
    if not torch.is_grad_enabled():
        return action.clamp(-1.0, 1.0)
    return action / action.detach().abs().clamp_min(1.0)


class BlockGRU(nn.Module):
    """The cell of DreamerV3: a GRU whose recurrent weights are G blocks (Hafner et al. 2023).

    x = [dense(h), dense(z), dense(a)]                       `[B, 3 H]`
    y = silu(norm(x W_x + block(h) + b))                     `[B, D]`
    r, c, u = block(y), each `[B, D]`
    h' = s(u - 1) tanh(s(r) c) + (1 - s(u - 1)) h, with s the sigmoid.

    x W_x + block(h) is the block-linear layer of [x, h_g] written without copying x to each block.
    """

    def __init__(self, config: CellConfig, latent: int, action: int) -> None:
        super().__init__()
        wide, hidden, blocks = config.deter, config.hidden, config.blocks
        fan_in = 3 * hidden * blocks + wide
        self.deter_in = Dense(wide, hidden)
        self.latent_in = Dense(latent, hidden)
        self.action_in = Dense(action, hidden)
        self.mix = nn.Parameter(torch.empty(3 * hidden, wide))
        fill_truncated_normal(self.mix, fan_in)
        self.recur = BlockLinear(wide, wide, blocks, fan_in)
        self.gain = nn.Parameter(torch.ones(wide))
        self.gates = BlockLinear(wide, 3 * wide, blocks)

    def embed(self, action: Tensor) -> Tensor:
        """What the cell reads of an action, `[.., H]`; not recurrent, so done once in training."""
        return self.action_in(bounded(action))

    def forward(self, deter: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        """h' `[B, D]` from h `[B, D]`, z `[B, Z]` and the embedded action `[B, H]`."""
        x = torch.cat([self.deter_in(deter), self.latent_in(latent), action], -1)
        y = norm_silu(self.recur(deter) + affine(x, self.mix.t()), self.gain)
        blocks = self.gates.weight.shape[0]
        gates = self.gates(y).unflatten(-1, (blocks, 3, -1))
        reset, candidate, update = (gate.flatten(-2) for gate in gates.unbind(-2))
        return blend(deter, reset, candidate, update)


class PlainGRU(nn.Module):
    """The cell of PlaNet, Dreamer v1 and v2: dense([z, a]) into a GRU with one norm on its gates.

    The update gate starts low (bias -1), as in DreamerV2.
    """

    def __init__(self, config: CellConfig, latent: int, action: int) -> None:
        super().__init__()
        self.input = Dense(latent + action, config.hidden)
        self.gates = linear(config.hidden + config.deter, 3 * config.deter)
        self.norm = nn.LayerNorm(3 * config.deter)

    def embed(self, action: Tensor) -> Tensor:
        """The action itself, bounded."""
        return bounded(action)

    def forward(self, deter: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        """h' `[B, D]` from h `[B, D]`, z `[B, Z]` and the action `[B, A]`."""
        x = self.input(torch.cat([latent, action], -1))
        reset, candidate, update = self.norm(self.gates(torch.cat([x, deter], -1))).chunk(3, -1)
        return blend(deter, reset, candidate, update)


def blend(deter: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """h' = s(u - 1) tanh(s(r) c) + (1 - s(u - 1)) h, with s the sigmoid."""
    reset, candidate, update = (gate.to(deter.dtype) for gate in (reset, candidate, update))
    if torch.is_grad_enabled():
        candidate = tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(deter, candidate, torch.sigmoid(update - 1))
    candidate = tanh_(torch.sigmoid(reset).mul_(candidate))
    return torch.lerp(deter, candidate, (update - 1).sigmoid_())


def cell(config: CellConfig, latent: int, action: int) -> BlockGRU | PlainGRU:
    """The cell that a config names."""
    return (BlockGRU if config.kind == "block_gru" else PlainGRU)(config, latent, action)
