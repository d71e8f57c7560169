"""A world of several materials: what there is, and what its state holds. `stepper` steps it.

Legend: `B` worlds, `N` particles, `V` vertices, `K` tools, `A` control, `U` actuators, `H` hands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.cloth import ClothParams, ClothState
from reverie.physics.mpm import MPMParams, MPMState
from reverie.physics.rigid import Loaded, check_rigid
from reverie.physics.sph import SPHParams, SPHState
from reverie.physics.tools import Shape, Tools

SHAPES: dict[str, Shape] = {
    "plane": Shape.PLANE,
    "sphere": Shape.SPHERE,
    "capsule": Shape.CAPSULE,
    "box": Shape.BOX,
    "cylinder": Shape.CYLINDER,
}
"""The geoms that particles and cloth meet."""

KNOBS: dict[str, str] = {
    "gravity": "",
    "robot_mass": "robot",
    "robot_friction": "robot",
    "robot_damping": "robot",
    "matter_mass": "matter",
    "matter_stiffness": "matter",
    "matter_limit": "matter",
    "liquid_mass": "liquid",
    "liquid_viscosity": "liquid",
    "cloth_mass": "cloth",
    "cloth_stretch": "cloth",
    "cloth_bend": "cloth",
    "tool_friction": "",
}
"""What a context may scale, and the part that it needs."""


class Matter(NamedTuple):
    """Particles: the solver's kinds and grid, what they are made of, where they begin."""

    kind: Tensor
    """int `[N]`, see `mpm.Kind`."""
    params: MPMParams
    """`[1, ...]`."""
    start: MPMState
    """`[1, ...]`."""
    dx: float
    """Grid spacing [m]."""
    dt: float
    """[s] of a substep."""


class Liquid(NamedTuple):
    """A liquid of smoothed particles: what it is, where it begins."""

    params: SPHParams
    """`[1, ...]`."""
    start: SPHState
    """`[1, ...]`."""
    h: float
    """Half the reach of a particle [m], about 1.5 times their spacing."""
    dt: float
    """[s] of a substep."""
    alpha: float = 0.02
    """Artificial viscosity, see `sph.SPH`."""


class Fabric(NamedTuple):
    """Cloth and ropes: the mesh, what they are made of, where they begin."""

    mesh: Any
    """A `ClothMesh`."""
    params: ClothParams
    start: ClothState
    dt: float
    layers: bool = False
    """Whether cloth meets itself."""
    pinned: Tensor | None = None
    """bool `[V]`."""
    held: Tensor | None = None
    """int `[V]`: the hand that holds a vertex, -1 for none."""
    reach: float = 0.0
    """[m]; 0: held for the whole episode. Above, each hand has one more entry of the control, its
    grip in [-1, 1] from open to closed, and holds of its vertices those that are within this
    distance of its place, and slips where cloth is strained (see `stepper.SLIP`)."""


class Hands(NamedTuple):
    """Tools moved by the control: its entries, in [-1, 1], are shares of `speed` and `spin`."""

    shapes: tuple[Shape, ...]
    start: Tools
    """`[1, H, ...]`; its velocities are not read."""
    speed: float
    """[m/s]"""
    spin: float = 0.0
    """[rad/s]; 0: hands do not turn, and have three entries of the control instead of six."""


class Place(NamedTuple):
    """Where hands are."""

    place: Tensor
    """`[B, H, 3]`."""
    turn: Tensor
    """`[B, H, 4]`."""


class WorldState(NamedTuple):
    """Of each part that there is; `()` for others."""

    robot: Any
    matter: Any
    cloth: Any
    hands: Any
    liquid: Any = ()


@dataclass(frozen=True, eq=False)
class World:
    """What there is, and how a step of dt [s] is divided."""

    dt: float
    ticks: int = 1
    """Exchanges of forces in a step."""
    robot: Loaded | None = None
    substeps: int = 1
    """Of the robot in an exchange."""
    matter: Matter | None = None
    cloth: Fabric | None = None
    hands: Hands | None = None
    obstacles: tuple[tuple[Shape, ...], Tools] | None = None
    """Tools that stay where they are, `[1, K, ...]`."""
    start: str = "default"
    """The key pose of the robot."""
    liquid: Liquid | None = None

    def __post_init__(self) -> None:
        if not (self.dt > 0 and self.ticks > 0 and self.substeps > 0):
            raise ValueError(
                f"World dt is {self.dt}, ticks {self.ticks} and substeps {self.substeps}; all must "
                "be positive."
            )
        if not any((self.robot, self.matter, self.cloth, self.liquid)):
            raise ValueError("A world needs a robot, matter, cloth or liquid; it has none.")
        if self.robot is not None:
            check_rigid(self.robot.model, self.robot.params, self.robot.poses[self.start])
        for part in (self.matter, self.cloth, self.liquid):
            if part is not None:
                whole(self.dt / self.ticks, part.dt)

    # ------------------------------------------------------------------ what it is

    @property
    def actuators(self) -> int:
        """U."""
        return 0 if self.robot is None else len(self.robot.model.actuators)

    @property
    def control_size(self) -> int:
        """A: the actuators, then three or six entries for each hand, and one where it grips."""
        if self.hands is None:
            return self.actuators
        return self.actuators + len(self.hands.shapes) * (
            (6 if self.hands.spin else 3) + self.grips
        )

    @property
    def grips(self) -> bool:
        """Whether hands can let go."""
        return self.cloth is not None and self.cloth.held is not None and self.cloth.reach > 0

    @property
    def geoms(self) -> tuple[int, ...]:
        """The geoms of the robot that particles and cloth meet."""
        if self.robot is None or not (self.matter or self.cloth or self.liquid):
            return ()
        kinds = enumerate(self.robot.model.geoms)
        return tuple(g for g, geom in kinds if geom.kind in SHAPES)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of all tools: geoms, hands, obstacles."""
        robot = self.robot
        own = tuple(SHAPES[robot.model.geoms[g].kind] for g in self.geoms) if robot else ()
        hands = self.hands.shapes if self.hands else ()
        return own + hands + (self.obstacles[0] if self.obstacles else ())

    @property
    def knobs(self) -> tuple[str, ...]:
        """What a context may scale here."""
        return tuple(name for name, part in KNOBS.items() if not part or getattr(self, part))

    def initial(self, batch: int, dtype: torch.dtype = torch.float32) -> WorldState:
        """The beginning, B times."""

        def many(x: Tensor) -> Tensor:
            x = x.to(dtype) if x.is_floating_point() else x
            return x.expand(batch, *x.shape[1:]).clone()

        robot: Any = () if self.robot is None else self.robot.poses[self.start]
        hands: Any = () if self.hands is None else Place(*self.hands.start[:2])
        matter: Any = () if self.matter is None else self.matter.start
        cloth: Any = () if self.cloth is None else self.cloth.start
        liquid: Any = () if self.liquid is None else self.liquid.start
        made: WorldState = tree.map(many, WorldState(robot, matter, cloth, hands, liquid))
        return made


def whole(span: float, dt: float) -> int:
    """How many substeps of dt make a span.

    Raises:
        ValueError: no whole number does.
    """
    count = round(span / dt)
    if count < 1 or abs(count * dt - span) > 1e-6 * span:
        raise ValueError(f"An exchange of {span} s is no whole number of substeps of {dt} s.")
    return count
