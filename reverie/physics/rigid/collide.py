"""All possible contacts of a model: which geoms, on which bodies, where.

Pairs of equal kinds are computed together. Every pair has as many points as its kinds say, near or
far, so shapes never depend on the state. Legend: `B` worlds, `C` points of all pairs.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.rigid import spatial
from reverie.physics.rigid.kinematics import Frames, constant, geom_frames
from reverie.physics.rigid.model import Field, Mesh, RigidModel, RigidParams
from reverie.physics.rigid.polyhedra import polyhedra
from reverie.physics.rigid.surfaces import TOUCHES, Shape, Touch, touch


class Contacts(NamedTuple):
    """Possible contacts, of one kind: with what never moves, or between two moving bodies."""

    pair: tuple[int, ...]
    """The pair of each point, C entries."""
    body: tuple[int, ...]
    """The body into which the normal points; it moves."""
    other: tuple[int, ...]
    """The other body; -1 where it never moves."""
    point: Tensor
    """`[B, C, 3]`."""
    normal: Tensor
    """`[B, C, 3]`."""
    depth: Tensor
    """`[B, C]`, with the margin of the pair."""
    weight: Tensor
    """`[B, C]`."""


@functools.lru_cache(maxsize=64)
def groups(model: RigidModel) -> tuple[tuple[int, ...], ...]:
    """The pairs of a model, those together that one call of `touch` computes."""
    found: dict[tuple[object, ...], list[int]] = {}
    for p, pair in enumerate(model.pairs):
        one, two = model.geoms[pair.first], model.geoms[pair.second]
        shapes = tuple(g.shape if g.kind in ("mesh", "field") else -1 for g in (one, two))
        found.setdefault((one.kind, two.kind, *shapes), []).append(p)
    return tuple(tuple(pairs) for pairs in found.values())


def touches(model: RigidModel, frame: Frames, params: RigidParams) -> list[Touch]:
    """How the pairs of each group touch."""
    if not model.pairs:
        return []
    place, turn = geom_frames(model, frame)
    rotation = spatial.matrix(turn)
    found = []
    for pairs in groups(model):
        shapes = []
        for side in ("first", "second"):
            rows = tuple(getattr(model.pairs[p], side) for p in pairs)
            geom = model.geoms[rows[0]]
            form: Mesh | Field | None = None
            if geom.kind == "mesh":
                form = model.meshes[geom.shape]
            elif geom.kind == "field":
                form = model.fields[geom.shape]
            at = constant(rows, torch.long, place.device)
            shapes.append(
                Shape(geom.kind, place[:, at], rotation[:, at], params.sizes[:, at], form)
            )
        how = TOUCHES[shapes[0].kind, shapes[1].kind]
        found.append((polyhedra if how == "polyhedra" else touch)(*shapes))
    return found


def contacts(
    model: RigidModel, frame: Frames, params: RigidParams
) -> tuple[Contacts | None, Contacts | None]:
    """Contacts with what never moves, and those between moving bodies; None where none are."""
    ground: list[Contacts] = []
    mutual: list[Contacts] = []
    for pairs, found in zip(groups(model), touches(model, frame, params), strict=True):
        for k, p in enumerate(pairs):
            pair = model.pairs[p]
            first, second = (model.geoms[g].body for g in (pair.first, pair.second))
            moves = model.moves(pair.first), model.moves(pair.second)
            count = found.depth.shape[2]
            normal = found.normal[:, k]
            body, other = first, second
            if not moves[0]:
                normal, body, other = -normal, second, first
            made = Contacts(
                *((p,) * count, (body,) * count, (other if all(moves) else -1,) * count),
                *(found.point[:, k], normal, found.depth[:, k] + pair.margin, found.weight[:, k]),
            )
            (mutual if all(moves) else ground).append(made)
    return _gathered(ground), _gathered(mutual)


def _gathered(parts: list[Contacts]) -> Contacts | None:
    if not parts:
        return None
    return Contacts(
        tuple(p for part in parts for p in part.pair),
        tuple(b for part in parts for b in part.body),
        tuple(b for part in parts for b in part.other),
        torch.cat([part.point for part in parts], 1),
        torch.cat([part.normal for part in parts], 1),
        torch.cat([part.depth for part in parts], 1),
        torch.cat([part.weight for part in parts], 1),
    )
