"""Convex polyhedra and height fields from MuJoCo's tables.

Legend: `n` vertices, `T` triangles, `F` faces, `E` edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reverie.physics.rigid.model import Field, Mesh

FLAT = 1e-5
"""Triangles are one face where their normals differ by less."""


def hull_of(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    """The polyhedron of a closed, convex surface of triangles.

    Args:
        vertices: `[n, 3]` [m].
        triangles: int `[T, 3]`, anticlockwise from outside.

    Raises:
        ValueError: an edge is not shared by exactly two triangles, or the volume is not positive.
    """
    sides: dict[tuple[int, int], int] = {}
    for t, corners in enumerate(triangles.tolist()):
        for k in range(3):
            side = (corners[k], corners[(k + 1) % 3])
            if side in sides:
                raise ValueError(
                    f"The mesh has the edge {side} twice in one direction; it must be a closed "
                    "surface whose triangles all wind the same way."
                )
            sides[side] = t
    open_sides = [side for side in sides if side[::-1] not in sides]
    if open_sides:
        raise ValueError(
            f"The mesh is not closed: {len(open_sides)} edges, the first {open_sides[0]}, belong "
            "to one triangle only. Close it."
        )
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    volume = float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
    if volume <= 0:
        raise ValueError(f"The mesh has the volume {volume:g} m^3; turn its triangles outward.")
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    offsets = (normals * a).sum(1)
    kept = _distinct(np.concatenate([normals, offsets[:, None] / np.abs(vertices).max()], 1))
    edges = [
        side
        for side, t in sides.items()
        if side[0] < side[1] and np.abs(normals[t] - normals[sides[side[::-1]]]).max() > FLAT
    ]
    return Mesh(vertices, normals[kept], offsets[kept], np.array(edges).reshape(-1, 2), triangles)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The first of each set of equal rows."""
    kept: list[int] = []
    for i, row in enumerate(rows):
        if not kept or np.abs(rows[kept] - row).max(1).min() > FLAT:
            kept.append(i)
    return np.array(kept)


def mesh_of(compiled: Any, mesh: int, touches: bool) -> Mesh:
    """The convex hull of a mesh if it may touch something; else the mesh, to be drawn."""
    start, count = compiled.mesh_vertadr[mesh], compiled.mesh_vertnum[mesh]
    vertices = np.array(compiled.mesh_vert[start : start + count], np.float64)
    if not touches or compiled.mesh_graphadr[mesh] < 0:
        first, number = compiled.mesh_faceadr[mesh], compiled.mesh_facenum[mesh]
        none = np.zeros((0, 3))
        faces = np.array(compiled.mesh_face[first : first + number])
        return Mesh(vertices, none, np.zeros(0), np.zeros((0, 2), int), faces)
    graph = compiled.mesh_graph[compiled.mesh_graphadr[mesh] :]
    corners, sides = int(graph[0]), int(graph[1])
    used = graph[2 + corners : 2 + 2 * corners]
    skip = 2 + 3 * corners + 3 * sides
    triangles = np.searchsorted(np.sort(used), graph[skip : skip + 3 * sides].reshape(-1, 3))
    try:
        return hull_of(vertices[np.sort(used)], triangles)
    except ValueError as error:
        raise ValueError(f"Mesh {mesh} of the file: {error}") from error


def field_of(compiled: Any, field: int) -> Field:
    """A height field."""
    start = compiled.hfield_adr[field]
    rows, columns = compiled.hfield_nrow[field], compiled.hfield_ncol[field]
    heights = np.array(compiled.hfield_data[start : start + rows * columns], np.float64)
    return Field(heights.reshape(rows, columns))
