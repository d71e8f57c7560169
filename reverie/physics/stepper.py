"""The step of a world of several materials.

    for each of `ticks` exchanges in a step of dt:
        tools   = geoms of the robot, hands, obstacles, as they move now
        matter, forces on tools = MPM(matter, tools)
        cloth,  forces on tools = Cloth(cloth, tools)
        robot   = rigid step under the control and these forces
        hands   go on at the speed that the control says

Matter and cloth see the velocities of the beginning of an exchange, and the robot their mean forces
over it: explicit, so an exchange is to be short against the time in which they would bounce (a few
ms). Momentum that matter loses is what the robot gains.

Legend: `B` worlds, `K` tools, `A` control.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.cloth import Cloth, ClothParams
from reverie.physics.cloth.material import Hold
from reverie.physics.mpm import MPM, MPMParams
from reverie.physics.rigid import Kinematics, RigidParams, kinematics, rigid_step
from reverie.physics.tools import Shape, Tools
from reverie.physics.turn import turned
from reverie.physics.world import SHAPES, Backend, Place, World, WorldState, whole

THIN = 0.9
"""Half of a tool's width against the spacing of the grid, below which matter may flow through."""
ENDLESS = 1e9
"""A control range above this is none."""


class Stepper:
    """Steps a world; it keeps the solvers, and nothing that changes."""

    def __init__(self, world: World, backend: Backend = "auto") -> None:
        """`backend`: "auto", "warp" or "torch", for every part."""
        self.world, self.backend = world, backend
        self.mpm: MPM | None = None
        self.cloth: Cloth | None = None
        if world.matter is not None:
            kind, params, _, dx, dt = world.matter
            self.mpm = MPM(kind, world.shapes, dx=dx, dt=dt, backend=backend)
            self.mpm.check(params)
            _warn_of_thin_tools(world, dx)
        if world.cloth is not None:
            part = world.cloth
            self.cloth = Cloth(
                part.mesh,
                world.shapes,
                dt=part.dt,
                pinned=part.pinned,
                layers=part.layers,
                backend=backend,
            )

    def __deepcopy__(self, memo: dict[int, object]) -> Stepper:
        """Itself: nothing in it changes, and compiled kernels cannot be copied."""
        return self

    def __call__(
        self, state: WorldState, control: Tensor, scales: Mapping[str, Tensor] | None = None
    ) -> WorldState:
        """The state after dt under a control `[B, A]` in [-1, 1], with what `scales` `[B]` name.

        Raises:
            ValueError: the control does not fit, or a scale names nothing here.
            FloatingPointError: something is not finite.
        """
        world, scales = self.world, scales or {}
        unknown = sorted(set(scales) - set(world.knobs))
        if unknown or control.shape[1:] != (world.control_size,):
            raise ValueError(
                f"This world has controls [B, {world.control_size}] and scales {world.knobs}; got "
                f"{[*control.shape]} and {unknown}."
            )
        if not bool(torch.isfinite(control).all()):
            raise FloatingPointError("The control holds NaN or infinity.")
        parts = _Parts(world, control, scales)
        for _ in range(world.ticks):
            state = self._tick(state, parts)
        return state

    def _tick(self, state: WorldState, parts: _Parts) -> WorldState:
        world, span = self.world, self.world.dt / self.world.ticks
        robot, hands = state.robot, state.hands
        seen = None
        if world.robot is not None and world.geoms:
            seen = kinematics(world.robot.model, robot, parts.robot)
        matter, cloth, forces = state.matter, state.cloth, []
        tools = parts.tools(seen, hands) if self.mpm or self.cloth else None
        if self.mpm is not None and tools is not None:
            matter, _, force = self.mpm(matter, parts.matter, tools, whole(span, self.mpm.dt))
            forces.append(force)
        if self.cloth is not None:
            count = whole(span, self.cloth.dt)
            cloth, _, force = self.cloth(cloth, parts.cloth, tools, count, parts.hold())
            forces.append(force)
        if world.robot is not None:
            robot = rigid_step(
                world.robot.model,
                robot,
                parts.robot,
                parts.levers,
                span,
                world.substeps,
                None if seen is None else _on_bodies(world, seen, sum(forces[1:], forces[0])),
                self.backend,
            )
        if world.hands is not None:
            linear, angular = parts.speeds
            hands = Place(hands.place + span * linear, turned(hands.turn, angular, span))
        return WorldState(robot, matter, cloth, hands)


