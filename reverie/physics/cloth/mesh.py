"""The shape of cloth and ropes at rest: triangles, segments, what joins them, and makers.

Lengths are metres. A mesh has bodies: sheets of triangles and ropes of segments, each connected,
none sharing a vertex with another. Elements are its triangles, then its segments.

Legend: `V` vertices, `F` triangles, `S` segments, `P` bodies, `nx ny` vertices along the sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reverie.physics.cloth.bending import Pairs, flat, merged, plate, rod

THIN = 1e-4
"""A triangle whose area is less than this share of its longest edge squared is degenerate."""


@dataclass(frozen=True, eq=False)
class ClothMesh:
    """Made by `grid`, `sheet`, `rope` and `join`; constant, and never differentiated."""

    rest: Tensor
    """Positions at rest, float64 `[V, 3]` [m]."""
    faces: Tensor
    """int64 `[F, 3]`."""
    segments: Tensor
    """int64 `[S, 2]`."""
    frame: Tensor
    """Inverse of a triangle's edges at rest (1 - 0 and 2 - 0 as columns, in its plane), `[F, 4]`
    by rows [1/m]: the columns of the deformation gradient are the edges times its columns."""
    area: Tensor
    """`[F]` [m^2]."""
    length: Tensor
    """`[S]` [m]."""
    body: Tensor
    """The body of each vertex, int64 `[V]`."""
    bends: Pairs
    """Bending, see `bending.py`."""

    @property
    def vertices(self) -> int:
        """V."""
        return len(self.rest)

    @property
    def elements(self) -> int:
        """F + S."""
        return len(self.faces) + len(self.segments)

    @property
    def bodies(self) -> int:
        """P."""
        return int(self.body.max()) + 1

    @property
    def share(self) -> Tensor:
        """Area or length that belongs to each vertex `[V]`: a third of each triangle, half of each
        segment."""
        out = self.rest.new_zeros(self.vertices)
        third = (self.area / 3)[:, None].expand(-1, 3)
        out = out.index_add(0, self.faces.reshape(-1), third.reshape(-1))
        half = (self.length / 2)[:, None].expand(-1, 2)
        return out.index_add(0, self.segments.reshape(-1), half.reshape(-1))

    @property
    def surface(self) -> Tensor:
        """What others can touch `[F + S, 3]`: triangles, and segments with their end twice."""
        return torch.cat([self.faces, self.segments[:, [0, 1, 1]]])

    def of_elements(self, values: Tensor) -> Tensor:
        """Values of bodies `[..., P]` for their elements `[..., F + S]`."""
        return values[..., self.body[self.surface[:, 0]].to(values.device)]

    def of_vertices(self, values: Tensor) -> Tensor:
        """Values of bodies `[..., P]` for their vertices `[..., V]`."""
        return values[..., self.body.to(values.device)]

    def to(self, like: Tensor) -> ClothMesh:
        """The same with the dtype and on the device of a tensor."""
        parts: dict[str, Any] = {}
        for name in ("rest", "frame", "area", "length"):
            parts[name] = getattr(self, name).to(like)
        for name in ("faces", "segments", "body"):
            parts[name] = getattr(self, name).to(like.device)
        row, column, value = self.bends
        bends = Pairs(row.to(like.device), column.to(like.device), value.to(like))
        return replace(self, **parts, bends=bends)


def sheet(
    vertices: Tensor | Sequence[Any],
    faces: Tensor | Sequence[Any],
    along: Sequence[float] = (1.0, 0.0, 0.0),
) -> ClothMesh:
    """A cloth of triangles: any mesh whose edges have at most two sides.

    It is unstretched as it is given, and bends towards flat, also where the mesh is not. `along` is
    the direction of the yarn, which matters where shear is not that of an isotropic sheet.

    Raises:
        ValueError: Positions that are not finite, indices that do not exist, unused vertices,
            degenerate triangles, an edge with more than two triangles.
    """
    rest, corners = _checked(vertices, faces, 3)
    corner = rest[corners]
    twice = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = twice.norm(dim=-1) / 2
    longest = (corner - corner.roll(1, 1)).norm(dim=-1).amax(1)
    bad = (area < THIN * longest**2).nonzero()[:, 0]
    if len(bad):
        raise ValueError(
            f"{len(bad)} triangles are degenerate, the first is {int(bad[0])} with corners "
            f"{corners[bad[0]].tolist()}: its area is {float(area[bad[0]]):.3g} m^2 beside an edge "
            f"of {float(longest[bad[0]]):.3g} m. Remove or remesh them."
        )
    direction = torch.tensor(along, dtype=torch.float64)
    points = flat(corner, direction)
    frame = torch.linalg.inv(points[:, 1:].mT).reshape(-1, 4)
    bends = plate(rest, corners, across(corners, len(rest)), direction)
    none = corners.new_zeros(0, 2)
    body = _bodies(corners, len(rest))
    return ClothMesh(rest, corners, none, frame, area, rest.new_zeros(0), body, bends)


def rope(points: Tensor | Sequence[Any]) -> ClothMesh:
    """A rope along points `[V, 3]` in order, unstretched as given; it bends towards straight.

    Raises:
        ValueError: Fewer than two points, points that are not finite, or two that coincide.
    """
    count = len(points)
    first = torch.arange(max(count - 1, 0))
    ends = torch.stack([first, first + 1], -1)
    rest, segments = _checked(points, ends, 2)
    length = (rest[segments[:, 1]] - rest[segments[:, 0]]).norm(dim=-1)
    if not bool((length > 1e-9).all()):
        where = int(length.argmin())
        raise ValueError(f"Points {where} and {where + 1} of a rope coincide; leave one out.")
    inner = torch.arange(1, count - 1)
    bends = rod(rest, torch.stack([inner - 1, inner, inner + 1], -1))
    body = torch.zeros(count, dtype=torch.int64)
    none, empty = segments.new_zeros(0, 3), rest.new_zeros(0)
    return ClothMesh(rest, none, segments, rest.new_zeros(0, 4), empty, length, body, bends)


def grid(width: float, height: float, nx: int, ny: int) -> ClothMesh:
    """A rectangle `[0, width] x [0, height]` in the plane z = 0 with nx x ny vertices.

    Vertex (i, j) has index `i * ny + j` and lies at x = i width / (nx - 1). All diagonals run
    alike, so that inner vertices are equal, and bending is exact (see `bending.py`).

    Raises:
        ValueError: A side that is not positive, or fewer than two vertices along one.
    """
    if not (width > 0 and height > 0) or nx < 2 or ny < 2:
        raise ValueError(
            f"A grid needs positive sides and two vertices along each; got {width} x {height} m "
            f"with {nx} x {ny} vertices."
        )
    x = torch.linspace(0, width, nx, dtype=torch.float64)
    y = torch.linspace(0, height, ny, dtype=torch.float64)
    flat_points = torch.cartesian_prod(x, y)
    rest = torch.cat([flat_points, torch.zeros(nx * ny, 1, dtype=torch.float64)], -1)
    index = torch.arange(nx * ny).view(nx, ny)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    one, two = torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)
    return sheet(rest, torch.stack([one, two], 2).reshape(-1, 3))


def join(meshes: Sequence[ClothMesh]) -> ClothMesh:
    """Several bodies as one mesh: vertices, triangles, segments and bodies in the order given."""
    if not meshes:
        raise ValueError("`join` needs one mesh at least.")
    start = [sum(m.vertices for m in meshes[:k]) for k in range(len(meshes))]
    first = [sum(m.bodies for m in meshes[:k]) for k in range(len(meshes))]
    parts = list(zip(meshes, start, strict=True))
    return ClothMesh(
        rest=torch.cat([m.rest for m in meshes]),
        faces=torch.cat([m.faces + s for m, s in parts]),
        segments=torch.cat([m.segments + s for m, s in parts]),
        frame=torch.cat([m.frame for m in meshes]),
        area=torch.cat([m.area for m in meshes]),
        length=torch.cat([m.length for m in meshes]),
        body=torch.cat([m.body + f for m, f in zip(meshes, first, strict=True)]),
        bends=merged([Pairs(m.bends[0] + s, m.bends[1] + s, m.bends[2]) for m, s in parts]),
    )


def _checked(vertices: Any, index: Any, corners: int) -> tuple[Tensor, Tensor]:
    rest = torch.as_tensor(vertices).detach().to("cpu", torch.float64)
    if rest.ndim != 2 or rest.shape[1] != 3 or not bool(torch.isfinite(rest).all()):
        raise ValueError(f"Vertices are finite positions [V, 3]; got shape {tuple(rest.shape)}.")
    table = torch.as_tensor(index).detach().to("cpu", torch.int64)
    if table.ndim != 2 or table.shape[1] != corners or not len(table):
        raise ValueError(
            f"Elements are at least one row of {corners} indices; got shape {tuple(table.shape)}."
        )
    if int(table.min()) < 0 or int(table.max()) >= len(rest):
        raise ValueError(
            f"Elements name vertices {int(table.min())} to {int(table.max())}; there are "
            f"{len(rest)}."
        )
    unused = len(rest) - len(table.unique())
    if unused:
        raise ValueError(f"{unused} vertices belong to no element, so have no mass; remove them.")
    return rest, table


def across(faces: Tensor, vertices: int) -> Tensor:
    """The corner of the neighbour across each edge `[F, 3]`, edge e opposite to corner e; or -1.

    Raises:
        ValueError: An edge with more than two triangles, or two triangles with the same corners.
    """
    one, two = faces[:, [1, 2, 0]].reshape(-1), faces[:, [2, 0, 1]].reshape(-1)
    key = torch.minimum(one, two) * vertices + torch.maximum(one, two)
    edge, place, count = torch.unique(key, return_inverse=True, return_counts=True)
    if int(count.max()) > 2:
        worst = int(edge[count.argmax()])
        raise ValueError(
            f"Edge {(worst // vertices, worst % vertices)} has {int(count.max())} triangles; a "
            f"sheet has at most two along an edge. Split the mesh there, and `join` the parts."
        )
    order = place.argsort(stable=True)
    inner = (count[place[order]] == 2).nonzero()[:, 0].view(-1, 2)
    left, right = order[inner[:, 0]], order[inner[:, 1]]
    tips = torch.full((faces.numel(),), -1, dtype=torch.int64)
    corner = faces.reshape(-1)
    tips[left], tips[right] = corner[right], corner[left]
    if bool((tips == corner).any()):
        raise ValueError("Two triangles have the same corners; remove one.")
    return tips.view(-1, 3)


def _bodies(faces: Tensor, vertices: int) -> Tensor:
    """Which connected part each vertex belongs to, numbered by their first vertices."""
    label = torch.arange(vertices)
    while True:
        least = label[faces].amin(1, keepdim=True).expand(-1, 3).reshape(-1)
        after = label.scatter_reduce(0, faces.reshape(-1), least, "amin")
        after = after[after]
        if torch.equal(after, label):
            return torch.unique(label, return_inverse=True)[1]
        label = after
