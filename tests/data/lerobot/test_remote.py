"""Datasets that are read from elsewhere: over HTTP, by a server of this machine alone, and from the
worker processes of a `DataLoader`."""

import contextlib
import functools
import importlib.util
import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.data import DataLoader

from reverie.core.spec import Space
from reverie.data import lerobot
from reverie.data.datasets import DatasetError, open_dataset
from reverie.data.lerobot.place import Place
from reverie.data.lerobot.remote import AHEAD, MOST, FilmIndex, RangeFile
from reverie.data.lerobot.tables import Tables
from tests.data.lerobot import made

LENGTHS = (30, 25, 40)


class Handler(SimpleHTTPRequestHandler):
    """Gives files or ranges of them, and keeps what it was asked for."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, int]]
    """(method, path, bytes given) of each request."""
    listing, ranges, status = True, True, 0

    def log_message(self, *args):
        pass

    def list_directory(self, path):
        return super().list_directory(path) if self.listing else self.send_error(404)

    def send_head(self):
        if self.status:
            return self.send_error(self.status)
        try:
            content = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            return super().send_head()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), int(asked[2]) + 1) if asked and self.ranges else (0, None)
        part = content[start:stop]
        self.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            end = start + len(part) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        size = len(part) if self.command == "GET" else 0
        self.asked.append((self.command, self.path, size))
        return io.BytesIO(part)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client may hang up: fsspec does so when it wants to know whether a file is there."""


