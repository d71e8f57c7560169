"""Convex polyhedra against each other: boxes and meshes.

    n: of all faces of both the normal along which the two overlap least (pointing into the first)
    points: vertices of each in the other; the middle of the part of each edge that is in the other
    depth(x) = min over faces f of the other that look along n of  -phi_f(x) / (n_f . n)

One normal for a pair, so that boxes stand on each other up to their edges. The faces that do not
look along n bound the contact sideways: a point fades out over `MARGIN` of the other's size beyond
them, so forces are continuous. Where only two edges cross, n is the best face's normal, not the
cross product of the edges. Legend: `B` worlds, `P` pairs, `K` points, `F` faces, `E` edges.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.physics.rigid.model import Mesh
from reverie.physics.rigid.surfaces import Shape, Touch, signs

MARGIN = 0.02
"""Of the distance between opposite ends."""
ALONG = 0.5
"""Of the largest cosine; from there on a face looks along the normal."""


class Solid(NamedTuple):
    """Polyhedra in the world."""

    vertices: Tensor
    """`[B, P, K, 3]`."""
    normals: Tensor
    """`[B, P, F, 3]`."""
    offsets: Tensor
    """`[B, P, F]`."""
    edges: Tensor
    """int `[E, 2]`."""
    fade: Tensor
    """`[B, P, 1]` [m]."""


@functools.cache
def cube() -> Mesh:
    """A box of half side 1."""
    corners = signs()
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    edges = [
        (i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 2
    ]
    return Mesh(corners, normals, np.ones(6), np.array(edges), np.zeros((0, 3), int))


def solid(shape: Shape) -> Solid:
    """A box or a mesh, with its size."""
    mesh = cube() if shape.kind == "box" else shape.form
    assert isinstance(mesh, Mesh)
    corners, normals, heights = (
        torch.as_tensor(x, dtype=shape.place.dtype, device=shape.place.device)
        for x in (mesh.vertices, mesh.normals, mesh.offsets)
    )
    corners, normals = corners * shape.size.unsqueeze(2), normals / shape.size.unsqueeze(2)
    length = normals.square().sum(-1).sqrt()
    turned = (normals / length.unsqueeze(-1)) @ shape.rotation.mT
    offsets = heights / length
    place = shape.place.unsqueeze(2)
    across = (corners.amax(2) - corners.amin(2)).square().sum(-1, keepdim=True).sqrt()
    return Solid(
        place + corners @ shape.rotation.mT,
        turned,
        offsets + (turned * place).sum(-1),
        torch.as_tensor(mesh.edges, device=shape.place.device),
        MARGIN * across,
    )


def polyhedra(first: Shape, second: Shape) -> Touch:
    """How boxes and meshes touch."""
    one, two = solid(first), solid(second)
    normal = _normal(one, two)
    parts = []
    for body, other, along in ((one, two, normal), (two, one, -normal)):
        middles, inside = _clipped(body, other, along)
        at = torch.cat([body.vertices, middles], 2)
        depth, weight = _depth(other, along, at)
        weight = weight * torch.cat([torch.ones_like(body.vertices[..., 0]), inside], 2)
        point = at + 0.5 * depth.unsqueeze(-1) * along.unsqueeze(2)
        parts.append((point, normal.unsqueeze(2).expand_as(point), depth, weight))
    return Touch(*(torch.cat(pair, 2) for pair in zip(*parts, strict=True)))


def _normal(one: Solid, two: Solid) -> Tensor:
    """`[B, P, 3]`, of the face over which the other reaches least far inward."""
    apart = []
    for body, other in ((two, one), (one, two)):
        heights = other.vertices @ body.normals.mT - body.offsets.unsqueeze(2)
        apart.append(heights.amin(2))
    best = torch.cat(apart, 2).argmax(2)
    normals = torch.cat([two.normals, -one.normals], 2)
    return normals.gather(2, best[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)


def _looks(body: Solid, along: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine `[B, P, 1, F]` of each face with a direction `[B, P, 3]`, and whether it looks
    along it."""
    looks = (body.normals @ along.unsqueeze(-1)).squeeze(-1).unsqueeze(2)
    return looks, looks > ALONG * looks.amax(-1, keepdim=True)


def _depth(other: Solid, along: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """How far points are below the faces of `other` that look along, and their weights."""
    looks, ahead = _looks(other, along)
    heights = at @ other.normals.mT - other.offsets.unsqueeze(2)
    depth = torch.where(ahead, -heights / torch.where(ahead, looks, 1.0), torch.inf).amin(-1)
    beyond = torch.where(ahead, 0.0, heights / other.fade.unsqueeze(2))
    return depth, (1 - beyond).clamp(0, 1).amin(-1)


def _clipped(body: Solid, other: Solid, along: Tensor) -> tuple[Tensor, Tensor]:
    """Middles `[B, P, E, 3]` of the edges of `body` within the other's sides, and their weights."""
    start, end = (body.vertices[:, :, body.edges[:, k]] for k in (0, 1))
    sides = ~_looks(other, along)[1]
    before, after = (x @ other.normals.mT - other.offsets.unsqueeze(2) for x in (start, end))
    step = after - before
    flat = step.abs() < 1e-9
    at = -before / torch.where(flat, 1.0, step)
    enters = torch.where(sides & ~flat & (step < 0), at, 0.0).amax(-1).clamp(0, 1)
    leaves = torch.where(sides & ~flat & (step > 0), at, 1.0).amin(-1).clamp(0, 1)
    middle = start + (0.5 * (enters + leaves)).unsqueeze(-1) * (end - start)
    share = (leaves - enters) * (end - start).square().sum(-1).sqrt() / other.fade
    return middle, share.clamp(0, 1)
