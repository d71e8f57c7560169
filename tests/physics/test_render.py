import numpy as np
import pytest
import torch

from reverie.physics.render import Camera, draw, film, orbit, overview, turntable
from reverie.physics.shade import DAYLIGHT, Light
from reverie.physics.shapes import PALETTE, Balls, Ground, Mesh, box, hull, patch, place, sphere
from reverie.viz import video
from tests.physics.rays import cast_balls, cast_triangles, first

CAMERA = orbit((0.1, 0.2, 0.3), 4, 35, 25, fov=30, width=80, height=60)


def along_x(width=64, height=64, **keywords):
    """A camera at x = -4 that looks along x."""
    return Camera((-4.0, 0, 0), fov=40.0, width=width, height=height, **keywords)


def room(seed=0):
    draw = np.random.default_rng(seed)
    items = []
    for _ in range(8):
        turn, at = draw.normal(size=4), draw.uniform(-1, 1, 3)
        items.append(place(box(draw.uniform(0.2, 0.8, 3)), at, turn))
        items.append(place(hull(draw.normal(0, 0.2, (20, 3))), draw.uniform(-1, 1, 3), turn))
    items.append(Balls(draw.uniform(-1, 1, (30, 3)), draw.uniform(0.05, 0.2, 30)))
    return items


# -------------------------------------------------------------------------------------------------
# Cameras


def test_points_are_seen_where_the_projection_says():
    """u, v of K [R | t] X are the middle of what a small ball covers."""
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (12, 3))
    camera = CAMERA._replace(width=400, height=300, fov=50.0)
    homogeneous = np.concatenate([points, np.ones((12, 1))], 1)
    right = homogeneous @ (camera.intrinsics @ camera.extrinsics[:3]).T
    seen = camera.project(torch.tensor(points))
    assert np.allclose(seen[:, 2], right[:, 2])
    assert np.allclose(seen[:, :2], right[:, :2] / right[:, 2:])
    label = draw([Balls([p], 0.03) for p in points], camera).label
    alone = 0
    for k in range(12):
        rows, columns = np.nonzero(label == k)
        if np.delete(np.hypot(*(seen[k, :2] - seen[:, :2]).T), k).min() > 15:
            assert abs(columns.mean() + 0.5 - seen[k, 0]) < 0.3
            assert abs(rows.mean() + 0.5 - seen[k, 1]) < 0.3
            alone += 1
    assert alone > 5


def test_depth_reprojects_to_the_world():
    """Through the inverse of the camera a depth is the point seen: here of the plane z = 0.2."""
    depth = draw([Ground(0.2)], CAMERA).depth.astype(float)
    v, u = np.nonzero(np.isfinite(depth))
    pixels = np.stack([u + 0.5, v + 0.5, np.ones(u.size)]) * depth[v, u]
    local = np.linalg.inv(CAMERA.intrinsics) @ pixels
    world = np.linalg.inv(CAMERA.extrinsics) @ np.concatenate([local, np.ones((1, u.size))])
    assert u.size > 1000
    assert np.allclose(world[2], 0.2, atol=2e-5)


