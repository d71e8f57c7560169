"""What a liquid is, and what its particles hold.

Legend: `B` worlds, `N` particles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SPHState(NamedTuple):
    """Particles."""

    position: Tensor
    """x `[B, N, 3]` [m]."""
    velocity: Tensor
    """v `[B, N, 3]` [m/s]."""
    density: Tensor
    """rho `[B, N]` [kg/m^3]."""


class SPHParams(NamedTuple):
    """A liquid."""

    mass: Tensor
    """Of each particle `[B, N]` [kg]: the density at rest times the volume that it stands for."""
    density: Tensor
    """At rest, rho_0 `[B]` [kg/m^3]."""
    sound: Tensor
    """Speed of sound c_0 `[B]` [m/s]. Ten times the largest speed keeps the density within 1 %;
    that of water would be true, and dt tiny."""
    viscosity: Tensor
    """Dynamic, eta `[B]` [Pa s]."""
    background: Tensor
    """Pressure at rest `[B]` [Pa]: 0 where there is a free surface. In what is full, rho_0 v^2
    keeps vortices from tearing the liquid apart."""
    gravity: Tensor
    """`[B, 3]` [m/s^2]."""


def pressure(density: Tensor, params: SPHParams) -> Tensor:
    """Tait: p = rho_0 c_0^2 / 7 ((rho / rho_0)^7 - 1) + background, `[B, N]` [Pa]."""
    rest, sound = params.density.unsqueeze(1), params.sound.unsqueeze(1)
    stiff = rest * sound * sound / 7
    return stiff * ((density / rest) ** 7 - 1) + params.background.unsqueeze(1)


def density_at(pressed: Tensor, params: SPHParams) -> Tensor:
    """The density under a pressure `[B, N]`: the inverse of `pressure`."""
    rest, sound = params.density.unsqueeze(1), params.sound.unsqueeze(1)
    ratio = 1 + 7 * (pressed - params.background.unsqueeze(1)) / (rest * sound * sound)
    return rest * ratio ** (1 / 7)


def at_rest(
    position: Tensor,
    params: SPHParams,
    velocity: Tensor | None = None,
    surface: float | None = None,
) -> SPHState:
    """Particles at `position` `[B, N, 3]`, moving alike or as told `[B, N, 3]`.

    Without `surface` they are at the density of rest; with it, the height of a level surface above
    them [m], at that of p = rho_0 g depth, so that a pool begins in balance.
    """
    pressed = params.background.unsqueeze(1).expand(position.shape[:2])
    if surface is not None:
        weight = (params.density * params.gravity.norm(dim=-1)).unsqueeze(1)
        pressed = pressed + weight * (surface - position[..., 2])
    moving = torch.zeros_like(position) if velocity is None else velocity.expand_as(position)
    return SPHState(position, moving.clone(), density_at(pressed, params))
