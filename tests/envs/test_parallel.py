"""Many environments at once, here and in worker processes, through crashes and restarts."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from reverie.envs import EnvConfig, EnvError, episode_seed, from_gymnasium, make, parallel
from tests.envs import faulty

ROOT = Path(__file__).parents[2]


def actions(envs, calls, seed=0):
    random = np.random.default_rng(seed)
    shape = (calls, envs.count, *envs.action.shape)
    return random.uniform(-1.2, 1.2, shape).astype(np.float32)


def equal(a, b):
    same = all(np.array_equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))
    return (
        same
        and a.obs.keys() == b.obs.keys()
        and all(np.array_equal(a.obs[key], b.obs[key]) for key in a.obs)
    )


def kill_worker(envs, k):
    os.kill(envs._groups[k].process.pid, signal.SIGKILL)
    envs._groups[k].process.join()


def test_the_first_call_resets_and_an_end_is_followed_by_a_reset():
    with parallel(lambda: faulty.Counter(length=2), count=2, seed=3) as envs:
        all_rows = [envs.step(np.full((2, 1), 0.5)) for _ in range(7)]
    one = [
        (row.first[1], row.last[1], row.reward[1], row.episode[1], row.obs["count"][1, 0])
        for row in all_rows
    ]
    assert one == [
        (True, False, 0.0, 0, 0),
        (False, False, 0.5, 0, 1),
        (False, True, 0.5, 0, 2),
        (True, False, 0.0, 1, 0),
        (False, False, 0.5, 1, 1),
        (False, True, 0.5, 1, 2),
        (True, False, 0.0, 2, 0),
    ]
    assert all_rows[0].reward.dtype == np.float32
    assert all_rows[0].episode.dtype == np.int64


def test_episode_seeds_are_a_function_of_three_numbers():
    seeds = {episode_seed(s, i, e) for s in range(5) for i in range(5) for e in range(20)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert episode_seed(1, 2, 3) == 3822189696
    with parallel(faulty.Counter, count=2, seed=9) as envs:
        rows = envs.step(np.zeros((2, 1)))
    assert rows.obs["count"][:, 1].tolist() == [episode_seed(9, i, 0) % 97 for i in range(2)]


@pytest.mark.parametrize("name", ["toy:pendulum", "dmc:cartpole_swingup"])
def test_workers_give_the_rows_of_this_process_bit_by_bit(name):
    config = EnvConfig(name, repeat=3, max_decisions=7)
    with parallel(config, 3, seed=1) as here, parallel(config, 3, seed=1, workers=2) as there:
        assert (here.obs, here.action, here.dt) == (there.obs, there.action, there.dt)
        assert (here.repeat, here.repeatable, here.name) == (3, True, name)
        for each in actions(here, 18):
            assert equal(here.step(each), there.step(each))


def test_rows_given_out_are_not_touched_again():
    with parallel("toy:pendulum", 2, seed=0) as envs:
        first = envs.step(np.zeros((2, 1)))
        kept = {key: value.copy() for key, value in first.obs.items()}
        envs.step(np.ones((2, 1)))
        assert all(np.array_equal(first.obs[key], kept[key]) for key in kept)
        first.obs["velocity"][:] = 99.0  # Whoever got the rows may do so.
        assert envs.position()["digest"].tolist() != [0, 0]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 5, 8, 9])  # at a reset, within, at an end, after it
def test_a_restored_position_goes_on_bit_by_bit(workers, stop):
    config = EnvConfig("toy:balance", repeat=2, max_decisions=7)
    with parallel(config, 3, seed=4) as envs:
        script = actions(envs, 14)
        before = [envs.step(each) for each in script[:stop]]
        position = envs.position()
        after = [envs.step(each) for each in script[stop:]]
    arrays = {key: np.asarray(value) for key, value in position.items() if key != "seed"}
    saved = {**arrays, "seed": json.loads(json.dumps(position["seed"]))}
    with parallel(config, 3, seed=4, workers=workers) as envs:
        assert equal(envs.restore(saved), before[-1])
        again = envs.position()
        assert all(np.array_equal(again[key], position[key]) for key in position)
        for each, expected in zip(script[stop:], after, strict=True):
            assert equal(envs.step(each), expected)


def test_a_restored_simulator_goes_on_bit_by_bit():
    config = EnvConfig("dmc:reacher_hard", repeat=2, max_decisions=25)
    with parallel(config, 2, seed=8) as envs:
        script = actions(envs, 40)
        before = [envs.step(each) for each in script[:33]]
        position = envs.position()
        after = [envs.step(each) for each in script[33:]]
    with parallel(config, 2, seed=8) as envs:
        for each in script[:5]:
            envs.step(each)  # what was played before does not matter
        assert equal(envs.restore(position), before[-1])
        for each, expected in zip(script[33:], after, strict=True):
            assert equal(envs.step(each), expected)


def test_a_position_before_the_first_call_restores_to_the_beginning():
    with parallel("toy:pendulum", 2, seed=0) as envs:
        position = envs.position()
        assert envs.restore(position) is None
        assert envs.step(np.zeros((2, 1))).episode.tolist() == [0, 0]


def test_a_robot_begins_its_next_episode_instead():
    with parallel(faulty.Robot, 2, seed=0) as envs:
        for _ in range(3):
            envs.step(np.zeros((2, 1)))
        position = envs.position()
    with parallel(faulty.Robot, 2, seed=0) as envs:
        assert envs.restore(position) is None
        rows = envs.step(np.zeros((2, 1)))
        assert rows.first.all()
        assert rows.episode.tolist() == [1, 1]


def test_an_environment_that_only_claims_to_be_repeatable_is_found_out():
    with parallel(faulty.Unrepeatable, 1, seed=0) as envs:
        envs.step(np.zeros((1, 1)))
        position = envs.position()
        with pytest.warns(RuntimeWarning, match="not repeatable"):
            assert envs.restore(position) is None
        assert envs.step(np.zeros((1, 1))).episode.tolist() == [1]


@pytest.mark.parametrize(
    ("count", "seed", "word"), [(3, 0, "3 with seed 0"), (2, 1, "2 with seed 1")]
)
def test_a_position_of_others_is_refused(count, seed, word):
    with parallel("toy:pendulum", 2, seed=0) as envs:
        position = envs.position()
    with parallel("toy:pendulum", count, seed=seed) as envs, pytest.raises(ValueError, match=word):
        envs.restore(position)


def test_a_killed_worker_is_replaced_and_its_episodes_are_truncated():
    with parallel(faulty.Counter, 3, seed=0, workers=2) as envs:
        for _ in range(3):
            before = envs.step(np.full((3, 1), 0.5))
        kill_worker(envs, 0)  # environments 0 and 1, at decision 2
        with pytest.warns(RuntimeWarning, match=r"SIGKILL.*0 \(decision 2\), 1 \(decision 2\)"):
            cut = envs.step(np.full((3, 1), 0.5))
        assert cut.last.tolist() == [True, True, False]
        assert cut.reward.tolist() == [0.0, 0.0, 0.5]
        assert not cut.terminated.any()
        assert not cut.first.any()
        assert cut.episode.tolist() == [0, 0, 0]
        np.testing.assert_array_equal(cut.obs["count"][:2], before.obs["count"][:2])
        assert cut.obs["count"][2, 0] == 3
        position = envs.position()
        new = envs.step(np.full((3, 1), 0.5))
        assert new.first.tolist() == [True, True, False]
        assert new.episode.tolist() == [1, 1, 0]
        assert envs.step(np.zeros((3, 1))).obs["count"][:, 0].tolist() == [1, 1, 5]
    with parallel(faulty.Counter, 3, seed=0) as envs:  # the cut is part of the position
        assert equal(envs.restore(position), cut)
        assert equal(envs.step(np.full((3, 1), 0.5)), new)


def test_a_worker_killed_between_episodes_costs_none():
    with parallel(lambda_free_counter, 2, seed=0, workers=2) as envs:
        for _ in range(2):
            rows = envs.step(np.zeros((2, 1)))
        assert rows.last.all()
        kill_worker(envs, 1)
        with pytest.warns(RuntimeWarning, match="in environments: none"):
            rows = envs.step(np.zeros((2, 1)))
        assert rows.first.all()
        assert rows.episode.tolist() == [1, 1]


lambda_free_counter = functools.partial(faulty.Counter, length=1)


def test_three_crashes_in_a_row_are_an_error():
    with parallel(faulty.Suicidal, 1, seed=0, workers=1) as envs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with pytest.raises(EnvError, match=r"died \(SIGKILL\), the 3rd time"):
                for _ in range(20):
                    envs.step(np.zeros((1, 1)))
        with pytest.raises(EnvError, match="interrupted or failed"):
            envs.step(np.zeros((1, 1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_nan_names_key_decision_and_environment(workers):
    with parallel(faulty.NotANumber, 2, seed=0, workers=workers) as envs:
        for _ in range(3):
            envs.step(np.zeros((2, 1)))
        position = envs.position()
        with pytest.raises(EnvError, match="test:counter: observation 'count' at decision 3"):
            envs.step(np.zeros((2, 1)))
        assert envs.position()["decisions"].tolist() == position["decisions"].tolist() == [2, 2]


def test_an_exception_in_a_worker_brings_its_traceback():
    with parallel(faulty.Raises, 2, seed=0, workers=2) as envs:
        for _ in range(2):
            envs.step(np.zeros((2, 1)))
        with pytest.raises(ZeroDivisionError, match="division by zero") as error:
            envs.step(np.zeros((2, 1)))
    assert "return 1 / 0" in error.value.__notes__[0]
    assert "in deep" in error.value.__notes__[0]


def test_after_an_interrupt_the_position_is_that_of_the_last_finished_call():
    with parallel(faulty.Interrupted, 2, seed=0) as envs:
        for _ in range(2):
            envs.step(np.zeros((2, 1)))
        with pytest.raises(KeyboardInterrupt):
            envs.step(np.zeros((2, 1)))
        assert envs.position()["decisions"].tolist() == [1, 1]
        with pytest.raises(EnvError, match=r"interrupted.*position\(\)"):
            envs.step(np.zeros((2, 1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_actions_are_refused_before_anything_moves(workers):
    with parallel("toy:pendulum", 2, seed=0, workers=workers) as envs:
        envs.step(np.zeros((2, 1)))
        with pytest.raises(ValueError, match=r"shape \(2,\); expected \(2, 1\)"):
            envs.step(np.zeros(2))
        with pytest.raises(
            ValueError, match=r"toy:pendulum \(environment 1\): entry 0 .*decision 1"
        ):
            envs.step(np.array([[0.0], [np.nan]]))
        assert envs.step(np.zeros((2, 1))).first.tolist() == [False, False]
        assert envs.position()["decisions"].tolist() == [1, 1]


def test_the_action_of_a_reset_is_ignored_even_if_it_is_not_finite():
    with parallel("toy:pendulum", 1, seed=0) as envs:
        assert envs.step(np.full((1, 1), np.nan)).first.all()


def test_stored_actions_are_the_chosen_ones_and_not_the_clipped():
    with parallel("toy:pendulum", 1, seed=0) as envs:
        envs.step(np.zeros((1, 1)))
        envs.step(np.full((1, 1), 3.0))
        assert envs.position()["actions"].tolist() == [[3.0]]


def test_a_missing_sensor_is_masked():
    with parallel(faulty.Blinking, 2, seed=0, workers=2) as envs:
        seen = [envs.step(np.zeros((2, 1))).obs["count.present"].tolist() for _ in range(3)]
    assert seen == [[True, True], [False, False], [True, True]]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_environment_can_be_drawn(workers):
    with parallel("toy:pendulum", 2, seed=0, workers=workers) as envs:
        envs.step(np.zeros((2, 1)))
        one, two = envs.render(0, 32, 48), envs.render(1, 32, 48)
        assert one.shape == (32, 48, 3)
        assert not np.array_equal(one, two)
        with pytest.raises(ValueError, match="no environment 2"):
            envs.render(2)


def test_own_gymnasium_environments_run_in_workers():
    make_env = functools.partial(
        from_gymnasium, functools.partial(gym_pendulum, gravity=3.0), "mine", repeat=2
    )
    with parallel(make_env, 2, seed=0, workers=2) as envs:
        assert envs.name == "mine"
        assert envs.step(np.zeros((2, 1))).obs["state"].shape == (2, 3)


def gym_pendulum(gravity):
    import gymnasium

    return gymnasium.make("Pendulum-v1", g=gravity)


def test_what_cannot_be_sent_to_a_worker_says_what_can():
    with pytest.raises(ValueError, match=r"top of a module, or functools.partial"):
        parallel(lambda: make("toy:pendulum"), 1, seed=0, workers=1)


def test_a_worker_that_dies_at_its_start_hints_at_the_guard():
    with pytest.raises(EnvError, match="__main__"):
        parallel(faulty.dies_at_start, 1, seed=0, workers=1)


def test_an_error_at_the_start_of_a_worker_arrives():
    with pytest.raises(ModuleNotFoundError, match=r"reverie\[dmc\]"):
        parallel(faulty.missing_extra, 2, seed=0, workers=2)


@pytest.mark.parametrize(("count", "workers", "seed"), [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_impossible_numbers_are_refused(count, workers, seed):
    with pytest.raises(ValueError, match="parallel was given"):
        parallel("toy:pendulum", count, seed, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_of_several_makers_each_makes_every_nth_environment(workers):
    makers = [functools.partial(faulty.Counter, length) for length in (1, 2, 3)]
    with parallel(makers, 4, seed=0, workers=workers) as envs:
        assert envs.step(np.zeros((4, 1))).first.all()
        ends = [envs.step(np.zeros((4, 1))).last.tolist() for _ in range(3)]
    assert ends == [
        [True, False, False, True],
        [False, True, False, False],
        [True, False, True, True],
    ]


def test_environments_that_differ_are_refused():
    names = iter(["toy:pendulum", "toy:balance"])
    with pytest.raises(ValueError, match="differ"):
        parallel(lambda: make(next(names)), 2, seed=0)


def test_closed_environments_say_so():
    envs = parallel("toy:pendulum", 1, seed=0, workers=1)
    process = envs._groups[0].process
    envs.close()
    envs.close()
    assert not process.is_alive()
    with pytest.raises(EnvError, match="closed"):
        envs.step(np.zeros((1, 1)))


SCRIPT = """
import os, signal, sys, time
import numpy as np
from reverie.envs import parallel
if __name__ == "__main__":
    envs = parallel("toy:pendulum", 2, seed=0, workers=2)
    envs.step(np.zeros((2, 1)))
    try:
        print(*(group.process.pid for group in envs._groups), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        rows = envs.step(np.zeros((2, 1)))  # the workers are alive: the run can be saved
        print("saved", rows.first.any(), envs.position()["decisions"].tolist(), flush=True)
    {end}
"""


@pytest.mark.skipif(os.name != "posix", reason="about POSIX signals")
@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", pytest.param("pass", marks=pytest.mark.slow)],
    ids=["killed", "not closed"],
)
def test_workers_outlive_ctrl_c_but_not_their_parent(tmp_path, end):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.replace("{end}", end))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,  # Ctrl-C reaches a whole group: this one, not ours
    ) as run:
        try:
            pids = [int(pid) for pid in run.stdout.readline().split()]
            assert len(pids) == 2
            os.killpg(run.pid, signal.SIGINT)
            os.kill(pids[0], signal.SIGTERM)  # as a batch system sends it to every process
            assert run.stdout.readline().strip() == "saved False [1, 1]"
            assert run.wait(60) == (0 if end == "pass" else -signal.SIGKILL)
        finally:
            run.kill()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid):
    """Whether a process runs; one that ended but was not waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")
