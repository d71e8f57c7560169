import numpy as np
import pytest

from reverie.physics import shade
from reverie.physics.drawing import gather
from reverie.physics.shade import DAYLIGHT, Light
from reverie.physics.shapes import Balls, Ground, box, patch, place

NOON = np.array([0.0, 0, 1])
SLANTED = Light(direction=(1.0, 0, 1)).unit()
"""The sun stands in the east, 45 degrees above the horizon: shadows fall towards -x."""


def thrown(items, sun):
    scene = gather(items)
    meshes, balls = scene.meshes, scene.balls
    return shade.shadow(sun, meshes.points, meshes.faces, balls.centres, balls.radii)


def on_ground(items, sun, xy):
    points = np.array([[x, y, 0.0] for x, y in xy]).T
    return thrown(items, sun).on_ground(points)


def test_lambert_is_the_equation():
    normal = np.array([[0, 0, 1.0], [0, 0.6, 0.8], [0, 0, -1]]).T
    view = np.array([[0.6, 0, 0.8]] * 3).T
    light = Light(ambient=0.2, sun=0.5, head=0.3)
    found = shade.lambert(normal, view, light, SLANTED, np.array([1.0, 0.5, 1], np.float32))
    c = np.sqrt(0.5)
    right = np.sqrt([0.2 + 0.5 * c + 0.24, 0.2 + 0.5 * 0.8 * c * 0.5 + 0.3 * 0.64, 0.2])
    assert np.allclose(found, right)
    assert shade.lambert(normal, view, light, SLANTED, None)[0] == found[0]


def test_the_weights_of_daylight_add_up_to_one():
    assert DAYLIGHT.ambient + DAYLIGHT.sun + DAYLIGHT.head == pytest.approx(1)
    assert np.allclose(np.linalg.norm(DAYLIGHT.unit()), 1)
    for wrong in ((0, 0, 0), (0, 1), (np.nan, 0, 1)):
        with pytest.raises(ValueError, match="of any length but 0"):
            Light(direction=wrong).unit()


def test_the_sky_goes_from_horizon_to_zenith():
    colours = shade.sky(DAYLIGHT, np.array([-0.5, 0.0, 0.25, 1.0])).T
    middle = (np.array(DAYLIGHT.horizon) + DAYLIGHT.zenith) / 2
    right = [DAYLIGHT.horizon, DAYLIGHT.horizon, middle, DAYLIGHT.zenith]
    assert np.allclose(colours, right)


@pytest.mark.parametrize("width", [(0.01, 0.01), (0.3, 0.9), (1.7, 0.2), (5.3, 7.1)])
def test_the_checker_is_the_mean_over_the_pixel(width):
    ground = Ground(colours=((1.0, 0.5, 0.0), (0.0, 0.1, 0.2)), square=0.7)
    middle = np.random.default_rng(0).uniform(-4, 4, (2, 20))
    grid = (np.arange(400) + 0.5) / 400 - 0.5
    x = middle[0, :, None, None] + width[0] * grid[:, None]
    y = middle[1, :, None, None] + width[1] * grid
    share = ((np.floor(x / 0.7) + np.floor(y / 0.7)) % 2 == 0).mean((1, 2))
    one, two = np.array(ground.colours)
    right = two + (one - two) * share[:, None]
    footprint = np.array(width)[:, None] * np.ones((2, 20))
    assert np.allclose(shade.checker(ground, middle, footprint).T, right, atol=0.01)


def test_the_ground_fades_into_the_horizon():
    colour = np.zeros((3, 3), np.float32)
    distance = np.array([1.0, 12.0, 1e9])
    left = 1 - shade.fade(DAYLIGHT, colour, distance, 2.0)[0] / DAYLIGHT.horizon[0]
    assert np.allclose(left, [1, 0.5, 0], atol=1e-4)
    nearer = shade.fade(DAYLIGHT._replace(fade=1.0), colour, distance, 2.0)[0]
    assert nearer[0] == pytest.approx(DAYLIGHT.horizon[0] / 2)
    with pytest.raises(ValueError, match="fade is a distance above 0"):
        shade.fade(DAYLIGHT._replace(fade=0.0), colour, distance, 2.0)


