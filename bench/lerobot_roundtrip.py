"""LeRobot datasets both ways: Reverie writes and LeRobot reads, LeRobot writes and Reverie reads.

Ours to theirs, once with films (AV1, and H.264 for comparison) and once with PNG: two cameras and
six kinds of numbers, three tasks, files so small that there are several of each sort. LeRobot must
give every number bit by bit (of float64 it makes float32), every frame as Reverie's own reader
decodes it (at most 2 of 256 levels apart: the two convert colours with different versions of
FFmpeg) and within the codec's error of what was recorded; its own code computes statistics from
what was recorded, and they must agree with those in the dataset. Theirs to ours: the same numbers,
added with `add_frame`.

    PYTHONPATH=. python bench/lerobot_roundtrip.py --peer PYTHON_WITH_LEROBOT --out FILE

Columns: frames compared, numbers that differ, the largest difference between the two decoders and
the mean error of a film (levels), the largest difference of statistics, relative to the range of
the feature. LeRobot 0.4.4 computes a wrong standard deviation of pictures (squares of bytes
overflow); it is left out and printed by itself. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, open_dataset
from reverie.data.lerobot.listing import SizeConfig
from reverie.data.lerobot.writer import LeRobotWriter
from reverie.viz.provenance import provenance

OBS = {
    "pose": Space((7,), low=-3, high=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), unit="rad"),
    "height": Space(()),
    "precise": Space((2,), "float64"),
    "count": Space((), "int64"),
    "touch": Space((4,), "bool"),
    "map": Space((2, 3)),
    "front": Space((3, 96, 96), "uint8"),
    "wrist": Space((3, 64, 80), "uint8"),
}
CAMERAS = ("front", "wrist")
ACTION = Space((2,), low=-1, high=1)
TASKS = ("put the cup on the plate", "open the drawer", "")
LENGTHS = (40, 2, 3, 57, 33, 80, 25, 64, 19)
FPS = 20
LEVELS, STATISTICS = 2, 1e-3
"""Largest difference of decoders, and of statistics relative to a feature's range."""

PEER = """
import contextlib, json, sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats, sample_indices
from lerobot.datasets.lerobot_dataset import LeRobotDataset

def read(root, out):
    found = LeRobotDataset("reverie/trip", root=root, video_backend="pyav")
    frames = [found[i] for i in range(len(found))]
    stacked = {k: np.stack([f[k].numpy() for f in frames]) for k in frames[0] if k != "task"}
    for key, value in stacked.items():
        if ".images." in key:
            stacked[key] = np.rint(value * 255).astype(np.uint8)
    np.savez(out, task=np.array([f["task"] for f in frames]), **stacked)

def statistics(source, out):
    with np.load(source) as content:
        found = {name: content[name] for name in content.files}
    episodes = []
    for number in np.unique(found["episode_index"]):
        chosen, one = found["episode_index"] == number, {}
        for key, value in found.items():
            part = value[chosen]
            if ".images." in key:
                part = part[sample_indices(len(part))]
                stats = get_feature_stats(part, axis=(0, 2, 3), keepdims=True)
                one[key] = {
                    k: v if k == "count" else np.squeeze(v / 255.0, axis=0)
                    for k, v in stats.items()
                }
            else:
                one[key] = get_feature_stats(part, axis=0, keepdims=part.ndim == 1)
        episodes.append(one)
    total = aggregate_stats(episodes)
    Path(out).write_text(json.dumps(
        {k: {n: v.tolist() for n, v in s.items()} for k, s in total.items()}
    ))

def write(source, root):
    with np.load(source) as content:
        found = {name: content[name] for name in content.files}
    features = {}
    for key, value in found.items():
        if key in ("task", "episode_index"):
            continue
        shape, dtype, names = value.shape[1:], str(value.dtype), None
        if ".images." in key:
            shape, dtype, names = (*shape[1:], shape[0]), "video", ["height", "width", "channels"]
        features[key] = {"dtype": dtype, "shape": shape, "names": names}
    made = LeRobotDataset.create("reverie/trip", fps=FPS, features=features, root=root)
    for number in np.unique(found["episode_index"]):
        for i in np.flatnonzero(found["episode_index"] == number):
            frame = {key: found[key][i] for key in features}
            for key in frame:
                if ".images." in key:
                    frame[key] = frame[key].transpose(1, 2, 0)
            made.add_frame({**frame, "task": str(found["task"][i])})
        made.save_episode()
    made.finalize()

FPS, action, one, two = int(sys.argv[1]), *sys.argv[2:]
with contextlib.redirect_stdout(sys.stderr):
    {"read": read, "statistics": statistics, "write": write}[action](one, two)
"""


