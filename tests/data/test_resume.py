import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from reverie.core.spec import Space
from reverie.data import CorruptFileError, EpisodeStore, Replay, StoreWarning
from tests.data.rows import LATENT, PROPRIO, SENSORS, Life, episode, equal, record, same, stored


def opened(directory, obs=PROPRIO, **options) -> Replay:
    settings = {"batch": 3, "length": 8, "latent": LATENT, "seed": 5, **options}
    return Replay(stored(directory, obs, file_rows=10), **settings)


@pytest.mark.parametrize("when", [0, 9, 30, 100])
def test_a_resumed_run_samples_what_the_uninterrupted_one_does(tmp_path, when):
    """Also with the episodes on disk that the killed run recorded after its checkpoint."""
    whole = Life(opened(tmp_path / "whole", capacity=110)).steps(0, 130)
    killed = opened(tmp_path / "run", capacity=110)
    assert Life(killed).steps(0, when) == whole[:when]
    killed.save(tmp_path / "checkpoint")
    assert Life(killed).steps(when, 115) == whole[when:115]
    resumed = opened(tmp_path / "run", capacity=110)
    resumed.load(tmp_path / "checkpoint")
    assert Life(resumed).steps(when, 130) == whole[when:]
    assert not (tmp_path / "run" / "set_aside").exists()


def test_pictures_of_open_episodes_are_resumed(tmp_path):
    whole = Life(opened(tmp_path / "whole", SENSORS)).steps(0, 40)
    killed = opened(tmp_path / "run", SENSORS)
    Life(killed).steps(0, 24)
    killed.save(tmp_path / "checkpoint")
    resumed = opened(tmp_path / "run", SENSORS)
    resumed.load(tmp_path / "checkpoint")
    assert Life(resumed).steps(24, 40) == whole[24:]


