import numpy as np
import pytest

from reverie.physics import raster
from reverie.physics.raster import Lens
from tests.physics.rays import cast_triangles, first

LENS = Lens(40.0, (26.0, 20.0), 52, 40)
SUN = Lens(7.0, (26.0, 20.0), 52, 40, parallel=True)


def soup(count, seed, low=-0.5, size=1.0):
    """Triangles in front of the camera, behind it and across its plane."""
    draw = np.random.default_rng(seed)
    middle = draw.uniform([-3, -3, low], [3, 3, 6], (count, 1, 3))
    corners = middle + draw.normal(0, size, (count, 3, 3))
    return corners.reshape(-1, 3).T.copy(), np.arange(3 * count).reshape(count, 3).T.copy()


def levelled(points):
    """The first edge of each triangle horizontal in the picture, so that its E has no slope."""
    points = points.copy()
    points[1:, 1::3] = points[1:, 0::3]
    return points


def seen(lens, points, faces):
    nearest = raster.blank(lens)
    raster.put_triangles(nearest, lens, points, faces)
    return nearest


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "count"), [(1.0, 60), (0.3, 400)])
def test_each_pixel_sees_what_a_ray_caster_sees(seed, size, count):
    points, faces = soup(count, seed, size=size)
    points = levelled(points) if seed % 2 else points
    nearest = seen(LENS, points, faces)
    owner = raster.owners(nearest)
    right, near = first(cast_triangles(LENS, points, faces))
    assert (right >= 0).mean() > 0.2
    assert (owner == right)[(owner >= 0) | (right >= 0)].mean() >= 0.999
    same = np.flatnonzero((owner == right) & (owner >= 0))
    depth, weights, _ = raster.at_triangles(LENS, points, faces, same, owner[same])
    assert np.allclose(depth, near[same], rtol=1e-9)
    assert np.allclose(raster.depths(nearest)[same], near[same], rtol=1e-6)
    assert np.allclose(weights.sum(0), 1)


@pytest.mark.parametrize("seed", range(3))
def test_parallel_rays_see_what_a_ray_caster_sees(seed):
    points, faces = soup(80, seed, low=4.0)
    points[2] += 10
    nearest = seen(SUN, points, faces)
    right, near = first(cast_triangles(SUN, points, faces))
    owner = raster.owners(nearest)
    assert (owner == right)[(owner >= 0) | (right >= 0)].mean() >= 0.999
    same = (owner == right) & (owner >= 0)
    assert same.mean() > 0.2
    assert np.allclose(raster.depths(nearest)[same], near[same], rtol=1e-6)


def test_a_triangle_that_crosses_the_cameras_plane_is_cut_at_the_near_plane():
    """A floor 1 m below that begins behind the camera: below the horizon depth is f / (v - c_v)."""
    points = np.array([[-500, 1, -5], [500, 1, -5], [0, 1, 5000]], float).T
    lens = LENS._replace(near=2.4)
    nearest = seen(lens, points, np.array([[0], [1], [2]]))
    depth = raster.depths(nearest).reshape(40, 52)
    v = np.arange(40) + 0.5 - 20
    right = np.where(v > 0, 40 / np.where(v > 0, v, 1), np.inf)
    right[right < 2.4] = np.inf
    assert np.isfinite(right).sum() == 17
    assert np.allclose(depth[:, 26], right, rtol=1e-6)
    assert np.isinf(depth[:20]).all()


def test_what_lies_behind_or_beside_is_not_seen():
    behind = np.array([[-1, 0, -2], [1, 0, -2], [0, 1, -2]], float).T
    beside = np.array([[50, 0, 2], [51, 0, 2], [50, 1, 2]], float).T
    for points in (behind, beside):
        assert (raster.owners(seen(LENS, points, np.array([[0], [1], [2]]))) == -1).all()


