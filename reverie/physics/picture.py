"""What a world looks like: its parts as things to draw.

Legend: `B` worlds, `N` particles, `V` vertices.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reverie.core import tree
from reverie.physics import shapes as drawn
from reverie.physics.mpm import Kind
from reverie.physics.render import Camera, draw, orbit, overview
from reverie.physics.rigid import RigidModel, kinematics
from reverie.physics.tools import Shape
from reverie.physics.world import Place, World, WorldState

COLOURS: dict[Kind, str] = {
    Kind.NEO_HOOKEAN: "rose",
    Kind.COROTATED: "leaf",
    Kind.VON_MISES: "clay",
    Kind.SAND: "sand",
    Kind.LIQUID: "water",
    Kind.SNOW: "snow",
}
THICK = 0.006
"""Radius of a rope's tube [m], where the mesh does not say."""
THINGS = ("clay", "water", "straw", "plum", "rose")
"""Colours of things that move freely."""
MARK = 0.02
"""Radius of a mark, as a share of the camera's distance."""


class Viewer:
    """Pictures of a world from one place."""

    def __init__(
        self,
        world: World,
        size: int | tuple[int, int] = 256,
        azimuth: float = 45.0,
        elevation: float = 30.0,
        distance: float = 1.0,
    ) -> None:
        """A picture of `size` pixels, its side or its height and width; `distance` is a share of
        the one that shows all of the beginning."""
        self.world = world
        height, width = (size, size) if isinstance(size, int) else size
        things = [x for x in items(world, world.initial(1), 0) if not isinstance(x, drawn.Ground)]
        camera = overview(things, azimuth, elevation, width=width, height=height)
        away = float(np.linalg.norm(np.subtract(camera.position, camera.target)))
        self.camera: Camera = orbit(
            camera.target,
            1.3 * away * distance,
            azimuth,
            elevation,
            fov=camera.fov,
            width=width,
            height=height,
        )

    def __call__(self, state: WorldState, marks: Tensor | None = None) -> NDArray[np.uint8]:
        """Pictures `[B, height, width, 3]`; `marks` `[B, M, 3]` are shown as small balls."""
        shown = []
        for b in range(tree.batch_size(state)):
            things = items(self.world, state, b)
            if marks is not None and marks.shape[1]:
                things.append(marked(marks[b], self.camera))
            shown.append(draw(things, self.camera).colour)
        return np.stack(shown)


def marked(places: Tensor, camera: Camera) -> drawn.Balls:
    """Small balls at places `[M, 3]`."""
    return drawn.Balls(places.detach().cpu(), MARK * camera.distance, drawn.PALETTE["leaf"])


def items(world: World, state: WorldState, row: int) -> list[Any]:
    """What to draw of one world."""
    one: WorldState = tree.map(lambda x: x[row : row + 1].detach().cpu(), state)
    found: list[Any] = []
    if world.robot is not None:
        found += _robot(world, one)
    if world.matter is not None:
        found.append(_matter(world, one))
    if world.cloth is not None:
        found += _cloth(world, one)
    if world.liquid is not None:
        found.append(_liquid(world, one))
    if world.hands is not None:
        extent = world.hands.start.extent[0]
        found += _tools(world.hands.shapes, one.hands, extent, "steel")
    if world.obstacles is not None:
        shapes, tools = world.obstacles
        found += _tools(shapes, Place(tools.place, tools.turn), tools.extent[0], "wood")
    grounds = [x for x in found if isinstance(x, drawn.Ground)]
    top = max(grounds, key=lambda ground: ground.height, default=None)  # what can be seen of them
    return [x for x in found if not isinstance(x, drawn.Ground) or x is top]


