import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.convert import MARKER, Converted, convert
from reverie.data.datasets import ActionInfo, DatasetError, open_dataset
from reverie.data.recorded import TASKS
from reverie.data.serial import to_json
from tests.data.rows import ACTION, PROPRIO, SENSORS, record, row, stored

module = importlib.import_module("reverie.data.convert")

INFO = ActionInfo("velocity", "base", ("x", "y"))
LENGTHS = (9, 1, 30, 12)


def source(directory, obs=PROPRIO, lengths=LENGTHS, tasks=True, **options):
    """A dataset of these episodes."""
    said = {f"0000-{k:08d}": f"task {k % 2}" for k in range(len(lengths))} if tasks else {}
    meta = {"dt": 0.05, "env": "arm", "action": to_json(INFO), TASKS: said, "repeat": 2}
    with stored(directory, obs, meta=meta, **options) as store:
        for number, length in enumerate(lengths):
            record(store, 0, number, length)
    return open_dataset(directory)


def same_rows(one, other, names, exact=True, only=None):
    """Fail unless episodes of two datasets, by name in the first, hold the same values."""
    listed = other.episodes()
    assert len(listed) == len(names)
    for name, its in zip(names, listed, strict=True):
        expected, rows = one.read(name, only=only), other.read(its.name)
        assert rows.keys() == expected.keys()
        for key, values in expected.items():
            assert rows[key].dtype == values.dtype and rows[key].shape == values.shape, key
            if exact or not (values.dtype == np.uint8 and values.ndim == 4):
                assert rows[key].tobytes() == values.tobytes(), key


def test_to_a_store_bit_by_bit(tmp_path):
    its = source(tmp_path / "a", SENSORS, file_rows=16)
    seen = []
    done = convert(its, tmp_path / "b", progress=lambda *args: seen.append(args))
    assert done == Converted(4, sum(LENGTHS))
    names = [e.name for e in its.episodes()]
    assert seen == [(k + 1, 4, name) for k, name in enumerate(names)]
    found = open_dataset(tmp_path / "b")
    same_rows(its, found, names)
    assert (found.obs, found.action, found.about) == (its.obs, its.action, its.about)
    assert [e.task for e in found.episodes()] == [e.task for e in its.episodes()]
    assert all(e.complete for e in found.episodes())
    assert not (tmp_path / "b" / MARKER).exists()


def test_some_episodes_and_some_sensors(tmp_path):
    its = source(tmp_path / "a", SENSORS)
    names = ["0000-00000003", "0000-00000000"]
    done = convert(its, tmp_path / "b", episodes=names, only=["pose", "wrist"])
    assert (done.episodes, done.rows) == (2, 21)
    found = open_dataset(tmp_path / "b")
    assert set(found.obs) == {"pose", "wrist"}
    same_rows(its, found, names, only=["pose", "wrist"])
    assert [e.task for e in found.episodes()] == ["task 1", "task 0"]


def test_sensors_that_may_be_missing_stay_so(tmp_path):
    with stored(tmp_path / "a", meta={"dt": 1}, optional=["height"]) as store:
        for t in range(6):
            values = row(PROPRIO, 0, 0, t, 6)
            store.append(0, values | {"height": None if t % 2 else values["height"]})
    its = open_dataset(tmp_path / "a")
    convert(its, tmp_path / "b")
    found = open_dataset(tmp_path / "b")
    same_rows(its, found, ["0000-00000000"])
    assert found.read("0000-00000000")["height.present"].tolist() == [True, False] * 3
    with pytest.raises(DatasetError, match="row 1: 'height' is missing there"):
        convert(its, tmp_path / "c", "lerobot")


def test_the_time_of_a_long_episode_is_not_its_memory(tmp_path, monkeypatch):
    its = source(tmp_path / "a", lengths=(50,))
    monkeypatch.setattr(module, "_BLOCK_BYTES", 7 * 16)  # 16 bytes a row
    asked = []
    read = its.read
    monkeypatch.setattr(its, "read", lambda *args: asked.append(args[1:3]) or read(*args))
    convert(its, tmp_path / "b")
    monkeypatch.undo()
    assert max(stop - start for start, stop in asked) == 7
    same_rows(its, open_dataset(tmp_path / "b"), ["0000-00000000"])


def test_what_was_cut_when_it_was_recorded_is_told(tmp_path):
    with stored(tmp_path / "a", meta={"dt": 1}, file_rows=8) as store:
        record(store, 0, 0, 40)
        record(store, 0, 1, 9)
    (tmp_path / "a/0000-00000000-0001.safetensors").unlink()
    its = open_dataset(tmp_path / "a")
    assert [e.rows for e in its.episodes()] == [8, 24, 9]
    done = convert(its, tmp_path / "b")
    assert (done.episodes, done.cut) == (3, 2)
    found = open_dataset(tmp_path / "b")
    assert [(e.rows, e.complete) for e in found.episodes()] == [(8, True), (24, True), (9, True)]
    rows, expected = found.read("0000-00000001"), its.read(its.episodes()[1].name)
    assert rows["first"].tolist() == [True] + [False] * 23 and rows["last"][-1]
    assert expected["action"][0].any() and not rows["action"][0].any()
    np.testing.assert_array_equal(rows["action"][1:], expected["action"][1:])
    np.testing.assert_array_equal(rows["pose"], expected["pose"])