def grid(points, n):
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    upper, lower = np.stack([a, b, c]).reshape(3, -1), np.stack([a, c, d]).reshape(3, -1)
    return points, np.concatenate([upper, lower], 1)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_no_pixel_falls_between_two_triangles(jitter):
    """Without jitter all corners, and many edges, lie exactly on centres of pixels."""
    n = 40
    draw = np.random.default_rng(0)
    u, v = np.meshgrid(np.arange(n) * 2.0 - 8, np.arange(n) * 2.0 - 8)
    u, v = (w + draw.normal(0, jitter, w.shape) for w in (u, v))
    z = 2 + jitter * draw.random(u.shape)
    lens = Lens(64.0, (32.5, 32.5), 64, 64)
    x, y = z * (u + 0.5 - 32.5) / 64, z * (v + 0.5 - 32.5) / 64
    points, faces = grid(np.stack([x.ravel(), y.ravel(), z.ravel()]), n)
    draw.shuffle(faces, axis=1)
    assert (raster.owners(seen(lens, points, faces)) >= 0).all()


def test_neither_the_order_of_faces_nor_their_winding_matters():
    points, faces = soup(60, 5)
    order = np.random.default_rng(1).permutation(60)
    one, two = seen(LENS, points, faces), seen(LENS, points, faces[:, order])
    assert (raster.depths(one) == raster.depths(two)).all()
    there = raster.owners(two) >= 0
    assert (order[raster.owners(two)[there]] == raster.owners(one)[there]).all()
    turned = seen(LENS, points, faces[::-1])
    assert (raster.owners(turned) == raster.owners(one)).all()
    pixel = np.flatnonzero(there)
    owner = raster.owners(one)[pixel]
    _, _, sign = raster.at_triangles(LENS, points, faces, pixel, owner)
    _, _, back = raster.at_triangles(LENS, points, faces[::-1], pixel, owner)
    assert (sign == -back).all()
    assert set(np.unique(sign)) == {-1, 1}


def test_weights_are_those_of_the_point_that_the_ray_meets():
    points, faces = soup(60, 6)
    owner = raster.owners(seen(LENS, points, faces))
    pixel = np.flatnonzero(owner >= 0)
    depth, weights, _ = raster.at_triangles(LENS, points, faces, pixel, owner[pixel])
    met = (points[:, faces[:, owner[pixel]]] * weights).sum(1)
    x, y = LENS.slopes()
    assert np.allclose(met, depth * np.stack([x[pixel % 52], y[pixel // 52], 0 * depth + 1]))


def test_batches_change_nothing(monkeypatch):
    points, faces = soup(60, 7)
    whole = seen(LENS, points, faces)
    monkeypatch.setattr(raster, "_CHUNK", 13)
    assert (seen(LENS, points, faces) == whole).all()


def test_triangles_without_area_are_not_seen():
    point, line = [[0, 0, 2]] * 3, [[0, 0, 2], [1, 1, 4], [2, 2, 6]]
    edge_on = [[0, 0, 2], [0, 0, 3], [0.5, 0.1, 2]]  # its plane goes through the camera
    for corners in (point, line, edge_on):
        nearest = seen(LENS, np.array(corners, float).T, np.array([[0], [1], [2]]))
        assert (raster.owners(nearest) == -1).all()


def test_slivers_stay_between_their_corners():
    """Triangles along a row of pixels' centres, thinner than rounding."""
    draw = np.random.default_rng(0)
    z = draw.uniform(1, 9, (3, 4000))
    row = np.arange(4000) % 40
    y = (row + 0.5 - 20) / 40 * z * (1 + draw.uniform(-1, 1, z.shape) * 2e-16)
    x = draw.uniform(-0.6, 0.6, z.shape) * z
    points = np.stack([x, y, z]).transpose(0, 2, 1).reshape(3, -1)
    hit = 0
    for k in range(4000):
        face = np.array([[3 * k], [3 * k + 1], [3 * k + 2]])
        depth = raster.depths(seen(LENS, points, face))
        depth = depth[np.isfinite(depth)]
        hit += depth.size > 0
        assert (depth >= z[:, k].min() * (1 - 1e-6)).all()
        assert (depth <= z[:, k].max() * (1 + 1e-6)).all()
    assert hit > 100


def test_of_equally_near_triangles_the_first_is_seen():
    points = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, 2]], float).T
    owner = raster.owners(seen(LENS, points, np.array([[0, 0], [1, 1], [2, 2]])))
    assert set(owner) == {-1, 0}


def test_a_finer_lens_looks_at_the_same_picture():
    fine = LENS.finer(3)
    x, y = LENS.slopes()
    many, more = fine.slopes()
    assert (fine.width, fine.height) == (156, 120)
    assert np.allclose(many[1::3], x)
    assert np.allclose(more[1::3], y)
