"""What a prediction is conditioned on, of several kinds at once, any of which may be missing.

Robot actions, discrete choices, camera motion, proprioception and text become one vector for each
frame. Condition p of P is read by a network of its own; a learnt vector n_p stands in for it where
it is missing, or dropped for guidance without a classifier (Ho and Salimans 2022, arXiv
2207.12598); an MLP reads the sum:

    c = MLP(sum_p (k_p e_p(x_p) + (1 - k_p) n_p) / sqrt(P)),   k_p = known and not dropped.

Legend: `B` batch, `T` frames, `A` entries of an action, `P` conditions, `R` of them constant in an
episode, `H` hidden units, `C` conditioning width, `...` any axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.core.model import Obs
from reverie.core.spec import Space
from reverie.nn.layers import MLP, fill_truncated_normal, linear, precise
from reverie.nn.text import TextConfig, TextEncoder, TextTokens, present, sinusoids

Kind = Literal["continuous", "discrete", "camera"]
EMBODIMENT = "embodiment"
"""The entry of the context, int64, that says which robot a row is of."""


@dataclass(frozen=True)
class Part:
    """Entries `start:stop` of an action that are missing or known together.

    Continuous entries are best scaled to -1..1. A discrete part is a one-hot vector. A camera's
    motion has six entries: a translation, and a rotation vector [rad]. NaN in all entries says
    that the part is missing, NaN in some that those are unknown: an arm with fewer joints.
    """

    name: str
    start: int
    stop: int
    kind: Kind = "continuous"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(
                f"Part {self.name!r} is of the kind {self.kind!r}; choose one of {get_args(Kind)}."
            )
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"Part {self.name!r} has the entries {self.start}:{self.stop}; it needs at least "
                "one, counted from 0."
            )
        if self.kind == "camera" and self.stop - self.start != 6:
            raise ValueError(
                f"Part {self.name!r} has {self.stop - self.start} entries; a camera's motion has "
                "6: a translation and a rotation vector."
            )


def whole(action: Space) -> tuple[Part, ...]:
    """The action as one part: what holds unless somebody says more."""
    return (Part("action", 0, action.size, "discrete" if action.discrete else "continuous"),)


@dataclass(frozen=True)
class ConditionsConfig:
    """The sizes of `Conditions`."""

    width: int = 256
    """C."""
    hidden: int = 256
    """H."""
    fourier: int = 4
    """Octaves of Fourier features of continuous values; 0 for none."""
    text: TextConfig = field(default_factory=TextConfig)


class Context(NamedTuple):
    """What is constant in an episode, read once: a state carries it."""

    vectors: Tensor
    """`[B, R, H]`."""
    embodiment: Tensor
    """int64 `[B]`; zeros where there is but one."""


class Conditions(nn.Module):
    """Actions, sensors and context to one vector a frame, `[B, T, C]`.

    `names` are those of the P conditions, in the order of the last axis of `drop`: the parts, the
    sensors, then the context, the latter two in alphabetical order.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        sensors: Mapping[str, Space] | None = None,
        context: Mapping[str, Space] | None = None,
        config: ConditionsConfig | None = None,
    ) -> None:
        """Conditions of an action divided into `parts`, of `sensors` and of `context`.

        A sensor is a vector of floats or a discrete choice, read at every frame. A context is a
        text (uint8 of shape `(L,)`, see `reverie.nn.text`), a vector of floats, such as the
        embedding of a text by any model, or `"embodiment"`, int64 in 0..high. Embodiments share
        all but the first linear map of continuous parts and sensors.

        Raises:
            ValueError: the parts do not divide an action, a name comes twice, there is nothing to
                read, or a space cannot be read.
        """
        super().__init__()
        self.config = config = config or ConditionsConfig()
        self.parts, self.sensors = tuple(parts), dict(sorted((sensors or {}).items()))
        self.context = dict(sorted((context or {}).items()))
        self.embodiments = _embodiments(self.context.pop(EMBODIMENT, None))
        self.names = (*(part.name for part in self.parts), *self.sensors, *self.context)
        self.size = _require(self.parts, self.names)
        kinds: list[tuple[str, int]] = [(p.kind, p.stop - p.start) for p in self.parts]
        kinds += [(_kind(name, space), space.size) for name, space in self.sensors.items()]
        self.readers = nn.ModuleList(
            Reader(kind, size, config.hidden, config.fourier, self.embodiments)
            for kind, size in kinds
        )
        self.constants = nn.ModuleList(
            TextEncoder(config.hidden, config.text)
            if _kind(name, space, texts=True) == "text"
            else linear(space.size, config.hidden)
            for name, space in self.context.items()
        )
        self.missing = nn.Parameter(torch.randn(len(self.names), config.hidden) / 2)
        self.output = MLP(config.hidden, config.width, config.hidden, 1)

    def encode(self, batch: int, context: Obs | None = None) -> Context:
        """What is constant in an episode: once for each row, not once for each frame.

        An absent entry is missing in all rows. `"<name>.present"` bool `[B]`, a text of zeros, or
        an embedding of NaN says in which rows it is missing.

        Raises:
            ValueError: there are several embodiments, and the context does not say which.
        """
        given, nulls = context or {}, self.missing[len(self.readers) :]
        which = given.get(EMBODIMENT)
        if self.embodiments == 1:
            which = torch.zeros(batch, dtype=torch.int64, device=nulls.device)
        if which is None:
            raise ValueError(
                f"This model knows {self.embodiments} embodiments and the context has "
                f"{sorted(given)}; add {EMBODIMENT!r}, int64 of shape ({batch},)."
            )
        read = zip(self.context, self.constants, nulls, strict=True)
        vectors = [self._constant(*one, given).expand(batch, -1) for one in read]
        return Context(torch.stack(vectors, 1) if vectors else nulls.expand(batch, -1, -1), which)

    def _constant(self, name: str, layer: nn.Module, null: Tensor, given: Obs) -> Tensor:
        if name not in given:
            return null
        value = given[name]
        if isinstance(layer, TextEncoder):
            known, vector = present(value), layer.pool(value)
            if f"{name}.present" in given:
                known = known & given[f"{name}.present"]
        else:
            value, valid = cleaned(value, given.get(f"{name}.present"))
            known, vector = valid.any(-1), layer(value.to(null.dtype))
        return torch.where(known[:, None], vector, null)

    def tokens(self, name: str, context: Obs, drop: Tensor | None = None) -> TextTokens:
        """The bytes of the text `name` for cross-attention; `drop` bool `[B]` hides it in a row."""
        encoder = self.constants[list(self.context).index(name)]
        shown = context.get(f"{name}.present")
        text = context[name] if shown is None else context[name] * shown[:, None]
        tokens: TextTokens = encoder(text if drop is None else text * ~drop[:, None])
        return tokens

    def without(self, *names: str) -> Tensor:
        """The `drop` of a pass that knows nothing of `names`, bool `[P]`; of all, if none is named.

        Raises:
            ValueError: there is no such condition.
        """
        if not {*names} <= {*self.names}:
            raise ValueError(f"{names} are not all among the conditions; there are {self.names}.")
        hidden = [not names or name in names for name in self.names]
        return torch.tensor(hidden, device=self.missing.device)

    def forward(
        self, action: Tensor, context: Context, obs: Obs | None = None, drop: Tensor | None = None
    ) -> Tensor:
        """The vector of each frame `[B, T, C]`, float32 at least.

        Args:
            action: `[B, T, A]`, NaN in the parts that are missing.
            context: from `encode`.
            obs: sensors `[B, T, ...]`; one that is absent is missing at all frames, and
                `"<name>.present"` bool `[B, T]`, or NaN, says at which.
            drop: bool, broadcast to `[B, T, P]`: conditions to treat as missing.

        Raises:
            ValueError: the action, or `drop`, has another size.
        """
        self._check(action, drop)
        vectors, known = self._read(action, context, obs or {})
        if drop is not None:
            known = known & ~drop
        chosen = torch.where(known[..., None], vectors, self.missing)
        vector: Tensor = self.output(chosen.sum(-2) / math.sqrt(len(self.names)))
        return vector

    def _read(self, action: Tensor, context: Context, obs: Obs) -> tuple[Tensor, Tensor]:
        """The vectors of all conditions `[B, T, P, H]`, and which are known, bool `[B, T, P]`."""
        rows, frames = action.shape[:2]
        always = torch.ones(rows, frames, dtype=torch.bool, device=action.device)
        given: list[Tensor | None] = [action[..., p.start : p.stop] for p in self.parts]
        given += [obs.get(name) for name in self.sensors]
        vectors, known = [], []
        for name, reader, value in zip(self.names, self.readers, given, strict=False):
            if value is None:
                vectors.append(self.missing.new_zeros(1).expand(rows, frames, self.config.hidden))
                known.append(~always)
            else:
                shown = obs.get(f"{name}.present") if name in self.sensors else None
                x, valid = cleaned(value, shown)
                vectors.append(reader(x, valid, context.embodiment).to(self.missing.dtype))
                known.append(valid.any(-1))
        for constant in context.vectors.unbind(1):
            vectors.append(constant[:, None].expand(-1, frames, -1))
            known.append(always)
        return torch.stack(vectors, -2), torch.stack(known, -1)

    def _check(self, action: Tensor, drop: Tensor | None) -> None:
        if action.ndim != 3 or (self.size and action.shape[-1] != self.size):
            raise ValueError(f"Actions are {tuple(action.shape)}; expected [B, T, {self.size}].")
        if drop is not None and (drop.dtype != torch.bool or drop.shape[-1] != len(self.names)):
            raise ValueError(
                f"`drop` is {drop.dtype} of shape {tuple(drop.shape)}; expected bool [B, T, "
                f"{len(self.names)}], or what broadcasts to it, the last axis for {self.names}."
            )


