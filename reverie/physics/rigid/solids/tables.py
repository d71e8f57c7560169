"""Convex polyhedra and the pairs of them as arrays of numbers, for the kernels.

A point of a pair is a vertex, or what the middle of an edge within the other is: see `polyhedra`.
Legend: `S` pairs, `M` shapes, `n` vertices and `F` faces of all shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.physics.rigid.model import Mesh, RigidModel
from reverie.physics.rigid.polyhedra import cube
from reverie.physics.rigid.surfaces import TOUCHES

SOLID = -1
"""The kind, in tables of points, of one that the kernels of solids find."""


class SolidTables(NamedTuple):
    """Integers are int32."""

    solids: np.ndarray
    """`[S, 4]`: the geoms of a pair and their shapes."""
    slack: np.ndarray
    """`[S]` [m], the margin of the pair."""
    bounds: np.ndarray
    """`[M, 4]`: where the vertices and the faces of a shape begin and end."""
    extents: np.ndarray
    """`[M, 6]`: the largest coordinates, whatever their sign, and the lengths along the axes."""
    vertices: np.ndarray
    """`[n, 3]`."""
    faces: np.ndarray
    """`[F, 4]`: normal, offset."""


def is_solid(model: RigidModel, pair: int) -> bool:
    """Whether a pair is one of polyhedra."""
    one, two = (model.geoms[g] for g in (model.pairs[pair].first, model.pairs[pair].second))
    return TOUCHES[one.kind, two.kind] == "polyhedra"


def mesh_of(model: RigidModel, geom: int) -> Mesh:
    """The polyhedron of a box, of half side 1, or of a mesh."""
    found = model.geoms[geom]
    return cube() if found.kind == "box" else model.meshes[found.shape]


def probes(model: RigidModel, geom: int) -> np.ndarray:
    """The points `[K, 3]` of a geom: a vertex and -1, or the two vertices of an edge; and 0."""
    mesh = mesh_of(model, geom)
    count, edges = len(mesh.vertices), mesh.edges
    found = np.zeros((count + len(edges), 3))
    found[:count, 0], found[:count, 1] = np.arange(count), -1
    found[count:, :2] = edges
    return found


def solid_tables(model: RigidModel) -> SolidTables:
    """The polyhedra of a model and the pairs of them; each shape once."""
    pairs = [p for p in range(len(model.pairs)) if is_solid(model, p)]
    slots: dict[int, int] = {}
    meshes: list[Mesh] = []
    rows: list[list[int]] = []
    for p in pairs:
        geoms = [model.pairs[p].first, model.pairs[p].second]
        for g in geoms:
            mesh = mesh_of(model, g)
            if id(mesh) not in slots:
                slots[id(mesh)] = len(meshes)
                meshes.append(mesh)
        rows.append([*geoms, *(slots[id(mesh_of(model, g))] for g in geoms)])
    ends = np.cumsum([[0, 0], *([len(m.vertices), len(m.normals)] for m in meshes)], axis=0)
    bounds = np.stack([ends[:-1, 0], ends[1:, 0], ends[:-1, 1], ends[1:, 1]], 1)
    extents = [(*np.abs(m.vertices).max(0), *np.ptp(m.vertices, axis=0)) for m in meshes]
    faces = [np.concatenate([m.normals, m.offsets[:, None]], 1) for m in meshes]
    return SolidTables(
        np.array(rows, np.int32).reshape(-1, 4),
        np.array([model.pairs[p].margin for p in pairs]),
        bounds.astype(np.int32).reshape(-1, 4),
        np.array(extents).reshape(-1, 6),
        np.concatenate([m.vertices for m in meshes]) if meshes else np.zeros((0, 3)),
        np.concatenate(faces) if faces else np.zeros((0, 4)),
    )


def solid_points(
    model: RigidModel, made: SolidTables, points: np.ndarray, corners: np.ndarray
) -> np.ndarray:
    """Which of some points those of polyhedra are, `[., 7]`: the point, its pair in `solids`,
    whether its geom is the first of them, the shapes of its geom and of the other, its vertices.

    Args:
        model: The model.
        made: Its polyhedra.
        points: As in `tables`; the kind of those that are looked for is `SOLID`.
        corners: Their `probes`.
    """
    order = {p: s for s, p in enumerate(p for p in range(len(model.pairs)) if is_solid(model, p))}
    rows = []
    for c in np.flatnonzero(points[:, 6] == SOLID):
        slot = order[int(points[c, 0])]
        first = int(made.solids[slot, 0] == points[c, 4])
        own, other = made.solids[slot, [2, 3] if first else [3, 2]]
        a, b = (int(x) for x in corners[c, :2])
        start = int(made.bounds[own, 0])
        rows.append([c, slot, first, own, other, start + a, start + b if b >= 0 else -1])
    return np.array(rows, np.int32).reshape(-1, 7)
