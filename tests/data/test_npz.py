import io
import zipfile

import numpy as np
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.npz import Npz


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def archive(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "u1", "?", "i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_slices(tmp_path, save, dtype, order):
    values = np.random.default_rng(0).integers(0, 2, (50, 3, 2)).astype(dtype, order=order)
    save(tmp_path / "a.npz", values=values, flat=values[:, 0, 0], word="push the T")
    file = Npz(tmp_path / "a.npz")
    assert file.arrays["values"].shape == (50, 3, 2) and file.arrays["values"].dtype == dtype
    for start, stop in [(0, 50), (0, 1), (7, 31), (49, 50), (5, 5)]:
        np.testing.assert_array_equal(file.read("values", start, stop), values[start:stop])
        np.testing.assert_array_equal(file.read("flat", start, stop), values[start:stop, 0, 0])
    assert file.single("word") == "push the T"


@pytest.mark.parametrize(
    "array", [np.array([{"a": 1}], object), np.zeros(2, [("a", "f4")]), np.zeros(2, "M8[s]")]
)
def test_only_numbers_and_text_are_read(tmp_path, array):
    path = archive(tmp_path / "a.npz", bad=npy(array))
    with pytest.raises(DatasetError, match=r"a\.npz, bad: it holds .*nothing is unpickled"):
        Npz(path)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "c:\\x", ""])
def test_names_that_are_paths_are_refused(tmp_path, name):
    path = archive(tmp_path / "a.npz", **{name: npy(np.zeros(2))})
    with pytest.raises(DatasetError, match="plain name"):
        Npz(path)


def test_doubled_names_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(np.zeros(2)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x.npy", npy(np.ones(2)))
    with pytest.raises(DatasetError, match="name of its own"):
        Npz(tmp_path / "a.npz")


def test_a_shape_that_asks_for_more_than_there_is(tmp_path):
    content = npy(np.zeros(100)).replace(b"(100,)", b"(1e9,)").replace(b"1e9", b"999")
    with pytest.raises(DatasetError, match=r"x: its shape \(999,\) asks for 7992 bytes and it has"):
        Npz(archive(tmp_path / "a.npz", x=content))
    content = npy(np.zeros(100)).replace(b"(100,)", b"(99, )")
    with pytest.raises(
        DatasetError, match=r"x: its shape \(99,\) asks for 792 bytes and it has 800"
    ):
        Npz(archive(tmp_path / "c.npz", x=content))
    code = npy(np.zeros(100)).replace(b"(100,)", b"f(100)")
    with pytest.raises(DatasetError, match="x: it cannot be read"):
        Npz(archive(tmp_path / "b.npz", x=code))


def test_bombs_are_refused_unopened(tmp_path):
    path = archive(tmp_path / "a.npz", x=npy(np.zeros(1 << 20)))
    Npz(path)  # 8 MiB from 8 KiB: what a still camera makes of its pictures
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (0xFFFFFF00).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="claims to unpack to 4294967040 bytes"):
        Npz(path)


def test_entries_that_overlap_are_refused(tmp_path):
    path = archive(tmp_path / "a.npz", x=np.random.default_rng(0).bytes(5000))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 24] = (1_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="they overlap"):
        Npz(path)


def test_other_ways_of_packing_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x.npy", npy(np.zeros(2)))
    with pytest.raises(DatasetError, match="packed otherwise"):
        Npz(tmp_path / "a.npz")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).standard_normal(3000))
    whole = path.read_bytes()
    for content in (b"", whole[:-30], b"PK" + bytes(500)):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.npz"):
            Npz(path)
    path.write_bytes(whole[:9000] + bytes(200) + whole[9200:])
    with pytest.raises(DatasetError, match="x: it cannot be read"):
        Npz(path).read("x", 0, 3000)
