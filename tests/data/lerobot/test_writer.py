import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import StorageError
from reverie.data.datasets import open_dataset
from reverie.data.lerobot.take import Take
from tests.data.lerobot.toy import (
    ABOUT,
    ACTION,
    DT,
    OBS,
    POSE,
    SEEN,
    SMALL,
    read,
    record,
    row,
    rows,
    same,
    writer,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("dt", [0.05, 0.03])
def test_numbers_names_and_spaces_come_back_exactly(tmp_path, dt):
    with writer(tmp_path, dt=dt) as target:
        for number, length in enumerate((7, 2, 1, 30)):
            record(target, number, length, task=f"task {number % 2}")
    found = read(tmp_path)
    assert [task for task, _ in found] == ["task 0", "task 1", "task 0", "task 1"]
    for (_, got), number, length in zip(found, range(4), (7, 2, 1, 30), strict=True):
        same(got, rows(OBS, number, length), levels=0)
    dataset = open_dataset(tmp_path)
    assert dict(dataset.obs) == OBS and dataset.action == ACTION
    assert (dataset.about.dt, dataset.about.source, dataset.about.action) == (dt, "toy", ABOUT)


@pytest.mark.parametrize("codec", ["h264", "libsvtav1"])
def test_films_come_back_frame_by_frame(tmp_path, codec):
    with writer(tmp_path, SEEN, codec=codec) as target:
        record(target, 0, 9)
        record(target, 1, 5)
    for (_, got), number, length in zip(read(tmp_path), range(2), (9, 5), strict=True):
        same(got, rows(SEEN, number, length))
    info = json.loads((tmp_path / "meta/info.json").read_text())
    told = info["features"]["observation.images.front"]["info"]
    assert told["video.codec"] == {"h264": "h264", "libsvtav1": "av1"}[codec]
    assert told["video.fps"] == info["fps"] == 20


def test_pictures_without_video_come_back_exactly(tmp_path):
    with writer(tmp_path, SEEN, video=False) as target:
        record(target, 0, 9)
    same(read(tmp_path)[0][1], rows(SEEN, 0, 9), levels=0)
    assert not (tmp_path / "videos").exists()


def test_a_dataset_that_is_there_is_appended_to(tmp_path):
    for number in range(4):
        with writer(tmp_path, SEEN, sizes=SMALL) as target:
            assert target.episodes == number
            record(target, number, 5 + number)
    for number, (_, got) in enumerate(read(tmp_path)):
        same(got, rows(SEEN, number, 5 + number))
    with pytest.raises(ValueError, match=r"recorded from another robot.*obs"):
        writer(tmp_path, POSE)


def test_streams_are_kept_apart(tmp_path):
    target = writer(tmp_path, SEEN)
    first, second = rows(SEEN, 0, 8), rows(SEEN, 1, 6)
    for t in range(8):
        target.append(3, first[t])
        if t < 6:
            target.append(5, second[t], task="other")
    target.close()
    found = read(tmp_path)
    assert [task for task, _ in found] == ["other", ""]
    same(found[0][1], second)
    same(found[1][1], first)


def test_a_person_ends_and_names_an_episode(tmp_path):
    with writer(tmp_path, task="tidy up") as target:
        for each in rows(OBS, 0, 9)[:4]:
            target.append(0, each)
        target.finish_episode(0, task="fold the cloth")
        target.finish_episode(0)  # there is none
        for each in rows(OBS, 1, 9)[:5]:
            target.append(0, each)
        for each in rows(OBS, 2, 9)[:3]:  # a first row ends the one before
            target.append(0, each)
        target.finish()
    found = read(tmp_path)
    assert [(task, len(got["first"])) for task, got in found] == [
        ("fold the cloth", 4),
        ("tidy up", 5),
        ("tidy up", 3),
    ]
    for _, got in found:
        assert got["last"].tolist() == [False] * (len(got["last"]) - 1) + [True]
        assert not got["terminated"].any()


def test_an_episode_that_is_abandoned_or_open_is_not_there(tmp_path):
    with writer(tmp_path, SEEN) as target:
        for each in rows(SEEN, 0, 9)[:4]:
            target.append(0, each)
        target.abandon(0)
        target.abandon(0)
        with pytest.raises(ValueError, match="expects the first row"):
            target.append(0, row(SEEN, 0, 4, 9))
        record(target, 1, 5)
        for each in rows(SEEN, 2, 9)[:4]:
            target.append(0, each)
    ((_, got),) = read(tmp_path)
    same(got, rows(SEEN, 1, 5))
    assert not (tmp_path / ".recording").exists()


def test_what_the_robot_reuses_is_copied(tmp_path):
    with writer(tmp_path, POSE) as target:
        pose = np.zeros(3, np.float32)
        for t in range(5):
            pose[:] = t
            target.append(0, {**row(POSE, 0, t, 5), "pose": pose})
    assert read(tmp_path)[0][1]["pose"][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_appending_does_not_wait_for_the_encoder_until_too_much_waits(tmp_path, monkeypatch):
    hold, real = threading.Event(), Take.add

    def slow(self, each):
        hold.wait()
        real(self, each)

    monkeypatch.setattr(Take, "add", slow)
    expected = rows(SEEN, 0, 30)
    size = sum(np.asarray(v).nbytes for v in expected[0].values())
    target = writer(tmp_path, SEEN, backlog_bytes=20 * size)
    for each in expected[:18]:
        target.append(0, each)
    assert target.seconds_waited == 0
    rest = threading.Thread(target=lambda: [target.append(0, each) for each in expected[18:]])
    rest.start()
    time.sleep(0.1)
    assert rest.is_alive()
    assert target._worker.backlog.size <= 20 * size
    hold.set()
    rest.join(20)
    assert target.seconds_waited > 0.05
    target.close()
    same(read(tmp_path)[0][1], expected)


def test_a_full_disk_is_said_and_finished_episodes_are_kept(tmp_path, monkeypatch):
    target = writer(tmp_path, SEEN)
    record(target, 0, 5)
    target.flush()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        record(target, 1, 6)
        with pytest.raises(StorageError, match=r"No space left.*They are kept") as caught:
            target.flush()
        assert caught.value.errno == errno.ENOSPC
        assert target.episodes == 1
        with pytest.raises(StorageError):
            target.close()
    record(target, 2, 7)
    target.close()
    for number, (_, got) in enumerate(read(tmp_path)):
        same(got, rows(SEEN, number, 5 + number))
    assert len(read(tmp_path)) == 3


def test_an_episode_whose_pictures_find_no_room_is_given_up_alone(tmp_path, monkeypatch):
    target = writer(tmp_path, SEEN)
    record(target, 0, 5)
    real, broken = Take.add, [True]

    def add(self, each):
        if broken[0] and each["reward"] > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, each)

    target.flush()
    monkeypatch.setattr(Take, "add", add)
    expected = rows(SEEN, 1, 9)
    with pytest.raises(StorageError, match="given up"):
        for each in expected[:-1]:
            target.append(0, each)
            time.sleep(0.02)
    broken[0] = False
    target.append(0, expected[-1])  # ignored, and ends it
    record(target, 2, 7)
    target.close()
    found = read(tmp_path)
    assert len(found) == 2
    same(found[1][1], rows(SEEN, 2, 7))


def test_a_film_that_the_disk_does_not_take_is_noticed(tmp_path):
    obs = {"front": Space((3, 64, 64), "uint8")}
    rng = np.random.default_rng(0)
    target = writer(tmp_path, obs)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def record_noise(number, length):
        for each in rows({}, number, length):
            noise = rng.integers(0, 256, (3, 64, 64), np.uint8)
            target.append(0, {**each, "front": noise})

    record_noise(0, 3)
    target.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))
    try:
        with pytest.raises(StorageError, match=r"given up.*Make room") as caught:
            record_noise(1, 30)
            target.flush()
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    target.finish_episode(0)
    record_noise(2, 5)
    target.close()
    assert [len(got["first"]) for _, got in read(tmp_path)] == [3, 5]


