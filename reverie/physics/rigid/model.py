"""What articulated bodies are: the tree that never changes, the numbers that gradients may reach,
and the state.

    q = (free: xyz wxyz; ball: wxyz; hinge [rad]; slide [m])    in the order of the joints, `[B, Q]`
    v = (free: xyz in the world, angular along the axes of the body; ball: the same; ...)  `[B, V]`

That is MuJoCo's layout, so positions, velocities and controls can be exchanged with it. The world
is no body: where MuJoCo counts it as body 0, its children here have parent -1.
Legend: `B` worlds, `N` bodies, `V` velocities, `Q` positions, `G` geoms, `P` contact pairs,
`U` actuators.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

JointKind = Literal["free", "ball", "hinge", "slide"]
GeomKind = Literal[
    "plane", "field", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh", "nothing"
]
Three = tuple[float, float, float]
Four = tuple[float, float, float, float]

POSITIONS = {"free": 7, "ball": 4, "hinge": 1, "slide": 1}
VELOCITIES = {"free": 6, "ball": 3, "hinge": 1, "slide": 1}


@dataclass(frozen=True)
class Body:
    """A rigid body, and where its frame is in that of its parent before its joints move."""

    name: str
    parent: int
    """-1: the world."""
    place: Three
    turn: Four


@dataclass(frozen=True)
class Joint:
    """What lets a body move against its parent; a body's joints act in their order."""

    name: str
    kind: JointKind
    body: int
    position: int
    """Where its part of q begins."""
    velocity: int
    """Where its part of v begins."""
    anchor: Three
    """[m] in the frame of the body."""
    axis: Three
    """Unit vector in the frame of the body."""
    reference: float = 0.0
    """q of a hinge or slide at which the body is as its `place` and `turn` say."""


@dataclass(frozen=True)
class Geom:
    """A shape that is fixed to a body (or to the world, body -1).

    Its size by kind: sphere (radius), capsule and cylinder (radius, half length along z), ellipsoid
    and box (half sides), mesh (scale along its axes), field (half length x, half length y, height
    of the tops).
    """

    name: str
    kind: GeomKind
    body: int
    place: Three
    turn: Four
    shape: int = -1
    """Which mesh or height field."""


@dataclass(frozen=True)
class Pair:
    """Two geoms that may touch; kinds in the order in which `surfaces` knows them."""

    first: int
    second: int
    margin: float = 0.0
    """[m] at which they touch already."""


