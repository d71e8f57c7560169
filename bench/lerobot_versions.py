"""LeRobot datasets of an older version: Reverie reads from them what LeRobot itself reads.

LeRobot 0.3 records a v2.1 dataset with its own recorder (one file per episode), once with films and
once with pictures in the rows: two cameras, a state, an action, numbers of other kinds, three
tasks, `next.reward` and `next.done`. Then its own loader gives every frame, and Reverie's reader
(`open_dataset`, which finds the format by itself) every row. Rows hold the action that led to them,
so row t is compared with the sensors of frame t and the action, reward and end of frame t - 1.

    PYTHONPATH=. python bench/lerobot_versions.py --peer PYTHON_WITH_LEROBOT --out FILE

A peer that writes v3.0 is compared in the same way. Columns: version of the dataset, frames,
numbers that differ (all must be equal, bit by bit), the largest difference of a picture (levels of
256; films are converted to RGB by two versions of FFmpeg), and the mean error against what was
recorded. Exit status 1 if anything differs.
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

from reverie.data.datasets import open_dataset
from reverie.viz.provenance import provenance

FPS = 20
LENGTHS = (30, 2, 41, 25, 64)
TASKS = ("put the cup on the plate", "open the drawer", "wave")
CAMERAS = {"front": (96, 128), "wrist": (64, 80)}
"""Height and width."""
NUMBERS = {
    "observation.state": ("float32", (6,)),
    "observation.force": ("float64", (3,)),
    "observation.environment_state": ("float32", (4,)),
    "observation.count": ("int64", (1,)),
    "observation.touch": ("bool", (1,)),
    "action": ("float32", (2,)),
    "next.reward": ("float32", (1,)),
    "next.done": ("bool", (1,)),
}
LEVELS = 2
"""Largest difference of two decoders."""

PEER = """
import contextlib, json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from lerobot.datasets.lerobot_dataset import LeRobotDataset

source, root, kind, out, fps = *sys.argv[1:5], int(sys.argv[5])

def record():
    with np.load(source) as content:
        found = {name: content[name] for name in content.files}
    features = {}
    for key, value in found.items():
        if key not in ("task", "episode"):
            shape, dtype, names = value.shape[1:], str(value.dtype), None
            if ".images." in key:
                dtype, names = kind, ["height", "width", "channels"]
            features[key] = {"dtype": dtype, "shape": shape, "names": names}
    made = LeRobotDataset.create(
        "reverie/trip", fps=fps, features=features, root=root, robot_type="arm",
        use_videos=kind == "video")
    for number in np.unique(found["episode"]):
        for i in np.flatnonzero(found["episode"] == number):
            frame, task = {key: found[key][i] for key in features}, str(found["task"][i])
            if OLD:
                made.add_frame(frame, task=task)
            else:
                made.add_frame({**frame, "task": task})
        made.save_episode()
    if not OLD:
        made.finalize()

def read():
    dataset = LeRobotDataset("reverie/trip", root=root, video_backend="pyav")
    frames = [dataset[i] for i in range(len(dataset))]
    stacked = {k: np.stack([f[k].numpy() for f in frames]) for k in frames[0] if k != "task"}
    for key, value in stacked.items():
        if ".images." in key:
            stacked[key] = np.rint(value * 255).astype(np.uint8)
    np.savez(out, task=np.array([f["task"] for f in frames]), **stacked)

import inspect
OLD = "task" in inspect.signature(LeRobotDataset.add_frame).parameters
with contextlib.redirect_stdout(sys.stderr):
    record()
    read()