class Reader(nn.Module):
    """e(x) = W2 silu(W1 f(x) + b1) + b2, `[B, T, size] -> [B, T, H]`, f the features of the kind.

    Of continuous values f is `fourier`, of discrete ones the identity; of a camera's motion it is
    `fourier` of the translation with R - I, R the matrix of the rotation, so that rotation vectors
    that turn alike read alike. W1 and b1 are the embodiment's where values are continuous.
    """

    def __init__(self, kind: str, size: int, hidden: int, octaves: int, embodiments: int) -> None:
        super().__init__()
        self.kind = kind
        self.octaves = 0 if kind == "discrete" else octaves
        moved = 3 if kind == "camera" else size
        features = moved * (1 + 2 * self.octaves) + (9 if kind == "camera" else 0)
        self.first = EmbodiedLinear(features, hidden, embodiments if kind == "continuous" else 1)
        self.second = linear(hidden, hidden)

    def forward(self, x: Tensor, valid: Tensor, embodiment: Tensor) -> Tensor:
        """`[B, T, size]` without NaN, where it is valid, and embodiments `[B]`, to `[B, T, H]`."""
        if self.kind == "camera":
            turned = rotation(x[..., 3:]) - torch.eye(3, dtype=x.dtype, device=x.device)
            moved = fourier(x[..., :3], valid[..., :3], self.octaves)
            features = torch.cat([moved, turned.flatten(-2)], -1)
        else:
            features = fourier(x, valid, self.octaves)
        return self.second(F.silu(self.first(features, embodiment)))


