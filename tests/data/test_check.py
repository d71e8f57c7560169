import json

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.check import check
from reverie.data.datasets import DatasetError
from tests.data.checks.planted import found
from tests.data.memory import ACTION, OBS, Memory, clean


@pytest.mark.parametrize("seed", range(10))
def test_a_clean_dataset_has_no_findings(seed):
    report = check(clean(seed=seed))
    assert report.findings == () and report.ok
    assert report.episodes == 8 and report.rows == 352
    assert report.seconds == pytest.approx(34.4)
    assert report.alignment.best == 0 and report.alignment.r2[5] > 0.99


def test_an_empty_dataset_and_names_that_occur_twice():
    assert found(Memory(OBS, ACTION, [])) == {("error", "empty", "")}
    data = clean()
    episodes = data.episodes()
    data.episodes = lambda: [*episodes, episodes[3]]
    report = check(data)
    assert ("error", "name", "3") in {(f.severity, f.kind, f.episode) for f in report.findings}


@pytest.mark.parametrize(
    "problem", [DatasetError("a.mp4", "frame 3", "is missing."), OSError("io")]
)
def test_an_episode_that_cannot_be_read_is_told_and_the_rest_is_looked_at(problem):
    data = clean()
    data.rows[6]["state"][5] = np.nan
    read = data.read

    def failing(name, *slices):
        if name == "4":
            raise problem
        return read(name, *slices)

    data.read = failing
    report = check(data)
    kinds = {(f.kind, f.episode): f for f in report.findings}
    assert set(kinds) == {("unreadable", "4"), ("not finite", "6")}
    assert str(problem) in kinds["unreadable", "4"].message


def test_numbers_of_any_size_are_looked_at():
    data = clean()
    for rows in data.rows:
        rows["state"] = rows["state"].astype(np.float64)
        rows["state"][:, 0] *= 1e308
        rows["reward"][4] = 3e38
    data.obs["state"] = Space((3,), "float64")
    report = check(data)
    assert not report.findings
    assert report.alignment.best == 0


def test_several_faults_are_all_found():
    data = clean()
    data.rows[0]["state"][5] = np.nan
    data.rows[1]["front"][5:9] = 0
    data.rows[2]["terminated"][5] = True
    data.rows[3]["action"][5] = 8
    assert {kind for _, kind, _ in found(data)} == {
        *("not finite", "blank", "ending", "out of bounds")
    }


def test_its_summary_is_short_and_its_json_is_json():
    data = clean()
    for rows in data.rows:
        rows["front"][3] = 0
    report = check(data)
    text = report.summary()
    assert len(text.splitlines()) == 4 and "and 7 more like it" in text and "lag 0" in text
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert value["errors"] == 8 and value["alignment"]["best"] == 0


def test_progress_is_told():
    calls = []
    check(clean(episodes=3), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
