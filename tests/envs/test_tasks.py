"""Several tasks as one kind of environment: padded, numbered, seeded and restored like others."""

from dataclasses import replace

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.serial import from_json, to_json
from reverie.envs import EnvConfig, episode_seed, make, parallel
from reverie.envs.env import Env, Row
from reverie.envs.tasks import Task, TaskEnv, Tasks, share

TOYS = [EnvConfig(f"toy:{name}", repeat=2, max_decisions=9) for name in ("pendulum", "balance")]


@pytest.fixture(scope="module")
def toys():
    return share(TOYS)


def actions(calls, seed=0):
    shape = (calls, 4, 2)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_what_tasks_need_is_found_and_the_widest_is_shared(toys):
    assert [(t.name, t.observation, t.actions, t.decisions) for t in toys.members] == [
        ("toy:pendulum", 3, 1, 9),
        ("toy:balance", 4, 2, 9),
    ]
    assert toys.obs == {"observation": Space((4,)), "task": Space((), "int64", 0, 1)}
    assert toys.action == Space((2,), low=-1.0, high=1.0)
    assert toys.dt == pytest.approx(0.1)
    assert from_json(Tasks, to_json(toys)) == toys


def test_rows_are_those_of_the_task_joined_padded_and_numbered(toys):
    env, plain = TaskEnv(toys, 0), make(TOYS[0])
    assert isinstance(env, Env)
    ours, theirs = [env.reset(5)], [plain.reset(5)]
    for action in ([0.5, 0.0], [-1.0, 0.3]):
        ours.append(env.step(np.array(action)))
        theirs.append(plain.step(np.array(action[:1])))
    for one, two in zip(ours, theirs, strict=True):
        joined = [*two.obs["orientation"], *two.obs["velocity"], 0.0]  # in the order of the names
        assert one.obs["observation"].tolist() == joined
        assert one.obs["observation"].dtype == np.float32
        assert one.obs["task"] == 0 and one.obs["task"].dtype == np.int64
        assert one[1:] == two[1:]
    assert TaskEnv(toys, 1).reset(5).obs["task"] == 1
    assert env.render(8, 8).shape == (8, 8, 3)


def test_entries_of_an_action_that_a_task_does_not_use_do_nothing(toys):
    env = TaskEnv(toys, 0)
    seen = []
    for surplus in (-1.0, 0.0, 1.0):
        env.reset(3)
        seen.append([env.step(np.array([0.4, surplus])).obs["observation"] for _ in range(5)])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    with pytest.raises(ValueError, match=r"has shape \(1,\); expected \(2,\)"):
        env.step(np.zeros(1))


def test_a_choice_is_that_of_the_highest_entry(toys):
    env, plain = TaskEnv(toys, 1), make(TOYS[1])
    env.reset(3), plain.reset(3)
    for scores, choice in (([-0.9, -0.2], [0, 1]), ([0.1, 0.0], [1, 0])):
        ours, theirs = env.step(np.array(scores)), plain.step(np.array(choice))
        assert ours.obs["observation"].tolist() == [
            value for name in sorted(theirs.obs) for value in theirs.obs[name]
        ]


def test_a_missing_sensor_is_zero(toys):
    env = TaskEnv(toys, 0)
    obs = {"orientation": np.ones(2), "velocity": np.ones(1), "velocity.present": np.array(False)}
    env._env = type("Blind", (), {"reset": lambda self, seed: Row(obs, 0.0, True, False, False)})()
    assert env.reset(0).obs["observation"].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_environment_i_plays_task_i_mod_n_from_its_own_seed(toys, workers):
    with parallel(toys.makers, 4, seed=7, workers=workers) as envs:
        assert (envs.name, envs.repeat) == ("toy:pendulum + toy:balance", 2)
        rows = envs.step(np.zeros((4, 2)))
        assert rows.obs["task"].tolist() == [0, 1, 0, 1]
        for i, task in enumerate(rows.obs["task"]):
            alone = TaskEnv(toys, task).reset(episode_seed(7, i, 0))
            np.testing.assert_array_equal(rows.obs["observation"][i], alone.obs["observation"])
        moved = envs.step(actions(1)[0])
    assert not np.array_equal(moved.obs["observation"][0], moved.obs["observation"][2])


def test_a_restored_position_goes_on_bit_by_bit(toys):
    script = actions(20)
    with parallel(toys.makers, 4, seed=4) as envs:
        before = [envs.step(each) for each in script[:12]]
        position = envs.position()
        after = [envs.step(each) for each in script[12:]]
    with parallel(toys.makers, 4, seed=4) as envs:
        found = [envs.restore(position), *(envs.step(each) for each in script[12:])]
    for one, two in zip([before[-1], *after], found, strict=True):
        for name in ("observation", "task"):
            np.testing.assert_array_equal(one.obs[name], two.obs[name])
        assert all(np.array_equal(x, y) for x, y in zip(one[1:], two[1:], strict=True))
    assert any(row.first.any() for row in after)


@pytest.mark.parametrize(
    ("envs", "words"),
    [
        (TOYS[:1], r"at least 2; given was \['toy:pendulum'\].*--env NAME"),
        ([*TOYS, TOYS[0]], r"\['toy:pendulum'\] stand twice"),
        ([TOYS[0], replace(TOYS[1], repeat=3)], r"for \[2, 3\] frames.*one action repeat"),
        ([TOYS[0], replace(TOYS[1], pixels=True)], "toy:balance observes the picture 'image'"),
        ([TOYS[0], EnvConfig("toy:pendulm", repeat=2)], "did you mean toy:pendulum"),
    ],
)
def test_what_cannot_be_shared_is_refused(envs, words):
    with pytest.raises(ValueError, match=words):
        share(envs)


def test_actions_without_bounds_are_refused(monkeypatch):
    from reverie.envs import toy

    class Free(toy.Pendulum):
        def __init__(self):
            super().__init__()
            self.action = Space((1,))

    monkeypatch.setitem(toy.TASKS, "free", Free)
    with pytest.raises(ValueError, match="toy:pendulum has actions of bounds -inf to inf"):
        share([TOYS[0], EnvConfig("toy:free", repeat=2)])


def test_a_robot_among_the_tasks_makes_none_of_them_repeatable(toys):
    pendulum, balance = toys.members
    assert isinstance(balance, Task)
    some = Tasks((pendulum, replace(balance, repeatable=False)))
    assert [TaskEnv(t, 0).repeatable for t in (toys, some)] == [True, False]
