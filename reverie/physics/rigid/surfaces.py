"""Where shapes touch: the points of one against the signed distance of the other.

    phi(x) the distance of x to the surface (negative inside), n = grad phi
    depth = r - phi(x)        point = x - (r - depth / 2) n         for a point x with radius r

A sphere has its centre, a capsule its two ends (and where it is nearest to what it may touch), a
box its corners, a mesh its vertices, a cylinder four points of each rim of which one is the
deepest, an ellipsoid its deepest point. Everything is exact against a plane; a height field is
taken by its tangent plane below the point, so it should be smooth over the radius of what rolls
on it.
Legend: `B` worlds, `P` pairs, `K` points of a pair.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.physics.rigid import spatial
from reverie.physics.rigid.model import Field, GeomKind, Mesh

TOUCHES: dict[tuple[GeomKind, GeomKind], str] = {
    **{(k, "plane"): "points" for k in ("sphere", "capsule", "box", "cylinder", "ellipsoid")},
    **{(k, "field"): "points" for k in ("sphere", "capsule", "box", "cylinder")},
    **{("mesh", "plane"): "points", ("mesh", "field"): "points"},
    **{("sphere", k): "points" for k in ("sphere", "capsule", "box")},
    **{("capsule", "capsule"): "capsules", ("capsule", "box"): "capsule_box"},
    **{("box", "box"): "polyhedra", ("mesh", "box"): "polyhedra", ("mesh", "mesh"): "polyhedra"},
}
"""The pairs of kinds that are there, in their order."""

SWEEPS = 8
"""Rounds of projections that find where a capsule is nearest to a box."""
FAR = 1e3
"""[m], the distance of what is not over a height field."""


class Shape(NamedTuple):
    """Some geoms of one kind."""

    kind: GeomKind
    place: Tensor
    """`[B, P, 3]`."""
    rotation: Tensor
    """`[B, P, 3, 3]`."""
    size: Tensor
    """`[B, P, 3]`."""
    form: Mesh | Field | None = None


class Touch(NamedTuple):
    """Possible contacts of pairs."""

    point: Tensor
    """`[B, P, K, 3]`, in the world."""
    normal: Tensor
    """`[B, P, K, 3]`, out of the second, into the first."""
    depth: Tensor
    """`[B, P, K]` [m]; negative: apart."""
    weight: Tensor
    """`[B, P, K]`, 0..1: which share of stiffness and damping the point has."""


def touch(first: Shape, second: Shape) -> Touch:
    """How pairs of geoms touch whose way in `TOUCHES` is not polyhedra."""
    how = TOUCHES[first.kind, second.kind]
    if how == "points":
        return _against(*points(first, second.rotation[..., 2]), second)
    if how == "capsules":
        one, radius = _ends(first, [-1.0, 1.0])
        two, radius_two = _ends(second, [-1.0, 1.0])
        near = _between(first, second).unsqueeze(2)
        ahead = _against(torch.cat([one, near], 2), radius, second)
        back = _against(two, radius_two, first)
        back = back._replace(normal=-back.normal)
        return _joined(ahead, back)
    ends, radius = _ends(first, [-1.0, 1.0])
    near = _nearest_to_box(first, second).unsqueeze(2)
    return _against(torch.cat([ends, near], 2), radius, second)


def _joined(one: Touch, two: Touch) -> Touch:
    return Touch(*(torch.cat([a, b], 2) for a, b in zip(one, two, strict=True)))


def _against(at: Tensor, radius: Tensor, surface: Shape) -> Touch:
    """Points `[B, P, K, 3]` with a radius `[B, P, 1]` against a surface."""
    distance, normal = signed(surface, at)
    depth = radius - distance
    point = at - (radius - 0.5 * depth).unsqueeze(-1) * normal
    return Touch(point, normal, depth, torch.ones_like(depth))


def _in_world(shape: Shape, local: Tensor) -> Tensor:
    """Points `[..., K, 3]` of the frame of each geom, in the world."""
    return shape.place.unsqueeze(2) + local @ shape.rotation.mT


def _ends(shape: Shape, shares: list[float]) -> tuple[Tensor, Tensor]:
    """Points of the axis of capsules, at shares of the half length, and the radius."""
    along = shape.rotation[..., 2] * shape.size[..., 1:2]
    at = torch.stack([shape.place + share * along for share in shares], 2)
    return at, shape.size[..., :1]


def signs() -> np.ndarray:
    """The corners `[8, 3]` of a cube of half side 1."""
    return np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


def points(shape: Shape, up: Tensor) -> tuple[Tensor, Tensor]:
    """The points `[B, P, K, 3]` that may touch, and their radius `[B, P, 1]`.

    Args:
        shape: The geoms.
        up: `[B, P, 3]`, the normal of what they may touch; of round rims it picks the points.
    """
    none = torch.zeros_like(shape.size[..., :1])
    if shape.kind == "sphere":
        return shape.place.unsqueeze(2), shape.size[..., :1]
    if shape.kind == "capsule":
        return _ends(shape, [-1.0, 1.0])
    if shape.kind == "box":
        corners = torch.as_tensor(signs(), dtype=up.dtype, device=up.device)
        return _in_world(shape, shape.size.unsqueeze(2) * corners), none
    if shape.kind == "mesh":
        assert isinstance(shape.form, Mesh)
        corners = torch.as_tensor(shape.form.vertices, dtype=up.dtype, device=up.device)
        return _in_world(shape, shape.size.unsqueeze(2) * corners), none
    if shape.kind == "ellipsoid":
        down = spatial.apply(shape.rotation.mT, -up) * shape.size
        lowest = shape.size * down / spatial.dot(down, down).sqrt()
        return _in_world(shape, lowest.unsqueeze(2)), none
    return _rims(shape, up), none


def _rims(shape: Shape, up: Tensor) -> Tensor:
    """Four points of each rim of cylinders `[B, P, 8, 3]`; the first is the deepest.

    For a cylinder that stands on a plane any four are as good: they resist tilting alike in all
    directions.
    """
    radius, half = shape.size[..., :1], shape.size[..., 1:2]
    axis, side = shape.rotation[..., 2], shape.rotation[..., 0]
    down = -(up - spatial.dot(up, axis) * axis) + 1e-4 * side
    down = down - spatial.dot(down, axis) * axis  # rounding leaves some along the axis
    down = down / spatial.dot(down, down).sqrt()
    across = spatial.cross(axis, down)
    found = [
        shape.place + end * half * axis + radius * direction
        for end in (-1.0, 1.0)
        for direction in (down, across, -down, -across)
    ]
    return torch.stack(found, 2)


def signed(surface: Shape, at: Tensor) -> tuple[Tensor, Tensor]:
    """Distances `[B, P, K]` and normals `[B, P, K, 3]` of points `[B, P, K, 3]`."""
    place, axis = surface.place.unsqueeze(2), surface.rotation[..., 2].unsqueeze(2)
    away = at - place
    if surface.kind == "plane":
        return (away * axis).sum(-1), axis.expand_as(at)
    if surface.kind == "sphere":
        return _from_point(away, surface.size[..., :1])
    if surface.kind == "capsule":
        half = surface.size[..., 1:2].unsqueeze(2)
        along = torch.minimum(torch.maximum(spatial.dot(away, axis), -half), half)
        return _from_point(away - along * axis, surface.size[..., :1])
    local = away @ surface.rotation
    find = _box if surface.kind == "box" else _field
    distance, normal = find(surface, local)
    return distance, normal @ surface.rotation.mT


def _from_point(away: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    length = spatial.dot(away, away).clamp(min=1e-24).sqrt()
    return length.squeeze(-1) - radius, away / length


def _box(surface: Shape, local: Tensor) -> tuple[Tensor, Tensor]:
    """A box: outside the nearest point of it, inside the nearest face."""
    size = surface.size.unsqueeze(2)
    nearest = torch.minimum(torch.maximum(local, -size), size)
    away = local - nearest
    square = spatial.dot(away, away)
    outside = square > 0
    length = torch.where(outside, square, 1.0).sqrt()
    faces = local.abs() - size
    inner, which = faces.max(-1, keepdim=True)
    face = torch.zeros_like(local).scatter(-1, which, 1.0) * torch.where(local < 0, -1.0, 1.0)
    distance = torch.where(outside, length, inner).squeeze(-1)
    return distance, torch.where(outside, away / length, face)


def _field(surface: Shape, local: Tensor) -> tuple[Tensor, Tensor]:
    """A height field: over its tangent plane below the point."""
    assert isinstance(surface.form, Field)
    heights = torch.as_tensor(surface.form.heights, dtype=local.dtype, device=local.device)
    rows, columns = heights.shape
    half, tops = surface.size[..., None, :2], surface.size[..., None, 2]
    cells = torch.tensor([columns - 1, rows - 1], dtype=local.dtype, device=local.device)
    at = (local[..., :2] / half + 1) * 0.5 * cells
    low = torch.minimum(at.detach().floor().clamp(min=0), cells - 1)
    u, v = (at - low).unbind(-1)
    i, j = low.long().unbind(-1)
    h00, h01, h10, h11 = (heights[j + b, i + a] * tops for b in (0, 1) for a in (0, 1))
    height = (1 - v) * ((1 - u) * h00 + u * h01) + v * ((1 - u) * h10 + u * h11)
    slope_u = (1 - v) * (h01 - h00) + v * (h11 - h10)
    slope_v = (1 - u) * (h10 - h00) + u * (h11 - h01)
    slopes = torch.stack([slope_u, slope_v], -1) * cells / (2 * half)
    normal = torch.cat([-slopes, torch.ones_like(slopes[..., :1])], -1)
    normal = normal / spatial.dot(normal, normal).sqrt()
    distance = (local[..., 2] - height) * normal[..., 2]
    over = (local[..., :2].abs() <= half).all(-1)
    return torch.where(over, distance, FAR), normal


def _between(first: Shape, second: Shape) -> Tensor:
    """The points `[B, P, 3]` of the axes of `first` that are nearest to those of `second`."""
    one = first.rotation[..., 2] * first.size[..., 1:2]
    two = second.rotation[..., 2] * second.size[..., 1:2]
    away = first.place - second.place
    a, e = spatial.dot(one, one), spatial.dot(two, two)
    b, c, f = spatial.dot(one, two), spatial.dot(one, away), spatial.dot(two, away)
    s = ((b * f - c * e) / (a * e - b * b + 1e-9 * a * e)).clamp(-1, 1)
    t = ((b * s + f) / e).clamp(-1, 1)
    s = ((b * t - c) / a).clamp(-1, 1)
    return first.place + s * one


def _nearest_to_box(first: Shape, second: Shape) -> Tensor:
    """The points `[B, P, 3]` of the axes of capsules nearest to boxes, by projecting to and fro."""
    base = spatial.apply(second.rotation.mT, first.place - second.place)
    along = spatial.apply(second.rotation.mT, first.rotation[..., 2]) * first.size[..., 1:2]
    at = base
    for _ in range(SWEEPS):
        on_box = torch.minimum(torch.maximum(at, -second.size), second.size)
        share = spatial.dot(on_box - base, along) / spatial.dot(along, along)
        at = base + share.clamp(-1, 1) * along
    return second.place + spatial.apply(second.rotation, at)
