"""How fast sequences are sampled from disk, and how much memory a large replay needs.

Pictures are rendered walker frames (MuJoCo through EGL); a large store repeats a few recorded
episodes under other names, each a file of its own. Times are of one `Replay.sample()`, B16 x T64,
latents of the row before included (deter 512, stoch 128). Columns, in milliseconds:

* `median`, `min`: wall clock. `CPU`: processor time, median; remains comparable on a busy machine.
* `copy`: the same rows copied from uncompressed arrays in memory, median CPU: the least there is.
* `ratio`: CPU over copy.

Parts: `codecs` compares compressors (lz4; zstandard where installed; zlib) and what is put into a
block; `sample` times sampling with the cache holding everything, with almost none, and with the
files not even in the system's page cache; `memory` builds a replay of `--rows` pixel steps in a
temporary directory (2 to 3 GB for 1,000,000 rows; removed afterwards), samples, writes latents back
and saves in a process of its own, and prints its peak resident memory.

    python bench/replay.py
    python bench/replay.py --parts memory --rows 1000000 --directory /var/tmp
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch

from reverie.core.spec import Space
from reverie.data import EpisodeStore, Replay, codec
from reverie.data.part import Key, Part
from reverie.envs import make

BATCH, LENGTH, ROWS = 16, 64, 501
WALKER = {"orientations": Space((14,)), "height": Space((1,)), "velocity": Space((9,))}
IMAGE = {"image": Space((3, 64, 64), "uint8")}
ACTION = Space((6,), low=-1, high=1)
LATENT = {"deter": Space((512,)), "stoch": Space((128,))}


def frames(quality: str, count: int, task: str = "dmc:walker_walk") -> np.ndarray:
    """Pictures of random behaviour, `[count, 3, 64, 64]`."""
    env = make(task, pixels=True, repeat=2, quality=quality)
    rng = np.random.default_rng(0)
    seen = [env.reset(0).obs["image"]]
    while len(seen) < count:
        row = env.step(rng.uniform(-1, 1, env.action.shape).astype(np.float32))
        seen.append(row.obs["image"] if not row.last else env.reset(len(seen)).obs["image"])
    env.close()
    return np.stack(seen)


def timed(call: Callable[[], object], count: int) -> tuple[float, float, float]:
    """Median and least wall clock, and median processor time, in milliseconds."""
    wall, cpu = [], []
    for _ in range(count):
        begin, spent = time.perf_counter(), time.process_time()
        call()
        wall.append(1e3 * (time.perf_counter() - begin))
        cpu.append(1e3 * (time.process_time() - spent))
    return statistics.median(wall), min(wall), statistics.median(cpu)


# -- compressors ----------------------------------------------------------------------------------


def compressors() -> Iterator[tuple[str, Callable[[bytes], bytes], Callable[[bytes, int], bytes]]]:
    """Name, compress, decompress."""
    import lz4.block  # type: ignore[import-untyped]

    def lz4_pack(level: int) -> Callable[[bytes], bytes]:
        mode = {"mode": "high_compression", "compression": level} if level else {"mode": "default"}
        return lambda data: lz4.block.compress(data, store_size=False, **mode)

    for level in (0, 4, 9):
        yield (
            f"lz4 {'fast' if not level else f'hc {level}'}",
            lz4_pack(level),
            lambda data, size: lz4.block.decompress(data, uncompressed_size=size),
        )
    try:
        import zstandard
    except ImportError:
        pass
    else:
        unpack = zstandard.ZstdDecompressor().decompress
        for level in (-5, 1, 3, 6):
            pack = zstandard.ZstdCompressor(level=level).compress
            yield f"zstd {level}", pack, unpack
    for level in (1, 6):
        yield (
            f"zlib {level}",
            functools.partial(zlib.compress, level=level),
            lambda data, size: zlib.decompress(data, bufsize=size),
        )


def compare_codecs() -> None:
    """Ratio and speed of each compressor on blocks of 8 pictures."""
    rows = codec.rows_per_block(3 * 64 * 64)
    sources = {
        "walker, fast": frames("fast", 240),
        "walker, full": frames("full", 240),
        "manipulator, full": frames("full", 240, "dmc:manipulator_bring_ball"),
    }
    print(f"\nBlocks of {rows} pictures 64x64x3; MB/s of uncompressed bytes, one core, CPU time\n")
    print("| pictures | codec | ratio | compress MB/s | decompress MB/s | decompress min MB/s |")
    print("|---|---|---:|---:|---:|---:|")
    for name, pictures in sources.items():
        blocks = [pictures[i : i + rows].tobytes() for i in range(0, len(pictures), rows)]
        for label, pack, unpack in compressors():
            packed = [pack(block) for block in blocks]
            size = len(blocks[0])

            def read(unpack: Any = unpack, packed: Any = packed, size: int = size) -> None:
                for data in packed:
                    unpack(data, size)

            def write(pack: Any = pack, blocks: Any = blocks) -> None:
                for block in blocks:
                    pack(block)

            megabytes = sum(map(len, blocks)) / 1e6
            ratio = megabytes * 1e6 / sum(map(len, packed))
            writing, (_, least, reading) = timed(write, 3)[2], timed(read, 15)
            print(
                f"| {name} | {label} | {ratio:.1f} | {1e3 * megabytes / writing:.0f} "
                f"| {1e3 * megabytes / reading:.0f} | {1e3 * megabytes / least:.0f} |",
                flush=True,
            )


def depths(count: int) -> np.ndarray:
    """Depth pictures of random behaviour [m], `[count, 64, 64]`."""
    from dm_control import suite

    world = suite.load("walker", "walk", task_kwargs={"random": 0})
    world.reset()
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(count):
        world.step(rng.uniform(-1, 1, 6))
        seen.append(world.physics.render(64, 64, camera_id=0, depth=True))
    return np.stack(seen)


def differences(rows: np.ndarray) -> np.ndarray:
    """Each frame less the one before."""
    return np.concatenate([rows[:1], rows[1:] - rows[:-1]])


def sums(rows: np.ndarray) -> np.ndarray:
    """The inverse of `differences`."""
    return np.add.accumulate(rows, 0, dtype=rows.dtype)


def planes(rows: np.ndarray) -> np.ndarray:
    """The first bytes of all numbers, then the second ones, and so on."""
    return np.ascontiguousarray(rows.view(np.uint8).reshape(-1, rows.itemsize).T)


def numbers(rows: np.ndarray) -> np.ndarray:
    """The inverse of `planes` for 4-byte numbers."""
    return np.ascontiguousarray(rows.reshape(4, -1).T)


def compare_layouts() -> None:
    """What is put into a block: how many frames, and what is done to them before."""
    fast, full, depth = frames("fast", 240), frames("full", 240), depths(240)
    cases: list[tuple[str, np.ndarray, int, Any, Any]] = []
    for name, rows in (("walker, fast", fast), ("walker, full", full)):
        cases += [(f"{name}, {count} a block", rows, count, None, None) for count in (1, 4, 8, 16)]
        cases += [(f"{name}, 8 a block, differences", rows, 8, differences, sums)]
    cases += [("depth, 6 a block", depth, 6, None, None)]
    cases += [("depth, 6 a block, byte planes", depth, 6, planes, numbers)]
    print("\n| lz4 hc 4 | ratio | read MB/s |\n|---|---:|---:|")
    for name, rows, count, change, undo in cases:
        blocks = [rows[i : i + count] for i in range(0, len(rows), count)]
        given = [change(block) if change else block for block in blocks]
        packed = [codec.encode(block) for block in given]

        def read(packed: Any = packed, given: Any = given, undo: Any = undo) -> None:
            for data, like in zip(packed, given, strict=True):
                block = codec.decode(data, len(like), like.dtype, like.shape[1:])
                if undo:
                    undo(block)

        ratio = rows.nbytes / sum(map(len, packed))
        print(
            f"| {name} | {ratio:.1f} | {rows.nbytes / 1e3 / timed(read, 15)[2]:.0f} |", flush=True
        )


# -- stores ---------------------------------------------------------------------------------------


def row(obs: dict[str, Any], t: int) -> dict[str, Any]:
    """Row t of an episode of ROWS rows."""
    flags = {"first": t == 0, "last": t == ROWS - 1, "terminated": False}
    return {**obs, "action": np.zeros(6, np.float32), "reward": np.float32(t), **flags}


def build(directory: Path, rows: int, pictures: np.ndarray | None, streams: int = 8) -> None:
    """A store of about `rows` rows in episodes of 501, the same few under many names."""
    obs = WALKER if pictures is None else IMAGE
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # only the bench's own writes
    rng = np.random.default_rng(0)
    store = EpisodeStore(directory, obs, ACTION)
    templates = []
    for number in range(4):
        for t in range(ROWS):
            if pictures is None:
                seen = {n: rng.standard_normal(s.shape, np.float32) for n, s in obs.items()}
            else:
                seen = {"image": pictures[(t + 97 * number) % len(pictures)]}
            part = store.take(number, row(seen, t))
        templates.append(part)
    for index in range(rows // ROWS):
        template = templates[index % len(templates)]
        key = Key(index % streams, index // streams, 0)
        part = Part(key, ROWS, template.ret, True, (index + 1) * ROWS, buffer=template.buffer)
        assert part.buffer is not None
        store.shelf.write(part, part.buffer.encode(part))
    store.unwritten.clear()
    store.close()


def forget_pages(directory: Path) -> None:
    """Ask the system to drop the store's files from its page cache."""
    for path in directory.glob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        os.fdatasync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def fill(replay: Replay) -> None:
    """Latents for every row."""
    packed = replay.latents.pack({n: torch.ones(ROWS, *s.shape) for n, s in LATENT.items()}, 1)
    for uid in replay.order:
        replay.latents.write(uid, 0, packed)