def _solid(kind: str, size: Tensor, colour: drawn.Numbers) -> drawn.Mesh:
    a, b, c = (float(x) for x in size)
    if kind == "sphere":
        return drawn.sphere(a, colour=colour)
    if kind == "ellipsoid":
        return drawn.ellipsoid((a, b, c), colour=colour)
    if kind == "capsule":
        return drawn.capsule(a, 2 * b, colour=colour)
    if kind == "cylinder":
        return drawn.cylinder(a, 2 * b, colour=colour)
    return drawn.box((2 * a, 2 * b, 2 * c), colour=colour)


def _colours(model: RigidModel) -> dict[int, str]:
    """What does not look like a robot: the world, and things that move freely, in their order."""
    parents = {body.parent for body in model.bodies}
    free = [joint.body for joint in model.joints if joint.kind == "free"]
    things = [body for body in free if body not in parents]
    return {-1: "wood", **dict(zip(things, itertools.cycle(THINGS), strict=False))}


def _robot(world: World, state: WorldState) -> list[Any]:
    assert world.robot is not None
    model, params = world.robot.model, world.robot.params
    like = state.robot.position
    params = tree.map(lambda x: x.to(like), params)
    poses = kinematics(model, state.robot, params).geoms[0]
    found: list[Any] = []
    colours = _colours(model)
    for g, geom in enumerate(model.geoms):
        size, pose = params.sizes[0, g], poses[g]
        colour = drawn.PALETTE[colours.get(geom.body, "steel")]
        if geom.kind == "plane":
            found.append(drawn.Ground(float(pose[2])))
        elif geom.kind == "mesh":
            hull = drawn.hull(model.meshes[geom.shape].vertices, colour=colour)
            found.append(drawn.place(hull, pose[:3], pose[3:]))
        elif geom.kind == "field":
            heights = model.fields[geom.shape].heights * float(size[2])
            made = drawn.height_field(heights, (2 * float(size[0]), 2 * float(size[1])))
            found.append(drawn.place(made, pose[:3], pose[3:]))
        elif geom.kind != "nothing":
            found.append(drawn.place(_solid(geom.kind, size, colour), pose[:3], pose[3:]))
    return found


def _matter(world: World, state: WorldState) -> drawn.Balls:
    assert world.matter is not None
    kind = world.matter.kind.cpu()
    table = torch.tensor([drawn.PALETTE[COLOURS[k]] for k in Kind])
    radius = (0.75 / torch.pi * world.matter.params.volume[0]) ** (1 / 3)
    return drawn.Balls(state.matter.position[0], 1.1 * radius, table[kind.long()])


def _liquid(world: World, state: WorldState) -> drawn.Balls:
    assert world.liquid is not None
    params = world.liquid.params
    radius = (0.75 / torch.pi * params.mass[0] / params.density[0]) ** (1 / 3)
    return drawn.Balls(state.liquid.position[0], 1.1 * radius, drawn.PALETTE["water"])


def _cloth(world: World, state: WorldState) -> list[Any]:
    assert world.cloth is not None
    mesh, x = world.cloth.mesh, state.cloth.position[0]
    found: list[Any] = []
    if len(mesh.faces):
        found.append(drawn.Mesh(x, mesh.faces, drawn.PALETTE["plum"], smooth=True))
    if len(mesh.segments):
        middle = x[mesh.segments].mean(1)
        found += [
            drawn.Balls(torch.cat([x[mesh.segments[:, 0]], middle]), THICK, drawn.PALETTE["straw"])
        ]
    return found


def _tools(shapes: tuple[Shape, ...], at: Place, extent: Tensor, colour: str) -> list[Any]:
    names = {
        Shape.SPHERE: "sphere",
        Shape.CAPSULE: "capsule",
        Shape.BOX: "box",
        Shape.CYLINDER: "cylinder",
    }
    found: list[Any] = []
    for k, shape in enumerate(shapes):
        place, turn = at.place[0, k], at.turn[0, k]
        if shape == Shape.PLANE:
            found.append(drawn.Ground(float(place[2])))
            continue
        solid = _solid(names[shape], extent[k], drawn.PALETTE[colour])
        found.append(drawn.place(solid, place, turn))
    return found
