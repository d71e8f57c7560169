"""The layers of TD-MPC2: linear, layer norm, then Mish or SimNorm; and ensembles of such.

Legend: `K` members of an ensemble, `N` rows, `I` inputs, `O` outputs, `V` groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.layers import precise
from reverie.nn.mish import EPS, norm_mish
from reverie.nn.products import Affine, linear, members
from reverie.nn.softmax import short_softmax


def fill_narrow(weight: Tensor) -> None:
    """Fill with N(0, 0.02^2), cut at +-2: at a hundred deviations, so in effect not at all."""
    with torch.no_grad():
        nn.init.trunc_normal_(weight, std=0.02)


def simnorm(x: Tensor, group: int) -> Tensor:
    """Softmax over each group of entries, `[..., V g] -> [..., V g]` (Lavoie et al. 2023).

    Every group is a point of a simplex: entries are in 0..1 and the groups sum to one.
    """
    return short_softmax(x.unflatten(-1, (-1, group))).flatten(-2)


class Shared(NamedTuple):
    """Rows that begin alike: [same, own_i]; the product with `same` is made once for all."""

    same: Tensor
    """`[I_1]`."""
    own: Tensor
    """`[N, I_2]`."""


class Dense(nn.Module):
    """mish(norm(x W^T + b)), `[..., I] -> [..., O]`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        fill_narrow(self.weight)

    def norm(self, x: Tensor) -> Tensor:
        """The same without Mish: what SimNorm is given."""
        x = linear(x, self.weight, self.bias)
        return F.layer_norm(x, x.shape[-1:], self.gain, self.shift, EPS)

    def forward(self, x: Tensor | Shared) -> Tensor:
        """`[..., I] -> [..., O]`."""
        if isinstance(x, Shared):
            same = x.same.shape[-1]
            bias = F.linear(x.same, self.weight[:, :same], self.bias)
            product = torch.addmm(bias, x.own, self.weight[:, same:].mT)
        else:
            product = linear(x, self.weight, self.bias)
        return norm_mish(product, self.gain, self.shift)


class MLP(nn.Module):
    """Dense layers, then a linear output, at least float32."""

    def __init__(
        self, inputs: int, outputs: int, width: int, layers: int = 2, zero: bool = False
    ) -> None:
        """`layers` of `width`; with `zero`, the output's weights begin at zero."""
        super().__init__()
        widths = [inputs, *[width] * layers]
        output = Affine(width, outputs)
        (nn.init.zeros_ if zero else fill_narrow)(output.weight)
        self.layers = nn.ModuleList([*(Dense(i, o) for i, o in pairwise(widths)), output])

    def forward(self, rows: Tensor | Shared) -> Tensor:
        """`[..., I] -> [..., O]`."""
        first, *rest = self.layers
        x: Tensor = first(rows)
        for layer in rest:
            x = layer(x)
        return precise(x)


class Latent(nn.Module):
    """Dense layers, then linear and norm; SimNorm of that, at least float32, is a latent z."""

    def __init__(self, inputs: int, latent: int, width: int, layers: int, group: int) -> None:
        super().__init__()
        widths = [inputs, *[width] * layers, latent]
        self.layers = nn.ModuleList(Dense(i, o) for i, o in pairwise(widths))
        self.group = group

    def logits(self, rows: Tensor | Shared) -> Tensor:
        """What SimNorm is given, `[..., I] -> [..., L]`."""
        first, *hidden, last = self.layers
        x: Tensor = first(rows)
        for layer in hidden:
            x = layer(x)
        assert isinstance(last, Dense)
        return last.norm(x)

    def forward(self, rows: Tensor | Shared) -> Tensor:
        """z, `[..., I] -> [..., L]`."""
        return simnorm(precise(self.logits(rows)), self.group)


class Weights(NamedTuple):
    """One layer of K members: `[K, O, I]`, `[K, O]`, and for all but the output norm's two."""

    weight: Tensor
    bias: Tensor
    gain: Tensor | None = None
    shift: Tensor | None = None


class EnsembleLayer(nn.Module):
    """The parameters of one layer of K networks, stacked."""

    def __init__(self, members: int, inputs: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        self.gain = nn.Parameter(torch.ones(members, outputs)) if norm else None
        self.shift = nn.Parameter(torch.zeros(members, outputs)) if norm else None
        if norm:
            fill_narrow(self.weight)
        else:
            nn.init.zeros_(self.weight)

    def weights(self, members: Tensor | None = None) -> Weights:
        """Its tensors; with `members` `[M]`, theirs alone and as constants."""
        own = (self.weight, self.bias, self.gain, self.shift)
        if members is None:
            return Weights(*own)
        return Weights(*(None if x is None else x.detach()[members] for x in own))  # type: ignore[arg-type]


class Ensemble(nn.Module):
    """K equal networks as one: every layer is one batched matrix product.

    Two Dense layers, the first with dropout before its norm, and a linear output that begins at
    zero.
    """

    def __init__(self, members: int, inputs: int, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                EnsembleLayer(members, inputs, width, norm=True),
                EnsembleLayer(members, width, width, norm=True),
                EnsembleLayer(members, width, outputs, norm=False),
            ]
        )
        self.dropout = dropout

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """All K, `[N, I] -> [K, N, O]`; `kept` `[K, N, width]`, 0 where an entry is dropped."""
        return run([layer.weights() for layer in self._parts()], [x], kept, self.dropout)

    def some(self, parts: Sequence[Tensor], members: Tensor, kept: Tensor | None = None) -> Tensor:
        """Those of `members` `[M]` alone, with constant parameters, `[M, N, O]`.

        The input is given in `parts` `[N, I_i]`: only where a part needs a gradient is one
        computed for it.
        """
        return run([layer.weights(members) for layer in self._parts()], parts, kept, self.dropout)

    def _parts(self) -> list[EnsembleLayer]:
        return [layer for layer in self.layers if isinstance(layer, EnsembleLayer)]


def run(
    layers: Sequence[Weights], parts: Sequence[Tensor], kept: Tensor | None, dropout: float
) -> Tensor:
    """`[K, N, O]` from parts `[N, I_i]` of one input.

    norm(x / (1 - p)) with the published eps is norm(x) with eps (1 - p)^2: dropout need not scale.
    """
    first, *middle, last = layers
    sizes = [part.shape[-1] for part in parts]
    weight, *others = first.weight.split(sizes, -1) if len(parts) > 1 else [first.weight]
    x = members(parts[0], weight, first.bias)
    for part, weight in zip(parts[1:], others, strict=True):
        x = torch.baddbmm(x, part.expand(weight.shape[0], -1, -1), weight.mT)
    eps = EPS
    if kept is not None:
        x, eps = x * kept, EPS * (1 - dropout) ** 2
    x = _normed(x, first, eps)
    for layer in middle:
        x = _normed(members(x, layer.weight, layer.bias), layer, EPS)
    return precise(members(x, last.weight, last.bias))


def _normed(x: Tensor, layer: Weights, eps: float) -> Tensor:
    assert layer.gain is not None and layer.shift is not None
    return norm_mish(x, layer.gain, layer.shift, eps)
