"""What can be drawn: meshes, balls and a ground, and makers of the usual meshes.

Lengths are metres, z is up, corners of a face run anticlockwise when seen from outside. Solids are
centred on the origin with their axis along z; `place` moves them. Colours are red, green, blue in
[0, 1].

Legend: `V` vertices, `F` faces, `N` balls, `K` points of a line, `S` sectors around an axis, `n m`
rows and columns of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Reals = NDArray[np.floating[Any]]
Numbers: TypeAlias = NDArray[Any] | Tensor | Sequence[Any]
"""A numpy array, a tensor on any device, or a nested sequence."""
Colour: TypeAlias = tuple[float, float, float]

PALETTE: dict[str, Colour] = {
    "clay": (0.85, 0.47, 0.36),
    "sand": (0.87, 0.73, 0.49),
    "straw": (0.95, 0.80, 0.40),
    "leaf": (0.47, 0.68, 0.45),
    "water": (0.29, 0.60, 0.82),
    "ink": (0.25, 0.32, 0.47),
    "plum": (0.62, 0.45, 0.65),
    "rose": (0.91, 0.58, 0.60),
    "snow": (0.94, 0.95, 0.96),
    "steel": (0.62, 0.66, 0.71),
    "graphite": (0.30, 0.33, 0.37),
    "wood": (0.72, 0.54, 0.38),
}
"""Muted colours that go together, by what they look like."""


class Mesh(NamedTuple):
    """Triangles, seen from both sides."""

    vertices: Numbers
    """`[V, 3]` [m]."""
    faces: Numbers
    """Corners, integers `[F, 3]`."""
    colour: Numbers = PALETTE["clay"]
    """One `[3]`, or one for each vertex `[V, 3]`."""
    smooth: bool = False
    """Shade it as a curved surface, with normals averaged around vertices."""


class Balls(NamedTuple):
    """Spheres: the particles of liquids, sand, soft bodies."""

    centres: Numbers
    """`[N, 3]` [m]."""
    radius: Numbers | float
    """One, or one for each `[N]` [m]."""
    colour: Numbers = PALETTE["water"]
    """One `[3]`, or one for each ball `[N, 3]`."""


class Ground(NamedTuple):
    """The plane z = height, without end, in squares of two colours."""

    height: float = 0.0
    colours: tuple[Colour, Colour] = ((0.83, 0.84, 0.86), (0.74, 0.76, 0.79))
    square: float = 0.5
    """Side of a square [m]; one corner lies at x = y = 0, and the first colour at x, y > 0."""


def numbers(values: Numbers | float) -> Reals:
    """As float64, detached and on the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().double().cpu().numpy()
    return np.asarray(values, np.float64)


def place(mesh: Mesh, position: Numbers = (0, 0, 0), rotation: Numbers | None = None) -> Mesh:
    """The mesh at R p + t.

    Args:
        mesh: what to move.
        position: t `[3]` [m].
        rotation: R as a matrix `[3, 3]`, or a quaternion (w, x, y, z) `[4]` of any length but 0.
    """
    points, shift = numbers(mesh.vertices), numbers(position)
    if shift.shape != (3,):
        raise ValueError(f"position is a vector [3]; got {list(shift.shape)}.")
    if rotation is not None:
        turn = numbers(rotation)
        if turn.shape == (4,):
            turn = _matrix(turn)
        if turn.shape != (3, 3):
            raise ValueError(
                f"rotation is a matrix [3, 3] or a quaternion w x y z [4]; got {list(turn.shape)}."
            )
        points = points @ turn.T
    return mesh._replace(vertices=points + shift)


def _matrix(quaternion: Reals) -> Reals:
    length = float(np.sqrt((quaternion * quaternion).sum()))
    if not length > 0 or not math.isfinite(length):
        raise ValueError(f"A rotation is no quaternion of length {length}: {quaternion.tolist()}.")
    w, x, y, z = quaternion / length
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def _positive(maker: str, **lengths: float) -> None:
    for name, value in lengths.items():
        if not value > 0 or not math.isfinite(value):
            raise ValueError(f"{maker} needs {name} above 0; got {value}.")