def test_the_world_is_right_handed_and_up_is_up():
    """Seen along x, y lies to the left and z above."""
    camera = along_x()
    seen = camera.project([[0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    assert np.allclose(seen[0], [32, 32, 4])
    assert seen[1, 0] < 32 - 10
    assert seen[2, 1] < 32 - 10
    assert np.allclose(camera.rotation, [[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    edge = camera.project([[0, 0, 4 * np.tan(np.radians(20))]])
    assert np.allclose(edge, [[32, 0, 4]])  # the field of view is the vertical one


@pytest.mark.parametrize("elevation", [-90, -30, 0, 45, 90])
@pytest.mark.parametrize("azimuth", [0, 120])
def test_orbit_goes_round_its_target(azimuth, elevation):
    camera = orbit((1, 2, 3), 5, azimuth, elevation, width=40, height=30)
    a, e = np.radians([azimuth, elevation])
    away = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    assert np.allclose(camera.position, [1, 2, 3] + 5 * away)
    assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3))
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    assert np.allclose(camera.project([[1, 2, 3]]), [[20, 15, 5]])
    assert camera.rotation[1, 2] <= 1e-12  # down in the picture is never up in the world


@pytest.mark.parametrize("size", [(64, 64), (90, 30), (30, 90)])
def test_an_overview_has_everything_in_its_picture(size):
    items = room(3)
    camera = overview(items, 20, 10, width=size[0], height=size[1])
    points = np.concatenate([np.asarray(i.vertices) for i in items if isinstance(i, Mesh)])
    u, v, _ = camera.project(points).T
    assert u.min() > 0
    assert u.max() < size[0]
    assert v.min() > 0
    assert v.max() < size[1]
    label = draw(items, camera).label
    assert (label[[0, -1]] == -1).all()
    assert (label[:, [0, -1]] == -1).all()
    assert (label >= 0).mean() > 0.05
    with pytest.raises(ValueError, match="mesh or balls to look at"):
        overview([Ground()])


# -------------------------------------------------------------------------------------------------
# What is seen


def test_depth_of_a_box_and_its_outline():
    """The front face at x = -0.5 of a cube of 1 m covers +-0.5 f / 3.5 pixels."""
    frame = draw([box()], along_x(101, 101))
    inside = np.abs(np.arange(101) + 0.5 - 50.5) < 0.5 * along_x(101, 101).lens.focal / 3.5
    assert ((frame.label == 0) == np.outer(inside, inside)).all()
    assert np.allclose(frame.depth[frame.label == 0], 3.5)
    assert np.isinf(frame.depth[frame.label == -1]).all()


def test_depth_of_a_sphere():
    """Of a ball exactly; of its mesh up to the sagitta of its faces."""
    camera = along_x(101, 101)
    slope = (np.arange(101) + 0.5 - 50.5) / camera.lens.focal
    square = 1 + slope**2 + slope[:, None] ** 2
    root = 16 - square * (16 - 1)
    right = np.where(root >= 0, (4 - np.sqrt(np.maximum(root, 0))) / square, np.inf)
    ball = draw([Balls([[0.0, 0, 0]], 1.0)], camera)
    assert ((ball.label == 0) == (root >= 0)).all()
    assert np.allclose(ball.depth, right, rtol=1e-6)
    mesh = draw([sphere(1.0, sectors=96, rings=48)], camera)
    assert (mesh.label == ball.label).mean() > 0.99
    both = (mesh.label == 0) & (ball.label == 0)
    behind = mesh.depth[both] - ball.depth[both]
    assert behind.min() > -1e-6
    assert behind[root[both] > 0.2].max() < 3e-3


def test_balls_look_like_triangulated_spheres():
    camera = CAMERA._replace(width=120, height=100)
    at = np.random.default_rng(1).uniform(-0.8, 0.8, (10, 3))
    one = draw([Ground(-1.5), Balls(at, 0.25, PALETTE["sand"])], camera, shadows=True)
    smooth = sphere(0.25, PALETTE["sand"], sectors=64, rings=32)
    two = draw([Ground(-1.5), *(place(smooth, p) for p in at)], camera, shadows=True)
    away = np.abs(one.colour.astype(int) - two.colour).max(2)
    assert (one.label == 1).mean() > 0.1
    assert np.quantile(away, 0.97) <= 4
    assert away.mean() < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_who_hides_whom_is_what_a_ray_caster_says(seed):
    items = room(seed)
    frame = draw(items, CAMERA)
    rotation, position = CAMERA.rotation, np.array(CAMERA.position)
    depth = []
    for item in items:
        points = item.vertices if isinstance(item, Mesh) else item.centres
        local = rotation @ (points - position).T
        if isinstance(item, Mesh):
            depth.append(cast_triangles(CAMERA.lens, local, item.faces.T).min(1))
        else:
            depth.append(cast_balls(CAMERA.lens, local, item.radius).min(1))
    right, near = first(np.stack(depth, 1))
    assert 0.3 < (right >= 0).mean() < 0.95
    assert (frame.label.ravel() == right).mean() >= 0.999
    same = frame.label.ravel() == right
    assert np.allclose(frame.depth.ravel()[same], near[same], rtol=1e-6)
    assert len(set(right)) > 10


def test_the_order_of_items_changes_only_labels():
    items = [Ground(-2.0), *room(1)]
    one, two = draw(items, CAMERA, shadows=True), draw(items[::-1], CAMERA, shadows=True)
    assert (one.colour == two.colour).all()
    assert (one.depth == two.depth).all()
    last = len(items) - 1
    assert (np.where(one.label >= 0, last - one.label, -1) == two.label).all()


def test_twice_the_same_picture_bit_for_bit():
    items = [Ground(-2.0), *room(2)]
    one, two = (draw(items, CAMERA, shadows=True, samples=2) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
    assert one.colour.shape == (60, 80, 3)
    assert [field.dtype for field in one] == [np.uint8, np.float32, np.int32]


# -------------------------------------------------------------------------------------------------
# Light


@pytest.mark.parametrize("thing", ["box", "inside out", "smooth", "ground", "ball"])
def test_the_colour_is_the_given_one_where_the_light_is_head_on(thing):
    colour = (0.2, 0.6, 0.9)
    above = orbit((0, 0, 0), 3, 0, 90, width=65, height=65)
    item = {
        "box": box((1, 1, 1), colour),
        "inside out": box((1, 1, 1), colour)._replace(faces=box().faces[:, ::-1]),
        "smooth": sphere(0.5, colour),
        "ground": Ground(colours=(colour, colour)),
        "ball": Balls([[0, 0, 0]], 0.5, colour),
    }[thing]
    frame = draw([item], above, Light(direction=(0, 0, 2)))
    assert frame.colour[32, 32].tolist() == [51, 153, 230]


def test_light_falls_with_the_cosine():
    """A wall under a sun at 60 degrees from its normal, without other light: sqrt(1/2)."""
    light = Light(direction=(-0.5, np.sqrt(0.75), 0), ambient=0.0, sun=1.0, head=0.0)
    frame = draw([box((1, 1, 1), (1, 1, 1))], along_x(), light)
    assert frame.colour[32, 32].tolist() == [round(255 * np.sqrt(0.5))] * 3
    behind = light._replace(direction=(1, 0, 0))
    assert draw([box((1, 1, 1), (1, 1, 1))], along_x(), behind).colour[32, 32].tolist() == [0] * 3


def test_shadows_are_on_the_ground_beside_what_throws_them():
    """Seen from above, under a sun in the east at 45 degrees, the shadow of a plate 1 m up lies
    1 m to the west; it is on by default in a picture of 256 pixels and not in a smaller one."""
    items = [Ground(colours=((1, 1, 1), (1, 1, 1))), place(patch((0.6, 0.6)), (0, 0, 1))]
    light = Light(direction=(1, 0, 1))
    above = orbit((0, 0, 0), 8, -90, 90, fov=30, width=256, height=256)
    frame = draw(items, above, light)
    plain = draw(items, above, light, shadows=False)
    darker = (plain.colour.astype(int) - frame.colour).max(2)
    dark = darker[frame.label == 0] > 0.5 * darker.max()
    v, u = np.nonzero(frame.label == 0)
    u, v = u[dark] + 0.5, v[dark] + 0.5
    middle = above.project([[-1, 0, 0], [-1.3, -0.3, 0], [-0.7, 0.3, 0]])
    assert abs(u.mean() - middle[0, 0]) < 1
    assert abs(v.mean() - middle[0, 1]) < 1
    assert dark.sum() == pytest.approx((middle[2, 0] - middle[1, 0]) ** 2, rel=0.1)
    small = above._replace(width=128, height=128)
    by_default, off = draw(items, small, light), draw(items, small, light, shadows=False)
    assert (by_default.colour == off.colour).all()
    assert (draw(items, small, light, shadows=True).colour != off.colour).any()
    assert (darker[frame.label == 1] == 0).all()


def test_the_sky_is_above():
    frame = draw([Ground()], Camera((-4, 0, 1), (0, 0, 1.2), width=64, height=64))
    horizon = np.array(DAYLIGHT.horizon) * 255
    assert (frame.label[0] == -1).all()
    assert (frame.label[-1] == 0).all()
    edge = int(np.argmax(frame.label[:, 32] == 0))
    assert np.abs(frame.colour[edge - 1, 32] - horizon).max() < 25
    assert np.abs(frame.colour[edge + 1, 32] - horizon).max() < 25
    assert frame.colour[0, 32, 0] < frame.colour[edge - 1, 32, 0]


# -------------------------------------------------------------------------------------------------
# Samples, films


def test_samples_smooth_colours_and_nothing_else():
    """An edge through the middle of pixels: the mean of lights, whose roots are the colours."""
    white = box((1, 1, 1), (1, 1, 1))
    camera = along_x(64, 64)
    light = Light(ambient=1.0, sun=0.0, head=0.0, zenith=(0, 0, 0), horizon=(0, 0, 0))
    one, four = draw([white], camera, light), draw([white], camera, light, samples=4)
    assert (one.depth == four.depth).all()
    assert (one.label == four.label).all()
    assert set(np.unique(one.colour)) == {0, 255}
    half = 0.5 * camera.lens.focal / 3.5  # of the front, in pixels
    low = (32 - half) % 1
    covered = np.ceil(4 * (1 - low) - 0.5) / 4
    value = four.colour[32, int(32 - half), 0]
    assert value == pytest.approx(255 * np.sqrt(covered), abs=1)
    assert 0 < value < 255


def test_the_ground_needs_no_samples():
    """Its squares are averaged over pixels, so that more samples change little far away."""
    camera = Camera((-4, 0.3, 1.2), (0, 0, 1), width=64, height=48)
    light = Light(fade=1e9)
    one, many = (draw([Ground(square=0.3)], camera, light, samples=n) for n in (1, 8))
    away = np.abs(one.colour.astype(float) - many.colour)[one.label == 0]
    assert away.mean() < 2.5
    assert away.max() < 25


def test_a_turntable_comes_round():
    items = [place(box((0.5, 1, 1.5)), (0.3, 0, 0.2)), Balls([[0, 0.8, 0]], 0.3)]
    camera = orbit((0, 0, 0), 5, 40, 15, width=48, height=40)
    frames = turntable(items, 6, camera=camera)
    for k in (0, 2):
        there = draw(items, orbit((0, 0, 0), 5, 40 + 60 * k, 15, width=48, height=40))
        assert (frames[k].label == there.label).mean() > 0.995
    assert len({frame.colour.tobytes() for frame in frames}) == 6
    assert len(turntable(items, 1)) == 1


def test_films_are_those_that_the_writers_take():
    pytest.importorskip("PIL")
    frames = film(turntable([box()], 3, camera=along_x(32, 24)))
    assert frames.shape == (3, 24, 32, 3)
    assert video.encode(frames, 10.0, ".gif")[:4] == b"GIF8"


# -------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (Camera((0.0, 0, 5)), "does not know where up"),
        (Camera((1.0, 1, 1), (1.0, 1, 1)), "move it away from its target"),
        (Camera((1.0, 1, np.nan)), "does not know where up"),
        (along_x(0, 5), "one pixel or more a side"),
        (along_x(near=0.0), "near above 0"),
        (along_x()._replace(fov=180.0), r"fov in \(0, 180\)"),
        (Camera((3.0, 0, -1.0)), "not above the ground at z = -1"),
        (Camera((2.1, 0, 0.5)), "inside of a ball of item 1"),
    ],
)
def test_a_camera_that_sees_nothing_is_refused(camera, message):
    with pytest.raises(ValueError, match=message):
        draw([Ground(-1.0), Balls([[2.0, 0, 0.5]], 0.3)], camera)


def test_other_errors():
    with pytest.raises(ValueError, match="samples is 1 or more"):
        draw([], CAMERA, samples=0)
    with pytest.raises(ValueError, match="distance above 0"):
        orbit(distance=0.0)
    with pytest.raises(ValueError, match="not finite"):
        draw([Balls([[0.0, 0, np.nan]], 0.1)], CAMERA)


def test_nothing_at_all_is_sky():
    frame = draw([], CAMERA, shadows=True)
    assert (frame.label == -1).all()
    assert np.isinf(frame.depth).all()