def test_an_only_episode_without_its_end(tmp_path):
    with stored(tmp_path / "a", meta={"dt": 1}, file_rows=8) as store:
        record(store, 0, 0, 40, stop=30)
    its = open_dataset(tmp_path / "a")
    assert convert(its, tmp_path / "b") == Converted(1, 24, cut=1)
    (listed,) = open_dataset(tmp_path / "b").episodes()
    assert (listed.rows, listed.complete) == (24, True)


class StopError(Exception):
    """Not an error of the data: as if the process were gone."""


def interrupted(its, target, format="store", after=25, **options):
    """Convert until so many rows were read."""
    read, rows = its.read, [0]

    def limited(name, start, stop, only):
        rows[0] += (stop - start) * bool(only)
        if rows[0] > after:
            raise StopError
        return read(name, start, stop, only)

    its.read = limited
    with pytest.raises(StopError):
        convert(its, target, format, **options)
    its.read = read


@pytest.mark.parametrize("after", [0, 9, 10, 22, 40, 51])
def test_a_conversion_that_was_cut_off_goes_on(tmp_path, monkeypatch, after):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 4)
    monkeypatch.setattr("reverie.data.schema._FILE_BYTES", 1)
    its = source(tmp_path / "a", SENSORS)
    interrupted(its, tmp_path / "b", after=after)
    assert (tmp_path / "b" / MARKER).exists()
    done = convert(its, tmp_path / "b")
    assert (done.episodes, done.rows) == (4, sum(LENGTHS))
    assert done.resumed == sum(after >= end for end in (10, 11, 41))  # a row is read before
    same_rows(its, open_dataset(tmp_path / "b"), [e.name for e in its.episodes()])
    convert(its, tmp_path / "c")
    files = [{p.name: p.read_bytes() for p in (tmp_path / d).glob("*.safetensors")} for d in "bc"]
    assert files[0].keys() == files[1].keys()


def test_a_process_that_was_killed(tmp_path):
    its = source(tmp_path / "a", lengths=(30,) * 12)
    code = f"""
import itertools, os, signal
from reverie.data import EpisodeStore, schema
from reverie.data.convert import convert
from reverie.data.datasets import open_dataset
schema._FILE_BYTES, rows, take = 1, itertools.count(1), EpisodeStore.take

def killed(self, *args):  # in the middle of the eighth episode, whose first 16 rows are a file
    if next(rows) == 7 * 30 + 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, *args)

EpisodeStore.take = killed
convert(open_dataset({str(tmp_path / "a")!r}), {str(tmp_path / "b")!r})
"""
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    left = [(e.rows, e.complete) for e in EpisodeStore.open(tmp_path / "b").episodes()]
    assert left == [(30, True)] * 7 + [(16, False)]
    assert convert(its, tmp_path / "b") == Converted(12, 360, resumed=7)
    same_rows(its, open_dataset(tmp_path / "b"), [e.name for e in its.episodes()])


def test_another_conversion_does_not_go_on_there(tmp_path):
    its = source(tmp_path / "a")
    interrupted(its, tmp_path / "b")
    for options, what in [
        ({"episodes": ["0000-00000001"]}, "episodes"),
        ({"only": ["pose"]}, "obs"),
        ({"format": "lerobot"}, "format"),
    ]:
        with pytest.raises(FileExistsError, match=f"start of another conversion: {what} differ"):
            convert(its, tmp_path / "b", **options)
    other = source(tmp_path / "other")
    with pytest.raises(FileExistsError, match="source differ"):
        convert(other, tmp_path / "b")
    (tmp_path / "b" / MARKER).write_text("{")
    with pytest.raises(FileExistsError, match="source, format"):
        convert(its, tmp_path / "b")


def test_nothing_is_written_over(tmp_path):
    its = source(tmp_path / "a")
    (tmp_path / "b").mkdir()
    convert(its, tmp_path / "b")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "b").iterdir()}
    (tmp_path / "file").write_text("x")
    for target in ("b", "a", "file"):
        with pytest.raises(FileExistsError, match="is there and not empty"):
            convert(its, tmp_path / target)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "b").iterdir()} == before