@contextlib.contextmanager
def served(root, **options):
    """The address of a server of a directory, and what it was asked for."""
    pytest.importorskip("aiohttp")
    handler = type("Asked", (Handler,), {"asked": [], **options})
    server = Server(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def flicker(episode, frame, camera=0):
    """A picture that no codec makes small."""
    rng = np.random.default_rng((episode, frame, camera))
    return rng.integers(0, 256, (made.H, made.W, 3), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three episodes in one file of each kind; the films do not fit into one fetch."""
    root = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "picture", flicker)
        options = {"g": "5", "bf": "2", "crf": "1", "movflags": "faststart"}
        made.new(root, LENGTHS, per_file=3, film_options=options)
    return root


def windows(lengths, size=12):
    return [
        (f"episode_{e:06d}", start, start + size)
        for e, length in enumerate(lengths)
        for start in range(0, length - size, 5)
    ]


def check_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert values.dtype == found[name].dtype, name
        assert np.array_equal(values, found[name]), name


# -------------------------------------------------------------------------------------------------
# Over HTTP


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("chain", ["", "simplecache::", "filecache::"])
def test_a_server_gives_what_the_directory_gives(root, chain, listing):
    here = open_dataset(root)
    with served(root, listing=listing) as (address, _):
        there = open_dataset(chain + address)
        assert there.about.format == "lerobot v3.0"
        assert there.episodes() == here.episodes()
        for window in windows(LENGTHS):
            check_same(there.read(*window), here.read(*window))
        there.close()
    here.close()


@pytest.mark.parametrize("listing", [True, False])
def test_several_tables_of_episodes_are_found(tmp_path, listing):
    made.new(tmp_path, (6, 9, 7), per_file=1)
    first = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = made.pq.read_table(first)
    for number, path in enumerate(
        ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000"]
    ):
        made.save_table(tmp_path / f"meta/episodes/{path}.parquet", table.slice(number, 1))
    with served(tmp_path, listing=listing) as (address, _):
        found = open_dataset(address)
        assert [each.rows for each in found.episodes()] == [7, 10, 8]
        found.close()


def test_an_old_dataset(tmp_path):
    made.old(tmp_path)
    here = open_dataset(tmp_path)
    with served(tmp_path, listing=False) as (address, _):
        there = open_dataset(address)
        for each in here.episodes():
            check_same(there.read(each.name), here.read(each.name))
        there.close()
    here.close()


def test_a_window_costs_one_request_per_film_and_not_the_film(root, monkeypatch):
    monkeypatch.setattr("reverie.data.lerobot.remote.AHEAD", 8 << 10)
    whole = {
        f"/{path.relative_to(root).as_posix()}": path.stat().st_size for path in root.rglob("*.mp4")
    }
    with served(root) as (address, asked):
        there = open_dataset(address)
        there.read("episode_000000", 0, 1)
        for window in [("episode_000002", 10, 22), ("episode_000001", 3, 15)]:
            asked.clear()
            there.read(*window)
            films = [(path, size) for _, path, size in asked if path.endswith(".mp4")]
            assert sorted(path for path, _ in films) == sorted(whole)
            share = 22 / sum(LENGTHS)  # twelve, up to four of a group before, and those behind
            assert all(0 < size < 1.1 * share * whole[path] + (32 << 10) for path, size in films)
            asked.clear()
            there.read(*window)
            assert asked == []
        there.close()


def test_a_server_without_ranges_is_told_of_the_way_out(root):
    with served(root, ranges=False) as (address, _):
        there = open_dataset(f"simplecache::{address}")
        there.read("episode_000002", 10, 22)
        there.close()
        with pytest.raises(DatasetError, match="simplecache::"):
            open_dataset(address).read("episode_000002", 10, 22)


@pytest.mark.parametrize("status", [403, 500])
def test_what_a_server_refuses_is_an_error_that_names_the_file(root, status):
    with served(root, status=status) as (address, _):
        with pytest.raises(DatasetError, match=rf"meta/info\.json.*{status}"):
            Place(address).read("meta/info.json")
        assert not Place(address).exists("meta/info.json")


def test_a_server_that_is_gone():
    pytest.importorskip("aiohttp")
    with served(".") as (address, _):
        pass
    with pytest.raises(DatasetError, match=r"meta/info\.json"):
        open_dataset(address, "lerobot")


def test_a_cache_of_files_is_asked_for_one_at_a_time(tmp_path, monkeypatch):
    from fsspec.implementations.cached import WholeFileCacheFileSystem

    busy, most, plain = [], [], WholeFileCacheFileSystem._open

    def slow(self, path, *args, **words):
        busy.append(path)
        most.append(len(busy))
        time.sleep(0.01)
        busy.remove(path)
        return plain(self, path, *args, **words)

    monkeypatch.setattr(WholeFileCacheFileSystem, "_open", slow)
    for number in range(8):
        (tmp_path / f"{number}").write_text(f"file {number}")
    place = Place(f"filecache::file://{tmp_path}")

    def content(number):
        with place.open(f"{number}", blocks=False) as file:
            return file.read()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(content, range(8))) == [b"file %d" % n for n in range(8)]
    assert most == [1] * 8


def test_an_address_names_the_package_that_it_needs():
    if importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is there")
    with pytest.raises(ImportError, match=r"s3://bucket/data needs .*s3fs"):
        Place("s3://bucket/data")


@pytest.mark.parametrize("group", [1, 3, 4, 7, 100])
def test_where_episodes_are_is_read_only_where_a_group_has_several(tmp_path, monkeypatch, group):
    number, t = np.repeat([3, 1], [6, 5]), np.arange(11)
    table = made.pa.table({"episode_index": number, "n": t})
    made.save_table(tmp_path / "a.parquet", table, row_group_size=group)
    read, plain = [], made.pq.ParquetFile.read_row_group

    def noted(self, group, **words):
        read.append((group, *words["columns"]))
        return plain(self, group, **words)

    monkeypatch.setattr(made.pq.ParquetFile, "read_row_group", noted)
    tables = Tables(Place(f"file://{tmp_path}"), {"n": Space((), "int64")}, [], 1 << 20)
    for episode, frames, first in ((3, 6, 0), (1, 5, 6)):
        found = tables.read("a.parquet", episode, frames, 0, frames, ["n"])["n"]
        assert found.tolist() == list(range(first, first + frames))
    mixed = [k for k in range(-(-11 // group)) if len(set(number[k * group : (k + 1) * group])) > 1]
    assert [k for k, name in read if name == "episode_index"] == mixed


# -------------------------------------------------------------------------------------------------
# Ranges of a file


class Counted(io.BytesIO):
    """A file that keeps which parts of it were read."""

    def __init__(self, content):
        super().__init__(content)
        self.parts = []

    def read(self, count=-1):
        start = self.tell()
        found = super().read(count)
        self.parts.append((start, start + len(found)))
        return found


CONTENT = np.random.default_rng(0).bytes(3 * MOST + 7)


def test_bytes_are_those_of_the_file_wherever_it_is_read():
    rng, file = np.random.default_rng(1), RangeFile(Counted(CONTENT))
    assert file.seek(0, io.SEEK_END) == len(CONTENT)
    assert file.read(5) == b""
    reader = io.BufferedReader(file, 1 << 10)
    for _ in range(100):
        start, count = int(rng.integers(len(CONTENT))), int(rng.integers(1, 3 * AHEAD))
        file.wish(start, start + int(rng.integers(2 * MOST)))
        reader.seek(start)
        assert reader.read(count) == CONTENT[start : start + count]
    with pytest.raises(ValueError, match="before the file"):
        file.seek(-1)
    file.close()
    assert file.closed


def test_a_wish_is_fetched_at_once_when_it_is_read_and_in_bounded_parts():
    source = Counted(CONTENT)
    file = RangeFile(source)
    file.wish(1000, 1000 + AHEAD + MOST)
    assert source.parts == []
    file.seek(1000)
    while file.tell() < 1000 + AHEAD + MOST:
        file.read(min(500, 1000 + AHEAD + MOST - file.tell()))
    assert source.parts == [(1000, 1000 + MOST), (1000 + MOST, 1000 + MOST + AHEAD)]
    file.seek(2 * MOST + AHEAD)
    file.read(10)
    assert source.parts[2:] == [(2 * MOST + AHEAD, 2 * MOST + 2 * AHEAD)]


def test_a_file_that_ends_too_early():
    source = Counted(CONTENT)
    file = RangeFile(source)
    source.truncate(10)
    file.seek(20)
    with pytest.raises(OSError, match="ends at byte 20"):
        file.read(1)


def test_the_extent_of_a_window():
    def entry(t, key):
        return SimpleNamespace(timestamp=10 * t, is_keyframe=key, pos=100 + 50 * t, size=40)

    index = FilmIndex.of([entry(t, t % 6 == 0) for t in range(30)])
    assert index.extent(85, 125) == (100 + 50 * 6, 100 + 50 * 16 + 40)
    assert index.extent(60, 60) == (100 + 50 * 6, 100 + 50 * 10 + 40)
    assert index.extent(0, 1000) == (100, 100 + 50 * 29 + 40)
    assert index.extent(-5, -1)[0] == 100
    assert FilmIndex.of([]).extent(0, 5) == (0, 0)


# -------------------------------------------------------------------------------------------------
# In worker processes


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("start", "far"),
    [
        ("fork", False),
        ("fork", True),
        ("spawn", False),
        pytest.param("spawn", True, marks=pytest.mark.slow),
    ],
)
def test_workers_of_a_data_loader_read_what_this_process_reads(root, start, far):
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(served(root))[0] if far else root
        dataset = lerobot.open(place, threads=2)
        wanted = windows(LENGTHS)
        expected = dataset.read_many(wanted)  # it has open files and threads when it is sent
        loader = DataLoader(
            wanted,
            batch_size=3,
            collate_fn=dataset.read_many,
            num_workers=2,
            multiprocessing_context=start,
            timeout=60,
        )
        found = [rows for batch in loader for rows in batch]
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            check_same(one, two)
        check_same(dataset.read(*wanted[0]), expected[0])
        dataset.close()
