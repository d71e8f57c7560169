"""A drawing list, checked and gathered, and what each pixel sees of it.

All meshes become one set of triangles and all balls another, so that a picture costs the same
however many items its triangles come in.

Legend: `V` vertices, `F` faces, `N` balls, `P` pixels, `n` some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reverie.physics import raster, raster_balls
from reverie.physics.raster import Integers, Lens
from reverie.physics.shade import Single, checker, turn
from reverie.physics.shapes import Balls, Ground, Mesh, Numbers, numbers

Reals = NDArray[np.floating[Any]]
Item: TypeAlias = Mesh | Balls | Ground


class Meshes(NamedTuple):
    """Triangles of all meshes."""

    points: Reals
    """`[3, V]` [m]."""
    colour: Single
    """`[3, V]`."""
    faces: Integers
    """Corners `[3, F]`."""
    item: Integers
    """Which item each belongs to `[F]`."""
    smooth: NDArray[np.bool_]
    """`[F]`."""
    painted: NDArray[np.bool_]
    """Whether its mesh has a colour for each vertex `[F]`."""

    def normals(self) -> Reals:
        """The sum of the normals of the faces around each vertex, weighted by area `[3, V]`."""
        corners = self.points.take(self.faces, 1)
        across = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        every, size = self.faces.ravel(), self.points.shape[1]
        weights = np.concatenate([across] * 3, 1)
        return np.stack([np.bincount(every, weight, size) for weight in weights])


class Spheres(NamedTuple):
    """Balls of all items."""

    centres: Reals
    """`[3, N]` [m]."""
    radii: Reals
    """`[N]` [m]."""
    colour: Single
    """`[3, N]`."""
    item: Integers
    """`[N]`."""


class Scene(NamedTuple):
    """A drawing list side by side."""

    meshes: Meshes
    balls: Spheres
    ground: Ground | None
    ground_item: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing but ground."""
        return not self.meshes.faces.size + self.balls.radii.size

    def bounds(self) -> tuple[Reals, Reals]:
        """The least and the greatest x, y, z `[3]` of meshes and balls [m]."""
        points, (centres, radii, *_) = self.meshes.points, self.balls
        low = np.concatenate([points, centres - radii], 1).min(1)
        return low, np.concatenate([points, centres + radii], 1).max(1)


class Seen(NamedTuple):
    """What each pixel sees."""

    item: Integers
    """`[P]`, -1 for none."""
    depth: Reals
    """Along the camera's axis `[P]` [m], inf for none."""
    normal: Reals
    """Unit vectors towards the camera's side, in camera coordinates `[3, P]`."""
    colour: Single
    """Of the surface, without light `[3, P]`."""


def cross(a: Reals, b: Reals) -> Reals:
    """Cross products of `[3, n]`."""
    return np.stack([
        a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    ])  # fmt: skip


def unit(vectors: Reals) -> Reals:
    """Vectors `[3, n]` with length 1; those of length 0 stay."""
    length = np.sqrt((vectors * vectors).sum(0))
    return vectors / np.where(length > 0, length, 1.0)


# -------------------------------------------------------------------------------------------------
# Gathering


def gather(items: Sequence[Item]) -> Scene:
    """The items side by side; an error names the one that is wrong."""
    for number, item in enumerate(items):
        if not isinstance(item, Mesh | Balls | Ground):
            raise TypeError(f"Item {number} is a {type(item).__name__}; draw Mesh, Balls, Ground.")
    grounds = [(n, item) for n, item in enumerate(items) if isinstance(item, Ground)]
    if len(grounds) > 1:
        raise ValueError(f"A picture has one Ground; items {[n for n, _ in grounds]} are some.")
    number, ground = grounds[0] if grounds else (-1, None)
    if ground is not None:
        if not (np.isfinite(ground.height) and 0 < ground.square < np.inf):
            raise ValueError(
                f"Item {number}, a Ground, has a finite height and squares above 0 [m]; got height "
                f"{ground.height} and square {ground.square}."
            )
        for colour in ground.colours:
            _colour(number, colour, 1)
    meshes = [(n, item) for n, item in enumerate(items) if isinstance(item, Mesh)]
    balls = [(n, item) for n, item in enumerate(items) if isinstance(item, Balls)]
    return Scene(_meshes(meshes), _balls(balls), ground, number)