class EmbodiedLinear(nn.Module):
    """y_b = W_e x_b + b_e with e the embodiment of row b, `[B, T, inputs] -> [B, T, outputs]`.

    As one product with inputs laid out by embodiment. To gather W_e for every row was 10 to 35
    times slower for 1,024 rows of one frame, as planners have them, and 1 to 4 times faster for 32
    rows of 16 (one core, 3 and 8 robots). A map for each robot: `DomainAwareLinear` of Cosmos 3.
    """

    def __init__(self, inputs: int, outputs: int, embodiments: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, embodiments, inputs))
        fill_truncated_normal(self.weight, inputs)
        # Not zero: else the norm in the last MLP makes a small value as loud as a large one.
        self.bias = nn.Parameter(torch.empty(embodiments, outputs).uniform_(-1, 1))

    def forward(self, x: Tensor, embodiment: Tensor) -> Tensor:
        """`[B, T, inputs]` and int64 `[B]`, to `[B, T, outputs]`."""
        x, count = x.to(self.weight.dtype), len(self.bias)
        if count == 1:
            return F.linear(x, self.weight[:, 0], self.bias[0])
        one = F.one_hot(embodiment, count).to(x.dtype)[:, None]
        laid = (one[..., None] * x[..., None, :]).flatten(-2)
        return F.linear(laid, self.weight.flatten(1)) + one @ self.bias


