import fsspec
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place, damaged


@pytest.fixture(params=["local", "memory", "file"])
def place(request, tmp_path):
    """The same three files on this machine, in memory and behind a file:// address."""
    system = fsspec.filesystem("memory")
    for name in ("meta/info.json", "meta/episodes/b/2.parquet", "meta/episodes/a/1.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        system.pipe(f"/place/{name}", name.encode())
    yield Place(
        {"local": tmp_path, "memory": "memory://place", "file": f"file://{tmp_path}/"}[
            request.param
        ]
    )
    system.rm("/place", recursive=True)


def test_files_are_read_alike_wherever_they_are(place):
    assert place.exists("meta/info.json")
    assert not place.exists("meta")
    assert not place.exists("meta/other.json")
    assert place.read("meta/info.json") == b"meta/info.json"
    with place.open("meta/info.json") as file:
        file.seek(5)
        assert file.read(4) == b"info"
    found = place.below("meta/episodes", ".parquet")
    assert found == ["meta/episodes/a/1.parquet", "meta/episodes/b/2.parquet"]
    assert place.below("meta/nothing", ".parquet") == []


def test_a_missing_file_is_named(place):
    with pytest.raises(DatasetError, match=r"meta/other\.json: the file is missing"):
        place.read("meta/other.json")


def test_an_unknown_kind_of_address():
    with pytest.raises(DatasetError, match="nowhere"):
        Place("nowhere://a/b")


def test_errors_of_libraries_name_the_file_and_others_pass():
    with (
        pytest.raises(DatasetError, match=r"a\.parquet, column x: .*bad\s+bytes"),
        damaged("a.parquet", "column x"),
    ):
        raise ValueError("bad\nbytes")
    with pytest.raises(DatasetError, match="already told"), damaged("b", "y"):
        raise DatasetError("a", "x", "already told")
    with pytest.raises(ZeroDivisionError), damaged("a", "x"):
        raise ZeroDivisionError
    with pytest.raises(DatasetError), damaged("a", "x", ZeroDivisionError):
        raise ZeroDivisionError