def picture(episode: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """A soft gradient that moves, with a disc."""
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    shade = 90 + 60 * np.sin(x / 17 + step / 9 + episode) + 40 * np.cos(y / 13 - step / 7)
    disc = (x - width / 2 - 9 * np.sin(step / 5)) ** 2 + (y - height / 2) ** 2 < 140
    planes = [np.where(disc, 220 - 50 * c, shade + 12 * c) for c in range(channels)]
    return np.stack(planes).clip(0, 255).astype(np.uint8)


def episode(number: int) -> dict[str, np.ndarray]:
    """Every row of an episode, as it must be read."""
    rows, rng = LENGTHS[number], np.random.default_rng(number)
    found: dict[str, np.ndarray] = {}
    for name, space in OBS.items():
        if name in CAMERAS:
            found[name] = np.stack([picture(number, t, space.shape) for t in range(rows)])
        elif space.dtype == "bool":
            found[name] = rng.random((rows, *space.shape)) < 0.5
        elif space.dtype == "int64":
            found[name] = rng.integers(-(2**20), 2**20, (rows, *space.shape))
        else:
            found[name] = rng.normal(size=(rows, *space.shape)).astype(space.dtype)
    step = np.arange(rows)
    found["action"] = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    found["action"][0] = 0
    found["reward"] = np.where(step > 0, rng.normal(size=rows), 0).astype(np.float32)
    last = step == rows - 1
    found |= {"first": step == 0, "last": last, "terminated": last & (number % 2 == 1)}
    return found


def recorded(directory: Path, video: bool, codec: str) -> None:
    """The episodes, two streams interleaved, in two sittings."""
    sizes = SizeConfig(data_mb=0.02 if video else 2, video_mb=0.04, episodes=4)
    for sitting in (range(5), range(5, len(LENGTHS))):
        about = ActionInfo("delta", "base", ("x", "y"))
        with LeRobotWriter(
            directory, OBS, ACTION, dt=1 / FPS, about=about, video=video, codec=codec, sizes=sizes
        ) as writer:
            for number in sitting:
                rows = episode(number)
                for t in range(LENGTHS[number]):
                    row = {name: value[t] for name, value in rows.items()}
                    writer.append(number % 2, row, task=TASKS[number % 3])
                writer.flush()


def as_frames(numbers: range) -> dict[str, np.ndarray]:
    """What LeRobot must have of episodes that Reverie recorded, under its keys."""
    parts: dict[str, list[np.ndarray]] = {}
    for number in numbers:
        rows = episode(number)
        count = LENGTHS[number]
        done = np.arange(count) >= count - 2
        frames = {key_of(name): rows[name] for name in OBS}
        frames |= {
            "action": np.concatenate([rows["action"][1:], rows["action"][-1:]]),
            "next.reward": np.append(rows["reward"][1:], np.float32(0)),
            "next.done": done,
            "next.truncated": done & (number % 2 == 0),
            "timestamp": (np.arange(count) / FPS).astype(np.float32),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, number),
            "task_index": np.full(count, number % 3),
        }
        for key, value in frames.items():
            parts.setdefault(key, []).append(value)
    found = {key: np.concatenate(value) for key, value in parts.items()}
    return {**found, "index": np.arange(len(found["action"]))}


def key_of(name: str) -> str:
    """LeRobot's key of a sensor."""
    return f"observation.{'images.' if name in CAMERAS else ''}{name}"


