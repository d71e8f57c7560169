"""A film of a planner: the fan begins where the robot is, and says what the model expects."""

import numpy as np
import torch

from reverie.envs import make
from reverie.learn.device import Device
from reverie.plan import CEM, MPC, MPCConfig
from reverie.viz.fan import compose, shoot_plans
from tests.viz.worlds import TruePendulum

CPU = Device(torch.device("cpu"))


def film(execute=1, decisions=12):
    env = make("toy:pendulum")
    optimiser = CEM(samples=30, elites=4, iterations=2)
    mpc = MPC(TruePendulum(env), optimiser, MPCConfig(horizon=6, execute=execute))
    shot = shoot_plans(env, mpc, device=CPU, seed=1, decisions=decisions, futures=5, size=(30, 40))
    assert mpc.watch is None
    return shot


def test_every_decision_has_its_fan_from_where_the_robot_is():
    shot = film()
    assert shot.labels == ("orientation 1", "orientation 2", "velocity", "reward")
    assert shot.real.shape == (13, 4)
    assert [f.row for f in shot.fans] == list(range(12))
    for fan in shot.fans:
        assert fan.values.shape == (5, 7, 4)
        np.testing.assert_allclose(fan.values[:, 0], np.tile(shot.real[fan.row], (5, 1)), atol=1e-6)
        assert np.ptp(fan.values[:, -1, 0]) > 0  # the plans differ


def test_a_right_model_expects_what_the_chosen_plan_then_brings():
    shot = film(execute=6)
    assert [f.row for f in shot.fans] == [0, 6]
    for fan in shot.fans:
        after = shot.real[fan.row : fan.row + 7]
        np.testing.assert_allclose(fan.values[0], after, atol=1e-3)


def test_frames_show_the_robot_and_the_fan():
    shot = film()
    frames, fps = compose(shot, height=120)
    assert frames.shape[0] == len(shot.shown)
    assert fps > 0
    wide = frames.shape[2]
    assert np.ptp(frames[-1][:, wide // 2 :].astype(int)) > 100
    assert (frames[0] != frames[-1]).any()


def test_without_pictures_the_curves_are_left():
    shot = film(decisions=3)
    frames, _ = compose(
        type(shot)(shot.name, shot.dt, shot.step, shot.labels, shot.real, shot.fans, shot.shown,
                   None, ("no picture",)),
        height=120,
    )  # fmt: skip
    assert frames.shape[2] < compose(shot, height=120)[0].shape[2]