class LevelEmbedding(nn.Module):
    """How noisy a frame is, and how far one denoising step goes, as a vector `[..., C]`.

    W2 silu(W1 [s(1000 tau), s(-log2 d)] + b1) + b2, s of `sinusoids`: the noise level tau in 0..1,
    and the share d in 0..1 of the way that a step covers (Frans et al. 2024, arXiv 2410.12557).
    d below 2^-16 counts as 2^-16, so 0 is the limit of small steps: plain flow matching.
    """

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.size = 2 * frequencies
        self.hidden, self.output = linear(2 * self.size, width), linear(width, width)

    def forward(self, tau: Tensor, step: Tensor | None = None) -> Tensor:
        """Levels `[...]`, and steps that broadcast to them (0 without), to `[..., C]`."""
        tau = precise(tau)
        step = torch.zeros_like(tau) if step is None else precise(step).expand_as(tau)
        halvings = -step.clamp(min=2.0**-16).log2()
        level = sinusoids(1000 * tau, self.size, 10_000.0)
        both = torch.cat([level, sinusoids(halvings, self.size, 100.0)], -1)
        hidden = self.hidden(both.to(self.hidden.weight.dtype))
        return precise(self.output(F.silu(hidden)))


def cleaned(x: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x `[..., N]` with zeros for what is unknown, and what is known, bool `[..., N]`.

    Unknown is NaN, and all entries where `shown` `[...]` is false, whatever they hold. It is taken
    out before any weight sees it: NaN times a gradient of zero would be NaN.
    """
    x = precise(x)
    valid = ~x.isnan()
    if shown is not None:
        valid = valid & shown[..., None]
    return torch.where(valid, x, 0.0), valid


def fourier(x: Tensor, valid: Tensor, octaves: int) -> Tensor:
    """[x, sin(2^k pi x), cos(2^k pi x)] for k < octaves, `[..., N] -> [..., N (1 + 2 octaves)]`.

    A position in -1..1 is told to 2^-octaves by values of order one (Mildenhall et al. 2020, eq. 4
    of arXiv 2003.08934). Where an entry is not `valid` (x is zero there), all its features are.
    """
    if not octaves:
        return x
    scale = math.pi * 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device)
    angle = x[..., None] * scale
    return torch.cat([x, angle.sin().flatten(-2), (angle.cos() * valid[..., None]).flatten(-2)], -1)


def rotation(vector: Tensor) -> Tensor:
    """The matrix that turns about r by |r| [rad], `[..., 3] -> [..., 3, 3]` (Rodrigues).

    R = cos(t) I + sinc(t) [r]x + (1 - cos t) / t^2 r r^T with t = |r|; smooth at zero too.
    """
    turn = torch.linalg.vector_norm(vector, dim=-1)[..., None, None]
    unit = torch.eye(3, dtype=vector.dtype, device=vector.device)
    cross = torch.linalg.cross(unit.expand(*vector.shape, 3), vector[..., None, :])
    outer = vector[..., :, None] * vector[..., None, :]
    half = torch.sinc(turn / (2 * math.pi)) ** 2 / 2
    return turn.cos() * unit + torch.sinc(turn / math.pi) * cross + half * outer


def _require(parts: Sequence[Part], names: Sequence[str]) -> int:
    """A; raises where parts do not divide an action, or names do not tell conditions apart."""
    end = 0
    for part in sorted(parts, key=lambda part: part.start):
        if part.start != end:
            raise ValueError(
                f"Part {part.name!r} starts at entry {part.start} and the parts before it end at "
                f"{end}; parts must divide the action without gap or overlap."
            )
        end = part.stop
    if not names or len({*names}) < len(names):
        given = f"The conditions (parts, sensors, context) are {tuple(names)}"
        raise ValueError(f"{given}; give at least one, and to each a name of its own.")
    return end


def _embodiments(space: Space | None) -> int:
    """How many embodiments the context tells apart."""
    if space is None:
        return 1
    high = space.high
    if space != Space((), "int64", 0, high) or isinstance(high, tuple) or not 0 <= high < math.inf:
        raise ValueError(f"{EMBODIMENT!r} is {space}; expected Space((), 'int64', 0, count - 1).")
    return int(high) + 1


def _kind(name: str, space: Space, texts: bool = False) -> str:
    """How a sensor, or an entry of the context where `texts`, is read."""
    if len(space.shape) == 1 and space.dtype.startswith("float"):
        return "discrete" if space.discrete else "continuous"
    if len(space.shape) == 1 and space.dtype == "uint8" and texts:
        return "text"
    raise ValueError(
        f"{name!r} is {space.dtype} of shape {space.shape}; a condition is a vector of floats or, "
        f"in the context alone, a text (uint8 of shape (L,)) or {EMBODIMENT!r}."
    )