def replay_of(directory: Path, cache: int) -> Replay:
    """A replay with latents for every row."""
    store = EpisodeStore.open(directory, cache_bytes=cache)
    replay = Replay(store, batch=BATCH, length=LENGTH, latent=LATENT, scratch=directory / "scratch")
    fill(replay)
    return replay


def copy_of(obs: dict[str, Space]) -> Callable[[], object]:
    """Draw a batch from uncompressed arrays in memory."""
    rng = np.random.default_rng(0)
    entries = {**obs, "action": ACTION, **LATENT, **{n: Space(()) for n in ("reward", "first")}}
    total = 20_000
    arrays = {n: np.zeros((total, *s.shape), s.dtype) for n, s in entries.items()}

    def draw() -> dict[str, np.ndarray]:
        starts = rng.integers(1, total - LENGTH, BATCH)
        out = {}
        for name, values in arrays.items():
            if name in LATENT:
                out[name] = values[starts - 1]
            else:
                out[name] = np.stack([values[s : s + LENGTH] for s in starts])
        return out

    return draw


def time_sampling(root: Path, rows: int) -> None:
    """Sampling with proprioception and with pictures, from a warm and from a cold store."""
    print(f"\nOne sample, B{BATCH} x T{LENGTH}; {rows:,} rows each\n")
    print("| store | MB on disk | median ms | min ms | CPU ms | copy ms | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    looks = {
        "proprioception": None,
        **{f"pictures, {q}": frames(q, ROWS) for q in ("fast", "full")},
    }
    for label, pictures in looks.items():
        directory = root / label.replace(", ", "-")
        build(directory, rows, pictures)
        size = sum(p.stat().st_size for p in directory.glob("*.safetensors")) / 1e6
        copy = timed(copy_of(WALKER if pictures is None else IMAGE), 50)[2]
        for cache, megabytes in (("all cached", 1024), ("cache 1 MB", 1)):
            replay = replay_of(directory, megabytes << 20)
            for _ in range(30):
                replay.sample()
            say(f"{label}, {cache}", size, timed(replay.sample, 200), copy)
        cold = []
        replay = replay_of(directory, 1 << 20)
        for _ in range(10):
            forget_pages(directory)
            cold.append(timed(replay.sample, 1))
        median = [statistics.median(times) for times in zip(*cold, strict=True)]
        say(f"{label}, from the disk", size, (median[0], min(c[1] for c in cold), median[2]), copy)
        shutil.rmtree(directory)


