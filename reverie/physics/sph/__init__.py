"""Smoothed particles: liquids with a free surface, pressure, viscosity and walls that hold them."""

from reverie.physics.sph.material import SPHParams, SPHState
from reverie.physics.sph.solver import SPH

__all__ = ["SPH", "SPHParams", "SPHState"]
