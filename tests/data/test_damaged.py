"""Whatever is wrong with a dataset is told with the file and the field, or the episode and the row;
nothing is executed, and nothing is read or written outside.

No other exception than a ValueError (of which DatasetError is one) may leave a reader: a person who
opens a stranger's data must not have to read a traceback of HDF5.
"""

import collections
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from reverie.data import aloha
from reverie.data.check import check
from reverie.data.datasets import open_dataset
from reverie.data.shelf import StoreWarning
from reverie.data.statistics import measure
from tests.data import damaged_hdf5
from tests.data.damaged import DAMAGES, SECRET, Payload, good_folder, good_store, mangle
from tests.data.lerobot import made


def opened(place: Path, format: str):
    """The dataset; of a format that is not recognised by itself, by its own module."""
    return aloha.open(place) if format == "aloha" else open_dataset(place)


def told(place: Path, format: str) -> str:
    """All that is said of a dataset when everything in it is read."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lines = [*_findings(place, format), *(str(w.message) for w in said)]
    assert {w.category for w in said} <= {StoreWarning}, [str(w.message) for w in said]
    return "\n".join(lines)


def _findings(place: Path, format: str) -> list[str]:
    try:
        data = opened(place, format)
    except ValueError as error:
        return [str(error)]
    try:
        report = check(data)
        stolen = _holds(data, SECRET)
    except ValueError as error:
        return [str(error)]
    finally:
        data.close()
    assert not stolen, "what lies outside was read"
    return [f"{f.severity} {f.kind} {f.sensor} {f.where}: {f.message}" for f in report.findings]


def _holds(data, value: float) -> bool:
    """Whether a small sensor or an action that can be read has this value somewhere."""
    vectors = [name for name, space in data.obs.items() if not space.is_image]
    for episode in data.episodes():
        try:
            rows = data.read(episode.name, only=vectors)
        except ValueError:
            continue
        if any((rows[name] == value).any() for name in [*vectors, "action"]):
            return True
    return False


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below, with its size and time."""
    found = {}
    for path in root.rglob("*"):
        stat = path.lstat()
        if not path.is_dir():
            found[str(path)] = (stat.st_size, stat.st_mtime_ns)
        else:
            found[str(path)] = (0, 0)
    return found


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: f"{d.format}: {d.name}")
def test_it_is_told_where_and_nothing_is_run(damage, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)  # where a program in a file would leave its canary
    place = damage.make(tmp_path)
    before = snapshot(tmp_path)
    text = told(place, damage.format)
    missing = [word for word in damage.words if word not in text]
    assert text and not missing, f"{missing} missing in:\n{text}"
    assert snapshot(tmp_path) == before
    assert "Traceback" not in text and len(text) < 20_000


def test_there_are_many_and_of_every_format():
    formats = collections.Counter(damage.format for damage in DAMAGES)
    assert sum(formats.values()) >= 30 and min(formats.values()) >= 5
    assert set(formats) == {
        *("lerobot v3.0", "lerobot v2.1", "store", "folder", "minari", "robomimic", "aloha")
    }
    names = [(damage.format, damage.name) for damage in DAMAGES]
    assert len(set(names)) == len(names)


def test_the_payload_works_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path)))
    assert (tmp_path / "canary").exists()


GOOD = {
    "lerobot v3.0": made.new,
    "lerobot v2.1": made.old,
    "pictures in rows": lambda place: made.new(place, kind="image"),
    "store": good_store,
    "folder": lambda place: good_folder(place, films=True),
    **damaged_hdf5.GOOD,
}


def good(format: str, place: Path) -> Path:
    """A dataset without damage in a directory; returns what to open."""
    GOOD[format](place)
    return place / "demos.hdf5" if format == "robomimic" else place


@pytest.mark.parametrize("format", GOOD)
def test_what_they_were_made_from_is_good(format, tmp_path):
    # Else a test of a damage could pass by another fault.
    data = opened(good(format, tmp_path / "set"), format)
    report = check(data)
    assert report.ok, report.summary()
    assert measure(data).action.count > 0
    data.close()


@pytest.mark.slow
@pytest.mark.parametrize("format", GOOD)
def test_random_damage_raises_nothing_else_either(format, tmp_path):
    place = good(format, tmp_path / "good")
    for seed in range(200):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "good", copy)
        what = mangle(copy, np.random.default_rng(seed))
        try:
            told(copy / place.relative_to(tmp_path / "good"), format)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {what}") from error
