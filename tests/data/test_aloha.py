import json

import h5py
import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import aloha
from reverie.data.datasets import DatasetError


def frames(number, steps):
    rng = np.random.default_rng([number, steps])
    return {
        "action": rng.standard_normal((steps, 14)).astype(np.float32),
        "observations/qpos": rng.standard_normal((steps, 14)).astype(np.float32),
        "observations/images/top": rng.integers(0, 256, (steps, 9, 12, 3), np.uint8),
    }


def write(folder, lengths=(3, 5), extra=None, dt=0.02):
    folder.mkdir(exist_ok=True)
    for number, steps in enumerate(lengths):
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"] = True
            for name, values in frames(number, steps).items():
                file[name] = values
            if extra is not None:
                extra(file, number)
    if dt:
        (folder / "reverie.json").write_text(json.dumps({"dt": dt, "env": "aloha"}))
    return folder


def test_frames_hold_the_action_that_was_told_then(tmp_path):
    place = write(tmp_path / "data", (3, 5, *[2] * 20))
    assert aloha.recognises(place)
    found = aloha.open(place)
    assert dict(found.obs) == {"top": Space((3, 9, 12), "uint8", 0, 255), "qpos": Space((14,))}
    assert (found.about.dt, found.about.source) == (0.02, "aloha")
    assert [e.name for e in found.episodes()] == [f"episode_{k}" for k in range(22)]
    for number, steps in ((1, 5), (0, 3)):
        its, name = frames(number, steps), f"episode_{number}"
        rows = found.read(name)
        np.testing.assert_array_equal(rows["qpos"], its["observations/qpos"])
        pictures = its["observations/images/top"].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(rows["top"], pictures)
        np.testing.assert_array_equal(rows["action"][1:], its["action"][:-1])
        assert not rows["action"][0].any() and not rows["reward"].any()
        assert rows["first"].tolist() == [True] + [False] * (steps - 1)
        assert rows["last"].tolist() == [False] * (steps - 1) + [True]
        part = found.read(name, 1, 3, only=["qpos"])
        assert "top" not in part
        np.testing.assert_array_equal(part["qpos"], rows["qpos"][1:3])
        np.testing.assert_array_equal(part["action"], rows["action"][1:3])
    with pytest.raises(KeyError):
        found.read("episode_22")
    with pytest.raises(IndexError):
        found.read("episode_0", 0, 4)
    found.close()


def test_the_time_of_a_decision_must_be_told(tmp_path):
    place = write(tmp_path / "data", dt=None)
    with pytest.raises(DatasetError, match=r"reverie\.json, dt"):
        aloha.open(place)
    assert aloha.open(place, dt=0.02).about.dt == 0.02


def test_compressed_pictures_are_refused(tmp_path):
    def packed(file, number):
        file.attrs["compress"] = True

    with pytest.raises(DatasetError, match="@compress: its pictures are compressed"):
        aloha.open(write(tmp_path / "data", extra=packed))


def test_damage_is_named_by_file_and_field(tmp_path):
    def fewer(file, number):
        if number == 1:
            del file["observations/qpos"]
            file["observations/qpos"] = np.zeros((4, 14))

    found = aloha.open(write(tmp_path / "data", extra=fewer))
    with pytest.raises(DatasetError, match=r"episode_1\.hdf5, observations/qpos: it has 4 entries"):
        found.read("episode_1")

    def other(file, number):
        if number == 1:
            file["observations/effort"] = np.zeros((5, 14))

    found = aloha.open(write(tmp_path / "other", extra=other))
    with pytest.raises(DatasetError, match=r"'effort' is .* missing in the first"):
        found.episodes()


def test_links_out_of_the_folder_and_other_folders(tmp_path):
    place = write(tmp_path / "data")
    (tmp_path / "elsewhere.hdf5").write_bytes((place / "episode_1.hdf5").read_bytes())
    (place / "episode_1.hdf5").unlink()
    (place / "episode_1.hdf5").symlink_to(tmp_path / "elsewhere.hdf5")
    with pytest.raises(DatasetError, match="link out of"):
        aloha.open(place).episodes()
    (tmp_path / "empty").mkdir()
    assert not aloha.recognises(tmp_path / "empty")
    assert not aloha.recognises(tmp_path / "elsewhere.hdf5")
    with pytest.raises(DatasetError, match="no files ending in"):
        aloha.open(tmp_path / "empty")
