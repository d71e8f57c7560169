import io

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from reverie.data.datasets import DatasetError
from reverie.data.hdf5 import Hdf5
from reverie.data.minari_storage import Hdf5Episodes, TableEpisodes, unpacked

POSE = np.arange(12, dtype=np.float32).reshape(4, 3)


def lists(values):
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def columns(**more):
    """A table of three actions, what is kept for actions padded to four rows."""
    return {
        "observations": pa.StructArray.from_arrays(
            [lists(POSE), pa.array(["go"] * 4), pa.array([1, 2, 3, 4])], ["pose", "0", "n"]
        ),
        "rewards": pa.array([1.0, 2, 3, 0]),
        "terminations": pa.array([False, False, True, False]),
        **more,
    }


def write(folder, kind, number=0, **more):
    (folder / str(number)).mkdir(exist_ok=True)
    table, path = pa.table(columns(**more)), folder / str(number) / f"part-0.{kind}"
    if kind == "parquet":
        pa.parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


def test_pictures_are_unpacked_or_it_is_told_why_not():
    picture = np.full((8, 12, 3), 90, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    np.testing.assert_array_equal(unpacked([jpeg, jpeg], (8, 12, 3)), [picture, picture])
    assert unpacked([], (8, 12, 3)).shape == (0, 8, 12, 3)
    assert "8 x 12 pixels, not (12, 8, 3)" in unpacked([jpeg], (12, 8, 3))
    assert "shape (8, 12, 3)" in unpacked([jpeg], (8, 12))
    png = io.BytesIO()
    Image.fromarray(picture).save(png, "PNG")
    for blob in (b"", b"x" * 99, jpeg[:-200], png.getvalue()):
        assert "no JPEG" in unpacked([jpeg, blob], (8, 12, 3))


def test_an_hdf5_file(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for number in (10, 2):
            file[f"episode_{number}/observations/arm/_index_0"] = POSE
        file["notes/x"] = 1
    episodes = Hdf5Episodes(Hdf5(tmp_path / "a.hdf5"))
    keys = ("observations", "arm", 0)
    assert episodes.names() == ["episode_2", "episode_10"]
    assert episodes.count("episode_2", keys) == 4
    np.testing.assert_array_equal(episodes.values("episode_2", keys, (3,), False, 1, 3), POSE[1:3])
    with pytest.raises(DatasetError, match=r"arm/_index_0: its entries have shape \(3,\)"):
        episodes.values("episode_2", keys, (4,), False, 1, 3)
    episodes.close()


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_tables(tmp_path, kind):
    for number in (10, 2, 3, 4, 5, 6):  # more than are kept
        write(tmp_path, kind, number)
    (tmp_path / "notes").mkdir()
    episodes = TableEpisodes(tmp_path, kind)
    assert episodes.names() == [f"episode_{k}" for k in (2, 3, 4, 5, 6, 10)]
    pose = ("observations", "pose")
    for name in [*episodes.names(), *episodes.names()]:
        np.testing.assert_array_equal(episodes.values(name, pose, (3,), False, 1, 3), POSE[1:3])
        assert episodes.values(name, pose, (3,), False, 2, 2).shape == (0, 3)
        assert episodes.values(name, ("observations", "n"), (), False, 1, 4).tolist() == [2, 3, 4]
        assert episodes.texts(name, ("observations", 0), 0, 1) == ["go"]
        assert episodes.values(name, ("terminations",), (), False, 2, 3).tolist() == [True]
        assert (episodes.count(name, pose), episodes.count(name, ("rewards",))) == (4, 3)


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        (("actions",), None, "actions: "),
        (("actions", "x"), pa.array([1.0] * 4), "actions/x: there is no 'x', but double"),
        (("observations", "x"), None, "observations/x: "),
        (("actions",), pa.array(["a"] * 4), "actions: it holds string; numbers are expected"),
        (("actions",), pa.array([1.0, None, 1, 1]), "actions: it holds double; numbers"),
        (("actions",), pa.array([[1.0]] * 4), "actions: it holds list<.*numbers are expected"),
        (("actions",), pa.array([1.0] * 4), r"actions: an entry has 1 numbers, not \(2,\)"),
        (("actions",), pa.array([b"x"] * 4), "actions: it holds binary; numbers"),
    ],
)
def test_damage_is_named_by_file_and_field(tmp_path, kind, keys, values, message):
    write(tmp_path, kind, **({} if values is None else {"actions": values}))
    episodes = TableEpisodes(tmp_path, kind)
    with pytest.raises(DatasetError, match=rf"0/part-0\.{kind}, {message}"):
        episodes.values("episode_0", keys, (2,), False, 0, 3)
    with pytest.raises(DatasetError, match="texts are expected"):
        episodes.texts("episode_0", ("rewards",), 0, 1)


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_files_that_are_damaged_or_lie_elsewhere(tmp_path, kind):
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(folder, kind)
    whole = path.read_bytes()
    for content in (b"", b"no table" * 9, whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"part-0\.{kind}: it cannot be read"):
            TableEpisodes(folder, kind).count("episode_0", ("rewards",))
    path.unlink()
    with pytest.raises(DatasetError, match="the file is missing"):
        TableEpisodes(folder, kind).count("episode_0", ("rewards",))
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="link out of"):
        TableEpisodes(folder, kind).count("episode_0", ("rewards",))