@dataclass(frozen=True)
class Actuator:
    """A force along one joint; with gear g: length g q, force on v: g f."""

    name: str
    joint: int
    gear: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A convex polyhedron; arrays of numpy, in its own frame."""

    vertices: np.ndarray
    """`[n, 3]` [m]."""
    normals: np.ndarray
    """`[F, 3]`, outward."""
    offsets: np.ndarray
    """`[F]`: inside is normals @ x <= offsets."""
    edges: np.ndarray
    """int `[E, 2]`, pairs of vertices."""
    triangles: np.ndarray
    """int `[T, 3]`, to draw it; a mesh that touches nothing has only these, and may be hollow."""


@dataclass(frozen=True, eq=False)
class Field:
    """Heights 0..1 `[rows (y), columns (x)]` over a rectangle; bilinear between."""

    heights: np.ndarray


@dataclass(frozen=True)
class Law:
    """What of the law of contact is no parameter of a body."""

    slip: float = 1e-3
    """[m/s]; friction sticks by creeping at less, and slides above. In joints [rad/s]."""
    transition: float = 1e-4
    """[m]; over this depth the damping of a contact sets in. In limits of joints [rad].

    For gradients through landings at a speed u take about 2 u dt or more, as 2e-2 for a robot that
    runs. The few substeps that end inside the onset have slopes of about dt c u / (m transition),
    -60 at 2e-2 where it is -6,000 at 1e-4; and in some substeps of others the contact is on or off,
    which has no slope: landings then teach a hundredfold, or nothing."""
    passes: int = 2
    """How often a step is solved, each time with the contacts that the last solution has."""
    sweeps: int = 4
    """Rounds in which contacts between moving bodies learn of each other."""

    def __post_init__(self) -> None:
        if not (self.slip > 0 and self.transition > 0 and self.passes > 0 and self.sweeps > 0):
            raise ValueError(f"{self} has an entry that is not positive; all of them must be.")


@dataclass(frozen=True, eq=False)
class RigidModel:
    """Bodies, joints, geoms, actuators: what no gradient reaches. Equal only to itself."""

    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...]
    geoms: tuple[Geom, ...] = ()
    pairs: tuple[Pair, ...] = ()
    actuators: tuple[Actuator, ...] = ()
    meshes: tuple[Mesh, ...] = ()
    fields: tuple[Field, ...] = ()
    timestep: float = 0.002
    """[s], as the file says; no function here reads it."""
    law: Law = field(default_factory=Law)

    @cached_property
    def position_size(self) -> int:
        """Q."""
        return sum(POSITIONS[joint.kind] for joint in self.joints)

    @cached_property
    def velocity_size(self) -> int:
        """V."""
        return sum(VELOCITIES[joint.kind] for joint in self.joints)

    @cached_property
    def joints_of(self) -> tuple[tuple[int, ...], ...]:
        """The joints of each body."""
        return tuple(
            tuple(j for j, joint in enumerate(self.joints) if joint.body == b)
            for b in range(len(self.bodies))
        )

    @cached_property
    def last_velocity(self) -> tuple[int, ...]:
        """For each body the last entry of v that moves it, -1 where it is fixed to the world."""
        found: list[int] = []
        for b, body in enumerate(self.bodies):
            last = found[body.parent] if body.parent >= 0 else -1
            for j in self.joints_of[b]:
                last = self.joints[j].velocity + VELOCITIES[self.joints[j].kind] - 1
            found.append(last)
        return tuple(found)

    @cached_property
    def parent_velocity(self) -> tuple[int, ...]:
        """For each entry of v the one that moves what it moves against, or -1."""
        found = [-1] * self.velocity_size
        for b, body in enumerate(self.bodies):
            before = self.last_velocity[body.parent] if body.parent >= 0 else -1
            for j in self.joints_of[b]:
                joint = self.joints[j]
                for k in range(VELOCITIES[joint.kind]):
                    found[joint.velocity + k] = before
                    before = joint.velocity + k
        return tuple(found)

    @cached_property
    def root(self) -> tuple[int, ...]:
        """For each body the first body of its tree, whose place is the O of its spatial vectors."""
        found: list[int] = []
        for b, body in enumerate(self.bodies):
            found.append(found[body.parent] if body.parent >= 0 else b)
        return tuple(found)

    def moves(self, geom: int) -> bool:
        """Whether a geom is on a body that a joint moves."""
        body = self.geoms[geom].body
        return body >= 0 and self.last_velocity[body] >= 0

    def body(self, name: str) -> int:
        """The index of a body.

        Raises:
            KeyError: none has this name.
        """
        names = [body.name for body in self.bodies]
        if name not in names:
            raise KeyError(f"There is no body {name!r}; there are {names}.")
        return names.index(name)

    def pairs_of(self, geom: str) -> list[int]:
        """The contact pairs in which a geom is, to set their friction or stiffness."""
        return [
            p
            for p, pair in enumerate(self.pairs)
            if geom in (self.geoms[pair.first].name, self.geoms[pair.second].name)
        ]


class BodyParams(NamedTuple):
    """Masses."""

    mass: Tensor
    """`[B, N]` [kg]."""
    centre: Tensor
    """`[B, N, 3]` [m], of mass, in the frame of the body."""
    inertia: Tensor
    """`[B, N, 6]` [kg m^2], xx yy zz xy xz yz about that centre, along the axes of the body."""


class JointParams(NamedTuple):
    """Each `[B, V]`; of springs and limits only the entries of hinges and slides are read."""

    damping: Tensor
    """[N m s/rad] or [N s/m]."""
    armature: Tensor
    """[kg m^2] or [kg], added to the inertia of the joint."""
    friction: Tensor
    """[N m] or [N], dry: the most that it holds."""
    stiffness: Tensor
    """[N m/rad] or [N/m]."""
    rest: Tensor
    """[rad] or [m], where the spring has no force."""
    lower: Tensor
    upper: Tensor
    limit_stiffness: Tensor
    limit_damping: Tensor


class ContactParams(NamedTuple):
    """Each `[B, P]`, for every point of the pair."""

    friction: Tensor
    stiffness: Tensor
    """[N/m]."""
    damping: Tensor
    """[N s/m]."""


class ActuatorParams(NamedTuple):
    """f = clip(gain u + bias_0 + bias_1 length + bias_2 velocity), u the clipped control."""

    gain: Tensor
    """`[B, U]`."""
    bias: Tensor
    """`[B, U, 3]`."""
    lowest: Tensor
    """`[B, U]`, control."""
    highest: Tensor
    weakest: Tensor
    """`[B, U]`, force."""
    strongest: Tensor


class RigidParams(NamedTuple):
    """What gradients may reach; every leaf `[B, ...]`, or `[1, ...]` where worlds share it."""

    gravity: Tensor
    """`[B, 3]` [m/s^2]."""
    bodies: BodyParams
    joints: JointParams
    sizes: Tensor
    """`[B, G, 3]` [m], see `Geom`."""
    contacts: ContactParams
    actuators: ActuatorParams


class RigidState(NamedTuple):
    """Where everything is and how it moves."""

    position: Tensor
    """`[B, Q]`."""
    velocity: Tensor
    """`[B, V]`."""
