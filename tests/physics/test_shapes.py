import math
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from reverie.physics import shapes
from reverie.physics.shapes import PALETTE, Mesh, place


def volume(mesh):
    """By the divergence theorem: positive where corners run anticlockwise seen from outside."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return (np.cross(a, b) * c).sum() / 6


def area(mesh):
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def closed(mesh):
    """Each edge is there once in each direction; points at one place count as one."""
    _, same = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)
    faces = same.ravel()[mesh.faces]
    edges = Counter((int(f[i]), int(f[i - 2])) for f in faces for i in range(3))
    return all(n == 1 and edges[b, a] == 1 for (a, b), n in edges.items())


def polygon(sectors):
    """Area of a regular polygon over that of its circle."""
    return math.sin(2 * math.pi / sectors) * sectors / (2 * math.pi)


CLOUD = np.random.default_rng(0).normal(size=(60, 3))
HELIX = np.stack([np.cos(t := np.linspace(0, 6, 50)), np.sin(t), 0.3 * t], 1)
SOLIDS = {
    "box": (shapes.box((1, 2, 3)), 6.0, 1e-12),
    "sphere": (shapes.sphere(0.5, sectors=96, rings=48), math.pi / 6, 3e-3),
    "ellipsoid": (shapes.ellipsoid((1, 2, 3), sectors=96, rings=48), 8 * math.pi, 3e-3),
    "cylinder": (shapes.cylinder(0.5, 2, sectors=7), math.pi / 2 * polygon(7), 1e-12),
    "capsule": (shapes.capsule(0.5, 2, sectors=96, rings=24), math.pi * (1 / 2 + 1 / 6), 3e-3),
    "tube": (
        shapes.tube([[0, 0, 0], [0, 3, 4]], 0.5, sectors=9),
        1.25 * math.pi * polygon(9),
        1e-12,
    ),
    "helix": (
        shapes.tube(HELIX, 0.1, sectors=64),
        0.01 * math.pi * np.linalg.norm(np.diff(HELIX, axis=0), axis=1).sum(),
        5e-3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_and_hold_their_volume(name):
    mesh, right, tolerance = SOLIDS[name]
    assert closed(mesh)
    assert volume(mesh) == pytest.approx(right, rel=tolerance)
    assert sorted(set(mesh.faces.ravel())) == list(range(len(mesh.vertices)))


@pytest.mark.parametrize("name", ["box", "sphere", "ellipsoid", "cylinder", "capsule"])
def test_solids_reach_as_far_as_they_say(name):
    reach = {
        "box": (0.5, 1, 1.5), "sphere": (0.5,) * 3, "ellipsoid": (1, 2, 3),
        "cylinder": (0.5, 0.5, 1), "capsule": (0.5, 0.5, 1.5),
    }[name]  # fmt: skip
    vertices = SOLIDS[name][0].vertices
    if name != "cylinder":  # its heptagon touches the circle on one side only
        assert np.allclose(vertices.max(0), reach)
        assert np.allclose(vertices.min(0), np.negative(reach))
    assert np.allclose(np.abs(vertices[:, 2]).max(), reach[2])


def test_a_hull_holds_all_points_and_looks_outwards():
    mesh = shapes.hull(CLOUD)
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    assert ((CLOUD @ normal.T - (a * normal).sum(1)) <= 1e-9).all()
    assert closed(mesh)
    assert len(mesh.vertices) < len(CLOUD)
    corners = shapes.box((1, 2, 3)).vertices
    assert volume(shapes.hull([*corners, [0, 0, 0]])) == pytest.approx(6)


def test_a_hull_says_what_it_lacks(monkeypatch):
    with pytest.raises(ValueError, match="lie in one plane"):
        shapes.hull(CLOUD * [1, 1, 0])
    with pytest.raises(ValueError, match=r"K >= 4; got \[3, 3\]"):
        shapes.hull(CLOUD[:3])
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        shapes.hull(CLOUD)


def test_sheets_look_up_and_keep_their_points():
    heights = np.array([[0.0, 1, 2], [3, 4, 5]])
    mesh = shapes.height_field(heights, (4, 2))
    assert mesh.vertices.tolist() == [
        [-2, -1, 0], [0, -1, 1], [2, -1, 2], [-2, 1, 3], [0, 1, 4], [2, 1, 5],
    ]  # fmt: skip
    flat = shapes.patch((3, 2), (5, 4))
    a, b, c = flat.vertices[flat.faces].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert area(flat) == pytest.approx(6)
    assert len(flat.faces) == 40
    cloth = shapes.sheet(np.zeros((64, 64, 3)))
    assert len(cloth.faces) == 7938


@pytest.mark.parametrize("corners", [6, 100])
def test_a_tube_keeps_its_radius_and_does_not_twist(corners):
    """Along a plane polygon the cross-section keeps its place between the plane and its normal."""
    angle = np.arange(corners) * (2 * math.pi / corners)
    tilt = place(shapes.box(), rotation=(0.3, -0.5, 0.7, 0.2)).vertices  # rows: turned corners
    east, north = tilt[4] - tilt[0], tilt[2] - tilt[0]
    line = np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
    mesh = shapes.tube(line, 0.1, sectors=5)
    away = mesh.vertices[1:-1].reshape(corners, 5, 3) - line[:, None]
    assert np.allclose(np.linalg.norm(away, axis=2), 0.1)
    height = away @ np.cross(east, north)
    assert np.abs(height[0]).max() > 0.01
    assert np.allclose(height, height[0])


def test_a_tube_may_turn_right_round():
    mesh = shapes.tube([[0, 0, 0], [1, 0, 0], [0, 0, 0]], 0.1)
    assert np.isfinite(mesh.vertices).all()
    steep = shapes.tube([[0, 0, 0], [1, 0, 0], [0, 0, 0.001]], 0.1, sectors=5)
    rings = steep.vertices[1:-1].reshape(3, 5, 3)
    away = rings - [[[0, 0, 0]], [[1, 0, 0]], [[0, 0, 0.001]]]
    assert np.allclose(np.linalg.norm(away, axis=2), 0.1)


@pytest.mark.parametrize("scale", [1, 5])
def test_place_turns_by_matrix_or_quaternion(scale):
    half = math.radians(30) / 2
    quaternion = scale * np.array([math.cos(half), 0, 0, math.sin(half)])
    c, s = math.cos(2 * half), math.sin(2 * half)
    matrix = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    mesh = Mesh(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), [[0, 1, 2]])
    one = place(mesh, (1, 2, 3), quaternion)
    two = place(mesh, torch.tensor([1.0, 2, 3]), matrix)
    right = np.array([[1 + c, 2 + s, 3], [1 - s, 2 + c, 3], [1, 2, 4]])
    assert np.allclose(one.vertices, right)
    assert np.allclose(two.vertices, right, atol=1e-6)


def test_a_quaternion_about_any_axis_is_a_rotation():
    quaternion = np.array([0.3, -0.5, 0.7, 0.2])
    cube = shapes.box()
    turned = place(cube, rotation=quaternion).vertices
    assert np.allclose(turned @ turned.T, cube.vertices @ cube.vertices.T)
    w, axis = quaternion[0], quaternion[1:]
    fixed = place(cube._replace(vertices=axis[None]), rotation=quaternion).vertices
    assert np.allclose(fixed, axis)
    across = np.cross(axis, [1, 0, 0])
    moved = place(cube._replace(vertices=across[None]), rotation=quaternion).vertices[0]
    angle = 2 * math.atan2(np.linalg.norm(axis), w)
    right = math.cos(angle) * across + math.sin(angle) * np.cross(axis, across) / np.linalg.norm(
        axis
    )
    assert np.allclose(moved, right)


def test_join_shifts_faces():
    two = shapes.join([shapes.box(), place(shapes.box(), (5, 0, 0))])
    assert volume(two) == pytest.approx(2)
    with pytest.raises(ValueError, match="one mesh or more"):
        shapes.join([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shapes.box((1, 1)), "three edge lengths"),
        (lambda: shapes.box((1, -1, 1)), "y above 0; got -1"),
        (lambda: shapes.sphere(math.nan), "radius above 0"),
        (lambda: shapes.sphere(rings=1), "rings of 2"),
        (lambda: shapes.capsule(sectors=2), "capsule needs sectors of 3"),
        (lambda: shapes.cylinder(length=0), "length above 0"),
        (lambda: shapes.ellipsoid((1, 2)), "three radii"),
        (lambda: shapes.sheet(np.zeros((1, 5, 3))), "n and m of 2"),
        (lambda: shapes.height_field(np.zeros(5), (1, 1)), "heights"),
        (lambda: shapes.patch(cells=(0, 1)), "x of 1"),
        (lambda: shapes.tube(np.zeros((3, 3)), 0.1), "Points 0 and 1 of a tube coincide"),
        (lambda: shapes.tube(np.zeros((1, 3)), 0.1), "K >= 2"),
        (lambda: place(shapes.box(), (1, 2)), "position is a vector"),
        (lambda: place(shapes.box(), rotation=np.eye(2)), r"\[3, 3\] or a quaternion"),
        (lambda: place(shapes.box(), rotation=np.zeros(4)), "no quaternion of length 0"),
    ],
)  # fmt: skip
def test_errors_say_what_was_given(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_palette_is_made_of_colours():
    assert all(len(c) == 3 and 0 <= min(c) <= max(c) <= 1 for c in PALETTE.values())
