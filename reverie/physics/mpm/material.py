"""What particles are made of, and what they meet.

Legend: `B` worlds, `N` particles, `K` tools.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor


class Kind(IntEnum):
    """The constitutive law of a particle: its Kirchhoff stress tau from its elastic strain.

    b is the elastic left Cauchy-Green tensor, e = 1/2 log b Hencky's strain, J the volume ratio.
    """

    NEO_HOOKEAN = 0
    """tau = mu (b - 1) + lam log(J) 1."""
    COROTATED = 1
    """tau = 2 mu (b - b^1/2) + lam (J - 1) J 1: fixed corotated elasticity (Stomakhin 2012)."""
    VON_MISES = 2
    """tau = 2 mu dev e + (lam + 2/3 mu) tr e 1, with |dev tau| <= sqrt(2/3) times the yield stress:
    what exceeds it flows."""
    SAND = 3
    """tau = 2 mu e + lam tr e 1, with |dev tau| <= -a (3 lam + 2 mu) tr e and nothing in tension:
    Drucker and Prager (Klar et al. 2016), with the correction of volume of Tampubolon et al. 2017.

    Every substep's transfers damp what is finer than some ten cells, so more substeps to a second
    stop a flow earlier. Take a Young's modulus of about 70 rho g h for sand h deep, no more, a dt
    near the stable one, and on a rough floor the sand's own friction, tan f: more than that glues
    down the lowest cell. A column of radius r wants r / dx of 16 for its run-out, a slope 8 cells.
    """
    LIQUID = 4
    """tau = -J p 1 + viscous, p = K / 7 (J^-7 - 1) (Tait), shear stress 2 eta dev(grad v) J."""
    SNOW = 5
    """Corotated with the moduli h mu and h lam, h = e^(10 min(1 - J_P, 1/5)): the stretches stay in
    1 - c .. 1 + 0.3 c, and the volume J_P of what goes beyond hardens snow that was pressed and
    softens what was torn (Stomakhin et al. 2013). Their c is 0.025; the bound of h is ours.
    """


STRETCHED = 0.3
"""How far snow is stretched before it tears, as a share of how far it is pressed before it packs
(Stomakhin et al. 2013)."""
HARDENING = 10.0
"""xi of snow (Stomakhin et al. 2013)."""
PACKED = 0.2
"""The most 1 - J_P that hardens snow further: its moduli rise by e^2 at most, which `stable_dt`
counts, and what presses harder than that packs it without end."""


class MPMState(NamedTuple):
    """Particles."""

    position: Tensor
    """x `[B, N, 3]` [m]."""
    velocity: Tensor
    """v `[B, N, 3]` [m/s]."""
    affine: Tensor
    """C = grad v `[B, N, 3, 3]` [1/s]."""
    strain: Tensor
    """b `[B, N, 3, 3]`, 1 at rest."""
    memory: Tensor
    """`[B, N]`: J of a liquid (1 at rest); the open volume log J of sand and log J_P of snow (0 at
    rest); else 0."""


class MPMParams(NamedTuple):
    """What particles are made of, by particle; see `material` for a whole body."""

    mass: Tensor
    """`[B, N]` [kg]."""
    volume: Tensor
    """At rest `[B, N]` [m^3]."""
    mu: Tensor
    """Shear modulus `[B, N]` [Pa]."""
    lam: Tensor
    """Lame's first parameter, or a liquid's bulk modulus K `[B, N]` [Pa]."""
    limit: Tensor
    """Yield stress [Pa], a = sqrt(2) / 3 tan f of sand's friction angle f, or c of snow."""
    viscosity: Tensor
    """eta `[B, N]` [Pa s]."""
    gravity: Tensor
    """`[B, 3]` [m/s^2]."""


def lame(young: Tensor, poisson: Tensor) -> tuple[Tensor, Tensor]:
    """mu = E / (2 (1 + nu)) and lam = E nu / ((1 + nu) (1 - 2 nu))."""
    mu = young / (2 * (1 + poisson))
    return mu, young * poisson / ((1 + poisson) * (1 - 2 * poisson))


def friction_limit(angle: Tensor) -> Tensor:
    """a = sqrt(2) / 3 tan f of sand that flows on slopes steeper than f = `angle` [rad].

    Sand that shears keeps its volume, so its strain rate and its deviator have the shear stress t
    alone, and the normal stress is the pressure p: |dev tau| = sqrt(2) t <= 3 a p is t <= p tan f.
    The circle through triaxial compression, sqrt(2/3) 2 sin f / (3 - sin f) (Klar et al. 2016),
    holds slopes of 34.7 degrees where f is 30.
    """
    return 2**0.5 / 3 * torch.tan(angle)


def at_rest(position: Tensor, kind: Tensor, velocity: Tensor | None = None) -> MPMState:
    """Particles at `position` `[B, N, 3]`, unstrained, moving alike or as told `[B, N, 3]`."""
    eye = torch.eye(3, dtype=position.dtype, device=position.device)
    strain = eye.expand(*position.shape[:2], 3, 3).clone()
    still = torch.zeros_like(position)
    memory = (kind == Kind.LIQUID).to(position).expand(position.shape[:2]).clone()
    moving = still if velocity is None else velocity.expand_as(position).clone()
    return MPMState(position, moving, torch.zeros_like(strain), strain, memory)
