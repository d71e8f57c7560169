"""A model as arrays of numbers, for the kernels.

A link is a joint, or a body that has none; a body's frame is that of its last link. Lists of
varying length (bodies, children, contacts, actuators of an axis) stand behind each other in one
array, and an axis knows where its own begin and end.
Legend: `L` links, `N` bodies, `V` velocities, `C` points that may touch, `G` geoms.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from reverie.physics.rigid.model import VELOCITIES, Body, Joint, Mesh, Pair, RigidModel
from reverie.physics.rigid.mutual.tables import kinship
from reverie.physics.rigid.solids.tables import SOLID, is_solid, probes
from reverie.physics.rigid.surfaces import TOUCHES, signs

LINKS = ("fixed", "free", "ball", "hinge", "slide")
SHAPES = ("plane", "field", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh")
BODIES, CHILDREN, CONTACTS, ACTUATORS = 4, 6, 8, 10
"""Columns of `Tables.axes` where the bounds of lists stand."""


class Tables(NamedTuple):
    """Integers are int32."""

    links: np.ndarray
    """`[L, 5]`: parent, kind, where its q and v begin, the last link of the tree's first body."""
    forms: np.ndarray
    """`[L, 14]`: place, turn, anchor, axis, reference."""
    bodies: np.ndarray
    """`[N, 2]`: last link, the last link of the tree's first body."""
    axes: np.ndarray
    """`[V, 12]`: parent, link, q (or -1), link whose drift enters (or -1), bounds of four lists."""
    lists: np.ndarray
    """Actuators as (actuator, component) with bounds that count pairs."""
    gears: np.ndarray
    """`[U, 6]`."""
    points: np.ndarray
    """`[C, 13]`: pair, axis, link and body of what moves, geom of the point, geom it touches, their
    kinds (`SOLID` twice for polyhedra), sign of the normal, start, rows and columns of a height
    field, the link of O."""
    corners: np.ndarray
    """`[C, 4]`: which point of its geom, and the margin; for polyhedra see `solids.tables`."""
    on: np.ndarray
    """`[G]`: the link of a geom, or -1."""
    geoms: np.ndarray
    """`[G, 7]`: place, turn."""
    heights: np.ndarray
    mates: np.ndarray
    """`[., 17]`: as `points`, and axis, link, body and link of O of the other body; by couple."""
    mate_corners: np.ndarray
    couples: np.ndarray
    """`[E, 12]`: axes, links, links of O of both, bounds in `mates`, bodies; see `Kinship`."""
    shared: np.ndarray
    """`[N, 2]`: bounds in `bonds`, counting pairs."""
    bonds: np.ndarray
    """(couple, side) by body."""
    answers: np.ndarray
    """This and what follows: see `Kinship`."""
    relatives: np.ndarray
    kin: np.ndarray


def tables(model: RigidModel) -> Tables:
    """The tables of a model."""
    links, forms, last = _links(model)
    root = [last[model.root[b]] for b in range(len(model.bodies))]
    points, corners = _points(model, last, root, False)
    mates, mate_corners = _points(model, last, root, True)
    mates, mate_corners, couples = _couples(model, mates, mate_corners, last, root)
    kin = kinship(model, couples)
    axes, lists = _axes(model, last, points)
    gears = np.zeros((len(model.actuators), 6))
    for u, actuator in enumerate(model.actuators):
        gears[u, : len(actuator.gear)] = actuator.gear
    heights = [field.heights.ravel() for field in model.fields]
    return Tables(
        *(links, forms, np.array(list(zip(last, root, strict=True)), np.int32).reshape(-1, 2)),
        *(axes, lists, gears, points, corners),
        np.array([last[g.body] if g.body >= 0 else -1 for g in model.geoms], np.int32),
        np.array([(*g.place, *g.turn) for g in model.geoms]).reshape(-1, 7),
        np.concatenate(heights) if heights else np.zeros(1),
        *(mates, mate_corners, kin.couples, *_bonds(couples, len(model.bodies)), *kin[1:]),
    )


