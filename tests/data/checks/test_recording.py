import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.checks import recording
from reverie.data.checks.recording import is_small, load, runs
from reverie.data.datasets import DatasetError
from tests.data.memory import clean


def test_slabs_do_not_show(monkeypatch):
    data = clean(episodes=2)
    whole = load(data, data.episodes()[1])
    monkeypatch.setattr(recording, "_SLAB_BYTES", 1)
    parts = load(data, data.episodes()[1])
    assert all(np.array_equal(parts.rows[n], whole.rows[n]) for n in whole.rows)
    for one, two in zip(whole.frames["front"], parts.frames["front"], strict=True):
        assert np.array_equal(one, two)
    assert np.array_equal(whole.rows["state"], data.rows[1]["state"])
    assert "front" not in whole.rows


def test_digests_are_equal_exactly_where_frames_are():
    data = clean(episodes=1)
    data.rows[0]["front"][9] = data.rows[0]["front"][4]
    frames = load(data, data.episodes()[0]).frames["front"]
    pictures = data.rows[0]["front"]
    for s in range(len(pictures)):
        for t in range(len(pictures)):
            same = np.array_equal(pictures[s], pictures[t])
            assert (frames.digest[s] == frames.digest[t]) == same
    assert np.array_equal(frames.low, pictures.min((1, 2, 3)))
    assert np.array_equal(frames.high, pictures.max((1, 2, 3)))
    assert np.allclose(frames.mean, pictures.mean((1, 2, 3)))


def test_what_is_read_must_be_of_the_declared_shape():
    data = clean(episodes=1)
    data.obs["state"] = Space((4,))
    with pytest.raises(DatasetError, match=r"state: rows of shape \(41, 3\)"):
        load(data, data.episodes()[0])


def test_stretches_of_a_mask():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(0, bool)) == runs(np.zeros(3, bool)) == []


def test_pictures_are_never_small():
    assert is_small(Space((256,))) and not is_small(Space((257,)))
    assert not is_small(Space((1, 2, 2), "uint8"))
