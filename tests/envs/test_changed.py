"""A robot that is not the one that was learnt."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.envs import EnvConfig, make
from reverie.envs.changed import Changed, changed, possible
from reverie.envs.parallel import parallel

ONES = np.ones(1, np.float32)


def test_a_weaker_motor_does_half_of_what_it_is_told() -> None:
    weak, strong = Changed(make("toy:pendulum"), "motor"), make("toy:pendulum")
    weak.reset(3)
    strong.reset(3)
    one, other = weak.step(ONES), strong.step(ONES / 2)
    assert np.array_equal(one.obs["velocity"], other.obs["velocity"])
    assert weak.name == "toy:pendulum, motors half as strong"


def test_heavier_bodies_fall_alike_but_are_pushed_less() -> None:
    pytest.importorskip("dm_control")
    heavy, light = Changed(make("dmc:cartpole_balance"), "mass"), make("dmc:cartpole_balance")
    for _ in range(2):  # the second episode is no heavier than the first
        for env in (heavy, light):
            env.reset(0)
        velocities = [env.step(ONES).obs["velocity"][0] for env in (heavy, light)]
        assert velocities[0] == pytest.approx(velocities[1] / 2, rel=0.15)
    light.reset(0)
    assert light.step(ONES).obs["velocity"][0] == pytest.approx(velocities[1])


def test_pictures_in_other_colours_and_from_elsewhere() -> None:
    config = EnvConfig("toy:pendulum", pixels=True, size=(32, 32))
    plain = make(config).reset(0).obs["image"]
    other = Changed(make(config), "colour").reset(0).obs["image"]
    assert np.array_equal(other, plain[[2, 0, 1]])
    nearer = Changed(make(config), "camera").reset(0).obs["image"]
    assert nearer.shape == plain.shape
    middle = plain[:, 8:24, 8:24].astype(int)
    assert (nearer[:, 8:24, 8:24] != middle).any()
    assert set(np.unique(nearer)) <= set(np.unique(plain))  # moved, not mixed


def test_only_what_makes_a_difference_is_possible() -> None:
    assert possible(make("toy:pendulum")) == ("motor",)
    assert possible(make("toy:balance")) == ()
    with pytest.raises(ValueError, match=r"'mass' makes no difference in toy:pendulum.*motor"):
        Changed(make("toy:pendulum"), "mass")


def test_it_is_stepped_in_parallel_like_any_other() -> None:
    with parallel(changed(EnvConfig("toy:pendulum"), "motor"), 2, 0) as envs:
        rows = envs.step(np.zeros((2, 1), np.float32))
    assert rows.first.all()


def test_a_gymnasium_environment_without_a_mujoco_has_no_masses_to_change() -> None:
    pytest.importorskip("gymnasium")
    env = make("gym:Pendulum-v1")
    assert possible(env) == ("motor",)
    with pytest.raises(ValueError, match="possible are motor"):
        Changed(env, "mass")
