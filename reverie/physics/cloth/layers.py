"""Which layers of cloth may touch soon: vertices near triangles, found through a uniform grid.

The search stands outside the graph: a pair that is left out has no force, hence no gradient either.
A segment of a rope is a triangle whose last two corners are one (`ClothMesh.surface`).

Legend: `B` worlds, `V` vertices, `C` triangles and segments, `N` pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.physics.cloth.mesh import ClothMesh
from reverie.physics.cloth.reference import nearest

FAR_AT_REST = 2.0
"""Nearer at rest than this many thicknesses is one piece of cloth, not two layers."""


@torch.no_grad()
def near_pairs(mesh: ClothMesh, position: Tensor, thickness: Tensor, reach: float) -> Tensor:
    """Pairs (world, vertex, row of `mesh.surface`) nearer than `reach` [m], int32 `[N, 3]`.

    Left out are pairs that share a vertex, and pairs of one body that lie nearer than twice the
    thickness `[B]` at rest. `mesh` is on the device of the positions `[B, V, 3]`.

    Raises:
        FloatingPointError: A position is not finite.
    """
    if not bool(torch.isfinite(position).all()):
        raise FloatingPointError("A vertex's position is not finite; take a smaller dt.")
    surface = mesh.surface
    world, vertex, face = _in_cells(position, position[:, surface], reach)
    corner = surface[face]
    apart = (corner[:, 0] != vertex) & (corner[:, 1] != vertex) & (corner[:, 2] != vertex)
    world, vertex, face, corner = (x[apart] for x in (world, vertex, face, corner))
    near = _distance(position[world, vertex], position[world[:, None], corner]) < reach
    world, vertex, face, corner = (x[near] for x in (world, vertex, face, corner))
    one_body = mesh.body[vertex] == mesh.body[corner[:, 0]]
    rest = _distance(mesh.rest[vertex], mesh.rest[corner])
    layers = ~one_body | (rest >= FAR_AT_REST * thickness[world])
    return torch.stack([world, vertex, face], -1)[layers].to(torch.int32)


def _distance(point: Tensor, corner: Tensor) -> Tensor:
    """From points `[N, 3]` to triangles `[N, 3, 3]`, `[N]`."""
    share = nearest(point, *corner.unbind(1))
    return (point - (share[..., None] * corner).sum(1)).norm(dim=-1)


def _in_cells(position: Tensor, corner: Tensor, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Worlds, vertices and triangles `[B, C, 3, 3]` whose balls of `reach` and of the radius of the
    triangle meet.

    Cells are so wide that the centre of such a triangle is in the vertex' cell or one beside it.
    """
    worlds, vertices = position.shape[:2]
    centre = corner.mean(2)
    radius = (corner - centre[:, :, None]).norm(dim=-1).amax(-1)
    side = float(radius.max() + reach) * (1 + 1e-5)
    low = torch.minimum(position.amin((0, 1)), centre.amin((0, 1)))
    mine = ((position - low) / side).floor().long() + 1
    theirs = ((centre - low) / side).floor().long() + 1
    size = torch.maximum(mine.amax((0, 1)), theirs.amax((0, 1))) + 2
    at = torch.arange(worlds, device=position.device)[:, None]

    def key(cell: Tensor) -> Tensor:
        return ((at * size[0] + cell[..., 0]) * size[1] + cell[..., 1]) * size[2] + cell[..., 2]

    keys, order = key(theirs).flatten().sort()
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=position.device)] * 2)
    column = torch.cat([steps, torch.zeros_like(steps[:, :1])], -1)
    middle = key((mine[:, :, None] + column).flatten(1, 2)).flatten()
    first = torch.searchsorted(keys, middle - 1)
    count = torch.searchsorted(keys, middle + 1, right=True) - first
    row = torch.arange(len(middle), device=position.device).repeat_interleave(count)
    start = count.cumsum(0) - count
    index = torch.arange(len(row), device=position.device) - start[row] + first[row]
    owner, other = row // len(column), order[index]
    far = position.flatten(0, 1)[owner] - centre.flatten(0, 1)[other]
    most = (radius.flatten() + reach) * (1 + 1e-5)
    meet = far.square().sum(-1) < most.square()[other]
    owner, other = owner[meet], other[meet]
    return owner // vertices, owner % vertices, other % corner.shape[1]
