"""How do jointed rigid bodies move, and touch?"""

from reverie.physics.rigid.check import Overlap, check_rigid, overlapping
from reverie.physics.rigid.contact import damping_of
from reverie.physics.rigid.kinematics import Kinematics, kinematics
from reverie.physics.rigid.load import Loaded, load
from reverie.physics.rigid.model import (
    ActuatorParams,
    BodyParams,
    ContactParams,
    JointParams,
    Law,
    RigidModel,
    RigidParams,
    RigidState,
)
from reverie.physics.rigid.step import rigid_step

__all__ = [
    "ActuatorParams",
    "BodyParams",
    "ContactParams",
    "JointParams",
    "Kinematics",
    "Law",
    "Loaded",
    "Overlap",
    "RigidModel",
    "RigidParams",
    "RigidState",
    "check_rigid",
    "damping_of",
    "kinematics",
    "load",
    "overlapping",
    "rigid_step",
]
