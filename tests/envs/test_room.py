"""The camera goes where it is told, stops at what is solid, and its films tell where it went."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reverie.envs import make
from reverie.envs.raycast import FIELD, HALF, HEIGHT
from reverie.envs.room import SHIFT, TURN, Room, drift, filmed, rotation_of, taken, wander


def test_rotation_vectors_are_exponentials() -> None:
    random = np.random.default_rng(0)
    for size in (0.0, 1e-9, 0.1, 3.0):
        x, y, z = vector = size * random.normal(size=3)
        cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
        expected = torch.linalg.matrix_exp(cross).numpy()
        np.testing.assert_allclose(rotation_of(vector), expected, atol=1e-12)


def test_motion_is_in_the_cameras_own_axes() -> None:
    env = make("toy:room")
    pose = env.reset(4).obs["pose"].reshape(3, 4).astype(float)
    action = np.array([0.3, -0.2, 0.5, 0.4, -1.0, 0.2])
    after = env.step(action).obs["pose"].reshape(3, 4)
    turned = pose[:, :3] @ rotation_of(TURN * action[3:])
    np.testing.assert_allclose(after[:, :3], turned, atol=1e-6)
    moved = pose[:, 3] + pose[:, :3] @ (SHIFT * action[:3])
    np.testing.assert_allclose(after[:, 3], moved, atol=1e-6)
    assert env.action.shape == (6,)
    assert (env.action.low, env.action.high) == (-1, 1)
    assert env.decisions == 60
    assert set(make("toy:room", pixels=True).obs) == {"image"}


def test_nothing_solid_is_entered_and_the_middle_is_in_view_at_first() -> None:
    room = Room()
    stopped = 0
    for seed in range(30):
        room.begin(seed)
        ahead = room.rotation[:, 2]
        middle = np.array([0, 0, 0.5]) - room.position
        assert ahead @ middle / np.linalg.norm(middle) > math.cos(FIELD / 2)
        random = np.random.default_rng(seed)
        way = np.zeros(6)
        for k in range(60):
            if k % 15 == 0:
                way = random.uniform(-1, 1, 6) * np.array([*[SHIFT] * 3, *[TURN / 3] * 3])
            before = room.position
            room.advance(way)
            stopped += np.array_equal(before, room.position)
            assert np.abs(room.position[:2]).max() <= HALF - 0.3
            assert 0.3 <= room.position[2] <= HEIGHT - 0.3
            assert not room.interior.inside(room.position, 0.29)
    assert stopped > 50
    np.testing.assert_allclose(room.rotation @ room.rotation.T, np.eye(3), atol=1e-12)


def test_paths_are_smooth_and_as_many_as_numbers() -> None:
    paths = np.array([[wander(number, k) for k in range(60)] for number in range(40)])
    assert np.abs(paths).max() <= 1
    assert np.abs(np.diff(paths, axis=1)).max() < 0.6
    assert np.abs(np.diff(paths, axis=1)).mean() < 0.08
    assert (paths.std((0, 1)) > [0.3, 0.1, 0.2, 0.03, 0.1, 0.03]).all()
    assert np.unique(paths[:, 0, 0]).size == 40


def test_a_film_is_what_the_environment_shows() -> None:
    actions = np.array([wander(1, k) for k in range(6)])
    env = make("toy:room", pixels=True, size=(24, 32))
    rows = [env.reset(5), *(env.step(action) for action in actions)]
    film = filmed(5, actions, (24, 32))
    assert film.shape == (7, 3, 24, 32)
    for row, picture in zip(rows, film, strict=True):
        assert np.abs(row.obs["image"].astype(int) - picture).mean() < 0.01
    assert np.abs(film[0].astype(int) - filmed(6, actions[:0], (24, 32))[0]).mean() > 5


def test_of_two_paths_from_one_start_a_blurred_and_noisy_film_shows_its_own() -> None:
    right = 0
    for seed in range(20):
        films = [
            filmed(seed, np.array([wander(2 * seed + k, t) for t in range(8)]), (32, 32))
            for k in range(2)
        ]
        truth = films[seed % 2].astype(float)
        blurred = (truth + np.roll(truth, 1, -1) + np.roll(truth, 1, -2)) / 3
        random = np.random.default_rng(seed)
        right += taken(blurred + 15 * random.normal(size=truth.shape), films) == seed % 2
    assert right == 20
    with pytest.raises(ValueError, match="films of its shape"):
        taken(films[0], [films[0][:3]])
    with pytest.raises(ValueError, match="none"):
        taken(films[0], [])


@pytest.mark.parametrize("turn", [-1.0, -0.6, 0.7])
def test_a_turning_camera_moves_the_picture_the_other_way(turn: float) -> None:
    focal = 32 / math.tan(FIELD / 2)
    for seed in range(4):
        yaw = filmed(seed, np.tile([0, 0, 0, 0, turn, 0], (4, 1)))
        middle = np.median(drift(yaw), axis=0)
        assert middle == pytest.approx((-focal * TURN * turn, 0), abs=1.2)
        pitch = filmed(seed, np.tile([0, 0, 0, turn / 2, 0, 0], (4, 1)))
        middle = np.median(drift(pitch), axis=0)
        assert middle == pytest.approx((0, focal * TURN * turn / 2), abs=1.2)