def _links(model: RigidModel) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Links, their forms, and the last link of each body."""
    rows: list[list[int]] = []
    forms: list[list[float]] = []
    last: list[int] = []
    for b, body in enumerate(model.bodies):
        parent = last[body.parent] if body.parent >= 0 else -1
        first = len(rows)
        joints: list[Joint | None] = [model.joints[j] for j in model.joints_of[b]]
        joints = joints or [None]
        for i, joint in enumerate(joints):
            rows.append([parent if i == 0 else first + i - 1, *_kind(joint), 0])
            forms.append(_form(body if i == 0 else None, joint))
        last.append(len(rows) - 1)
        for row in rows[first:]:
            row[4] = last[model.root[b]]
    return np.array(rows, np.int32).reshape(-1, 5), np.array(forms).reshape(-1, 14), last


def _kind(joint: Joint | None) -> list[int]:
    if joint is None:
        return [LINKS.index("fixed"), 0, 0]
    return [LINKS.index(joint.kind), joint.position, joint.velocity]


def _form(body: Body | None, joint: Joint | None) -> list[float]:
    frame = [*body.place, *body.turn] if body else [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    if joint is None:
        return [*frame, *(0.0,) * 7]
    # The place of a free joint is no lever arm, whatever its anchor is.
    anchor = joint.anchor if joint.kind != "free" else (0.0, 0.0, 0.0)
    return [*frame, *anchor, *joint.axis, joint.reference]


def _axes(model: RigidModel, last: list[int], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The axes, and their lists."""
    axes = np.full((model.velocity_size, 12), -1, np.int32)
    axes[:, 0] = model.parent_velocity
    for b in range(len(model.bodies)):
        first = last[b] + 1 - max(1, len(model.joints_of[b]))
        for i, j in enumerate(model.joints_of[b]):
            joint = model.joints[j]
            start, count = joint.velocity, VELOCITIES[joint.kind]
            axes[start : start + count, 1] = first + i
            axes[start, 3] = first + i
            if count == 1:
                axes[start, 2] = joint.position
    flat: list[int] = []
    for column, entries in _lists(model, points).items():
        unit = 2 if column == ACTUATORS else 1
        for d, entry in enumerate(entries):
            axes[d, column : column + 2] = len(flat) // unit, (len(flat) + len(entry)) // unit
            flat.extend(entry)
    return axes, np.array([*flat, 0], np.int32)


def _lists(model: RigidModel, points: np.ndarray) -> dict[int, list[list[int]]]:
    """By column what each axis has; actuators, in pairs, come first."""
    lists: dict[int, list[list[int]]] = {
        column: [[] for _ in range(model.velocity_size)]
        for column in (ACTUATORS, BODIES, CHILDREN, CONTACTS)
    }
    for u, actuator in enumerate(model.actuators):
        start = model.joints[actuator.joint].velocity
        for k in range(len(actuator.gear)):
            lists[ACTUATORS][start + k].extend((u, k))
    for b, d in enumerate(model.last_velocity):
        if d >= 0:
            lists[BODIES][d].append(b)
    for d, parent in enumerate(model.parent_velocity):
        if parent >= 0:
            lists[CHILDREN][parent].append(d)
    for c, point in enumerate(points):
        lists[CONTACTS][point[1]].append(c)
    return lists


def corners_of(kind: str, mesh: Mesh | None) -> np.ndarray:
    """Which points of a geom may touch `[K, 3]`; see `point_of` in the kernels."""
    if kind == "capsule":
        return np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    if kind == "box":
        return signs()
    if kind == "mesh":
        assert mesh is not None
        return mesh.vertices
    if kind == "cylinder":
        turns = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)]
        return np.array([(end, *t) for end, t in itertools.product((-1.0, 1.0), turns)])
    return np.zeros((1, 3))


