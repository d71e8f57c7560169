"""The material point method: soft bodies, sand and liquids as particles that meet on a grid."""

from reverie.physics.mpm.material import Kind, MPMParams, MPMState
from reverie.physics.mpm.solver import MPM

__all__ = ["MPM", "Kind", "MPMParams", "MPMState"]
