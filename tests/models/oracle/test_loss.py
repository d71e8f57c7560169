"""Recorded rows against the simulator that made them, and against another."""

import torch

from reverie.envs import EnvConfig
from reverie.models.oracle import Oracle
from reverie.models.oracle.loss import errors
from tests.models.oracle import played

CARTPOLE = EnvConfig("dmc:cartpole_swingup")


def test_rows_of_its_own_environment_have_no_error_and_others_do():
    batch = played.batch(*(played.play(CARTPOLE, 8, seed) for seed in (4, 5)))
    with Oracle(CARTPOLE) as model:
        right = errors(model, batch)
        assert right.keys() == {"physics", "reward", "continues"}
        assert all(x.shape == (2, 9) and not x.any() for x in right.values())
        wrong = errors(model, batch._replace(reward=batch.reward + 1, terminated=~batch.terminated))
    assert torch.equal(wrong["reward"][:, 0], torch.zeros(2))
    torch.testing.assert_close(wrong["reward"][:, 1:], torch.ones(2, 8))
    assert wrong["continues"][:, 1:].all()
    with Oracle(EnvConfig("dmc:cartpole_swingup", repeat=2)) as slower:
        assert (errors(slower, batch)["physics"][:, 1:] > 0).all()


def test_the_first_row_of_an_episode_was_not_predicted():
    batch = played.batch(played.play(CARTPOLE, 8))
    batch.first[0, 4] = True
    with Oracle(CARTPOLE) as model:
        error = errors(model, batch._replace(reward=batch.reward + 1))
    assert (error["reward"][0] > 0).tolist() == [False, *[True] * 3, False, *[True] * 4]
