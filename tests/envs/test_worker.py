"""Orders and rows, without the books that `Parallel` keeps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.envs import EnvError, Row, make
from reverie.envs.worker import Group, Local, Remote, Replay, Reset, Step, WorkerDied, stack
from tests.envs import faulty


def row(value, **more):
    return Row({"x": np.array([value], np.float32), **more}, value, False, False, False)


def test_rows_are_stacked_and_missing_masks_are_true():
    block = stack([row(1.0), row(2.0, **{"x.present": np.array(False)})])
    assert block.obs["x"].tolist() == [[1], [2]]
    assert block.obs["x.present"].tolist() == [True, False]
    assert block.reward.dtype == np.float32
    empty = stack([])
    assert empty.obs == {}
    assert len(empty.last) == 0


@pytest.mark.parametrize("build", [lambda: make("toy:pendulum"), faulty.Counter])
def test_a_replay_ends_where_the_steps_end(build):
    group = Group([build] * 2)
    actions = np.linspace(-1, 1, 3, dtype=np.float32)[:, None]
    group.run([Reset(3), Reset(4)])
    for k, action in enumerate(actions):
        stepped = group.run([Step(action, k + 1), None])
    replayed = group.run([None, Replay(3, actions)])
    assert len(stepped.reward) == len(replayed.reward) == 1
    for key, value in stepped.obs.items():
        np.testing.assert_array_equal(value, replayed.obs[key])
    assert stepped.reward == replayed.reward


def test_rows_of_foreign_environments_are_checked():
    group = Local([faulty.NotANumber])
    group.send([Replay(0, np.zeros((3, 1)))])
    with pytest.raises(EnvError, match="'count'"):
        group.receive()


def test_spaces_of_foreign_environments_are_checked():
    class Reserved(faulty.Counter):
        obs = {"reward": Space((2,))}

    with pytest.raises(ValueError, match="'reward'"):
        Group([Reserved])


def test_an_exception_of_an_unknown_kind_arrives_as_an_env_error():
    worker = Remote([faulty.Peculiar])
    assert worker.description.name == "test:counter"
    worker.send([Reset(0)])
    with pytest.raises(EnvError, match="PeculiarError: 7 is odd") as error:
        worker.receive()
    assert "raise PeculiarError" in error.value.__notes__[0]
    worker.close()


def test_a_worker_can_be_started_again():
    worker = Remote([faulty.Counter])
    worker.send([Reset(0)])
    assert worker.receive().first.all()
    worker.process.kill()
    worker.send([Reset(0)])
    with pytest.raises(WorkerDied):
        worker.receive()
    assert worker.end() == "SIGKILL"
    worker.close()
    worker.start()
    worker.send([Replay(0, np.zeros((2, 1), np.float32))])
    assert worker.receive().obs["count"][0, 0] == 2
    worker.close()
    assert worker.end() == "exit code 0"


THREADS = """
import os
from reverie.envs import parallel
if __name__ == "__main__":
    before = dict(os.environ)
    envs = parallel("toy:pendulum", 1, seed=0, workers=1)
    with open(f"/proc/{envs._groups[0].process.pid}/environ") as file:
        told = dict(line.split("=", 1) for line in file.read().split("\\0") if "=" in line)
    assert dict(os.environ) == before
    envs.close()
    print(told["OMP_NUM_THREADS"], told["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("own", "seen"), [({}, "1 1"), ({"OMP_NUM_THREADS": "3"}, "3 1")])
def test_workers_multiply_on_one_thread_unless_the_user_says_otherwise(tmp_path, own, seen):
    script = tmp_path / "run.py"
    script.write_text(THREADS)
    plain = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    env = {**plain, "PYTHONPATH": str(Path(__file__).parents[2]), **own}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == seen, done.stderr
