"""The step of a world of several materials.

    for each of `ticks` exchanges in a step of dt:
        tools   = geoms of the robot, hands, obstacles, as they move now
        matter, forces on tools = MPM(matter, tools)
        cloth,  forces on tools = Cloth(cloth, tools)
        liquid, forces on tools = SPH(liquid, tools)
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
from reverie.physics.backend import Backend
from reverie.physics.cloth import Cloth, ClothMesh, ClothParams
from reverie.physics.cloth.material import Hold
from reverie.physics.mpm import MPM, MPMParams
from reverie.physics.rigid import Kinematics, RigidParams, kinematics, rigid_step
from reverie.physics.sph import SPH, SPHParams
from reverie.physics.tools import Shape, Tools
from reverie.physics.turn import turned
from reverie.physics.world import SHAPES, Place, World, WorldState, whole

THIN = 0.9
"""Half of a tool's width against the spacing of the grid, below which matter may flow through."""
SLIP = (0.25, 0.5)
"""A hand that can let go begins to slip where an edge at the vertex it holds is longer by the first
share, and holds nothing at the second: nothing is torn, and what is let go does not snap away."""
ENDLESS = 1e9
"""A control range above this is none."""


class Stepper:
    """Steps a world; it keeps the solvers, and nothing that changes."""

    def __init__(self, world: World, backend: Backend = "auto") -> None:
        """`backend`: "auto", "warp" or "torch", for every part."""
        self.world, self.backend = world, backend
        self.mpm: MPM | None = None
        self.cloth: Cloth | None = None
        self.sph: SPH | None = None
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

        if world.liquid is not None:
            wet = world.liquid
            self.sph = SPH(world.shapes, h=wet.h, dt=wet.dt, alpha=wet.alpha, backend=backend)
            self.sph.check(wet.params)

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
        matter, cloth, liquid, forces = state.matter, state.cloth, state.liquid, []
        tools = parts.tools(seen, hands) if self.mpm or self.cloth or self.sph else None
        if self.mpm is not None and tools is not None:
            matter, _, force = self.mpm(matter, parts.matter, tools, whole(span, self.mpm.dt))
            forces.append(force)
        if self.cloth is not None:
            count = whole(span, self.cloth.dt)
            cloth, _, force = self.cloth(cloth, parts.cloth, tools, count, parts.hold(state))
            forces.append(force)
        if self.sph is not None and tools is not None:
            count, mass = whole(span, self.sph.dt), parts.scales.get("liquid_mass")
            wet = liquid._replace(density=_times(liquid.density, mass))
            wet, _, force = self.sph(wet, parts.liquid, tools, count)
            liquid = wet._replace(
                density=wet.density if mass is None else _times(wet.density, 1 / mass)
            )
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
        return WorldState(robot, matter, cloth, hands, liquid)


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
            shared = tree.map(lambda x: x.to(like), world.robot.params)  # one row for all worlds
            self.robot = _robot(shared, scales)
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
        if world.liquid is not None:
            self.liquid = _liquid(made(world.liquid.params), scales)
        if world.hands is not None:
            moved = control[:, world.actuators :].unflatten(1, (len(world.hands.shapes), -1))
            self.grip = moved[..., -1]
            angular = moved[..., 3:6] * world.hands.spin
            still = torch.zeros_like(moved[..., :3])
            self.speeds = moved[..., :3] * world.hands.speed, angular if world.hands.spin else still

    def hold(self, state: WorldState) -> Hold | None:
        """Vertices that hands hold; of a hand that can let go, with the weight s(g) s(d) s(e).

        s(x) = x^2 (3 - 2 x) in [0, 1], g the grip from 0 to 1, d from 0 at the reach to 1 at half
        of it, e from 0 to 1 over `SLIP`.
        """
        fabric = self.world.cloth
        if fabric is None or fabric.held is None:
            return None
        held = fabric.held.to(self.cloth.mass.device)
        taken = held >= 0
        tool = torch.where(taken, held + len(self.world.geoms), -1)
        weight = taken.to(self.cloth.mass).expand(self.batch, -1)
        if self.world.grips:
            hand, x = held.clamp_min(0), state.cloth.position
            away = x - state.hands.place[:, hand]
            far = (away.square().sum(-1) + 1e-12).sqrt() / fabric.reach
            weight = weight * smooth(0.5 + 0.5 * self.grip)[:, hand] * smooth(2 - 2 * far)
            strain = _strains(fabric.mesh, x, taken)
            weight = weight * smooth((SLIP[1] - strain) / (SLIP[1] - SLIP[0]))
        return Hold(tool.expand(self.batch, -1), weight)

    def tools(self, seen: Kinematics | None, hands: Any) -> Tools:
        """Geoms, hands and obstacles as they are now."""
        world, every = self.world, []
        friction = self.scales.get("tool_friction")
        if seen is not None:
            chosen = list(world.geoms)
            pose, speed = seen.geoms[:, chosen], seen.geom_velocities[:, chosen]
            sizes = self.robot.sizes[:, chosen].expand(self.batch, -1, -1)
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
            names = (n for n in ("matter", "cloth", "liquid") if n in self.__dict__)
            none = self.__dict__[next(names)]
            empty = none.mass.new_zeros(self.batch, 0, 3)
            turn = none.mass.new_zeros(self.batch, 0, 4)
            return Tools(empty, turn, empty, empty, empty, empty[..., 0])
        tools = Tools(**{n: torch.cat([getattr(t, n) for t in every], 1) for n in Tools._fields})
        return (
            tools
            if friction is None
            else tools._replace(friction=tools.friction * friction[:, None])
        )


def _strains(mesh: ClothMesh, x: Tensor, at: Tensor) -> Tensor:
    """The most by which an edge at each of the vertices `at` is longer than at rest, else 0
    `[B, V]`."""
    faces = mesh.faces
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]], mesh.segments])
    edges = torch.cat([edges, edges.flip(1)])
    one, two = edges[at.to(edges.device)[edges[:, 0]]].unbind(1)
    rest = (mesh.rest[one] - mesh.rest[two]).norm(dim=-1).to(x)
    one, two = one.to(x.device), two.to(x.device)
    strain = ((x[:, one] - x[:, two]).square().sum(-1) + 1e-12).sqrt() / rest - 1
    none = torch.zeros_like(x[..., 0])
    return none.scatter_reduce(1, one.expand(len(x), -1), strain, "amax")


def smooth(x: Tensor) -> Tensor:
    """From 0 to 1 over [0, 1], with slopes of 0 at both ends."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


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


def _liquid(params: SPHParams, scales: Mapping[str, Tensor]) -> SPHParams:
    mass = scales.get("liquid_mass")
    return params._replace(
        mass=_times(params.mass, mass),
        density=_times(params.density, mass),
        viscosity=_times(params.viscosity, scales.get("liquid_viscosity")),
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