def _points(
    model: RigidModel, last: list[int], root: list[int], mutual: bool
) -> tuple[np.ndarray, np.ndarray]:
    """All points that may touch the world, or another moving body."""
    starts = np.cumsum([0, *(field.heights.size for field in model.fields)])
    rows, corners = [], []
    for p, pair in enumerate(model.pairs):
        if mutual != (model.moves(pair.first) and model.moves(pair.second)):
            continue
        for g, s, found in _probes(model, pair):
            one, two = model.geoms[g], model.geoms[s]
            ahead = model.moves(g)
            body, other = (one.body, two.body) if ahead else (two.body, one.body)
            form = [0, 1, 1]
            if two.kind == "field":
                form = [int(starts[two.shape]), *model.fields[two.shape].heights.shape]
            moving = [model.last_velocity[body], last[body], body, g, s]
            kinds = [SHAPES.index(one.kind), SHAPES.index(two.kind)]
            if is_solid(model, p):
                kinds = [SOLID, SOLID]
            row = [p, *moving, *kinds, 1 if ahead else -1, *form, root[body]]
            if mutual:
                row += [model.last_velocity[other], last[other], other, root[other]]
            rows += [row] * len(found)
            corners += [[*corner, pair.margin] for corner in found]
    width = 17 if mutual else 13
    return np.array(rows, np.int32).reshape(-1, width), np.array(corners).reshape(-1, 4)


def _probes(model: RigidModel, pair: Pair) -> list[tuple[int, int, np.ndarray]]:
    """Geoms whose points touch, geoms on whose surface they do, and which points."""
    one, two = model.geoms[pair.first], model.geoms[pair.second]
    how = TOUCHES[one.kind, two.kind]
    if how == "polyhedra":
        sides = ((pair.first, pair.second), (pair.second, pair.first))
        return [(g, s, probes(model, g)) for g, s in sides]
    mesh = model.meshes[one.shape] if one.kind == "mesh" else None
    corners = corners_of(one.kind, mesh)
    if how == "points":
        return [(pair.first, pair.second, corners)]
    found = [(pair.first, pair.second, np.concatenate([corners, np.zeros((1, 3))]))]
    if how == "capsules":
        found.append((pair.second, pair.first, corners))
    return found


def _couples(
    model: RigidModel, mates: np.ndarray, corners: np.ndarray, last: list[int], root: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in the order of their couples, turned so that all normals of a couple point into its
    first body."""
    names = [(min(row[3], row[15]), max(row[3], row[15])) for row in mates.tolist()]
    order = sorted(range(len(names)), key=names.__getitem__)
    rows = []
    for i in order:
        row = mates[i].tolist()
        if row[3] != names[i][0]:
            row[1:4], row[13:16] = row[13:16], row[1:4]
            row[12], row[16], row[8] = row[16], row[12], -row[8]
        rows.append(row)
    couples: list[list[int]] = []
    for (a, b), group in itertools.groupby(order, names.__getitem__):
        count, start = len(list(group)), couples[-1][7] if couples else 0
        axes = [model.last_velocity[a], model.last_velocity[b]]
        frames = [last[a], last[b], root[a], root[b]]
        couples.append([*axes, *frames, start, start + count, a, b])
    return (
        np.array(rows, np.int32).reshape(-1, 17),
        corners[order].reshape(-1, 4),
        np.array(couples, np.int32).reshape(-1, 10),
    )


def _bonds(couples: np.ndarray, bodies: int) -> tuple[np.ndarray, np.ndarray]:
    """The couples of each body."""
    lists: list[list[int]] = [[] for _ in range(bodies)]
    for c, couple in enumerate(couples.tolist()):
        lists[couple[8]].extend((c, 0))
        lists[couple[9]].extend((c, 1))
    ends = np.cumsum([0, *(len(entry) // 2 for entry in lists)])
    shared = np.stack([ends[:-1], ends[1:]], 1).astype(np.int32)
    return shared, np.array([*itertools.chain(*lists), 0, 0], np.int32)
