"""The built-in tasks are real: random actions fail, and a controller succeeds."""

import math

import numpy as np
import pytest

from reverie.envs import make


def run(env, policy, seed):
    row = env.reset(seed)
    total, rows = 0.0, 1
    while not row.last:
        row = env.step(policy(row.obs))
        total, rows = total + row.reward, rows + 1
    return total, rows, row


def swing_up(obs):
    """Pump energy until the top is within reach, then hold it there."""
    cos, sin = obs["orientation"].tolist()
    rate = float(obs["velocity"][0])
    angle = math.atan2(sin, cos)
    if abs(angle) < 0.4 and abs(rate) < 3:
        return np.array([-(9.0 * angle + 1.8 * rate) / 1.5])
    energy = 0.5 * 0.25 * rate**2 + 9.81 * 0.5 * (cos - 1)  # 0 at rest upright [J]
    return np.array([-np.sign(energy) * (1.0 if rate > 0 else -1.0)])


def keep_upright(obs):
    """Push to the side to which the pole is falling."""
    lean = obs["angle"] + 0.3 * obs["rate"] + 0.03 * obs["position"] + 0.08 * obs["velocity"]
    return np.eye(2)[int(lean[0] > 0)]


def test_the_pendulum_can_be_swung_up_but_not_by_chance():
    env = make("toy:pendulum")
    random = np.random.default_rng(0)
    chance = np.mean([run(env, lambda _: random.uniform(-1, 1, 1), s)[0] for s in range(10)])
    skill = np.mean([run(env, swing_up, s)[0] for s in range(10)])
    assert skill > 100
    assert skill > 8 * chance


def test_the_pendulum_ends_by_time_only():
    env = make("toy:pendulum")
    _, rows, row = run(env, lambda _: np.zeros(1), 0)
    assert rows == env.decisions + 1 == 201
    assert row.last
    assert not row.terminated


def test_the_pendulum_keeps_its_energy_without_friction_and_motor():
    from reverie.envs.toy import Pendulum

    class Ideal(Pendulum):
        damping = 0.0

    world = Ideal()
    world.begin(3)

    def energy():
        obs = world.observe()
        speed = world.length * obs["velocity"][0]
        return 0.5 * world.mass * speed**2 + world.mass * 9.81 * world.length * (
            1 + obs["orientation"][0]
        )

    before = energy()
    for _ in range(200):
        world.advance(np.zeros(1))
    assert energy() == pytest.approx(before, abs=0.01)


def test_the_pole_falls_by_chance_and_stands_by_skill():
    env = make("toy:balance")
    random = np.random.default_rng(0)
    total, _, row = run(env, lambda _: np.eye(2)[random.integers(2)], 1)
    assert total < 100
    assert row.terminated
    for seed in range(5):
        total, rows, row = run(env, keep_upright, seed)
        assert (total, rows) == (300, 301)
        assert not row.terminated


@pytest.mark.parametrize("name", ["toy:pendulum", "toy:balance"])
def test_the_same_seed_and_actions_give_the_same_rows(name):
    one, two = make(name), make(name)
    for _ in range(7):
        two.reset(11)
        two.step(np.ones(two.action.shape))
    assert same(play(one, 5), play(two, 5))
    assert not same(play(one, 5), play(two, 6))


def play(env, seed):
    random = np.random.default_rng(0)
    rows = [env.reset(seed)]
    rows += [env.step(random.uniform(-1, 1, env.action.shape)) for _ in range(10)]
    return rows


def same(a, b):
    return all(
        x.reward == y.reward and all(np.array_equal(x.obs[k], y.obs[k]) for k in x.obs)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", ["toy:pendulum", "toy:balance"])
def test_pictures_show_the_state(name):
    env = make(name, pixels=True, size=(40, 60))
    first = env.reset(0).obs["image"]
    assert first.shape == (3, 40, 60)
    assert len(np.unique(first.reshape(3, -1).T, axis=0)) > 3
    for _ in range(8):
        later = env.step(np.eye(*env.action.shape, 1)[:, 0]).obs["image"]
    assert not np.array_equal(first, later)


def test_the_mass_is_drawn_where_it_hangs():
    env = make("toy:pendulum")
    row = env.reset(0)
    image = env.render(120, 120).astype(int)
    red = image[..., 0] - image[..., 2]
    heavy = np.argwhere((image[..., 0] > 200) & (image[..., 1] < 130) & (red > 100)).mean(0)
    cos, sin = row.obs["orientation"].tolist()
    expected = (60 - 60 / 1.3 * cos, 60 + 60 / 1.3 * sin)
    np.testing.assert_allclose(heavy, expected, atol=1.5)