def _at_least(maker: str, least: int, **counts: int) -> None:
    for name, value in counts.items():
        if value < least:
            raise ValueError(f"{maker} needs {name} of {least} or more; got {value}.")


# -------------------------------------------------------------------------------------------------
# Solids


def box(size: Numbers = (1, 1, 1), colour: Numbers = PALETTE["clay"]) -> Mesh:
    """A cuboid with edges of the lengths `size` `[3]` [m] along x, y, z: 12 triangles."""
    edges = numbers(size)
    if edges.shape != (3,):
        raise ValueError(f"box needs three edge lengths; got the shape {list(edges.shape)}.")
    _positive("box", **dict(zip("xyz", edges.tolist(), strict=True)))
    corner = np.arange(8)
    signs = np.stack([corner >> 2 & 1, corner >> 1 & 1, corner & 1], 1) - 0.5
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [corners for a, b, c, d in quads for corners in ((a, b, c), (a, c, d))]
    return Mesh(signs * edges, np.array(faces), colour)


def ellipsoid(
    radii: Numbers, colour: Numbers = PALETTE["clay"], sectors: int = 24, rings: int = 12
) -> Mesh:
    """An ellipsoid with the half-axes `radii` `[3]` [m] along x, y, z."""
    axes = numbers(radii)
    if axes.shape != (3,):
        raise ValueError(f"ellipsoid needs three radii; got the shape {list(axes.shape)}.")
    _positive("ellipsoid", **dict(zip("xyz", axes.tolist(), strict=True)))
    ball = sphere(1.0, colour, sectors, rings)
    return ball._replace(vertices=numbers(ball.vertices) * axes)


def sphere(
    radius: float = 0.5, colour: Numbers = PALETTE["clay"], sectors: int = 24, rings: int = 12
) -> Mesh:
    """A sphere of S sectors and so many rings of faces from pole to pole."""
    _positive("sphere", radius=radius)
    _at_least("sphere", 2, rings=rings)
    angle = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)
    return _revolve("sphere", radius * np.cos(angle), radius * np.sin(angle), sectors, colour)


def capsule(
    radius: float = 0.1,
    length: float = 0.5,
    colour: Numbers = PALETTE["clay"],
    sectors: int = 16,
    rings: int = 4,
) -> Mesh:
    """A cylinder along z with a half-ball at each end.

    Args:
        radius: of both [m].
        length: between the centres of the half-balls [m].
        colour: `[3]`.
        sectors: S.
        rings: of faces in each half-ball.
    """
    _positive("capsule", radius=radius, length=length)
    _at_least("capsule", 1, rings=rings)
    angle = np.linspace(0, math.pi / 2, rings + 1)
    out, up = radius * np.cos(angle), radius * np.sin(angle) + length / 2
    outline = np.concatenate([out[::-1], out]), np.concatenate([-up[::-1], up])
    return _revolve("capsule", *outline, sectors, colour)


