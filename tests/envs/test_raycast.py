"""Rays meet what is there: closed forms, marching in small steps, and finer pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reverie.envs.raycast import FIELD, HALF, HEIGHT, Ball, Box, Interior, _seen, _walls, photograph
from reverie.envs.room import Room, rotation_of

AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""A camera that looks along x, level."""
EMPTY = Interior((), ())
WALLS = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]


def test_each_wall_is_as_far_as_it_is() -> None:
    origin = np.array([1.0, -2.0, 1.0], np.float32)
    rays = np.array(WALLS, np.float32).T
    distance, _, face = _walls(origin, np.where(rays == 0, np.float32(1e-7), rays))
    np.testing.assert_allclose(distance, [5, 3, 2, 6, 1, 2], rtol=1e-5)
    assert face.tolist() == list(range(6))
    assert (HALF, HEIGHT) == (4, 3)


def test_a_camera_sees_the_right_at_the_right_and_the_floor_below() -> None:
    ball = Ball((1.0, -1.0, 0.6), 0.3, (255.0, 0.0, 0.0))  # looking along x, right is -y
    picture = photograph(Interior((ball,), ()), np.array([-1.0, 0, 1.2]), AHEAD, 64, 64)
    red = np.argwhere((picture[..., 0] > 90) & (picture[..., 1:].max(-1) < 30)).mean(0)
    focal = 32 / math.tan(FIELD / 2)
    assert red == pytest.approx((31.5 + focal * 0.6 / 2, 31.5 + focal * 1.0 / 2), abs=1.5)


def test_a_ball_covers_the_solid_angle_that_it_has() -> None:
    picture = photograph(
        Interior((Ball((2.0, 0.0, 1.5), 0.5, (255.0, 0.0, 0.0)),), ()),
        np.array([-1.0, 0, 1.5]),
        AHEAD,
        96,
        96,
    ).astype(float)
    # Seen from 3 m on the axis: a disc of radius f r / sqrt(d^2 - r^2).
    radius = 48 / math.tan(FIELD / 2) * 0.5 / math.sqrt(3**2 - 0.5**2)
    red = picture[..., 1] < 0.35 * picture[..., 0]
    assert red.sum() == pytest.approx(math.pi * radius**2, rel=0.06)


def test_rays_meet_solids_where_small_steps_along_them_do() -> None:
    checked = met = 0
    for seed in range(5):
        room = Room()
        room.begin(seed)
        random = np.random.default_rng(seed)
        rays = random.normal(size=(3, 16)).astype(np.float32) * np.array([[1], [1], [0.3]])
        rays = (rays + 2 * (np.array([[0], [0], [0.4]]) - room.position[:, None])).astype("f4")
        _, things = _seen(room.interior, room.position.astype(np.float32), rays)
        ways = (rays / np.linalg.norm(rays, axis=0)).T.astype(float)
        for way, thing in zip(ways, things.tolist(), strict=True):
            found = marched(room.interior, room.position, way)
            if found is not None:
                checked += 1
                met += found >= 6
                assert found == (thing if thing >= 6 else -1)
    assert checked > 60
    assert met > 15


def marched(interior: Interior, start: np.ndarray, way: np.ndarray) -> int | None:
    """The number of the solid that is entered first, -1 for none, None where it is a close call."""
    solids = [Interior((ball,), ()) for ball in interior.balls]
    solids += [Interior((), (box,)) for box in interior.boxes]
    close = False
    for step in np.arange(0, 9, 0.02):
        place = start + step * way
        if np.abs(place[:2]).max() > HALF or not 0 < place[2] < HEIGHT:
            return None if close else -1
        for number, solid in enumerate(solids):
            if solid.inside(place, 1e-9):
                return 6 + number
            close = close or solid.inside(place, 0.02)
    raise AssertionError("no ray leaves the room unseen")


def test_edges_are_those_of_a_finer_picture() -> None:
    for seed in range(3):
        room = Room()
        room.begin(seed)
        pose = room.position, room.rotation
        coarse = photograph(room.interior, *pose, 48, 64).astype(float)
        fine = photograph(room.interior, *pose, 192, 256).astype(float)
        mean = fine.reshape(48, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(coarse - mean).mean() < 1.5
        assert np.quantile(np.abs(coarse - mean), 0.995) < 35


def test_a_turned_camera_sees_the_same_turned() -> None:
    box = Box((1.5, 0.2, 0.5), (0.3, 0.4, 0.5), 0.7, (200.0, 40.0, 40.0))
    place = np.array([-1.0, 0.0, 1.0])
    upright = photograph(Interior((), (box,)), place, AHEAD, 40, 40).astype(float)
    quarter = AHEAD @ rotation_of(np.array([0.0, 0.0, math.pi / 2]))  # clockwise, as one looks
    turned = photograph(Interior((), (box,)), place, quarter, 40, 40).astype(float)
    assert np.abs(np.rot90(upright) - turned).mean() < 0.2
    assert np.abs(upright - turned).mean() > 10


def test_nearness_to_a_solid_is_measured_from_its_surface() -> None:
    interior = Interior(
        (Ball((0.0, 0.0, 0.5), 0.5, (0.0, 0.0, 0.0)),),
        (Box((2.0, 0.0, 0.5), (0.5, 0.1, 0.5), math.pi / 2, (0.0, 0.0, 0.0)),),
    )
    assert interior.inside(np.array([0.0, 0.79, 0.5]), 0.3)
    assert not interior.inside(np.array([0.0, 0.81, 0.5]), 0.3)
    assert interior.inside(np.array([2.0, 0.69, 0.5]), 0.2)  # turned: half a metre along y
    assert not interior.inside(np.array([2.0, 0.71, 0.5]), 0.2)
    assert not interior.inside(np.array([2.4, 0.0, 0.5]), 0.2)
