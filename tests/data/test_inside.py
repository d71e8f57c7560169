import pytest

from reverie.data.datasets import DatasetError
from reverie.data.inside import inside


def test_links_out_of_a_directory_are_refused(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.write_text("secret")
    (data / "plain").write_text("x")
    (data / "inner").symlink_to(data / "plain")
    (data / "outer").symlink_to(other)
    (tmp_path / "shortcut").symlink_to(data)
    assert inside(data / "plain", data) == data / "plain"
    assert inside(data / "inner", data) == data / "inner"
    assert inside(tmp_path / "shortcut" / "plain", tmp_path / "shortcut").read_text() == "x"
    for path in (data / "outer", data / ".." / "other"):
        with pytest.raises(DatasetError, match="link out of"):
            inside(path, data)
