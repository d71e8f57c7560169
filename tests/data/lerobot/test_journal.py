import errno
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from reverie.core.spec import Space
from reverie.data.datasets import DatasetError
from reverie.data.lerobot import staging
from reverie.data.lerobot.journal import Journal
from reverie.data.lerobot.listing import SizeConfig
from tests.data.lerobot.toy import POSE, SEEN, SMALL, finished, read, robot, rows, same

LENGTHS = (5, 9, 7, 8, 6, 4)


def begun(tmp_path, toy, sizes=SMALL):
    journal = Journal(tmp_path / "data", toy, sizes)
    journal.begin()
    return journal


def check(root, numbers, obs=SEEN):
    """Every episode is there, as recorded, for us and (by what it relies on) for LeRobot."""
    found = read(root)
    assert len(found) == len(numbers)
    for (task, got), number in zip(found, numbers, strict=True):
        assert task == f"task {number % 2}"
        same(got, rows(obs, number, LENGTHS[number]))
    info = json.loads((root / "meta/info.json").read_text())
    tables = sorted(root.glob("data/*/*.parquet"))
    index = np.concatenate([pq.read_table(path, columns=["index"])["index"] for path in tables])
    assert np.array_equal(index[: info["total_frames"]], np.arange(info["total_frames"]))
    assert info["total_episodes"] <= len(numbers)
    assert info["splits"] == {"train": f"0:{info['total_episodes']}"}


def add(journal, tmp_path, numbers):
    toy = journal.robot
    journal.commit([finished(toy, tmp_path, n, LENGTHS[n], f"task {n % 2}") for n in numbers])


@pytest.mark.parametrize("video", [True, False])
@pytest.mark.parametrize("sizes", [SMALL, SizeConfig()], ids=["many files", "one file"])
def test_episodes_come_back_from_few_or_many_files(tmp_path, video, sizes):
    journal = begun(tmp_path, robot(SEEN, video), sizes)
    add(journal, tmp_path, [0])
    add(journal, tmp_path, [1, 2, 3])
    journal = Journal(journal.root, journal.robot, sizes)
    journal.resume()
    add(journal, tmp_path, [4])
    add(journal, tmp_path, [5])
    check(journal.root, range(6))
    counts = [len(list(journal.root.glob(f"{d}/**/file-*"))) for d in ("data", "videos", "meta")]
    if sizes is SMALL:
        assert counts[0] > 2 and counts[2] == 3 and (counts[1] > 4 or not video)
        assert (journal.root / "data/chunk-001/file-000.parquet").exists()
    else:
        assert counts == [1, 2 if video else 0, 1]


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch, moment):
    """Let the process "end" at the n-th change of a file's name, or at the n-th file written."""
    count = {"left": moment}
    real_replace, real_fsync = type(staging.Path()).replace, os.fsync

    def step():
        if count["left"] == 0:
            raise Killed
        count["left"] -= 1

    def replace(self, target):
        step()
        return real_replace(self, target)

    def fsync(descriptor):
        step()
        real_fsync(descriptor)

    monkeypatch.setattr(type(staging.Path()), "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    # Nobody tidies up after a process that is killed.
    monkeypatch.setattr(staging.Staged, "discard", lambda self: None)


@pytest.mark.parametrize(("sizes", "stride"), [(SMALL, 1), (SizeConfig(), 3)])
def test_killed_at_any_step_the_dataset_has_the_old_episodes_or_the_new(tmp_path, sizes, stride):
    journal = begun(tmp_path, robot(SEEN), sizes)
    add(journal, tmp_path, [0])
    add(journal, tmp_path, [1])
    counts = []
    for moment in range(0, 200, stride):
        root = tmp_path / f"copy{moment}" / "data"
        shutil.copytree(journal.root, root)
        copy = Journal(root, journal.robot, sizes)
        copy.resume()
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, moment)
            try:
                add(copy, tmp_path / f"copy{moment}", [2, 3])
            except Killed:
                pass
            else:
                break
        counts.append(len(read(root)))
        check(root, range(counts[-1]))
        after = Journal(root, journal.robot, sizes)
        after.resume()
        assert not list(root.rglob("*.partial"))
        stored = json.loads((root / "meta/info.json").read_text())
        assert stored["total_episodes"] == counts[-1]
        total = sum(pq.read_metadata(p).num_rows for p in root.glob("data/*/*.parquet"))
        assert total == stored["total_frames"]
        missing = [n for n in (2, 3) if n >= counts[-1]]
        if missing:
            add(after, tmp_path / f"after{moment}", missing)
        add(after, tmp_path / f"after{moment}", [4])
        check(root, range(5))
    assert len(counts) * stride > 20 and set(counts) == {2, 4}
    assert counts == sorted(counts)


def test_on_a_full_disk_nothing_changes(tmp_path, monkeypatch):
    journal = begun(tmp_path, robot(SEEN), SizeConfig())
    add(journal, tmp_path, [0])
    episodes = [finished(journal.robot, tmp_path, n, LENGTHS[n], f"task {n % 2}") for n in (1, 2)]
    before = {p: p.read_bytes() for p in journal.root.rglob("*") if p.is_file()}
    for moment in range(7):
        left = [moment]

        def full(descriptor, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                journal.commit(episodes)
        assert {p: p.read_bytes() for p in journal.root.rglob("*") if p.is_file()} == before
    journal.commit(episodes)
    check(journal.root, range(3))


def test_another_robot_is_told_apart(tmp_path):
    toy = robot(SEEN)
    journal = begun(tmp_path, toy)
    for other, named in (
        (robot(POSE), "observation.images.front"),
        (robot({**SEEN, "pose": Space((3,), unit="m")}), "obs"),
        (robot(SEEN, video=False), "observation.images.front"),
        (robot(SEEN, dt=0.1), "dt"),
    ):
        with pytest.raises(ValueError, match=f"{named}.* differ"):
            Journal(journal.root, other, SMALL).resume()


def test_a_dataset_of_somebody_else_is_not_appended_to(tmp_path):
    journal = begun(tmp_path, robot(POSE))
    path = journal.root / "meta/info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in info.items() if k != "reverie"}))
    with pytest.raises(ValueError, match="did not record"):
        Journal(journal.root, journal.robot, SMALL).resume()


def test_a_listing_that_was_lost_is_noticed_before_anything_is_removed(tmp_path):
    journal = begun(tmp_path, robot(SEEN))
    add(journal, tmp_path, [0])
    shutil.rmtree(journal.root / "meta/episodes")
    with pytest.raises(DatasetError, match="lists 0"):
        Journal(journal.root, journal.robot, SMALL).resume()
    assert len(list(journal.root.glob("data/*/*.parquet"))) == 1