class _Parts:
    """What is constant in a step."""

    def __init__(self, world: World, control: Tensor, scales: Mapping[str, Tensor]) -> None:
        self.world, self.scales, like = world, scales, control
        self.batch = len(control)

        def made(params: Any) -> Any:
            return tree.map(lambda x: x.to(like).expand(self.batch, *x.shape[1:]), params)

        self.made = made
        self.levers: Tensor | None = None
        if world.robot is not None:
            self.robot = _robot(made(world.robot.params), scales)
            if world.actuators:
                low, high = self.robot.actuators.lowest, self.robot.actuators.highest
                endless = high - low > ENDLESS  # no range: the control itself
                low, high = (torch.where(endless, s, x) for s, x in ((-1.0, low), (1.0, high)))
                half = control[:, : world.actuators] * 0.5 + 0.5
                self.levers = low + half * (high - low)
        if world.matter is not None:
            self.matter = _matter(made(world.matter.params), scales)
        if world.cloth is not None:
            self.cloth = _cloth(made(world.cloth.params), scales)
        if world.hands is not None:
            moved = control[:, world.actuators :].unflatten(1, (len(world.hands.shapes), -1))
            angular = moved[..., 3:] * world.hands.spin
            still = torch.zeros_like(moved[..., :3])
            self.speeds = moved[..., :3] * world.hands.speed, angular if world.hands.spin else still

    def hold(self) -> Hold | None:
        """Vertices that hands hold."""
        fabric = self.world.cloth
        if fabric is None or fabric.held is None:
            return None
        held, taken = fabric.held, fabric.held >= 0
        tool = torch.where(taken, held + len(self.world.geoms), -1)
        weight = taken.to(self.cloth.mass)
        return Hold(tool.expand(self.batch, -1), weight.expand(self.batch, -1))

    def tools(self, seen: Kinematics | None, hands: Any) -> Tools:
        """Geoms, hands and obstacles as they are now."""
        world, every = self.world, []
        friction = self.scales.get("tool_friction")
        if seen is not None:
            chosen = list(world.geoms)
            pose, speed = seen.geoms[:, chosen], seen.geom_velocities[:, chosen]
            sizes = self.robot.sizes[:, chosen]
            rough = torch.full_like(sizes[..., 0], 0.5)
            every.append(
                Tools(pose[..., :3], pose[..., 3:], speed[..., :3], speed[..., 3:], sizes, rough)
            )
        if world.hands is not None:
            start = self.made(world.hands.start)
            linear, angular = self.speeds
            every.append(
                start._replace(place=hands.place, turn=hands.turn, linear=linear, angular=angular)
            )
        if world.obstacles is not None:
            every.append(self.made(world.obstacles[1]))
        if not every:
            none = next(iter(self.__dict__[n] for n in ("matter", "cloth") if n in self.__dict__))
            empty = none.mass.new_zeros(self.batch, 0, 3)
            turn = none.mass.new_zeros(self.batch, 0, 4)
            return Tools(empty, turn, empty, empty, empty, empty[..., 0])
        tools = Tools(**{n: torch.cat([getattr(t, n) for t in every], 1) for n in Tools._fields})
        return (
            tools
            if friction is None
            else tools._replace(friction=tools.friction * friction[:, None])
        )


def _warn_of_thin_tools(world: World, dx: float) -> None:
    """Name the tools that lie between nodes: matter flows through them."""
    sizes: list[tuple[str, Shape, Tensor]] = []
    if world.robot is not None:
        geoms, extents = world.robot.model.geoms, world.robot.params.sizes[0]
        sizes += [(geoms[g].name, SHAPES[geoms[g].kind], extents[g]) for g in world.geoms]
    if world.hands is not None:
        hands = zip(world.hands.shapes, world.hands.start.extent[0], strict=True)
        sizes += [(f"hand {k}", *one) for k, one in enumerate(hands)]
    if world.obstacles is not None:
        still = zip(world.obstacles[0], world.obstacles[1].extent[0], strict=True)
        sizes += [(f"obstacle {k}", *one) for k, one in enumerate(still)]
    entries = {Shape.PLANE: 0, Shape.SPHERE: 1, Shape.CAPSULE: 1, Shape.CYLINDER: 2, Shape.BOX: 3}
    thin = [
        f"{name} ({float(extent[: entries[shape]].min()):.3g} m)"
        for name, shape, extent in sizes
        if entries[shape] and float(extent[: entries[shape]].min()) < THIN * dx
    ]
    if thin:
        warnings.warn(
            f"Tools are thinner than the grid of {dx:.3g} m sees, and matter may flow through "
            f"them: {', '.join(thin)}. Half of a tool's width should be at least {THIN} dx.",
            RuntimeWarning,
            stacklevel=3,
        )


def _on_bodies(world: World, seen: Kinematics, force: Tensor) -> Tensor:
    """Forces on tools `[B, K, 6]` about their places, as those on bodies about their origins."""
    assert world.robot is not None
    total = torch.zeros_like(seen.velocities)
    for k, g in enumerate(world.geoms):
        body = world.robot.model.geoms[g].body
        if body < 0:
            continue
        arm = seen.geoms[:, g, :3] - seen.bodies[:, body, :3]
        push, twist = force[:, k, :3], force[:, k, 3:]
        both = torch.cat([push, twist + torch.linalg.cross(arm, push)], -1)
        at = torch.tensor([body], device=total.device)
        total = total.index_add(1, at, both.unsqueeze(1))
    return total


def _times(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale.reshape(-1, *[1] * (x.ndim - 1)).to(x)


def _robot(params: RigidParams, scales: Mapping[str, Tensor]) -> RigidParams:
    mass, bodies = scales.get("robot_mass"), params.bodies
    contacts, joints = params.contacts, params.joints
    return params._replace(
        gravity=_times(params.gravity, scales.get("gravity")),
        bodies=bodies._replace(
            mass=_times(bodies.mass, mass), inertia=_times(bodies.inertia, mass)
        ),
        contacts=contacts._replace(
            friction=_times(contacts.friction, scales.get("robot_friction"))
        ),
        joints=joints._replace(damping=_times(joints.damping, scales.get("robot_damping"))),
    )


def _matter(params: MPMParams, scales: Mapping[str, Tensor]) -> MPMParams:
    stiff = scales.get("matter_stiffness")
    return params._replace(
        mass=_times(params.mass, scales.get("matter_mass")),
        mu=_times(params.mu, stiff),
        lam=_times(params.lam, stiff),
        limit=_times(params.limit, scales.get("matter_limit")),
        gravity=_times(params.gravity, scales.get("gravity")),
    )


def _cloth(params: ClothParams, scales: Mapping[str, Tensor]) -> ClothParams:
    stretch = scales.get("cloth_stretch")
    return params._replace(
        mass=_times(params.mass, scales.get("cloth_mass")),
        stretch=_times(params.stretch, stretch),
        shear=_times(params.shear, stretch),
        bend=_times(params.bend, scales.get("cloth_bend")),
        gravity=_times(params.gravity, scales.get("gravity")),
    )
