import numpy as np
import pytest

from reverie.physics import raster, raster_balls
from reverie.physics.raster import Lens
from tests.physics.rays import cast_balls, cast_triangles, first

LENS = Lens(40.0, (26.0, 20.0), 52, 40)
SUN = Lens(7.0, (26.0, 20.0), 52, 40, parallel=True)


def heap(count, seed, radius, near=1.0):
    draw = np.random.default_rng(seed)
    centres = draw.uniform([-3, -3, near], [3, 3, 6], (count, 3)).T.copy()
    return centres, radius * draw.uniform(0.5, 1.5, count)


def seen(lens, centres, radii, first=0):
    nearest = raster.blank(lens)
    raster_balls.put_balls(nearest, lens, centres, radii, first)
    return nearest


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "radius"), [(20, 0.6), (300, 0.12), (2000, 0.03)])
def test_each_pixel_sees_what_a_ray_caster_sees(seed, count, radius):
    centres, radii = heap(count, seed, radius)
    nearest = seen(LENS, centres, radii)
    owner = raster.owners(nearest)
    depth = cast_balls(LENS, centres, radii)
    depth[:, centres[2] - radii < LENS.near] = np.inf
    right, near = first(depth)
    assert (right >= 0).mean() > 0.1
    assert (owner == right)[(owner >= 0) | (right >= 0)].mean() >= 0.999
    same = np.flatnonzero((owner == right) & (owner >= 0))
    exact, normal = raster_balls.at_balls(LENS, centres, radii, same, owner[same])
    assert np.allclose(exact, near[same], rtol=1e-7)
    assert np.allclose(raster.depths(nearest)[same], near[same], rtol=1e-4)
    assert np.allclose((normal * normal).sum(0), 1, atol=1e-6)
    x, y = LENS.slopes()
    met = exact * np.stack([x[same % 52], y[same // 52], 0 * exact + 1])
    assert np.allclose(met, centres[:, owner[same]] + radii[owner[same]] * normal)


@pytest.mark.parametrize("seed", range(3))
def test_parallel_rays_see_what_a_ray_caster_sees(seed):
    centres, radii = heap(100, seed, 0.3, near=3.0)
    nearest = seen(SUN, centres, radii)
    right, near = first(cast_balls(SUN, centres, radii))
    owner = raster.owners(nearest)
    assert (owner == right)[(owner >= 0) | (right >= 0)].mean() >= 0.999
    same = (owner == right) & (owner >= 0)
    assert same.mean() > 0.1
    assert np.allclose(raster.depths(nearest)[same], near[same], rtol=1e-4)


def test_balls_and_triangles_hide_each_other():
    """A wall that goes through the middle of balls."""
    centres, radii = heap(30, 3, 0.6)
    points = np.array([[-9, -9, 2], [9, -9, 2], [0, 30, 5.0]]).T
    faces = np.array([[0], [1], [2]])
    nearest = raster.blank(LENS)
    raster_balls.put_balls(nearest, LENS, centres, radii, 1)
    raster.put_triangles(nearest, LENS, points, faces)
    depth = np.concatenate(
        [cast_triangles(LENS, points, faces), cast_balls(LENS, centres, radii)], 1
    )
    depth[:, 1:][:, centres[2] - radii < LENS.near] = np.inf
    right, _ = first(depth)
    assert 0.1 < (right == 0).mean() < 0.9
    assert (raster.owners(nearest) == right).mean() >= 0.999


def test_the_picture_of_a_ball_is_the_ellipse_of_its_cone():
    """Off the axis the outline is wider than high: tangents at atan(x / z) +- asin(r / |c|)."""
    lens = Lens(200.0, (200.0, 50.0), 500, 100)
    nearest = seen(lens, np.array([[1.5], [0.0], [2.0]]), np.array([0.4]))
    columns = np.flatnonzero((raster.owners(nearest) >= 0).reshape(100, 500)[50])
    angle, half = np.arctan2(1.5, 2.0), np.arcsin(0.4 / 2.5)
    low, high = 200 * np.tan([angle - half, angle + half]) + 200
    assert abs(columns[0] - low) < 1
    assert abs(columns[-1] + 1 - high) < 1


def test_what_is_behind_or_too_near_is_not_seen():
    centres = np.array([[0, 0, -3], [0, 0, 0.3], [0, 0, 0.0], [90, 0, 4]], float).T
    nearest = seen(LENS, centres, np.array([0.5, 0.295, 0.2, 0.5]))
    assert (raster.owners(nearest) == -1).all()


def test_batches_and_order_change_nothing(monkeypatch):
    centres, radii = heap(200, 4, 0.2)
    whole = seen(LENS, centres, radii)
    turned = seen(LENS, centres[:, ::-1], radii[::-1])
    assert (raster.depths(whole) == raster.depths(turned)).all()
    monkeypatch.setattr(raster, "_CHUNK", 13)
    assert (seen(LENS, centres, radii) == whole).all()


def test_balls_are_numbered_from_where_they_are_told():
    centres, radii = heap(20, 5, 0.5)
    one, two = (raster.owners(seen(LENS, centres, radii, n)) for n in (0, 70))
    assert (np.where(one >= 0, one + 70, -1) == two).all()
    assert (one >= 0).any()
