"""A transformer over video in which no frame sees a later one, and what it keeps of earlier ones.

A frame is S tokens. Block l of the network, on the residual stream x:

    x <- x + g_1 Space(m_1(x))                 a frame's tokens among themselves
    x <- x + g_2 Time(m_2(x))                  in every `time_every`-th block
    x <- x + g_3 W_3 (silu(W_1 u) * W_2 u),    u = m_3(x)           (SwiGLU)
    m_i(x) = (1 + s_i) n_i x / rms(x) + b_i

Shift b, scale s and gate g come from the conditioning vector c of the frame and are zero at first,
so every block begins as the identity (adaLN-zero, Peebles and Xie 2022, arXiv 2212.09748):

    (b, s, g) of block l = W silu(c) + U_l V_l silu(c),    W and U_l zero at first;

W is common to all blocks, U_l V_l has a small rank. Without conditions s = b = 0 and g = 1.

Time looks back in one of two layouts. "factorised": a token sees the tokens at its own place, in
its frame and earlier ones (Genie, Bruce et al. 2024, arXiv 2402.15391; rarely, as in Dreamer 4,
Hafner et al. 2025, arXiv 2509.24527). "joint": it takes the place of Space, and a token sees all
tokens of its frame and earlier ones. In both a frame sees at most `window` frames, itself included.
Where it lies is told by rotation alone (`rotary`): by row and column in Space, by frame in Time, by
all three where they are joint; so nothing depends on when a film began.

The keys and values of earlier frames are a value, `Cache`: passed in, returned, never written to.

Legend: `B` batch, `T` frames, `S` tokens of a frame, `D` width, `C` conditioning width, `H` heads,
`d` channels of a head, `P` frames kept, `G` the rows of attention of one film and `N` the keys that
a frame gives to each of them: S H and 1 where it is factorised, H and S where it is joint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.attention import Attention, Past, Weight, computed
from reverie.nn.layers import precise
from reverie.nn.modulation import Modulation
from reverie.nn.rotary import TIME, angles, grid_angles, phase

Layout = Literal["factorised", "joint"]


@dataclass(frozen=True)
class SpaceTimeConfig:
    """The sizes of `SpaceTime`."""

    width: int = 256
    """D."""
    depth: int = 6
    """Blocks."""
    heads: int = 4
    """H; D / H is a multiple of 4, and at least 8 where the layout is joint."""
    hidden: int | None = None
    """Channels inside the SwiGLU; None: 8 D / 3, rounded up to a multiple of 32."""
    time_every: int = 2
    """The last of so many blocks looks back; only such blocks keep keys and values."""
    layout: Layout = "factorised"
    window: int | None = 16
    """Frames that a frame sees at once, itself included; None: all."""
    registers: int = 0
    """Learnt tokens that every frame has beside its own: room to think."""

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise ValueError(f"Layout is {self.layout!r}; choose one of {get_args(Layout)}.")
        if self.width < 1 or self.heads < 1 or self.width % self.heads or self.channels % 4:
            raise ValueError(
                f"Width {self.width} with {self.heads} heads; each head needs a multiple of 4 "
                "channels, so give a width that is a multiple of 4 times the heads."
            )
        if self.layout == "joint" and self.channels < 8:
            raise ValueError(
                f"Heads have {self.channels} channels; where time, rows and columns share them "
                "(layout 'joint') give each head at least 8."
            )
        if not 1 <= self.time_every <= self.depth:
            raise ValueError(
                f"Every {self.time_every}-th of {self.depth} blocks looks back, which is none; "
                "give `time_every` between 1 and `depth`."
            )
        if (self.window is not None and self.window < 1) or self.registers < 0:
            raise ValueError(
                f"Window is {self.window} and registers {self.registers}; a frame sees itself, "
                "so give a window of at least 1 (or None for all), and registers of 0 or more."
            )
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(f"SwiGLU has {self.hidden} channels; give at least 1, or None.")

    @property
    def channels(self) -> int:
        """d."""
        return self.width // self.heads

    @property
    def inner(self) -> int:
        """Channels inside the SwiGLU."""
        return self.hidden or math.ceil(8 * self.width / 3 / 32) * 32


class Cache(NamedTuple):
    """Keys and values of earlier frames, newest last, of each block that looks back."""

    keys: tuple[Tensor, ...]
    """`[B, G, P N, d]` each, turned."""
    values: tuple[Tensor, ...]
    """`[B, G, P N, d]` each."""
    age: Tensor
    """int64 `[B]`: frames since a row began; of the P frames it has no more than these."""


def forget(cache: Cache, rows: Tensor) -> Cache:
    """The cache in which `rows`, bool `[B]`, begin anew."""
    return cache._replace(age=torch.where(rows, 0, cache.age))


class Clock(NamedTuple):
    """When and where the tokens are: the same for all blocks."""

    frame: Tensor
    """int64 `[B or 1, T]`: frames since the row began."""
    space: Tensor
    """Phases, `[1, 1, S, H, d / 2, 2]`."""
    time: Tensor
    """Phases, `[B or 1, T, S or 1, H, d / 2, 2]`."""
    hidden: Tensor | None
    """M of `attend` among the new frames; None where there is but one."""
    before: Tensor | None
    """M of `attend` from new frames to those kept; None without any."""


class SwiGLU(nn.Module):
    """W_3 (silu(W_1 x) * W_2 x), `[..., D] -> [..., D]` (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.gate, self.up = Weight(width, hidden), Weight(width, hidden)
        self.down = Weight(hidden, width, scale)

    def forward(self, x: Tensor) -> Tensor:
        """The equation above."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One block: Space, Time where it looks back, SwiGLU; or both in one, and SwiGLU."""

    def __init__(self, config: SpaceTimeConfig, looks: bool, condition: int | None) -> None:
        super().__init__()
        self.looks = looks
        self.joint = looks and config.layout == "joint"
        width, heads = config.width, config.heads
        scale = 1.0 if condition is not None else (2 * config.depth) ** -0.5
        self.space = Attention(width, heads, scale)
        self.time = Attention(width, heads, scale) if looks and not self.joint else None
        self.feed = SwiGLU(width, config.inner, scale)
        self.modulation = Modulation(width, 2 if self.time is None else 3, condition)

    def forward(
        self,
        x: Tensor,
        active: Tensor | None,
        shared: Tensor | None,
        clock: Clock,
        past: Past | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`[B, T, S, D]` to the same, and the keys and values `[B, G, T N, d]` if it looks back."""
        parts = self.modulation(active, shared)
        part = parts[0]
        if self.joint:
            change, kept = self.space(part.enter(x), clock.time, (1, 2), clock.hidden, past)
        else:
            change, kept = self.space(part.enter(x), clock.space, (0, 1))
        x = part.leave(x, change)
        if self.time is not None:
            part = parts[2]
            change, kept = self.time(part.enter(x), clock.time, (2, 3), clock.hidden, past)
            x = part.leave(x, change)
        part = parts[1]
        return part.leave(x, self.feed(part.enter(x))), kept


class SpaceTime(nn.Module):
    """Blocks over frames of h w tokens in a grid, row by row, and `extra` ones after them.

    Extra tokens, as registers, have no place in the grid: Space does not turn them. There is no
    norm behind the last block.
    """

    def __init__(
        self,
        config: SpaceTimeConfig,
        grid: tuple[int, int],
        extra: int = 0,
        condition: int | None = None,
    ) -> None:
        super().__init__()
        if min(grid) < 1 or extra < 0:
            raise ValueError(
                f"Grid is {grid} with {extra} extra tokens; give at least 1 x 1, and 0 or more."
            )
        self.config, self.grid = config, grid
        self.tokens = grid[0] * grid[1] + extra
        """Tokens of a frame that is passed in: h w + extra."""
        self.condition = condition
        looks = [(i + 1) % config.time_every == 0 for i in range(config.depth)]
        self.blocks = nn.ModuleList(Block(config, look, condition) for look in looks)
        if config.registers:
            self.registers = nn.Parameter(torch.randn(config.registers, config.width))
        if condition is not None:
            self.modulation = nn.Linear(condition, 9 * config.width)
            for parameter in self.modulation.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        cache: Cache | None = None,
        first: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """The tokens after all blocks, and what `append` adds to a cache where frames are kept.

        The cache is read and not changed, so a noisy frame may pass any number of times.

        Args:
            x: `[B, T, S, D]`.
            condition: c, `[B, T, C]`; None in a model that was made without.
            cache: the frames before; None where the films begin.
            first: bool `[B, T]`: films that begin anew in a frame, which then see nothing before.

        Returns:
            `[B, T, S, D]`, and keys and values of the T frames, with the age after them.

        Raises:
            ValueError: shapes do not fit this model, or a condition is missing.
        """
        self._check(x, condition, cache)
        if self.config.registers:
            rows = self.registers.to(x.dtype).expand(*x.shape[:2], -1, -1)
            x = torch.cat([x, rows], 2)
        kept = 0 if cache is None else cache.keys[0].shape[2] // self._length()
        clock = self._clock(x, cache, kept, first)
        active = shared = None
        if condition is not None:
            active = F.silu(condition)
            shared = self.modulation(active)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for block in self.blocks:
            past = None
            if block.looks and cache is not None and clock.before is not None:
                past = Past(cache.keys[len(keys)], cache.values[len(keys)], clock.before)
            x, pair = block(x, active, shared, clock, past)
            if block.looks:
                keys.append(pair[0])
                values.append(pair[1])
        age = (clock.frame[:, -1] + 1).expand(x.shape[0])
        return x[:, :, : self.tokens], Cache(tuple(keys), tuple(values), age)

    def empty_cache(self, batch: int, dtype: torch.dtype | None = None) -> Cache:
        """The cache before any frame: room for `window - 1`, or growing where there is no window.

        `dtype` is by default what the layers compute in here: half precision under autocast.
        """
        config, like = self.config, next(self.parameters())
        frames = 0 if config.window is None else config.window - 1
        places = self.tokens + config.registers
        groups = config.heads * (1 if config.layout == "joint" else places)
        shape = (batch, groups, frames * self._length(), config.channels)
        kind = dtype or computed(like.dtype, like.device)

        def room() -> tuple[Tensor, ...]:
            count = config.depth // config.time_every
            return tuple(like.new_zeros(shape, dtype=kind) for _ in range(count))

        age = torch.zeros(batch, dtype=torch.int64, device=like.device)
        return Cache(room(), room(), age)

    def append(self, cache: Cache, entries: Cache) -> Cache:
        """The cache with frames at its end, the oldest gone; `entries` as `forward` returned them.

        Everything is moved by as many frames. A ring would write in one place, but a cache is a
        value: it would be copied first, which takes as long (1.0 to 1.2 times).
        """
        window, length = self.config.window, self._length()

        def rolled(old: Tensor, new: Tensor) -> Tensor:
            if window is None:
                return torch.cat([old, new.to(old.dtype)], 2)
            size = (window - 1) * length
            new = new[:, :, max(new.shape[2] - size, 0) :].to(old.dtype)
            return torch.cat([old[:, :, new.shape[2] :], new], 2)

        keys = (rolled(*pair) for pair in zip(cache.keys, entries.keys, strict=True))
        values = (rolled(*pair) for pair in zip(cache.values, entries.values, strict=True))
        return Cache(tuple(keys), tuple(values), entries.age)

    def _length(self) -> int:
        """N."""
        return self.tokens + self.config.registers if self.config.layout == "joint" else 1

    def _clock(self, x: Tensor, cache: Cache | None, kept: int, first: Tensor | None) -> Clock:
        config, device = self.config, x.device
        age = torch.zeros(1, dtype=torch.int64, device=device) if cache is None else cache.age
        frame, seen, before = visible(x.shape[1], config.window, age, kept, first)
        half = config.channels // 2
        joint = config.layout == "joint"
        count = half // 3 if joint else half // 2

        def phases(angle: Tensor) -> Tensor:
            turn = phase(angle, precise(x).dtype)[..., None, :, :]
            return turn.expand(*angle.shape[:-1], config.heads, -1, -1).contiguous()

        place = grid_angles(self.grid, count, count, device)
        place = F.pad(place, (0, 0, 0, x.shape[2] - place.shape[0]))
        moment = angles(frame, half - 2 * count if joint else half, TIME)[:, :, None]
        if joint:
            shape = (*frame.shape, x.shape[2], -1)
            moment = torch.cat([place.expand(shape), moment.expand(shape)], -1)
            place = F.pad(place, (0, half - 2 * count))
        dtype = computed(x.dtype, device)
        masks = (closed(mask, x.shape[2] if joint else 1, dtype) for mask in (seen, before))
        return Clock(frame, phases(place)[None, None], phases(moment), *masks)

    def _check(self, x: Tensor, condition: Tensor | None, cache: Cache | None) -> None:
        width = self.config.width
        if x.ndim != 4 or x.shape[2:] != (self.tokens, width) or not x.shape[1]:
            raise ValueError(
                f"Frames are {tuple(x.shape)}; expected [B, T, {self.tokens}, {width}] with T > 0."
            )
        given = None if condition is None else tuple(condition.shape)
        wanted = None if self.condition is None else (*x.shape[:2], self.condition)
        if given != wanted:
            raise ValueError(f"The condition's shape is {given}; this model takes {wanted}.")
        if cache is not None and len(cache.age) != len(x):
            raise ValueError(f"A cache of {len(cache.age)} rows with {len(x)} rows of frames.")


def visible(
    frames: int, window: int | None, age: Tensor, kept: int, first: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """How old new frames are, and what they see, of one another and of those kept.

    Args:
        frames: T new frames.
        window: that a frame sees, itself included.
        age: int64 `[B]` or `[1]`, frames before the new ones since the row began.
        kept: P frames before the new ones, of which a row has at most its age.
        first: bool `[B, T]`, frames before which nothing is seen.

    Returns:
        Age of the new frames, int64 `[B or 1, T]`; whether frame i sees j, bool `[B or 1, T, T]`,
        None where T = 1; and whether it sees what is kept, bool `[B, T, P]`, None where P = 0.
    """
    index = torch.arange(frames, device=age.device)
    slot = torch.arange(-kept, 0, device=age.device)
    frame = age[:, None] + index
    ago = index[:, None] - index
    seen = (ago >= 0)[None]
    before = (slot >= -age[:, None])[:, None]
    if window is not None:
        seen = seen & (ago < window)
        before = before & (index[:, None] - slot < window)
    if first is not None:
        begun = torch.where(first, index, -1).cummax(1).values
        frame = torch.where(begun >= 0, index - begun, frame)
        seen = seen & (index >= begun[..., None])
        before = before & (begun < 0)[..., None]
    before = before.expand(-1, frames, -1)
    return frame, seen if frames > 1 else None, before if kept else None


def closed(seen: Tensor | None, tokens: int, dtype: torch.dtype) -> Tensor | None:
    """M of `attend`: 0 where it is seen, else -inf; `[B, T, P]` to `[B, 1, T N, P N]`, N tokens."""
    if seen is None:
        return None
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -math.inf)
    if tokens > 1:
        mask = mask.repeat_interleave(tokens, -1).repeat_interleave(tokens, -2)
    return mask[:, None]
