import h5py
import numpy as np
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.hdf5 import Hdf5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.hdf5"


def made(path, write):
    with h5py.File(path, "w") as file:
        write(file)
    return Hdf5(path)


def test_slices_names_and_attributes(path):
    def write(file):
        file["a/b/x"] = np.arange(12).reshape(6, 2)
        file["a/y"] = np.zeros(3, ">f4")
        file["a"].attrs["text"] = "words"
        file["a"].attrs["number"] = np.float32(0.5)
        file["a"].attrs["json"] = '{"k": 1}'
        file["a"].attrs["list"] = np.arange(3)

    file = made(path, write)
    np.testing.assert_array_equal(file.read("a/b/x", 2, 4), [[4, 5], [6, 7]])
    assert file.rows("a/b/x") == 6
    assert file.names("a") == ["b", "y"] and file.names("nowhere") == []
    assert file.arrays("a") == ["b/x", "y"]
    assert file.has("a/b") and not file.has("a/b/x/y")
    assert file.attribute("a", "text") == "words" and file.attribute("a", "number") == 0.5
    assert file.attribute("a", "none") is file.attribute("a", "list") is None
    assert file.attribute_json("a", "json") == {"k": 1} and file.attribute_json("a", "none") == {}
    with pytest.raises(DatasetError, match="a@text: it is no JSON"):
        file.attribute_json("a", "text")
    file.close()


def test_texts_and_blobs_of_any_length(path):
    def write(file):
        file.create_dataset("words", data=["push", "drück"], dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"ab", b"c"])
        blobs = file.create_dataset("blobs", (2,), h5py.vlen_dtype(np.uint8))
        blobs[0], blobs[1] = np.arange(3, dtype=np.uint8), np.arange(2, dtype=np.uint8)
        file["flat"] = np.arange(4, dtype=np.uint8).reshape(2, 2)
        file["lists"] = file["blobs"]
        file.create_dataset("floats", (2,), h5py.vlen_dtype(np.float32))

    file = made(path, write)
    assert file.texts("words", 0, 2) == ["push", "drück"] and file.texts("fixed", 1, 2) == ["c"]
    assert file.blobs("blobs", 0, 2) == [b"\0\1\2", b"\0\1"] and file.blobs("flat", 1, 2) == [
        b"\2\3"
    ]
    for path_in, read in [("floats", file.blobs), ("words", file.blobs), ("blobs", file.texts)]:
        with pytest.raises(DatasetError, match=f"{path_in}: it holds objects"):
            read(path_in, 0, 1)


def test_soft_links_inside_the_file_are_followed(path):
    def write(file):
        file["a/x"] = np.arange(3)
        file["b/near"] = h5py.SoftLink("/a/x")
        file["a/again"] = h5py.SoftLink("x")
        file["folder"] = h5py.SoftLink("/a")
        file["loop"] = h5py.SoftLink("/loop")
        file["dangling"] = h5py.SoftLink("/nothing")

    file = made(path, write)
    for name in ("b/near", "a/again", "folder/x", "folder/again"):
        assert file.read(name, 1, 2) == [1]
    with pytest.raises(DatasetError, match="more than 8 links"):
        file.find("loop")
    with pytest.raises(DatasetError, match="dangling: it is missing"):
        file.array("dangling")


def test_more_arrays_than_stay_open(path):
    def write(file):
        for number in range(300):
            file[f"g{number}/x"] = [number]
            file[f"g{number}/y"] = h5py.SoftLink(f"/g{299 - number}/x")

    file = made(path, write)
    for _ in range(2):
        for number in range(300):
            assert file.read(f"g{number}/x", 0, 1) == number
            assert file.read(f"g{number}/y", 0, 1) == 299 - number
    file.close()
    file.close()


def test_nothing_is_read_from_other_files(path, tmp_path):
    secret = tmp_path / "secret.hdf5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.arange(4)
    (tmp_path / "raw").write_bytes(bytes(32))

    def write(file):
        file["link"] = h5py.ExternalLink(str(secret), "/x")
        file["soft"] = h5py.SoftLink("/link")
        file["group"] = h5py.ExternalLink(str(secret), "/")
        file.create_dataset("raw", (4,), "i8", external=[(str(tmp_path / "raw"), 0, 32)])
        layout = h5py.VirtualLayout((4,), "i8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
        file.create_virtual_dataset("virtual", layout)

    file = made(path, write)
    for name in ("link", "soft", "group/x"):
        with pytest.raises(DatasetError, match="link to another file"):
            file.read(name, 0, 1)
    for name in ("raw", "virtual"):
        with pytest.raises(DatasetError, match=f"{name}: its values lie in other files"):
            file.read(name, 0, 1)


def test_only_numbers_are_arrays(path):
    def write(file):
        file["struct"] = np.zeros(2, [("a", "i4"), ("b", "f4")])
        file["opaque"] = np.zeros(2, "V4")
        file["texts"] = ["a", "b"]
        file["reference"] = np.array([file.ref], h5py.ref_dtype)
        file["empty"] = h5py.Empty("f4")
        file["number"] = 3.0
        file["group/x"] = 1
        file["type"] = np.dtype("f4")

    file = made(path, write)
    for name in ("struct", "opaque", "texts", "reference", "empty"):
        with pytest.raises(DatasetError, match=f"{name}: it holds .*; numbers are expected"):
            file.read(name, 0, 1)
    for name in ("group", "type"):
        with pytest.raises(DatasetError, match=f"{name}: it is a group"):
            file.read(name, 0, 1)
    with pytest.raises(DatasetError, match="number: it is one number"):
        file.rows("number")


def test_an_array_that_claims_what_is_not_there(path):
    file = made(path, lambda file: file.create_dataset("x", (1 << 40, 8), "f8", chunks=(64, 8)))
    with pytest.raises(DatasetError, match="x: it claims 70368744177664 bytes of which"):
        file.rows("x")


def test_damaged_files(path):
    made(path, lambda file: file.create_dataset("x", data=np.arange(4000), compression="gzip"))
    whole = path.read_bytes()
    for content in (b"", b"no HDF5", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"data\.hdf5: HDF5 cannot read it"):
            Hdf5(path)
    with pytest.raises(DatasetError, match="cannot read it"):
        Hdf5(path.with_name("nothing.hdf5"))
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=np.arange(4000), compression="gzip")
        place = data.id.get_chunk_info(0).byte_offset
    broken = bytearray(path.read_bytes())
    broken[place : place + 64] = bytes(64)
    path.write_bytes(broken)
    with pytest.raises(DatasetError, match="x: HDF5 cannot read it"):
        Hdf5(path).read("x", 0, 9)


def test_the_missing_package_is_named(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "reverie\[data\]"'):
        Hdf5(path)
