"""Sizes and parts of a Dreamer world model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class LatentConfig:
    """The stochastic part of the state."""

    kind: Literal["categorical", "gaussian"] = "categorical"
    """categorical: Dreamer v2 and v3. gaussian: PlaNet and Dreamer v1."""
    variables: int = 32
    """S, number of independent variables."""
    classes: int = 64
    """C, classes of each categorical variable; a Gaussian variable is one number."""
    unimix: float = 0.01
    """Share of the uniform distribution mixed into each categorical one."""
    min_std: float = 0.1
    """Smallest deviation of a Gaussian variable."""

    @property
    def size(self) -> int:
        """Numbers in a flat sample."""
        return self.variables * (self.classes if self.kind == "categorical" else 1)

    @property
    def outputs(self) -> int:
        """Numbers that parametrise the distribution."""
        return self.variables * (self.classes if self.kind == "categorical" else 2)


@dataclass(frozen=True)
class CellConfig:
    """The deterministic part of the state."""

    kind: Literal["block_gru", "gru"] = "block_gru"
    """block_gru: Dreamer v3. gru: PlaNet, Dreamer v1 and v2."""
    deter: int = 8192
    """D, width of the recurrent state."""
    hidden: int = 1024
    """Width of the layers around it."""
    blocks: int = 8
    """G, blocks of the block-diagonal weights."""


@dataclass(frozen=True)
class LossConfig:
    """Weights and bounds of the world-model losses."""

    kl: Literal["two_sided", "balanced", "single"] = "two_sided"
    """two_sided: dyn and rep each with its own weight and free nats (v3). balanced: one KL, its
    two gradients mixed (v2). single: the plain KL (PlaNet, v1)."""
    dyn: float = 1.0
    """Weight of KL(sg(posterior) || prior)."""
    rep: float = 0.1
    """Weight of KL(posterior || sg(prior))."""
    balance: float = 0.8
    """Share of the prior's gradient where `kl` is balanced."""
    free_nats: float = 1.0
    """A KL below this many nats costs no more [nat]."""
    decode: float = 1.0
    """Weight of each sensor's reconstruction."""
    reward: float = 1.0
    """Weight of the reward head."""
    continues: float = 1.0
    """Weight of the continue head."""


@dataclass(frozen=True)
class DreamerConfig:
    """One Dreamer world model; `sized` gives the published presets."""

    latent: LatentConfig = field(default_factory=LatentConfig)
    cell: CellConfig = field(default_factory=CellConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    units: int = 1024
    """Width of encoder, decoder and head layers."""
    depth: int = 64
    """Channels of the first convolution, before the multipliers 2, 3, 4, 4."""
    layers: int = 3
    """Layers of the vector encoder and decoder."""
    bins: int = 255
    """Bins of the reward head, symexp-spaced between -e^20 and e^20."""


# (deter, hidden, classes, depth, units), from the published presets of DreamerV3.
SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "1m": (512, 64, 4, 4, 64),
    "12m": (2048, 256, 16, 16, 256),
    "25m": (3072, 384, 24, 24, 384),
    "50m": (4096, 512, 32, 32, 512),
    "100m": (6144, 768, 48, 48, 768),
    "200m": (8192, 1024, 64, 64, 1024),
    "400m": (12288, 1536, 96, 96, 1536),
}


def sized(size: str, base: DreamerConfig | None = None) -> DreamerConfig:
    """`base` (default: DreamerV3) with the widths of a published size, "1m" to "400m".

    Raises:
        ValueError: the size is none of the presets.
    """
    if size not in SIZES:
        raise ValueError(f"No Dreamer size is called {size!r}; there are: {', '.join(SIZES)}.")
    deter, hidden, classes, depth, units = SIZES[size]
    base = base or DreamerConfig()
    return replace(
        base,
        latent=replace(base.latent, classes=classes),
        cell=replace(base.cell, deter=deter, hidden=hidden),
        depth=depth,
        units=units,
    )