def say(label: str, size: float, times: tuple[float, float, float], copy: float) -> None:
    """One line of the table."""
    median, least, cpu = times
    print(
        f"| {label} | {size:.0f} | {median:.2f} | {least:.2f} | {cpu:.2f} | {copy:.2f} "
        f"| {cpu / copy:.1f} |",
        flush=True,
    )


# -- memory ---------------------------------------------------------------------------------------


def resident() -> tuple[float, float]:
    """Resident memory now and at its peak [MB]."""
    fields = dict(
        line.split(":")
        for line in Path("/proc/self/status").read_text().splitlines()
        if "VmR" in line or "VmHWM" in line
    )
    return tuple(int(fields[name].split()[0]) / 1e3 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def use_memory(directory: Path) -> None:
    """What a training process does with a large replay; prints its memory after each stage."""
    print("| stage | seconds | resident MB | peak MB |\n|---|---:|---:|---:|")
    begin = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal begin
        now, peak = resident()
        print(
            f"| {name} | {time.perf_counter() - begin:.1f} | {now:.0f} | {peak:.0f} |", flush=True
        )
        begin = time.perf_counter()

    stage("torch and reverie imported")
    store = EpisodeStore(directory, IMAGE, ACTION)
    replay = Replay(store, batch=BATCH, length=LENGTH, latent=LATENT, capacity=10_000_000)
    stage(f"opened, {replay.rows:,} rows")
    fill(replay)
    stage("a latent with every row")
    replay.save(directory / "checkpoint-0")
    stage("checkpoint, all latents")
    given = {n: torch.rand(BATCH, LENGTH, *s.shape) for n, s in LATENT.items()}
    times = []
    for _ in range(300):
        spent = timed(replay.sample, 1)
        sample = replay.sample()
        replay.write_back(sample.ids, given)
        times.append(spent)
    median = [statistics.median(column) for column in zip(*times, strict=True)]
    least = min(t[1] for t in times)
    stage(f"600 samples ({median[0]:.1f} ms, min {least:.1f}, CPU {median[2]:.1f})")
    replay.save(directory / "checkpoint-1")
    stage("checkpoint, 300 batches of new latents")
    replay.load(directory / "checkpoint-1")
    stage("loaded again")


def measure_memory(root: Path, rows: int) -> None:
    """Peak resident memory of a process with a replay of `rows` pixel steps."""
    directory = root / "large"
    begin = time.perf_counter()
    build(directory, rows, frames("fast", ROWS))
    size = sum(p.stat().st_size for p in directory.glob("*.safetensors"))
    raw = rows * 3 * 64 * 64
    print(
        f"\nA replay of {rows:,} pixel steps: {size / 1e9:.2f} GB on disk in "
        f"{len(list(directory.glob('*.safetensors')))} files ({raw / 1e9:.1f} GB uncompressed), "
        f"written in {time.perf_counter() - begin:.0f} s\n",
        flush=True,
    )
    subprocess.run([sys.executable, __file__, "--use-memory", str(directory)], check=True)
    shutil.rmtree(directory)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["codecs", "sample", "memory"])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the memory part")
    parser.add_argument("--sample-rows", type=int, default=100_000, help="of the sample part")
    parser.add_argument("--directory", type=Path, default=None, help="for temporary files")
    parser.add_argument("--use-memory", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.use_memory:
        use_memory(given.use_memory)
        return
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{torch.__version__}, commit {commit.stdout.strip()}, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(dir=given.directory, prefix="reverie-bench-") as root:
        if "codecs" in given.parts:
            compare_codecs()
            compare_layouts()
        if "sample" in given.parts:
            time_sampling(Path(root), given.sample_rows)
        if "memory" in given.parts:
            measure_memory(Path(root), given.rows)


if __name__ == "__main__":
    main()