def cylinder(
    radius: float = 0.1,
    length: float = 0.5,
    colour: Numbers = PALETTE["clay"],
    sectors: int = 24,
) -> Mesh:
    """A cylinder along z with flat ends and a sharp rim."""
    _positive("cylinder", radius=radius, length=length)
    half = length / 2
    # The rim stands there twice, so that the normals of side and end are not averaged.
    out, up = np.array([0, radius, radius, 0]), np.array([-half, -half, half, half])
    parts = [_revolve("cylinder", out[i : i + 2], up[i : i + 2], sectors, colour) for i in range(3)]
    return join(parts)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one; colours are those of the first."""
    if not meshes:
        raise ValueError("join needs one mesh or more; got none.")
    vertices = [numbers(mesh.vertices) for mesh in meshes]
    shifts = np.cumsum([0, *(len(points) for points in vertices[:-1])])
    faces = [np.asarray(m.faces) + shift for m, shift in zip(meshes, shifts, strict=True)]
    return meshes[0]._replace(vertices=np.concatenate(vertices), faces=np.concatenate(faces))


def _revolve(maker: str, out: Reals, up: Reals, sectors: int, colour: Numbers) -> Mesh:
    """The outline (distance from the axis, z) turned around z; from below to above its outside is
    outside. Its ends on the axis become one vertex each."""
    _at_least(maker, 3, sectors=sectors)
    angle = np.arange(sectors) * (2 * math.pi / sectors)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    heights = np.broadcast_to(up[:, None, None], (len(up), sectors, 1))
    rings = np.concatenate([out[:, None, None] * circle, heights], 2)
    faces = _quads(len(out), sectors, closed=True)
    merged = np.arange(rings.size // 3).reshape(len(out), sectors)
    for end in (0, -1):
        if abs(out[end]) < 1e-9 * np.abs(out).max():
            rings[end, :, :2] = 0
            merged[end] = merged[end, 0]
    return _without_slivers(Mesh(rings.reshape(-1, 3), merged.ravel()[faces], colour, smooth=True))


def _quads(rows: int, columns: int, *, closed: bool = False) -> NDArray[np.int64]:
    """Two faces `[., 3]` for each square of a grid of vertices; `closed` joins the last column to
    the first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, 1:].ravel(), index[1:, :-1].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _without_slivers(mesh: Mesh) -> Mesh:
    """Without faces that name a vertex twice, and without vertices that no face names."""
    faces = np.asarray(mesh.faces)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    used, index = np.unique(faces, return_inverse=True)
    return mesh._replace(vertices=numbers(mesh.vertices)[used], faces=index.reshape(-1, 3))


