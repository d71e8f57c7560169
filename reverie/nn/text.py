"""Text as bytes: an encoder that needs no vocabulary, for the instructions that a robot is given.

A text is its UTF-8 bytes, padded with zeros. Embeddings of the bytes and sinusoids of their
positions pass a small pre-norm transformer in which nobody sees the padding, so that a text means
the same whatever it is padded to. Bytes as tokens: Xue et al. 2022 (ByT5, arXiv 2105.13626).

Legend: `B` batch, `L` bytes, `W` width, `C` outputs, `...` any axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.layers import linear, precise

NOTHING = 256
"""The token that stands where there is no text; a byte is its own token, 0..255."""


def encode_text(text: str, length: int) -> Tensor:
    """The UTF-8 bytes of `text` with zeros behind, uint8 `[length]`.

    Raises:
        ValueError: the text is blank, holds a zero character, or is longer than `length` bytes.
    """
    data = text.encode("utf-8", "replace")
    if not text.strip():
        raise ValueError(
            f"The text {text!r} is blank; say something, or give {length} zero bytes for no text."
        )
    if 0 in data:
        raise ValueError(f"The text {text!r} holds a zero character, which is the padding here.")
    if len(data) > length:
        raise ValueError(
            f"The text {text!r} has {len(data)} bytes in UTF-8 and there is room for {length}; "
            "shorten it, or build the model with a longer text."
        )
    return torch.tensor(list(data.ljust(length, b"\0")), dtype=torch.uint8)


def decode_text(data: Tensor) -> str:
    """The inverse of `encode_text`, uint8 `[L]`; what is no UTF-8 is read as U+FFFD.

    No text, all zeros, reads as the empty string.

    Raises:
        ValueError: `data` is not one row of bytes.
    """
    if data.dtype != torch.uint8 or data.ndim != 1:
        raise ValueError(
            f"A text is uint8 of shape (L,); got {data.dtype} of shape {tuple(data.shape)}."
        )
    return bytes(data.tolist()).rstrip(b"\0").decode("utf-8", "replace")


def sinusoids(x: Tensor, size: int, slowest: float) -> Tensor:
    """[sin(w_i x), cos(w_i x)], `[...] -> [..., size]`, with w_i from 1 down to 1 / slowest.

    w_i = slowest^(-i / (n - 1)) for i < n = size / 2; Vaswani et al. 2017, sec. 3.5. Computed in
    float32 at least.
    """
    x, count = precise(x), size // 2
    index = torch.arange(count, device=x.device, dtype=x.dtype)
    angle = x[..., None] * torch.exp(index * (-math.log(slowest) / max(count - 1, 1)))
    return torch.cat([angle.sin(), angle.cos()], -1)


@dataclass(frozen=True)
class TextConfig:
    """The size of a `TextEncoder`."""

    width: int = 128
    """W, a multiple of twice the heads."""
    layers: int = 2
    heads: int = 4
    slowest: float = 1000.0
    """Positions are told apart over this many bytes, and more."""

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"A text of width {self.width} with {self.heads} heads: the width must be a "
                f"multiple of {2 * self.heads}."
            )


class TextTokens(NamedTuple):
    """A text byte by byte, as cross-attention reads it; no row is without a token."""

    tokens: Tensor
    """`[B, L, W]`; only where `mask` do they mean anything."""
    mask: Tensor
    """bool `[B, L]`. Where there is no text the first entry is a learnt token that says so."""


class Block(nn.Module):
    """x' = x + A(norm(x)), x'' = x' + W2 gelu(W1 norm(x')); nobody attends to the padding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.RMSNorm(width), nn.RMSNorm(width)
        self.parts, self.joined = linear(width, 3 * width), linear(width, width)
        self.hidden, self.output = linear(width, 4 * width), linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`[B, L, W]` and bool `[B, L]` to `[B, L, W]`."""
        parts = self.parts(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, mask[:, None, None])
        x = x + self.joined(seen.transpose(1, 2).flatten(-2))
        return x + self.output(F.gelu(self.hidden(self.norm_hidden(x))))


class TextEncoder(nn.Module):
    """Bytes `[B, L]` to one vector `[B, C]` (`pool`) and to tokens `[B, L, W]` (`forward`).

    The vector joins the mean of the tokens with what a learnt query q picks among them,
    W [mean_l h_l, sum_l a_l h_l] + b with a = softmax_l(q . h_l / sqrt(W)). A row of zeros is no
    text: it counts as one learnt token.
    """

    def __init__(self, outputs: int, config: TextConfig | None = None) -> None:
        super().__init__()
        config = config or TextConfig()
        self.config = config
        self.embedding = nn.Embedding(NOTHING + 1, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.query = nn.Parameter(torch.randn(config.width))
        self.output = linear(2 * config.width, outputs)

    def forward(self, text: Tensor) -> TextTokens:
        """Tokens of uint8 `[B, L]`.

        Raises:
            ValueError: `text` is not a batch of bytes.
        """
        if text.dtype != torch.uint8 or text.ndim != 2:
            raise ValueError(
                f"A batch of texts is uint8 of shape (B, L); got {text.dtype} of shape "
                f"{tuple(text.shape)}. Make each row with `encode_text`."
            )
        place = torch.arange(text.shape[1], device=text.device)
        nothing = present(text).logical_not()[:, None] & (place == 0)
        tokens = text.long().masked_fill(nothing, NOTHING)
        mask = tokens != 0
        x = self.embedding(tokens)
        x = x + sinusoids(place.float(), self.config.width, self.config.slowest).to(x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return TextTokens(self.norm(x), mask)

    def pool(self, text: Tensor) -> Tensor:
        """One vector of each text, uint8 `[B, L] -> [B, C]`."""
        return self.summary(self(text))

    def summary(self, text: TextTokens) -> Tensor:
        """`pool` of a text whose tokens are known, `[B, C]`."""
        tokens, mask = text
        share = mask / mask.sum(-1, keepdim=True)
        score = (precise(tokens) @ precise(self.query)) / math.sqrt(tokens.shape[-1])
        weight = score.masked_fill(~mask, -math.inf).softmax(-1)
        both = torch.stack([share.to(weight.dtype), weight], 1).to(tokens.dtype)
        return precise(self.output((both @ tokens).flatten(1)))


def present(text: Tensor) -> Tensor:
    """In which rows of bytes `[..., L]` there is a text, bool `[...]`."""
    return (text != 0).any(-1)