def ask(peer: str, scratch: Path, action: str, one: Path, two: Path) -> None:
    """Let LeRobot do something."""
    environment = {**os.environ, "HF_HOME": str(scratch / "hf"), "HF_HUB_OFFLINE": "1"}
    words = [peer, "-c", PEER, str(FPS), action, str(one), str(two)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"LeRobot could not {action}:\n{done.stderr[-4000:]}")


def read_all(directory: Path) -> dict[str, np.ndarray]:
    """Every row of every episode, as Reverie's reader gives them."""
    dataset = open_dataset(directory, "lerobot")
    parts = [dataset.read(each.name) for each in dataset.episodes()]
    dataset.close()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def apart(one: np.ndarray, two: np.ndarray) -> tuple[int, float]:
    """Largest and mean difference of pictures, in levels."""
    difference = np.abs(one.astype(np.int16) - two)
    return int(difference.max()), float(difference.mean())


def ours_to_theirs(
    options: Any, scratch: Path, theirs: dict[str, Any], video: bool, codec: str
) -> dict[str, Any]:
    """Record, and let LeRobot read; `theirs` are its statistics."""
    root, out = scratch / f"ours-{codec}-{video}", scratch / "read.npz"
    recorded(root, video, codec)
    ask(options.peer, scratch, "read", root, out)
    with np.load(out, allow_pickle=False) as content:
        found = {name: content[name] for name in content.files}
    expected = as_frames(range(len(LENGTHS)))
    keys = [key_of(name) for name in CAMERAS]
    wrong = [
        key
        for key, value in expected.items()
        if key not in keys and not np.array_equal(found[key], value.astype(found[key].dtype))
    ]
    tasks = [TASKS[k % 3] for k, count in enumerate(LENGTHS) for _ in range(count)]
    wrong += ["task"] if list(found["task"]) != tasks else []
    own = read_all(root)
    rows = [episode(number) for number in range(len(LENGTHS))]
    exact = [name for name in own if name not in CAMERAS]
    wrong += [
        f"own {n}"
        for n in exact
        if not np.array_equal(own[n], np.concatenate([r[n] for r in rows]))
    ]
    decoders = [apart(found[key_of(name)], own[name])[0] for name in CAMERAS]
    errors = [apart(own[name], expected[key_of(name)])[1] for name in CAMERAS]
    files = {kind: len(list(root.glob(f"{kind}/**/file-*"))) for kind in ("data", "videos")}
    result = {"way": f"ours -> LeRobot, {codec if video else 'png'}", "frames": len(own["first"])}
    result |= {"wrong": wrong, "decoders": max(decoders), "film": max(errors), "files": files}
    return {**result, **statistics(theirs, root)}


def their_statistics(options: Any, scratch: Path) -> dict[str, Any]:
    """Statistics that LeRobot's code computes of what is recorded."""
    source, out = scratch / "frames.npz", scratch / "stats.json"
    expected = as_frames(range(len(LENGTHS)))
    shaped = {k: v[:, None] if v.ndim == 1 else v for k, v in expected.items()}
    plain = ("timestamp", "frame_index", "index", "task_index", "episode_index")
    np.savez(source, **{**shaped, **{k: expected[k] for k in plain}})
    ask(options.peer, scratch, "statistics", source, out)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def statistics(theirs: dict[str, Any], root: Path) -> dict[str, Any]:
    """The statistics in a dataset against LeRobot's own of the same frames."""
    ours = json.loads((root / "meta/stats.json").read_text())
    worst, where, pictures = 0.0, "", 0.0
    for key, each in theirs.items():
        scale = np.asarray(each["max"], float) - np.asarray(each["min"], float)
        scale = np.where(scale > 0, scale, 1)
        for name, value in each.items():
            one, two = np.asarray(ours[key][name], float), np.asarray(value, float)
            if one.shape != two.shape:
                return {"statistics": float("inf"), "statistic": f"{key} {name}: shape {one.shape}"}
            gap = float((np.abs(one - two) / (1 if name == "count" else scale)).max())
            if ".images." in key and name == "std":
                pictures = max(pictures, gap)
            elif gap > worst:
                worst, where = gap, f"{key} {name}"
    return {"statistics": worst, "statistic": where, "picture_std": pictures}