def hull(points: Numbers, colour: Numbers = PALETTE["clay"]) -> Mesh:
    """The convex hull of points `[K, 3]` [m]; needs SciPy."""
    cloud = numbers(points)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) < 4:
        raise ValueError(f"hull needs points [K, 3] with K >= 4; got {list(cloud.shape)}.")
    try:
        spatial: Any = import_module("scipy.spatial")
    except ImportError as error:
        raise ImportError("hull needs SciPy, which is missing: pip install scipy.") from error
    try:
        found = spatial.ConvexHull(cloud)
    except spatial.QhullError as error:
        raise ValueError(
            f"The {len(cloud)} points of a hull lie in one plane, or are not finite; give four or "
            "more that do not."
        ) from error
    faces = np.array(found.simplices, np.int64)
    a, b, c = cloud[faces].transpose(1, 0, 2)
    inward = (np.cross(b - a, c - a) * found.equations[:, :3]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return _without_slivers(Mesh(cloud, faces, colour))


# -------------------------------------------------------------------------------------------------
# Sheets and lines


def sheet(points: Numbers, colour: Numbers = PALETTE["rose"]) -> Mesh:
    """A grid of points `[n, m, 3]` [m] as a curved surface: a cloth, 2 (n - 1) (m - 1) triangles.

    With x along m and y along n its front looks up. A colour for each point is `[n m, 3]`.
    """
    grid = numbers(points)
    if grid.ndim != 3 or grid.shape[2] != 3 or min(grid.shape) < 2:
        raise ValueError(
            f"sheet needs points [n, m, 3] with n and m of 2 or more; got {list(grid.shape)}."
        )
    faces = _quads(grid.shape[0], grid.shape[1])
    return Mesh(grid.reshape(-1, 3), faces, colour, smooth=True)


def height_field(
    heights: Numbers, size: tuple[float, float], colour: Numbers = PALETTE["leaf"]
) -> Mesh:
    """Terrain with the heights `[n, m]` [m], centred on the origin.

    Args:
        heights: z at a regular grid, rows along y, columns along x.
        size: its extent along x and y [m].
        colour: `[3]`, or `[n m, 3]`.
    """
    z = numbers(heights)
    if z.ndim != 2 or min(z.shape) < 2:
        raise ValueError(
            f"height_field needs heights [n, m] with n and m of 2 or more; got {list(z.shape)}."
        )
    _positive("height_field", x=size[0], y=size[1])
    x = (np.linspace(0, 1, z.shape[1]) - 0.5) * size[0]
    y = (np.linspace(0, 1, z.shape[0]) - 0.5) * size[1]
    return sheet(np.stack([*np.meshgrid(x, y), z], 2), colour)


def patch(
    size: tuple[float, float] = (1, 1),
    cells: tuple[int, int] = (1, 1),
    colour: Numbers = PALETTE["steel"],
) -> Mesh:
    """A flat rectangle at z = 0 of so many cells along x and y."""
    _at_least("patch", 1, x=cells[0], y=cells[1])
    return height_field(np.zeros((cells[1] + 1, cells[0] + 1)), size, colour)


def tube(
    points: Numbers, radius: float, colour: Numbers = PALETTE["wood"], sectors: int = 8
) -> Mesh:
    """A round tube with closed ends along the line through points `[K, 3]` [m]: a rope.

    Its cross-section is carried along the line without twist: from one direction t to the next, t',
    by the least rotation that takes t to t'.
    """
    line = numbers(points)
    if line.ndim != 2 or line.shape[1] != 3 or len(line) < 2:
        raise ValueError(f"tube needs points [K, 3] with K >= 2; got {list(line.shape)}.")
    _positive("tube", radius=radius)
    _at_least("tube", 3, sectors=sectors)
    along = _directions(line)
    angle = np.arange(sectors) * (2 * math.pi / sectors)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
    rings = line[:, None] + circle @ _frames(along)
    stack = np.concatenate([np.repeat(line[:1, None], sectors, 1), rings,
                            np.repeat(line[-1:, None], sectors, 1)])  # fmt: skip
    faces = _quads(len(stack), sectors, closed=True)
    merged = np.arange(stack.size // 3)
    merged[:sectors], merged[-sectors:] = 0, stack.size // 3 - sectors
    return _without_slivers(Mesh(stack.reshape(-1, 3), merged[faces], colour, smooth=True))


def _directions(line: Reals) -> Reals:
    """Unit tangents `[K, 3]` at the points of a line."""
    steps = np.diff(line, axis=0)
    lengths = np.sqrt((steps * steps).sum(1, keepdims=True))
    if not (lengths > 0).all():
        where = int(np.argmin(lengths > 0))
        raise ValueError(f"Points {where} and {where + 1} of a tube coincide or are not finite.")
    steps /= lengths
    along = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    lengths = np.sqrt((along * along).sum(1, keepdims=True))
    back = np.concatenate([steps, steps[-1:]])  # where the line turns right round
    return np.where(lengths > 1e-6, along / np.maximum(lengths, 1e-6), back)


def _frames(along: Reals) -> Reals:
    """Two unit vectors `[K, 2, 3]` across each direction `[K, 3]`, right-handed with it.

    The least rotation that takes a to b takes s, across a, to s - (b . s) (a + b) / (1 + a . b).
    """
    across = np.cross(along[0], np.eye(3)[np.argmin(np.abs(along[0]))])
    side = np.empty_like(along)
    for k, forward in enumerate(along):
        if k and (cosine := along[k - 1] @ forward) > -1 + 1e-9:
            across = across - (forward @ across) / (1 + cosine) * (along[k - 1] + forward)
        across = across - forward * (forward @ across)
        across = across / np.sqrt(across @ across)
        side[k] = across
    return np.stack([side, np.cross(along, side)], 1)
