import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from reverie.physics.rigid.model import Field
from reverie.physics.rigid.surfaces import FAR, Shape, points, signed, touch
from tests.physics.rigid.scenes import F64


def turn(seed):
    found = Rotation.random(random_state=seed).as_matrix()
    return torch.tensor(found, dtype=F64)[None, None]


def shape(kind, at, size, rotation=None, form=None):
    eye = torch.eye(3, dtype=F64)[None, None]
    at, size = (torch.tensor(x, dtype=F64)[None, None] for x in (at, size))
    return Shape(kind, at, eye if rotation is None else rotation, size, form)


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=F64)


def surface(kind, seed=1):
    size = {"sphere": (0.4, 0, 0), "capsule": (0.2, 0.5, 0)}.get(kind, (0.3, 0.5, 0.2))
    return shape(kind, (0.1, -0.2, 0.3), size, turn(seed))


def samples(solid):
    """Many points of a surface, in the world."""
    g = np.random.default_rng(0)
    n, (a, b, c) = 60_000, solid.size[0, 0].tolist()
    unit = g.normal(size=(n, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    if solid.kind == "box":
        local = g.uniform(-1, 1, (n, 3)) * (a, b, c)
        face = g.integers(0, 3, n)
        local[np.arange(n), face] = np.sign(local[np.arange(n), face]) * np.take((a, b, c), face)
    else:
        local = a * unit
        if solid.kind == "capsule":
            side = g.uniform(-b, b, n)
            round_ = local / np.maximum(np.linalg.norm(local[:, :2], axis=1), 1e-9)[:, None] * a
            local[: n // 2] = np.stack([round_[:, 0], round_[:, 1], side], 1)[: n // 2]
            local[n // 2 :, 2] += np.sign(local[n // 2 :, 2]) * b
    return solid.place[0, 0].numpy() + local @ solid.rotation[0, 0].numpy().T


@pytest.mark.parametrize("kind", ["sphere", "capsule", "box"])
def test_distances_are_those_of_the_nearest_point_of_the_surface(kind):
    solid = surface(kind)
    at = solid.place[:, :, None] + 0.6 * draw(1, 1, 50, 3)
    distance, _ = signed(solid, at)
    cloud = samples(solid)
    brute = np.linalg.norm(at[0, 0].numpy()[:, None] - cloud, axis=2).min(1)
    assert np.allclose(distance[0, 0].abs(), brute, atol=0.02)


@pytest.mark.parametrize("kind", ["plane", "sphere", "capsule", "box"])
def test_normals_are_the_gradient_of_the_distance(kind):
    solid = surface(kind)
    at = (solid.place[:, :, None] + 0.6 * draw(1, 1, 80, 3)).requires_grad_()
    distance, normal = signed(solid, at)
    (slope,) = torch.autograd.grad(distance.sum(), at)
    assert torch.allclose(slope, normal, atol=1e-9)
    assert torch.allclose(normal.norm(dim=-1), torch.ones(1, 1, 80, dtype=F64))
    assert (distance > 0).any() and (distance < 0).any()


def test_a_field_is_bilinear_and_ends():
    heights = np.random.default_rng(0).uniform(size=(4, 5))
    solid = shape("field", (0, 0, 1), (2.0, 1.5, 0.3), form=Field(heights))
    x, y = np.linspace(-2, 2, 5), np.linspace(-1.5, 1.5, 4)
    nodes = np.array(
        [(a, b, 1 + 0.3 * heights[j, i]) for j, b in enumerate(y) for i, a in enumerate(x)]
    )
    distance, _ = signed(solid, torch.tensor(nodes)[None, None])
    assert distance.abs().max() < 1e-12
    middle = torch.tensor([(x[1] + 0.5, y[2] + 0.25, 5.0)], dtype=F64)[None, None]
    distance, normal = signed(solid, middle)
    h = heights[2:, 1:3]
    mean = 1 + 0.3 * (0.75 * h[0].mean() + 0.25 * h[1].mean())
    assert float(distance / normal[..., 2]) == pytest.approx(5 - mean)
    outside = torch.tensor([(2.1, 0, 1)], dtype=F64)[None, None]
    assert float(signed(solid, outside)[0]) == FAR


def test_a_tilted_field_is_a_plane():
    """Distance and normal of an inclined field are those of the plane through it."""
    heights = np.tile(np.linspace(0, 1, 6), (5, 1))
    solid = shape("field", (0, 0, 0), (1.0, 1.0, 0.5), turn(3), Field(heights))
    normal = np.array([-0.25, 0, 1]) / np.hypot(0.25, 1)
    local = np.random.default_rng(1).uniform(-0.9, 0.9, (20, 3))
    expected = (local - [0, 0, 0.25]) @ normal
    r = solid.rotation[0, 0].numpy()
    distance, found = signed(solid, torch.tensor(local @ r.T)[None, None])
    assert np.allclose(distance[0, 0], expected)
    assert np.allclose(found[0, 0], r @ normal)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("sphere", (0.3, 0, 0)),
        ("capsule", (0.1, 0.4, 0)),
        ("box", (0.1, 0.2, 0.3)),
        ("cylinder", (0.2, 0.4, 0)),
        ("ellipsoid", (0.1, 0.2, 0.3)),
    ],
)
def test_on_a_plane_the_deepest_point_is_that_of_the_shape(kind, size):
    """By the support function h(-n) of each shape."""
    for seed in range(5):
        solid = shape(kind, (0.3, 0.1, 0.2), size, turn(seed))
        plane = shape("plane", (0, 0, 0.05), (1, 1, 1), turn(seed + 50))
        n = plane.rotation[0, 0, :, 2]
        local = (solid.rotation[0, 0].T @ n).numpy()
        a, b, _ = size
        reach = {
            "sphere": a,
            "capsule": a + b * abs(local[2]),
            "box": np.abs(local * size).sum(),
            "cylinder": b * abs(local[2]) + a * np.hypot(local[0], local[1]),
            "ellipsoid": np.linalg.norm(local * size),
        }[kind]
        found = touch(solid, plane)
        height = float((solid.place - plane.place)[0, 0] @ n)
        assert float(found.depth.max()) == pytest.approx(reach - height, abs=1e-6)
        deepest = found.point[0, 0, int(found.depth.argmax())]
        half = float((deepest - plane.place[0, 0]) @ n)
        assert half == pytest.approx(-0.5 * float(found.depth.max()), abs=1e-6)


def test_a_standing_cylinder_has_four_points_on_its_rim():
    solid = shape("cylinder", (0, 0, 0.4), (0.2, 0.4, 0))
    at, _ = points(solid, torch.tensor([[[0.0, 0, 1]]], dtype=F64))
    low = at[0, 0][at[0, 0, :, 2] < 0.1]
    assert len(low) == 4
    assert torch.allclose(low[:, :2].norm(dim=1), torch.full((4,), 0.2, dtype=F64))
    assert torch.allclose(low.mean(0), torch.zeros(3, dtype=F64), atol=1e-9)


def closest(one, two):
    """The distance of two segments or a segment and a box, by a fine grid."""
    t = np.linspace(-1, 1, 401)[:, None]

    def axis(s):
        return (s.place[0, 0] + torch.tensor(t) * s.size[0, 0, 1] * s.rotation[0, 0, :, 2]).numpy()

    if two.kind == "capsule":
        return np.linalg.norm(axis(one)[:, None] - axis(two)[None], axis=2).min()
    return float(signed(two, torch.tensor(axis(one))[None, None])[0].min())


@pytest.mark.parametrize("kind", ["capsule", "box"])
def test_capsules_touch_where_they_are_nearest(kind):
    for seed in range(8):
        one = shape("capsule", draw(3, seed=seed).tolist(), (0.1, 0.6, 0), turn(seed))
        size = (0.2, 0.5, 0) if kind == "capsule" else (0.3, 0.2, 0.4)
        two = shape(kind, (0, 0, 0), size, turn(seed + 20))
        gap = closest(one, two)
        if kind == "box" and gap < 0.01:
            continue
        found = touch(one, two)
        reach = 0.1 + (0.2 if kind == "capsule" else 0.0)
        assert float(found.depth.max()) == pytest.approx(reach - gap, abs=2e-3)
        at = int(found.depth.argmax())
        across = found.normal[0, 0, at] @ (one.place - two.place)[0, 0]
        assert float(across) > 0 or gap < 0.3


def test_parallel_capsules_touch_at_both_ends():
    one = shape("capsule", (0, 0, 0.19), (0.1, 0.3, 0))
    lying = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=F64)[None, None]
    one = one._replace(rotation=lying)
    two = shape("capsule", (0, 0, 0), (0.1, 0.3, 0), lying)
    found = touch(one, two)
    deep = found.depth[0, 0] > 0
    assert torch.allclose(found.depth[0, 0][deep], torch.tensor(0.01, dtype=F64))
    assert found.point[0, 0][deep][:, 0].min() < -0.29
    assert found.point[0, 0][deep][:, 0].max() > 0.29
    assert torch.allclose(found.normal[0, 0][deep], torch.tensor([0.0, 0, 1], dtype=F64))