def _meshes(items: list[tuple[int, Mesh]]) -> Meshes:
    points: list[Reals] = [np.zeros((0, 3))]
    colours, faces, shift = [np.zeros((3, 0), np.float32)], [], 0
    for number, mesh in items:
        corners, given = _points(number, "vertices", mesh.vertices), mesh.faces
        if isinstance(given, Tensor):
            given = given.detach().cpu().numpy()
        index = np.asarray(given)
        if index.ndim != 2 or index.shape[1] != 3 or index.dtype.kind not in "iu":
            raise ValueError(
                f"Item {number} needs faces [F, 3] of integers; got {list(index.shape)} of "
                f"{index.dtype}."
            )
        if index.size and not 0 <= index.min() <= index.max() < len(corners):
            raise ValueError(
                f"Item {number} has faces with corners {index.min()} to {index.max()}, and "
                f"vertices 0 to {len(corners) - 1} only."
            )
        points.append(corners)
        colours.append(_colour(number, mesh.colour, len(corners)))
        faces.append(index + shift)
        shift += len(corners)
    counts = [len(index) for index in faces]
    return Meshes(
        np.ascontiguousarray(np.concatenate(points).T),
        np.concatenate(colours, 1),
        np.ascontiguousarray(np.concatenate([np.zeros((0, 3), np.int64), *faces]).T),
        np.repeat(np.array([n for n, _ in items], np.int64), counts),
        np.repeat(np.array([bool(mesh.smooth) for _, mesh in items], bool), counts),
        np.repeat(np.array([np.ndim(mesh.colour) == 2 for _, mesh in items], bool), counts),
    )


def _balls(items: list[tuple[int, Balls]]) -> Spheres:
    centres: list[Reals] = [np.zeros((0, 3))]
    radii: list[Reals] = [np.zeros(0)]
    colours, counts = [np.zeros((3, 0), np.float32)], []
    for number, balls in items:
        middle = _points(number, "centres", balls.centres)
        size, radius = len(middle), numbers(balls.radius)
        if radius.shape not in {(), (size,)} or not ((radius > 0) & (radius < np.inf)).all():
            raise ValueError(
                f"Item {number} needs one radius above 0, or one for each of its {size} balls; got "
                f"{list(radius.shape)} between {radius.min(initial=np.inf)} and "
                f"{radius.max(initial=-np.inf)}."
            )
        centres.append(middle)
        radii.append(np.broadcast_to(radius, (size,)))
        colours.append(_colour(number, balls.colour, size))
        counts.append(size)
    return Spheres(
        np.ascontiguousarray(np.concatenate(centres).T),
        np.concatenate(radii),
        np.concatenate(colours, 1),
        np.repeat(np.array([n for n, _ in items], np.int64), counts),
    )


def _points(number: int, name: str, given: Numbers) -> Reals:
    points = numbers(given)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"Item {number} needs {name} [., 3]; got {list(points.shape)}.")
    if not np.isfinite(points).all():
        bad = np.flatnonzero(~np.isfinite(points).all(1))
        raise ValueError(
            f"Item {number} has {bad.size} {name} that are not finite, the first is number "
            f"{bad[0]}: {points[bad[0]].tolist()}. Has the simulation diverged?"
        )
    return points


def _colour(number: int, given: Numbers, size: int) -> Single:
    """`[3, size]`."""
    colour = numbers(given).astype(np.float32)
    if colour.shape not in {(3,), (size, 3)}:
        raise ValueError(
            f"Item {number} needs one colour [3], or one for each point [{size}, 3]; got "
            f"{list(colour.shape)}."
        )
    if colour.size and not 0 <= colour.min() <= colour.max() <= 1:
        raise ValueError(
            f"Item {number} has colours from {colour.min():g} to {colour.max():g}; red, green and "
            "blue lie in [0, 1], so divide bytes by 255."
        )
    return np.broadcast_to(colour, (size, 3)).T


# -------------------------------------------------------------------------------------------------
# Looking


