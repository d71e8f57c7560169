import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from reverie.data import container
from reverie.data.container import CorruptFileError, read_tensors, write_atomic, write_tensors

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 5), np.int64),
}


def test_tensors_come_back_and_other_readers_read_them(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, ARRAYS, {"who": "me"})
    read, metadata = read_tensors(path)
    assert metadata["who"] == "me"
    for source in (read, load_file(path)):
        assert source.keys() == ARRAYS.keys()
        for name, expected in ARRAYS.items():
            assert source[name].dtype == expected.dtype and np.array_equal(source[name], expected)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("container") / "x.safetensors"
    write_tensors(path, ARRAYS)
    return path, path.read_bytes()


@given(st.data())
def test_no_flipped_bit_goes_unseen(written, data):
    path, content = written
    flipped = bytearray(content)
    flipped[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    with pytest.raises(CorruptFileError, match=r"x\.safetensors"):
        read_tensors(path)


@given(st.data())
def test_no_cut_goes_unseen(written, data):
    path, content = written
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CorruptFileError):
        container.read_header(path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]"])
def test_what_is_no_container_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        container.read_header(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    write_atomic(path, [b"old"])

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(container.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, [b"new"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    path, seen = tmp_path / "x.bin", []
    real = os.fsync

    def watch(descriptor):
        seen.append(path.exists())
        real(descriptor)

    monkeypatch.setattr(container.os, "fsync", watch)
    write_atomic(path, [b"new"])
    assert seen == [False, True], "the file before the rename, its directory after"


def test_a_link_is_the_same_file_or_a_copy(tmp_path, monkeypatch):
    source = tmp_path / "a"
    source.write_bytes(b"content")
    container.link(source, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(source)

    def across(*_):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(container.os, "link", across)
    container.link(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"content"
    assert not (tmp_path / "copied").samefile(source)


def test_json_is_written_whole(tmp_path):
    container.write_json(tmp_path / "x.json", {"a": [1, 2]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 2]}


def test_a_handle_closes_with_its_last_reference(tmp_path):
    handle = container.Handle(os.open(tmp_path, os.O_RDONLY))
    descriptor = handle.descriptor
    os.fstat(descriptor)
    del handle
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