import importlib.metadata
print(importlib.metadata.version("lerobot"))
"""


def picture(episode: int, step: int, height: int, width: int) -> np.ndarray:
    """A soft gradient that moves, with a disc: uint8 `[h, w, 3]`."""
    y, x = np.mgrid[:height, :width]
    shade = 90 + 60 * np.sin(x / 17 + step / 9 + episode) + 40 * np.cos(y / 13 - step / 7)
    disc = (x - width / 2 - 9 * np.sin(step / 5)) ** 2 + (y - height / 2) ** 2 < 140
    planes = [np.where(disc, 220 - 50 * c, shade + 12 * c) for c in range(3)]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def recorded() -> dict[str, np.ndarray]:
    """Every frame of every episode, and its episode and task."""
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    step = np.concatenate([np.arange(length) for length in LENGTHS])
    found: dict[str, np.ndarray] = {"episode": episode}
    found["task"] = np.array([TASKS[number % len(TASKS)] for number in episode])
    for key, (dtype, shape) in NUMBERS.items():
        values = rng.normal(scale=1000 if dtype == "int64" else 1, size=(len(step), *shape))
        found[key] = values > 0 if dtype == "bool" else values.astype(dtype)
    found["next.done"] = (step == np.asarray(LENGTHS)[episode] - 1)[:, None]
    for name, size in CAMERAS.items():
        films = [picture(number, t, *size) for number, t in zip(episode, step, strict=True)]
        found[f"observation.images.{name}"] = np.stack(films)
    return found


def ask(peer: str, scratch: Path, kind: str) -> tuple[Path, dict[str, np.ndarray], str]:
    """Let LeRobot record and read: the dataset, its frames, and its version."""
    root, out = scratch / kind, scratch / f"{kind}.npz"
    environment = {**os.environ, "HF_HOME": str(scratch / "hf"), "HF_HUB_OFFLINE": "1"}
    words = [peer, "-c", PEER, str(scratch / "source.npz"), str(root), kind, str(out), str(FPS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"LeRobot could not record and read:\n{done.stderr[-4000:]}")
    with np.load(out, allow_pickle=False) as content:
        return root, {name: content[name] for name in content.files}, done.stdout.split()[-1]


def compare(root: Path, theirs: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> Any:
    """What differs between Reverie's rows and LeRobot's frames."""
    dataset = open_dataset(root)
    wrong: list[str] = []
    decoders, errors = 0, []
    episodes = dataset.episodes()
    wrong += ["number of episodes"] if len(episodes) != len(LENGTHS) else []
    keys: dict[str, str] = dict(dataset.about.extra["keys"])
    for number, each in enumerate(episodes):
        rows, chosen = dataset.read(each.name), theirs["episode_index"] == number
        frames = int(chosen.sum())
        wrong += ["task"] if {each.task} != set(theirs["task"][chosen].tolist()) else []
        wrong += ["rows"] if each.rows != frames + 1 or len(rows["first"]) != frames + 1 else []
        for name, key in keys.items():
            if ".images." in key:
                seen, other = rows[name][:frames].astype(np.int16), theirs[key][chosen]
                original = truth[key][truth["episode"] == number].transpose(0, 3, 1, 2)
                decoders = max(decoders, int(np.abs(seen - other).max()))
                errors.append(float(np.abs(seen - original).mean()))
            elif not same(rows[name][:frames], theirs[key][chosen]):
                wrong.append(name)
        wrong += [] if same(rows["action"][1:], theirs["action"][chosen]) else ["action"]
        wrong += [] if same(rows["reward"][1:], theirs["next.reward"][chosen]) else ["reward"]
        done = theirs["next.done"][chosen].ravel()
        wrong += [] if same(rows["terminated"][1:], done) else ["terminated"]
        seconds = dataset.timestamps(each.name)[:frames].astype(np.float32)  # type: ignore[attr-defined]
        wrong += [] if same(seconds, theirs["timestamp"][chosen]) else ["timestamp"]
    version = dataset.about.format
    dataset.close()
    read = {key for key in theirs if key.startswith("observation.")}
    wrong += sorted(read ^ set(keys.values()))
    frames = len(theirs["index"])
    return {
        "version": version,
        "frames": frames,
        "wrong": wrong,
        "decoders": decoders,
        "film": float(np.mean(errors)),
    }


def same(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether numbers are equal, whatever axes of one entry there are."""
    return one.dtype == two.dtype and np.array_equal(one, two.reshape(one.shape))


def main() -> int:
    """Print the table; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", required=True, help="a Python that has another lerobot")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = []
    print(f"{'dataset':<14} {'pictures':<8} {'frames':>6} {'wrong':>5} {'decoders':>8} {'film':>6}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        truth = recorded()
        np.savez(scratch / "source.npz", **truth)
        for kind in ("video", "image"):
            root, theirs, lerobot = ask(options.peer, scratch, kind)
            result = {"pictures": kind, "lerobot": lerobot, **compare(root, theirs, truth)}
            results.append(result)
            print(
                f"{result['version']:<14} {kind:<8} {result['frames']:>6} "
                f"{len(result['wrong']):>5} {result['decoders']:>8} {result['film']:>6.2f}  "
                f"LeRobot {lerobot} {', '.join(sorted(set(result['wrong'])))}",
                flush=True,
            )
    bad = [r for r in results if r["wrong"] or r["decoders"] > LEVELS * (r["pictures"] == "video")]
    print("Something differs." if bad else "Everything as LeRobot reads it.")
    if options.out:
        options.out.write_text(json.dumps({"datasets": results, **provenance()}, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