def look(scene: Scene, rotation: Reals, position: Reals, lens: Lens) -> Seen:
    """What a camera sees.

    Args:
        scene: what is there.
        rotation: world to camera `[3, 3]`.
        position: of the camera `[3]` [m].
        lens: of the picture.
    """
    origin = position[:, None]
    points = turn(rotation, scene.meshes.points - origin)
    centres = turn(rotation, scene.balls.centres - origin)
    first = scene.meshes.faces.shape[1]
    nearest = raster.blank(lens)
    raster.put_triangles(nearest, lens, points, scene.meshes.faces)
    raster_balls.put_balls(nearest, lens, centres, scene.balls.radii, first)
    owner = raster.owners(nearest)
    size = owner.size
    seen = Seen(
        np.full(size, -1),
        np.full(size, np.inf),
        np.zeros((3, size)),
        np.zeros((3, size), np.float32),
    )
    pixel = np.flatnonzero((owner >= 0) & (owner < first))
    if pixel.size:
        _see_triangles(seen, scene.meshes, rotation, points, lens, pixel, owner.take(pixel))
    pixel = np.flatnonzero(owner >= first)
    if pixel.size:
        owner = owner.take(pixel) - first
        depth, normal = raster_balls.at_balls(lens, centres, scene.balls.radii, pixel, owner)
        colour = scene.balls.colour.take(owner, 1)
        _write(seen, pixel, scene.balls.item.take(owner), depth, normal, colour)
    if scene.ground is not None:
        _see_ground(seen, scene.ground, scene.ground_item, rotation, position, lens)
    return seen


def _write(
    seen: Seen, pixel: Integers, item: Integers | int, depth: Reals, normal: Reals, colour: Single
) -> None:
    seen.item[pixel] = item
    seen.depth[pixel] = depth
    seen.normal[:, pixel] = normal
    seen.colour[:, pixel] = colour


def _see_triangles(
    seen: Seen,
    meshes: Meshes,
    rotation: Reals,
    points: Reals,
    lens: Lens,
    pixel: Integers,
    owner: Integers,
) -> None:
    depth, weights, sign = raster.at_triangles(lens, points, meshes.faces, pixel, owner)
    corner = meshes.faces.take(owner, 1)
    at = points.take(corner, 1)
    normal = cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0])
    curved = np.flatnonzero(meshes.smooth.take(owner))
    if curved.size:
        around = turn(rotation, unit(meshes.normals())).take(corner.take(curved, 1), 1)
        normal[:, curved] = (around * weights.take(curved, 1)).sum(1)
    colour = meshes.colour.take(corner[0], 1)
    painted = np.flatnonzero(meshes.painted.take(owner))
    if painted.size:
        corners = meshes.colour.take(corner.take(painted, 1), 1)
        colour[:, painted] = (corners * weights.take(painted, 1).astype(np.float32)).sum(1)
    # det > 0 where the normal of the corners' order points away from the camera.
    _write(seen, pixel, meshes.item.take(owner), depth, unit(normal * -sign), colour)


def world_rays(rotation: Reals, lens: Lens) -> Reals:
    """Rays (x / z, y / z, 1) of all pixels, in the axes of the world `[3, P]`."""
    columns, rows = lens.slopes()
    x, y = rotation[0][:, None, None] * columns, rotation[1][:, None, None] * rows[:, None]
    rays: Reals = (x + y + rotation[2][:, None, None]).reshape(3, -1)
    return rays


def _see_ground(
    seen: Seen, ground: Ground, item: int, rotation: Reals, position: Reals, lens: Lens
) -> None:
    """Where rays go down, the plane is met at z = (height - p_z) / r_z, and the width of a pixel on
    it along x and y is |dX/du| + |dX/dv|, with X = p + z r."""
    rays = world_rays(rotation, lens)
    down = rays[2] < -1e-9
    depth = np.full(seen.depth.size, np.inf)
    np.divide(ground.height - position[2], rays[2], out=depth, where=down)
    pixel = np.flatnonzero(depth < seen.depth)
    depth, rays = depth.take(pixel), rays.take(pixel, 1)
    footprint = np.zeros((2, pixel.size))
    for axis in rotation[:2] / lens.focal:
        footprint += np.abs(depth * (axis[:2, None] - rays[:2] * (axis[2] / rays[2])))
    colour = checker(ground, position[:2, None] + rays[:2] * depth, footprint)
    _write(seen, pixel, item, depth, rotation[:, 2][:, None], colour)
