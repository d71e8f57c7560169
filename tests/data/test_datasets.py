import h5py
import numpy as np
import pytest

from reverie.data.datasets import FORMATS, ActionInfo, DatasetError, open_dataset
from tests.data.rows import record, stored


def test_an_error_names_file_and_field(tmp_path):
    error = DatasetError(tmp_path / "a.npz", "pose", "it is empty.")
    assert str(error) == f"{tmp_path}/a.npz, pose: it is empty."
    assert (error.file, error.field, error.problem) == (f"{tmp_path}/a.npz", "pose", "it is empty.")
    assert str(DatasetError("a", "", "gone.")) == "a: gone."


def test_what_an_action_means():
    info = ActionInfo("delta", "tool", low=(-1, 0), high=(1, 2))
    assert info.kind == "delta" and info.names == ()
    for low, high in (((0,), ()), ((0, 1), (1, 1)), ((2,), (1,)), ((float("nan"),), (1,))):
        with pytest.raises(ValueError, match="each low below its high"):
            ActionInfo(low=low, high=high)


def test_a_dataset_is_recognised_by_what_is_there(tmp_path):
    places = {name: tmp_path / name for name in ("store", "folder", "robomimic.hdf5")}
    with stored(places["store"], meta={"dt": 0.1}) as store:
        record(store, 0, 0, 5)
    places["folder"].mkdir()
    np.savez(places["folder"] / "a.npz", action=np.zeros((3, 2)), pose=np.zeros((4, 3)), dt=0.1)
    with h5py.File(places["robomimic.hdf5"], "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
        file["data/demo_0/obs/pose"] = np.zeros((3, 3))
        file["data"].attrs["env_args"] = '{"env_kwargs": {"control_freq": 10}}'
    for name, place in places.items():
        kind = name.removesuffix(".hdf5")
        for found in (open_dataset(place), open_dataset(str(place), kind)):
            assert found.about.format.split()[-1 if kind == "store" else 0] == kind
            assert found.about.dt == 0.1 and found.obs["pose"].shape == (3,)
            (episode,) = found.episodes()
            assert len(found.read(episode.name)["action"]) == episode.rows
            found.close()


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DatasetError, match="nothing is there"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=f"none of the formats {', '.join(FORMATS)}"):
        open_dataset(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="none of the formats"):
        open_dataset(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"There is no format 'csv'; there are: store"):
        open_dataset(tmp_path, "csv")


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_that_is_given_is_not_guessed(tmp_path, name):
    with pytest.raises(DatasetError):
        open_dataset(tmp_path, name)
