import errno
import os

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reverie.core.spec import Space
from reverie.data import CorruptFileError, container
from reverie.data.latents import Latents

SPACES = {"deter": Space((5,)), "codes": Space((2, 3), "uint8")}


def values(seed: int, rows: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        "deter": torch.from_numpy(rng.standard_normal((rows, 5)).astype(np.float16)).float(),
        "codes": torch.from_numpy(rng.integers(0, 256, (rows, 2, 3), dtype=np.uint8)),
    }


def read(latents: Latents, part: int, row: int) -> dict[str, torch.Tensor] | None:
    out = np.zeros((1, latents.width), np.uint8)
    return latents.unpack(out) if latents.read(part, row, out[0]) else None


def expect(latents: Latents, part: int, row: int, expected: dict[str, torch.Tensor] | None) -> None:
    found = read(latents, part, row)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert all(torch.equal(found[n][0], expected[n]) for n in SPACES)


class Against(RuleBasedStateMachine):
    """Any writing, dropping, saving and loading, held against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.latents = Latents(SPACES, self.root / "live", "float16")
        self.truth: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        self.saves: list[tuple] = []
        self.seed = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(part=st.integers(0, 3), row=st.integers(0, 200), rows=st.integers(1, 150))
    def write(self, part, row, rows):
        self.seed += 1
        given = values(self.seed, rows)
        self.latents.write(part, row, self.latents.pack(given, 1))
        for i in range(rows):
            self.truth[part, row + i] = {n: given[n][i] for n in SPACES}

    @rule(part=st.integers(0, 3))
    def drop(self, part):
        self.latents.drop(part)
        self.truth = {key: v for key, v in self.truth.items() if key[0] != part}

    @rule()
    def save(self):
        directory = self.root / f"save-{len(self.saves)}"
        directory.mkdir()
        self.saves.append((directory, *self.latents.save(directory), dict(self.truth)))

    @rule(data=st.data())
    def load(self, data):
        if self.saves:
            directory, value, arrays, truth = data.draw(st.sampled_from(self.saves))
            self.latents = Latents(SPACES, self.root / "live", "float16")
            self.latents.load(directory, value, arrays)
            self.truth = dict(truth)

    @invariant()
    def agrees(self):
        rng = np.random.default_rng(self.seed)
        for part in range(4):
            for row in rng.integers(0, 350, 4).tolist():
                expect(self.latents, part, row, self.truth.get((part, row)))


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)


def test_a_page_that_is_used_again_forgets(tmp_path):
    latents = Latents(SPACES, tmp_path, "float16")
    latents.write(0, 0, latents.pack(values(0, 64), 1))
    latents.drop(0)
    latents.write(1, 0, latents.pack(values(1, 1), 1))
    assert read(latents, 1, 0) is not None and read(latents, 1, 5) is None


def stored_bytes(directory) -> int:
    return sum(p.stat().st_size for p in directory.iterdir())


def test_a_save_writes_only_what_changed(tmp_path):
    latents = Latents(SPACES, tmp_path / "live", "float16")
    latents.write(0, 0, latents.pack(values(0, 1000), 1))
    sizes = []
    for number in range(12):
        directory = tmp_path / f"save-{number}"
        directory.mkdir()
        value, _ = latents.save(directory)
        new = [p for p in directory.iterdir() if p.stat().st_nlink == 2 and number in (0,)]
        assert number or len(new) == 1
        sizes.append(sum(rows for _, rows, _ in value["segments"]))
        latents.write(0, 100, latents.pack(values(number, 150), 1))
    assert sizes[:4] == [1000, 1150, 1300, 1450]
    assert max(sizes) <= 2000, "the chain is written anew when it is twice the data"
    assert min(sizes[4:]) == 1000
    whole = 1000 * latents.width
    assert stored_bytes(tmp_path / "live") <= 2 * whole + 20_000


def test_a_checkpoint_stands_alone(tmp_path):
    latents = Latents(SPACES, tmp_path / "live", "float16")
    given = values(0, 200)
    for number in range(3):
        latents.write(0, 50 * number, latents.pack({n: v[:60] for n, v in given.items()}, 1))
        (tmp_path / f"save-{number}").mkdir()
        value, arrays = latents.save(tmp_path / f"save-{number}")
    for path in [*(tmp_path / "live").iterdir(), *(tmp_path / "save-0").iterdir()]:
        path.unlink()
    (tmp_path / "save-2").rename(tmp_path / "elsewhere")
    again = Latents(SPACES, tmp_path / "live", "float16")
    again.load(tmp_path / "elsewhere", value, arrays)
    for row in range(200):
        expect(again, 0, row, read_first(latents, row))


def read_first(latents: Latents, row: int) -> dict[str, torch.Tensor] | None:
    found = read(latents, 0, row)
    return None if found is None else {n: v[0] for n, v in found.items()}


def test_a_save_that_failed_loses_nothing(tmp_path, monkeypatch):
    latents = Latents(SPACES, tmp_path / "live", "float16")
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number in range(8):  # the failing one is once an addition, once the chain written anew
        latents.write(0, 0, latents.pack(values(number, 100), 1))
        latents.write(0, 100, latents.pack(values(number, 20), 1))
        failed, good = tmp_path / f"failed-{number}", tmp_path / f"good-{number}"
        failed.mkdir(), good.mkdir()
        monkeypatch.setattr(container.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            latents.save(failed)
        monkeypatch.setattr(container.os, "fsync", real)
        value, arrays = latents.save(good)
        again = Latents(SPACES, tmp_path / f"again-{number}", "float16")
        again.load(good, value, arrays)
        for row in (0, 99, 100, 119, 120):
            expect(again, 0, row, read_first(latents, row))


def test_a_damaged_segment_is_named(tmp_path):
    latents = Latents(SPACES, tmp_path / "live", "float16")
    latents.write(0, 0, latents.pack(values(0, 100), 1))
    (tmp_path / "save").mkdir()
    value, arrays = latents.save(tmp_path / "save")
    (path,) = (tmp_path / "save").iterdir()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=path.name):
        Latents(SPACES, tmp_path / "live", "float16").load(tmp_path / "save", value, arrays)


def test_precision(tmp_path):
    given = {"deter": torch.linspace(-1, 1, 10).reshape(2, 5) / 3}
    for precision, error in (("float16", 2e-4), ("float32", 0.0)):
        latents = Latents({"deter": Space((5,))}, tmp_path / precision, precision)
        latents.write(0, 0, latents.pack(given, 1))
        found = read(latents, 0, 1)
        assert found is not None and found["deter"].dtype == torch.float32
        assert (found["deter"][0] - given["deter"][1]).abs().max() <= error
    with pytest.raises(ValueError, match="'float8' is unknown"):
        Latents(SPACES, tmp_path, "float8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deter": torch.full((3, 5), torch.nan)}, "'deter' has a value that is not finite"),
        ({"deter": torch.full((3, 5), 7e4)}, "beyond float16"),
        ({"deter": torch.zeros(3, 6)}, r"'deter' has shape \(3, 6\)"),
        ({"stoch": torch.zeros(3, 6)}, r"given are \['codes', 'deter', 'stoch'\]"),
    ],
)
def test_latents_that_do_not_fit_are_refused(tmp_path, change, message):
    latents = Latents(SPACES, tmp_path, "float16")
    with pytest.raises(ValueError, match=message):
        latents.pack({**values(0, 3), **change}, 1)


def test_memory_and_disk_hold_what_was_written_only(tmp_path):
    latents = Latents({"deter": Space((8192,))}, tmp_path, "float16")
    packed = latents.pack({"deter": torch.ones(64, 8192)}, 1)
    for part in range(0, 100_000, 1000):
        latents.write(part, 0, packed[:1])
    used = os.fstat(latents._file.descriptor)
    assert used.st_blocks * 512 < 4e6 < used.st_size, "pages that were not written are holes"
    for _ in range(5):  # pages of dropped parts are used again
        for part in range(0, 100_000, 1000):
            latents.drop(part)
            latents.write(part, 0, packed[:1])
    assert os.fstat(latents._file.descriptor).st_size == used.st_size


def test_the_scratch_file_leaves_no_trace(tmp_path):
    latents = Latents(SPACES, tmp_path, "float16")
    latents.write(0, 0, latents.pack(values(0, 100), 1))
    assert list(tmp_path.iterdir()) == []