def theirs_to_ours(options: Any, scratch: Path) -> dict[str, Any]:
    """Let LeRobot record, and read. Its frames have no final observation: the last is repeated."""
    source, root = scratch / "record.npz", scratch / "theirs"
    numbers = range(3, 6)
    frames = as_frames(numbers)
    skipped = ("timestamp", "frame_index", "index", "task_index")
    given = {k: v[:, None] if v.ndim == 1 else v for k, v in frames.items() if k not in skipped}
    given["episode_index"] = frames["episode_index"]
    given["task"] = np.array([TASKS[k % 3] for k in frames["episode_index"]])
    np.savez(source, **given)
    ask(options.peer, scratch, "write", source, root)
    dataset = open_dataset(root, "lerobot")
    wrong, worst, count = [], 0.0, 0
    for number, each in zip(numbers, dataset.episodes(), strict=True):
        found = dataset.read(each.name)
        chosen = frames["episode_index"] == number
        rows = LENGTHS[number]
        wrong += ["task"] if each.task != TASKS[number % 3] else []
        wrong += ["rows"] if each.rows != rows + 1 else []
        for name, space in OBS.items():
            value, expected = found[name][:rows], frames[key_of(name)][chosen]
            if name in CAMERAS:
                worst = max(worst, apart(value, expected)[1])
            elif not np.array_equal(value.reshape(expected.shape), expected.astype(value.dtype)):
                wrong.append(f"{number} {name}")
            assert name not in CAMERAS or dataset.obs[name].shape == space.shape
        wrong += [] if np.array_equal(found["action"][1:], frames["action"][chosen]) else ["action"]
        reward = frames["next.reward"][chosen]
        wrong += [] if np.array_equal(found["reward"][1:], reward) else ["reward"]
        ends = frames["next.done"][chosen][-1] and not frames["next.truncated"][chosen][-1]
        wrong += [] if found["terminated"][-1] == ends else ["terminated"]
        count += rows
    dataset.close()
    return {"way": "LeRobot -> ours, libsvtav1", "frames": count, "wrong": wrong, "film": worst}


def main() -> int:
    """Print the table; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", required=True, help="a Python that has lerobot")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = []
    print(f"{'way':<28} {'frames':>6} {'wrong':>5} {'decoders':>8} {'film':>6} {'statistics':>10}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        theirs = their_statistics(options, scratch)
        for video, codec in ((True, "libsvtav1"), (True, "h264"), (False, "h264")):
            results.append(ours_to_theirs(options, scratch, theirs, video, codec))
            show(results[-1])
        results.append(theirs_to_ours(options, scratch))
        show(results[-1])
    bad = [
        r["way"]
        for r in results
        if r["wrong"]
        or r.get("decoders", 0) > (LEVELS if "png" not in r["way"] else 0)
        or r.get("statistics", 0) > STATISTICS
    ]
    print(f"Different: {', '.join(bad)}" if bad else "Everything as it was recorded.")
    if options.out:
        options.out.write_text(json.dumps({"ways": results, **provenance()}, indent=1))
    return 1 if bad else 0


def show(result: dict[str, Any]) -> None:
    """One line of the table."""
    decoders, gap = result.get("decoders", "-"), result.get("statistics", float("nan"))
    print(
        f"{result['way']:<28} {result['frames']:>6} {len(result['wrong']):>5} {decoders:>8} "
        f"{result['film']:>6.2f} {gap:>10.1e}  {result.get('statistic', '')} "
        f"{', '.join(result['wrong'][:6])} {result.get('files', '')}",
        flush=True,
    )
    if "picture_std" in result:
        print(f"{'':<28} standard deviation of pictures: {result['picture_std']:.2f} of the range")


if __name__ == "__main__":
    sys.exit(main())