def test_what_there_is_not(tmp_path):
    its = source(tmp_path / "a")
    with pytest.raises(KeyError, match=r"no episodes \['x'\]"):
        convert(its, tmp_path / "b", episodes=["x"])
    with pytest.raises(ValueError, match="no episodes to convert"):
        convert(its, tmp_path / "b", episodes=[])
    with pytest.raises(ValueError, match="names one twice"):
        convert(its, tmp_path / "b", episodes=["0000-00000000"] * 2)
    with pytest.raises(ValueError, match=r"only names \['x'\]; sensors are"):
        convert(its, tmp_path / "b", only=["x"])
    with pytest.raises(ValueError, match="only names nothing"):
        convert(its, tmp_path / "b", only=[])
    with pytest.raises(ValueError, match="'csv' is not written"):
        convert(its, tmp_path / "b", "csv")
    assert not (tmp_path / "b").exists()


def test_what_no_dataset_may_hold_is_named(tmp_path):
    place = tmp_path / "folder"
    place.mkdir()
    actions = np.zeros((5, 2))
    actions[3, 1] = np.nan
    np.savez(place / "a.npz", action=np.zeros((5, 2)), pose=np.zeros((6, 3)), dt=0.1)
    np.savez(place / "b.npz", action=actions, pose=np.zeros((6, 3)), dt=0.1)
    with pytest.raises(DatasetError, match=r"episode b, row 4: .* both must be finite"):
        convert(open_dataset(place), tmp_path / "b")
    assert [e.rows for e in EpisodeStore.open(tmp_path / "b").episodes()] == [6]


def test_a_folder_becomes_a_store(tmp_path):
    rng = np.random.default_rng(0)
    place = tmp_path / "folder"
    place.mkdir()
    for name in ("a_2", "a_10"):
        np.savez(
            place / f"{name}.npz",
            action=rng.standard_normal((5, 2)).astype(np.float32),
            pose=rng.standard_normal((6, 3)).astype(np.float32),
            cam=rng.integers(0, 256, (6, 10, 12, 3), np.uint8),
            reward=rng.random(5).astype(np.float32),
            terminated=np.arange(5) == 4,
            task=f"do {name}",
            dt=0.1,
        )
    its = open_dataset(place)
    convert(its, tmp_path / "b")
    found = open_dataset(tmp_path / "b")
    same_rows(its, found, ["a_2", "a_10"])
    assert [e.task for e in found.episodes()] == ["do a_2", "do a_10"]
    assert found.about.dt == 0.1 and found.obs == its.obs
    assert found.about.extra == {"recorded": {"format": "folder of npz and mp4"}}


# -------------------------------------------------------------------------------------------------
# LeRobot

FILMED = {"pose": Space((3,)), "height": Space(()), "front": Space((3, 32, 48), "uint8", 0, 255)}


def test_to_lerobot_and_back(tmp_path):
    its = source(tmp_path / "a", FILMED, lengths=(9, 2, 12))
    done = convert(its, tmp_path / "b", "lerobot")
    assert done == Converted(3, 23) and not (tmp_path / "b" / MARKER).exists()
    names = [e.name for e in its.episodes()]
    filmed = open_dataset(tmp_path / "b")
    assert dict(filmed.obs) == FILMED and filmed.action == ACTION
    assert (filmed.about.dt, filmed.about.source) == (0.05, "arm")
    assert filmed.about.action == INFO
    assert [e.task for e in filmed.episodes()] == ["task 0", "task 1", "task 0"]
    same_rows(its, filmed, names, exact=False)
    # Back, everything is what LeRobot holds, the decoded pictures included.
    convert(filmed, tmp_path / "c")
    back = open_dataset(tmp_path / "c")
    same_rows(filmed, back, [e.name for e in filmed.episodes()])
    assert back.about.action == INFO and [e.task for e in back.episodes()][1] == "task 1"
    filmed.close()


def test_without_pictures_lerobot_and_back_is_exact(tmp_path):
    its = source(tmp_path / "a", lengths=(9, 2, 30, 12))
    convert(its, tmp_path / "b", "lerobot")
    convert(open_dataset(tmp_path / "b"), tmp_path / "c")
    same_rows(its, open_dataset(tmp_path / "c"), [e.name for e in its.episodes()])


@pytest.mark.parametrize("after", [0, 13, 45])
def test_a_conversion_to_lerobot_goes_on(tmp_path, after):
    its = source(tmp_path / "a", lengths=(9, 2, 30, 12))
    interrupted(its, tmp_path / "b", "lerobot", after=after)
    done = convert(its, tmp_path / "b", "lerobot")
    assert done.resumed == sum(after >= end for end in (9, 11, 41))
    found = open_dataset(tmp_path / "b")
    same_rows(its, found, [e.name for e in its.episodes()])
    assert [e.task for e in found.episodes()] == [e.task for e in its.episodes()]
    assert json.loads((tmp_path / "b/meta/info.json").read_text())["total_episodes"] == 4
