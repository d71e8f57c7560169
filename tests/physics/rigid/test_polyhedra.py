import itertools

import numpy as np
import pytest
import torch

from reverie.physics.rigid.meshes import hull_of
from reverie.physics.rigid.polyhedra import cube, polyhedra
from reverie.physics.rigid.surfaces import Shape
from tests.physics.rigid.scenes import BACKEND, F64, after, gripper, loaded, stack, world
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


needs_warp = pytest.mark.skipif(BACKEND == "torch", reason="too slow without Warp")


@needs_warp
@pytest.mark.parametrize(("count", "shift", "dt"), [(4, 0.03, 0.002), (4, 0.01, 0.004)])
def test_a_stack_stands(count, shift, dt):
    """Four boxes, for 5 s, to less than 1 mm of where they were put."""
    found = loaded(stack(count, shift))
    start = found.poses["default"]
    end = after(found, start, 5.0, dt)
    moved = (end.position - start.position).reshape(count, 7)
    assert moved[:, :3].abs().max() < 1e-3 and moved[:, 3:].abs().max() < 1e-3
    assert end.velocity.abs().max() < 1e-3


@pytest.mark.parametrize(("reach", "tips"), [(0.09, False), (0.11, True)])
def test_a_box_over_the_edge_of_a_table_tips(reach, tips):
    """Where its middle is beyond the edge, and about that edge."""
    table = '<geom type="box" pos="0 0 0.4" size="0.5 0.5 0.1"/>'
    upper = (
        f'<body pos="{0.4 + reach} 0 0.5999"><freejoint/>'
        '<geom type="box" size="0.2 0.1 0.1" mass="1"/></body>'
    )
    found = loaded(world(table + upper))
    end = after(found, found.poses["default"], 0.4, 0.002)
    turned = float(end.position[0, 5])  # sin(angle / 2) about y
    assert turned > 0.01 if tips else abs(turned) < 2e-3
    assert tips or end.velocity.abs().max() < 1e-4
    if tips:
        angle = 2 * np.arcsin(turned)
        middle = end.position[0, [0, 2]].numpy() - [0.5, 0.5]
        across = middle @ [np.sin(angle), np.cos(angle)]
        assert across == pytest.approx(0.1, abs=2e-3)  # its lower side is on the edge


def grasp(found, grip, hold):
    """Close, lift by 10 cm in 0.2 s, wait 0.3 s, hold: (height of the block over the hand, height
    of the block) before and after holding."""
    state = found.poses["default"]
    for rise in (0.0, *np.linspace(0.01, 0.1, 10)):
        control = torch.stack([0 * grip + rise, grip, grip])[None]
        state = after(found, state, 0.02 if rise else 0.3, 0.002, control)
    seen = []
    for seconds in (0.3, hold):
        state = after(found, state, seconds, 0.002, control)
        block = state.position[0, 5]
        seen.append((block - state.position[0, 0], block))
    return seen


@needs_warp
@pytest.mark.parametrize(
    "shape", ['type="box" size="0.01 0.02 0.025"', 'type="capsule" size="0.01 0.02"']
)
def test_a_gripper_lifts_a_block_and_holds_it(shape):
    """With 5 N at friction 0.8 it creeps at v_s m g / (2 mu f): 0.25 mm in 2 s; 0.4 N drop it."""
    found = loaded(gripper(shape))
    (before, low), (end, high) = grasp(found, torch.tensor(0.04, dtype=F64), 2.0)
    assert min(low, high) > 0.0249 + 0.09
    force = 200 * (0.04 - 0.01536 if "box" in shape else 0.04 - 0.01571)
    creep = 2.0 * 1e-3 * 0.1 * 9.81 / (2 * 0.8 * force)
    assert float(before - end) == pytest.approx(creep, rel=0.5)
    weak = grasp(found, torch.tensor(0.0175, dtype=F64), 0.5)
    assert float(weak[1][1]) < 0.03


@needs_warp
def test_the_height_of_a_held_block_has_its_gradient_to_the_grip():
    """Through closing, lifting and holding, against central differences."""
    found = loaded(gripper())
    for value in (0.03, 0.04):
        grip = torch.tensor(value, dtype=F64, requires_grad=True)
        (slope,) = torch.autograd.grad(grasp(found, grip, 0.1)[1][1], grip)
        ends = [grasp(found, torch.tensor(value + h, dtype=F64), 0.1)[1][1] for h in (1e-6, -1e-6)]
        assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4)