def test_fresh_sequences_that_wait_are_resumed(tmp_path):
    replay = opened(tmp_path / "run")
    for number in range(4):
        record(replay, number % 2, number // 2, 25)
    replay.save(tmp_path / "checkpoint")
    expected = [replay.sample() for _ in range(6)]
    resumed = opened(tmp_path / "run")
    resumed.load(tmp_path / "checkpoint")
    assert len(resumed.queue) == 12
    assert all(equal(resumed.sample(), sample) for sample in expected)


def test_resuming_twice_and_from_an_older_checkpoint(tmp_path):
    whole = Life(opened(tmp_path / "whole")).steps(0, 90)
    replay, at = opened(tmp_path / "run"), 0
    for number, (stop, back) in enumerate([(30, 30), (50, 50), (60, 30), (70, 70)]):
        assert Life(replay).steps(at, stop) == whole[at:stop]
        replay.save(tmp_path / f"{stop}-{number}")
        (found,) = tmp_path.glob(f"{back}-*")
        replay, at = opened(tmp_path / "run"), back
        replay.load(found)
    assert Life(replay).steps(at, 90) == whole[at:]


LIFE = """
import os, sys
from pathlib import Path
from tests.data.test_resume import opened
from tests.data.rows import Life
os.fsync = lambda descriptor: None  # no power is cut
root, begin = Path(sys.argv[1]), int(sys.argv[2])
replay = opened(root / "run")
if begin:
    replay.load(root / f"checkpoint-{begin}")
for time in range(begin, 10_000):
    if time % 20 == 0 and time > begin:
        replay.save(root / "writing")
        os.rename(root / "writing", root / f"checkpoint-{time}")
    print(Life(replay).steps(time, time + 1)[0], flush=True)
"""


@pytest.mark.filterwarnings("ignore:.*was not written to its end:reverie.data.StoreWarning")
def test_killed_and_resumed_in_other_processes(tmp_path):
    whole = Life(opened(tmp_path / "whole")).steps(0, 150)
    begin = 0
    for more in (45, 33):
        process = subprocess.Popen(
            [sys.executable, "-c", LIFE, str(tmp_path), str(begin)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        told = [process.stdout.readline().rstrip("\n") for _ in range(more)]
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        assert told == whole[begin : begin + more]
        shutil.rmtree(tmp_path / "writing", ignore_errors=True)
        saved = {int(p.name.split("-")[1]): p for p in tmp_path.glob("checkpoint-*")}
        begin = min(max(saved), 100)
        for time, checkpoint in saved.items():
            if time > begin:  # it had run ahead of what was read of it
                shutil.rmtree(checkpoint)
    replay = opened(tmp_path / "run")
    replay.load(tmp_path / f"checkpoint-{begin}")
    assert Life(replay).steps(begin, begin + 40) == whole[begin : begin + 40]


def test_later_episodes_wait_until_they_are_recorded_again(tmp_path):
    killed = opened(tmp_path / "run")
    for number in range(3):
        record(killed, 0, number, 10)
    killed.save(tmp_path / "checkpoint")
    for number in range(3, 6):
        record(killed, 0, number, 10)
    resumed = opened(tmp_path / "run")
    assert resumed.rows == 60
    resumed.load(tmp_path / "checkpoint")
    assert resumed.rows == 30 and len(resumed.later) == 3
    record(resumed, 0, 3, 10)
    assert resumed.rows == 40


def test_later_episodes_can_be_adopted(tmp_path):
    """A robot was switched off after its checkpoint: what it recorded since is not lost."""
    killed = opened(tmp_path / "run")
    record(killed, 0, 0, 9)
    record(killed, 0, 1, 9, stop=4)
    record(killed, 1, 0, 30, stop=13)  # two files, the second one open
    record(killed, 2, 0, 9, stop=3)
    killed.save(tmp_path / "checkpoint")
    for row in episode(PROPRIO, 0, 1, 9)[4:]:
        killed.append(0, row)
    for row in episode(PROPRIO, 1, 0, 30)[13:28]:
        killed.append(1, row)
    record(killed, 3, 0, 8)
    resumed = opened(tmp_path / "run", online=False)
    resumed.load(tmp_path / "checkpoint")
    assert resumed.rows == 9 + 4 + 13 + 3
    assert resumed.adopt_later() == 5 + (20 - 13) + 8
    assert not resumed.later
    found = {(e.stream, e.index): e.rows for e in resumed.store.episodes()}
    assert found == {(0, 0): 9, (0, 1): 9, (1, 0): 20, (2, 0): 3, (3, 0): 8}
    record(resumed, 0, 2, 9)  # and it goes on with new episodes
    record(resumed, 1, 1, 9)
    record(resumed, 2, 1, 9)
    for stream, number, rows in ((0, 1, 9), (1, 0, 20), (2, 0, 3), (3, 0, 8)):
        whole = episode(PROPRIO, stream, number, 30 if stream == 1 else 9 - (stream == 3))[:rows]
        (info,) = (e for e in resumed.store.episodes() if (e.stream, e.index) == (stream, number))
        read = resumed.store.read(info.name)
        if stream == 2:
            assert read["last"].tolist() == [False, False, True], "it was left: its end is here"
            read["last"][-1] = False
        same(read, whole)
    batch = Replay(resumed.store, batch=200, length=12, online=False).sample().batch
    ends = batch.last[:, :-1]
    assert torch.equal(ends, batch.first[:, 1:]), "also where the end of an episode was lost"
    assert (ends & (batch.reward[:, :-1] == 19)).any()


def test_a_robot_that_recorded_otherwise_keeps_the_older_file(tmp_path):
    killed = opened(tmp_path / "run")
    record(killed, 0, 0, 10)
    killed.save(tmp_path / "checkpoint")
    record(killed, 0, 1, 10)
    resumed = opened(tmp_path / "run")
    resumed.load(tmp_path / "checkpoint")
    with pytest.warns(StoreWarning, match="recorded before with other rows"):
        record(resumed, 0, 1, 10, version=7)
    assert resumed.rows == 20
    assert len(list((tmp_path / "run" / "set_aside").iterdir())) == 1


def test_a_lost_episode_is_named_and_the_rest_goes_on(tmp_path):
    killed = opened(tmp_path / "run")
    for number in range(3):
        record(killed, 0, number, 10)
    killed.save(tmp_path / "checkpoint")
    (tmp_path / "run" / "0000-00000001-0000.safetensors").unlink()
    resumed = opened(tmp_path / "run")
    with pytest.warns(StoreWarning, match="1 of the episodes .* 0000-00000001-0000"):
        resumed.load(tmp_path / "checkpoint")
    assert resumed.rows == 20
    resumed.sample()


def test_deleted_episodes_outlive_the_checkpoints_that_sample_them(tmp_path):
    replay = opened(tmp_path / "run", capacity=40, delete=True)
    for number in range(4):
        record(replay, 0, number, 10)
    replay.save(tmp_path / "a")
    for number in range(4, 8):
        record(replay, 0, number, 10)
    resumed = opened(tmp_path / "run", capacity=40, delete=True)
    resumed.load(tmp_path / "a")
    assert resumed.rows == 40
    replay.save(tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    replay.save(tmp_path / "c")
    left = sorted(p.name[5:13] for p in (tmp_path / "run").glob("0*"))
    assert left == [f"{n:08d}" for n in range(4, 8)]
    assert opened(tmp_path / "run").rows == 40


def test_offline_training_is_resumed_too(tmp_path):
    with stored(tmp_path / "data") as store:
        for number in range(4):
            record(store, 0, number, 20)

    def offline() -> Replay:
        return Replay(EpisodeStore.open(tmp_path / "data"), batch=3, length=8, latent=LATENT)

    def learn(replay: Replay, count: int) -> list:
        samples = []
        for _ in range(count):
            samples.append(replay.sample())
            value = samples[-1].batch.reward[..., None]
            replay.write_back(
                samples[-1].ids, {"deter": value.expand(3, 8, 5), "stoch": value.expand(3, 8, 6)}
            )
        return samples

    replay = offline()
    learn(replay, 10)
    replay.save(tmp_path / "checkpoint")
    expected = learn(replay, 20)
    resumed = offline()
    resumed.load(tmp_path / "checkpoint")
    assert all(equal(a, b) for a, b in zip(expected, learn(resumed, 20), strict=True))
    assert any(s.known.any() for s in expected)


def test_other_settings_and_spaces_are_refused(tmp_path):
    replay = opened(tmp_path / "run")
    record(replay, 0, 0, 20)
    replay.save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="saved with length 8, not 9"):
        opened(tmp_path / "run", length=9).load(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"saved with latent .*deter"):
        opened(tmp_path / "run", latent={"deter": Space((6,))}).load(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="other spaces"):
        opened(tmp_path / "other", SENSORS).load(tmp_path / "checkpoint")
    bigger = opened(tmp_path / "run", batch=9)  # the batch may change
    bigger.load(tmp_path / "checkpoint")
    assert bigger.sample().batch.reward.shape == (9, 8)


@pytest.mark.parametrize(
    "name", ["replay.json", "replay.safetensors", "latents-000001.safetensors"]
)
def test_a_damaged_state_is_said(tmp_path, name):
    replay = opened(tmp_path / "run")
    record(replay, 0, 0, 20)
    replay.save(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        (ValueError, CorruptFileError), match=name.replace(".", r"\.") + "|cannot be"
    ):
        opened(tmp_path / "run").load(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        opened(tmp_path / "run").load(tmp_path / "nowhere")


def test_the_state_is_json_and_safetensors(tmp_path):
    replay = opened(tmp_path / "run", SENSORS)
    Life(replay).steps(0, 30)
    replay.save(tmp_path / "checkpoint")
    for path in (tmp_path / "checkpoint").iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.suffix == ".safetensors"
