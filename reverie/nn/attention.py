"""Attention, over tokens at hand and over keys and values that were kept from before.

    y = softmax(q K^T + M) V,    K = [K_past; K_new],    V = [V_past; V_new],

M zero where a query may look and -inf elsewhere. Queries come scaled, so nothing is divided here.

Legend: `N` sequences, `G` heads (or places times heads), `L` tokens, `P` tokens of the past, `d`
channels of a head, `H` heads, `D` width, `B` batch, `T` frames, `S` tokens of a frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn import products
from reverie.nn.layers import fill_truncated_normal
from reverie.nn.rotary import turned


class Past(NamedTuple):
    """What was kept."""

    keys: Tensor
    """`[N, G, P, d]`."""
    values: Tensor
    """`[N, G, P, d]`."""
    hidden: Tensor
    """M of the past: 0 or -inf, and broadcasts to `[N, G, L, P]`."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None = None,
    past: Past | None = None,
) -> Tensor:
    """y of the module, `[N, G, L, d]`; all of its type, in any memory order.

    Args:
        query: `[N, G, L, d]`, times 1 / sqrt(d).
        key: `[N, G, L, d]`.
        value: `[N, G, L, d]`.
        hidden: M of the tokens at hand, broadcasts to `[N, G, L, L]`; None: all see all.
        past: with it the products are taken in two parts, so that it is not copied next to the
            new keys (as quick in float32, 5 to 7 times in bfloat16: one core, 15 frames kept).

    torch's fused kernel is taken but for bfloat16 on a CPU, where plain products took 0.4 to 1.1 of
    its time forward, and 0.13 to 0.5 with the backward pass (one core with AMX, L = 8 to 64; in
    float32 0.9 to 1.7, and 0.6 to 1.7: `bench/spacetime.py`).
    """
    if past is None and not (query.dtype == torch.bfloat16 and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=hidden, scale=1.0)
    with torch.autocast(query.device.type, enabled=False):  # softmax stays in the type of q
        return by_products(query, key, value, hidden, past)


def by_products(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, past: Past | None
) -> Tensor:
    """`attend` by plain matrix products."""
    scores = query @ key.mT
    if hidden is not None:
        scores = scores + hidden
    if past is None:
        return scores.softmax(-1) @ value
    before = query @ past.keys.to(query.dtype).mT + past.hidden
    weight = torch.cat([before, scores], -1).softmax(-1)
    seen = before.shape[-1]
    kept = past.values.to(query.dtype)
    return weight[..., :seen] @ kept + weight[..., seen:] @ value


def computed(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type that linear layers return for inputs of `dtype` here, with autocast or without."""
    if dtype != torch.float64 and torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return dtype


class Weight(nn.Module):
    """x W^T, `[..., I] -> [..., O]`."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        fill_truncated_normal(self.weight, inputs, scale)

    def forward(self, x: Tensor) -> Tensor:
        """The product, by the faster library."""
        return products.linear(x, self.weight)


class Attention(nn.Module):
    """Attention along some axes of a video, with unit queries and keys turned by place (`rotary`).

    The logit of a query and a key, g a gain for each head and pair of channels, 1 at first:

        Re(sum_j g_j q'_j* k'_j) / sqrt(d).
    """

    def __init__(self, width: int, heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.heads, self.channels = heads, width // heads
        self.query, self.key, self.value = (Weight(width, width) for _ in range(3))
        self.output = Weight(width, width, scale)
        self.gain = nn.Parameter(torch.ones(heads, self.channels // 2))

    def forward(
        self,
        x: Tensor,
        phase: Tensor,
        axes: tuple[int, int],
        hidden: Tensor | None = None,
        past: Past | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`[B, T, S, D]` to the same, and the keys and values, `[N, G, L, d]`.

        Args:
            x: what looks and is seen.
            phase: of `rotary`, broadcasts to `[B, T, S, H, d / 2, 2]`.
            axes: which two of B, T, S, H become one: (0, 1) frames apart (N, L, G = B T, S, H),
                (2, 3) places apart (B, T, S H), (1, 2) neither (B, T S, H).
            hidden: M among the tokens at hand.
            past: of before.
        """

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, self.channels))

        def fold(y: Tensor) -> Tensor:
            return y.flatten(*axes).transpose(1, 2)

        gain = self.gain[..., None] * self.channels**-0.5
        query = fold(turned(split(self.query(x)), phase * gain))
        key = fold(turned(split(self.key(x)), phase))
        value = fold(split(self.value(x)))
        seen = attend(query, key, value, hidden, past).transpose(1, 2)
        return self.output(seen.reshape(x.shape)), (key, value)