def test_leaving_by_an_error_does_not_hide_it(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = writer(tmp_path, POSE)
    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyError, match="robot") as caught,
        target,
    ):
        patch.setattr(os, "fsync", full)
        record(target, 0, 5)
        raise KeyError("robot")
    assert "No space left" in caught.value.__notes__[0]
    target.close()
    assert len(read(tmp_path)) == 1


def test_rows_that_do_not_fit_are_refused(tmp_path):
    with writer(tmp_path, SEEN) as target:
        good = row(SEEN, 0, 0, 5)
        with pytest.raises(ValueError, match="expects the first row"):
            target.append(0, row(SEEN, 0, 1, 5))
        with pytest.raises(ValueError, match=r"'front' has shape \(3, 30, 48\)"):
            target.append(0, {**good, "front": np.zeros((3, 30, 48), np.uint8)})
        with pytest.raises(ValueError, match="must be finite"):
            target.append(0, {**good, "action": np.array([np.nan, 0], np.float32)})
        with pytest.raises(ValueError, match="missing"):
            target.append(0, {"pose": good["pose"]})
        target.append(0, {**good, "pose": np.array([np.nan, 0, 0], np.float32)})
        target.finish()
        assert target.nonfinite == {"pose": 1}
    with pytest.raises(ValueError, match="is closed"):
        target.append(0, good)
    target.close()


