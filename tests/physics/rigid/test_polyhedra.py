import itertools

import numpy as np
import pytest
import torch

from reverie.physics.rigid.meshes import hull_of
from reverie.physics.rigid.polyhedra import cube, polyhedra
from reverie.physics.rigid.surfaces import Shape
from tests.physics.rigid.scenes import F64
from tests.physics.rigid.test_surfaces import shape, turn


def active(found):
    """Points that touch with a weight, as rows (x, y, z), depths, normals."""
    on = (found.depth[0, 0] > 0) & (found.weight[0, 0] > 0.5)
    return found.point[0, 0][on], found.depth[0, 0][on], found.normal[0, 0][on]


def box(at, size, rotation=None):
    return shape("box", at, size, rotation)


UP = torch.tensor([0.0, 0, 1], dtype=F64)


@pytest.mark.parametrize("lower", [(0.5, 0.5, 0.1), (0.1, 0.2, 0.1), (0.03, 0.05, 0.1)])
def test_a_box_stands_on_a_box_up_to_the_smaller_corners(lower):
    """Larger, equal and smaller ones below; the points span the common face."""
    point, depth, normal = active(
        polyhedra(box((0, 0, 0.39), (0.1, 0.2, 0.3)), box((0, 0, 0), lower))
    )
    assert torch.allclose(depth, torch.tensor(0.01, dtype=F64))
    assert torch.allclose(normal, UP.expand_as(normal))
    half = torch.tensor([min(0.1, lower[0]), min(0.2, lower[1])], dtype=F64)
    assert torch.allclose(point[:, :2].amax(0), half) and torch.allclose(
        point[:, :2].amin(0), -half
    )
    assert torch.allclose(point[:, 2], torch.tensor(0.095, dtype=F64))


def test_crossed_boxes_touch_on_all_four_sides():
    point, depth, normal = active(
        polyhedra(box((0, 0, 0.19), (0.5, 0.05, 0.1)), box((0, 0, 0), (0.05, 0.5, 0.1)))
    )
    assert torch.allclose(depth, torch.tensor(0.01, dtype=F64))
    assert torch.allclose(normal, UP.expand_as(normal))
    sides = {(round(x, 3), round(y, 3)) for x, y, _ in point.tolist()}
    assert {(0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05)} <= sides


def test_a_tilted_box_touches_with_its_lowest_edge():
    tilt = torch.matrix_exp(torch.tensor([[0.0, 0, 0.2], [0, 0, 0], [-0.2, 0, 0]], dtype=F64))
    upper = box((0, 0, 0.39), (0.1, 0.2, 0.3), tilt[None, None])
    point, depth, normal = active(polyhedra(upper, box((0, 0, 0), (1, 1, 0.1))))
    lowest = (tilt @ torch.tensor([0.1, 0, -0.3], dtype=F64))[2] + 0.39
    assert float(depth.max()) == pytest.approx(0.1 - float(lowest))
    assert torch.allclose(normal, UP.expand_as(normal))
    assert {round(abs(y), 3) for y in point[depth > 0.9 * depth.max()][:, 1].tolist()} == {0.0, 0.2}


def test_boxes_that_are_apart_do_not_touch():
    for offset in ((0.21, 0, 0), (0, 0.25, 0.1), (0.2, 0.2, 0.25)):
        found = polyhedra(box(offset, (0.1, 0.1, 0.1)), box((0, 0, 0), (0.1, 0.1, 0.1)))
        assert not ((found.depth > 1e-9) & (found.weight > 0)).any()


def test_which_is_first_only_turns_the_normals():
    one = box((0.05, 0.02, 0.25), (0.1, 0.2, 0.15), turn(1))
    two = box((0, 0, 0), (0.3, 0.2, 0.1), turn(2))
    ahead, back = polyhedra(one, two), polyhedra(two, one)
    assert float(ahead.depth.max()) > 0
    for a, b in ((ahead, back), (back, ahead)):
        rows, others = (torch.cat([x.point, x.depth[..., None]], -1)[0, 0] for x in (a, b))
        assert torch.cdist(rows, others).amin(1).max() < 1e-7
    assert torch.allclose(ahead.normal[0, 0, 0], -back.normal[0, 0, 0])


def test_a_mesh_in_the_shape_of_a_box_is_the_box():
    corners = cube().vertices
    faces = []
    for axis, side in itertools.product(range(3), (-1.0, 1.0)):
        a, b, c, d = (i for i in range(8) if corners[i][axis] == side)
        faces += [(a, b, d), (a, d, c)]
    out = []
    for f in faces:
        x, y, z = corners[list(f)]
        outward = np.cross(y - x, z - x) @ x > 0
        out.append(f if outward else f[::-1])
    mesh = hull_of(corners, np.array(out))
    assert (len(mesh.normals), len(mesh.edges)) == (6, 12)
    upper, lower = box((0.02, 0, 0.28), (0.1, 0.2, 0.2), turn(4)), box((0, 0, 0), (0.3, 0.3, 0.1))
    same = Shape("mesh", *upper[1:4], mesh)
    a, b = polyhedra(upper, lower), polyhedra(same, lower)
    assert float(a.depth[a.weight > 0].max()) > 0
    for x, y in ((a, b), (b, a)):
        rows, others = (torch.cat([t.point, t.depth[..., None]], -1)[0, 0] for t in (x, y))
        assert torch.cdist(rows, others).amin(1).max() < 1e-7


def test_forces_fade_beyond_the_edge():
    """The weight of a corner that leaves the face goes to zero continuously."""
    weights = []
    for x in np.linspace(0.35, 0.45, 60):
        found = polyhedra(box((x, 0, 0.19), (0.1, 0.1, 0.1)), box((0, 0, 0), (0.5, 0.5, 0.1)))
        corner = found.weight[0, 0, :8][found.point[0, 0, :8, 0] > x]
        weights.append(float(corner[0]))
    steps = np.abs(np.diff(weights))
    assert weights[0] == 1 and weights[-1] < 0.1 and steps.max() < 0.1