@pytest.mark.parametrize("item", ["box", "ball"])
def test_the_shadow_lies_where_the_sun_throws_it(item):
    """From 2 m above, under a sun at 45 degrees, it lies 2 m to the west: a square of half-side
    0.5, blurred by 0.05 or less; or a disc of 0.5 across, longer by sqrt 2 along."""
    if item == "box":
        items = [place(patch((1, 1)), (0, 0, 2))]
        dark = [(-2, 0), (-2.44, 0), (-1.56, 0), (-2, 0.44), (-2.44, -0.44)]
        bright = [(0, 0), (-1.4, 0), (-2.6, 0), (-2, 0.6), (-3, 0), (1, 5)]
    else:
        items = [Balls([[0.0, 0, 2]], 0.5)]
        dark = [(-2, 0), (-2 - 0.65, 0), (-2 + 0.65, 0), (-2, 0.44)]
        bright = [(0, 0), (-2 - 0.77, 0), (-2 + 0.77, 0), (-2, 0.56), (-2.55, 0.4), (40, 0)]
    assert np.allclose(on_ground(items, SLANTED, dark), 0, atol=1e-6)
    assert np.allclose(on_ground(items, SLANTED, bright), 1, atol=1e-6)


def test_the_edge_of_a_shadow_is_soft():
    items = [place(patch((1, 1)), (0, 0, 2)), place(patch((1, 1)), (8, 0, 2))]
    x = np.linspace(-0.7, 0, 200)
    lit = on_ground(items, NOON, [(v, 0.0) for v in x])
    assert lit[0] == 1
    assert lit[-1] == 0
    assert (np.diff(lit) <= 1e-6).all()
    assert np.abs(np.diff(lit)).max() < 0.1
    middle = x[np.argmin(np.abs(lit - 0.5))]
    assert middle == pytest.approx(-0.5, abs=9 / 244)  # one pixel of the map


def test_what_is_beneath_lies_in_shadow_and_what_is_above_does_not():
    roof, table = place(patch((1, 1)), (0, 0, 2)), place(patch((3, 3)), (0, 0, 1))
    shadow = thrown([table, roof], NOON)
    up = np.array([[0.0], [0], [1]])
    points = np.array(
        [[0, 0, 1.0], [0.4, -0.4, 1], [0.6, 0, 1], [-1.4, 0, 1], [0, 0, 2], [0, 0, 9]]
    )
    assert np.allclose(shadow.on_surface(points.T, up), [0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("sun", [NOON, SLANTED, Light().unit()])
def test_surfaces_that_face_the_sun_do_not_shade_themselves(sun):
    draw = np.random.default_rng(0)
    normal = draw.normal(size=(3, 3000))
    normal /= np.linalg.norm(normal, axis=0)
    shadow = thrown([Balls([[0.3, 0.2, 1]], 0.5)], sun)
    points = np.array([[0.3], [0.2], [1]]) + 0.5 * normal
    facing = sun @ normal
    assert shadow.on_surface(points, normal)[facing > 0.15].min() > 0.99
    assert shadow.on_surface(points, normal)[facing < -0.5].max() < 0.01
    cube = thrown([box()], sun)
    face = np.concatenate([draw.uniform(-0.5, 0.5, (2, 1000)), np.full((1, 1000), 0.5)])
    up = np.array([[0.0], [0], [1]])
    assert cube.on_surface(face, up).min() > 0.99


def test_turn_is_a_matrix_product():
    matrix, points = np.random.default_rng(0).normal(size=(2, 3, 3))
    assert np.allclose(shade.turn(matrix, points), matrix @ points)