def test_two_writers_do_not_share_a_folder(tmp_path):
    with writer(tmp_path), pytest.raises(RuntimeError, match="another writer"):
        writer(tmp_path)
    writer(tmp_path).close()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(ValueError, match=r"has videos but no meta/info\.json"):
        writer(tmp_path)


def test_a_dataset_without_episodes_opens(tmp_path):
    writer(tmp_path).close()
    assert read(tmp_path) == []
    with writer(tmp_path) as target:
        record(target, 0, 3)
    assert len(read(tmp_path)) == 1


FORGETFUL = """
import sys
from tests.data.lerobot.toy import OBS, record, rows, writer
target = writer(sys.argv[1])
for number in range(3):
    record(target, number, 6)
for each in rows(OBS, 3, 9)[:4]:
    target.append(0, each)
"""


def test_a_program_that_ends_without_closing_keeps_its_finished_episodes(tmp_path):
    words = [sys.executable, "-c", FORGETFUL, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert [len(got["first"]) for _, got in read(tmp_path)] == [6, 6, 6]


@pytest.mark.parametrize(
    "pictures", [[], pytest.param(["--png"], marks=pytest.mark.slow)], ids=["films", "png"]
)
def test_a_recorder_that_is_killed_loses_no_finished_episode(tmp_path, pictures):
    out = tmp_path / "kills.json"
    words = [*("bench/lerobot_kill.py", "--kills", "3", "--seconds", "0.3"), *pictures]
    done = subprocess.run(
        [sys.executable, *words, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills = json.loads(out.read_text())["kills"]
    assert len(kills) == 3 and kills[-1]["frames"] > 0
    assert kills[0]["there"] <= kills[1]["there"] <= kills[2]["there"]


def test_odd_and_tiny_pictures_are_filmed(tmp_path):
    obs = {"odd": Space((3, 33, 16), "uint8"), "dot": Space((3, 2, 2), "uint8")}
    with writer(tmp_path, obs, codec="libsvtav1", dt=DT) as target:
        record(target, 0, 4)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    codecs = {k: v["info"]["video.codec"] for k, v in info["features"].items() if "info" in v}
    assert codecs == {"observation.images.odd": "av1", "observation.images.dot": "h264"}
    assert len(read(tmp_path)) == 1
