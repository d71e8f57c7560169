"""How fast windows are read at random from a LeRobot v3.0 dataset with films, beside LeRobot.

LeRobot 0.4.4 writes the dataset with its own recorder and its defaults (AV1, a key frame every two
frames, crf 30): two cameras of 96 x 96 with a textured background and a moving disc, the second one
sliding over the scene, so that its pictures change whole. Then both sides, in processes of their
own with equal threads, read the same random windows of 64 steps: all sensors, actions and rewards.
They take turns, and one round is one pass over all windows.

* `reverie` gives uint8 pictures, as its models take them; `reverie, float` turns them to float32 in
  0..1, which is what LeRobot gives, so it is the line of equal output;
* `reverie, many` gives all windows to one call (`read_many`);
* `lerobot, ...` is `LeRobotDataset(..., delta_timestamps=...)[i]` with a video backend. torchcodec
  is its default and needs the libraries of FFmpeg, which no package brings; where the system has
  none, those inside the peer's own PyAV are lent to it.

Before anything is timed, numbers must be equal and pictures the same to within one step of 255.

    python bench/lerobot_read.py --peer PYTHON    # of an environment with lerobot==0.4.4
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS, SIDE, FPS = 64, 96, 30
CAMERAS = ("top", "wrist")
READERS = ("reverie", "reverie, float", "reverie, many", "lerobot, torchcodec", "lerobot, pyav")
Rows = dict[str, np.ndarray]


def record(root: Path, episodes: int, frames: int) -> None:
    """A dataset by LeRobot's own recorder; runs in the peer's environment."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    axes = ["height", "width", "channels"]
    film = {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": axes}
    vector = {"dtype": "float32", "shape": (7,), "names": [f"joint{n}" for n in range(7)]}
    features = {"observation.state": vector, "action": vector}
    features |= {f"observation.images.{name}": film for name in CAMERAS}
    features["next.reward"] = {"dtype": "float32", "shape": (1,), "names": None}
    target = LeRobotDataset.create("made/here", FPS, features, root=root, use_videos=True)
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(episodes):
        scene = random.integers(60, 160, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        place, speed = random.uniform(20, 76, 2), random.normal(0, 2, 2)
        for t in range(frames):
            place = np.clip(place + speed, 8, SIDE - 8)
            speed = np.where((place <= 8) | (place >= SIDE - 8), -speed, speed)
            picture = scene.copy()
            picture[(x - place[0]) ** 2 + (y - place[1]) ** 2 < 64] = (250, 40, 30)
            target.add_frame(
                {
                    "observation.state": random.normal(size=7).astype(np.float32),
                    "action": random.normal(size=7).astype(np.float32),
                    "observation.images.top": picture,
                    "observation.images.wrist": np.roll(picture, t, 1),
                    "next.reward": np.array([t / 8], np.float32),
                    "task": "push the disc",
                }
            )
        target.save_episode(parallel_encoding=False)
    target.finalize()


def lerobot(root: Path, backend: str) -> Callable[[int, int, int], Rows]:
    """Reads frames of an episode by its number, first frame and number of frames."""
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    times = [step / FPS for step in range(STEPS)]
    keys = ["observation.state", "action", "next.reward"]
    keys += [f"observation.images.{name}" for name in CAMERAS]
    source = LeRobotDataset(
        "made/here", root, delta_timestamps=dict.fromkeys(keys, times), video_backend=backend
    )
    names = {key: key.rpartition(".")[2] for key in keys}

    def read(episode: int, start: int, frames: int) -> Rows:
        item = source[episode * frames + start]
        return {names[key]: item[key].numpy() for key in keys}

    return read


def reverie(root: Path, floats: bool) -> Callable[[int, int, int], Rows]:
    """As `lerobot`."""
    import torch

    from reverie.data.lerobot import open

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    source = open(root, threads=threads)

    def read(episode: int, start: int, frames: int) -> Rows:
        rows = source.read(f"episode_{episode:06d}", start, start + STEPS)
        if floats:
            for name in CAMERAS:
                rows[name] = (torch.from_numpy(rows[name]) / 255).numpy()
        return rows

    return read


def many(root: Path, windows: list[list[int]]) -> None:
    """All windows in one call."""
    from reverie.data.lerobot import open

    source = open(root, threads=int(os.environ["OMP_NUM_THREADS"]))
    wanted = [(f"episode_{e:06d}", start, start + STEPS) for e, start in windows]
    serve(lambda: source.read_many(wanted), len(windows))


def serve(call: Callable[[], Any], windows: int) -> None:
    """Answer each line of standard input with the milliseconds per window of one round."""
    call()
    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        sys.stdout.write(json.dumps({k: 1e3 * v / windows for k, v in spent.items()}) + "\n")
        sys.stdout.flush()


def work(name: str, folder: Path, frames: int) -> None:
    """One side, in a process of its own: keeps what it read of the first windows, then serves."""
    windows = json.loads((folder / "windows.json").read_text())
    if name == "reverie, many":
        many(folder / "data", windows)
        return
    kind, _, how = name.partition(", ")
    root = folder / "data"
    read = lerobot(root, how) if kind == "lerobot" else reverie(root, how == "float")
    for number, (episode, start) in enumerate(windows[:5]):
        np.savez(folder / f"{name}{number}.npz", **read(episode, start, frames))

    def call() -> None:
        for episode, start in windows:
            read(episode, start, frames)

    serve(call, len(windows))


# -------------------------------------------------------------------------------------------------
# The parent: start the sides, compare what they read, ask them in turn, print.


def lent_libraries(peer: str, folder: Path) -> str:
    """FFmpeg's libraries inside the peer's PyAV, linked under the names that torchcodec asks for;
    folders for the loader to look in."""
    code = "import importlib.util as i; print(i.find_spec('av').origin)"
    done = subprocess.run([peer, "-c", code], check=True, capture_output=True, text=True)
    inside = Path(done.stdout.strip()).parents[1] / "av.libs"
    links = folder / "ffmpeg"
    links.mkdir()
    for path in inside.glob("lib*"):
        name = re.fullmatch(r"(lib(?:av|sw)[a-z]+)-\w+\.so\.(\d+).*", path.name)
        if name:
            (links / f"{name[1]}.so.{name[2]}").symlink_to(path)
    return os.pathsep.join([str(links), str(inside), os.environ.get("LD_LIBRARY_PATH", "")])


def compare(folder: Path, ours: str, theirs: str) -> float:
    """The largest difference of a picture [1/255]; an error where numbers differ.

    Row t + 1 of ours has the action and the reward of frame t of theirs.
    """
    worst = 0.0
    for number in range(5):
        with (
            np.load(folder / f"{ours}{number}.npz") as a,
            np.load(folder / f"{theirs}{number}.npz") as b,
        ):
            np.testing.assert_array_equal(a["state"], b["state"])
            np.testing.assert_array_equal(a["action"][1:], b["action"][:-1])
            np.testing.assert_array_equal(a["reward"][1:], b["reward"].reshape(-1)[:-1])
            for name in CAMERAS:
                mine = a[name] * (255.0 if a[name].dtype == np.float32 else 1.0)
                worst = max(worst, float(np.abs(mine - b[name] * 255.0).max()))
    if worst > 1.01:
        raise ValueError(f"Pictures of {ours} and {theirs} differ by {worst:.1f} of 255.")
    return worst


def start(name: str, command: list[str], env: dict[str, str]) -> subprocess.Popen[str] | None:
    """A side that is ready, or None, with its last words on standard error."""
    pipe = subprocess.PIPE
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env)
    assert process.stdout is not None
    if process.stdout.readline():
        return process
    log.seek(0)
    words = log.read().decode(errors="replace").strip().splitlines()[-3:]
    print(f"{name} does not run: {' '.join(words)[-300:]}", file=sys.stderr)
    return None


def ask(process: subprocess.Popen[str]) -> dict[str, float]:
    """Milliseconds per window of one round."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Milliseconds per window of each side and round, and how far pictures differ."""
    random = np.random.default_rng(1)
    last = options.frames - STEPS
    drawn = zip(
        random.integers(0, options.episodes, options.windows).tolist(),
        random.integers(0, last + 1, options.windows).tolist(),
        strict=True,
    )
    (folder / "windows.json").write_text(json.dumps(list(drawn)))
    lent = lent_libraries(options.peer, folder)
    sides = {}
    for name in READERS:
        env = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
        env["PYTHONWARNINGS"] = "ignore"
        if name.startswith("lerobot"):
            env["LD_LIBRARY_PATH"] = lent
        else:
            env["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
        python = options.peer if name.startswith("lerobot") else sys.executable
        size = ["--frames", str(options.frames)]
        command = [python, __file__, "--worker", name, "--folder", str(folder), *size]
        process = start(name, command, env)
        if process is not None:
            sides[name] = process
    theirs = [name for name in sides if name.startswith("lerobot")]
    apart = {
        f"{a} - {b}": compare(folder, a, b) for a in ("reverie", "reverie, float") for b in theirs
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            rounds[name].append(ask(sides[name]))
    for process in sides.values():
        process.communicate()
    return {"rounds": rounds, "pictures_apart": apart}


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds; ratios are of the fastest LeRobot in the same round."""
    theirs = [name for name in rounds if name.startswith("lerobot")]
    best = [min(rounds[name][n]["wall"] for name in theirs) for n in range(len(rounds[theirs[0]]))]
    found = {}
    for name, mine in rounds.items():
        ratios = [peer / each["wall"] for peer, each in zip(best, mine, strict=True)]
        found[name] = {
            "wall_ms": statistics.median(each["wall"] for each in mine),
            "cpu_ms": statistics.median(each["cpu"] for each in mine),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
    return found


def main() -> None:
    """Record, read, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", help="python of an environment with lerobot==0.4.4")
    parser.add_argument("--threads", type=int, default=1, help="of each side")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--frames", type=int, default=250, help="of an episode")
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker == "record":
        record(options.folder / "data", options.episodes, options.frames)
        return
    if options.worker:
        work(options.worker, options.folder, options.frames)
        return
    if not options.peer:
        parser.error("give --peer PYTHON, of an environment with lerobot==0.4.4")
    from reverie.viz.provenance import provenance

    with tempfile.TemporaryDirectory() as place:
        size = ["--episodes", str(options.episodes), "--frames", str(options.frames)]
        command = [options.peer, __file__, "--worker", "record", "--folder", place, *size]
        subprocess.run(command, check=True, capture_output=True)
        found = measure(options, Path(place))
    table = summary(found["rounds"])
    print(f"{'':22}{'ms per window':>15}{'CPU ms':>9}{'ratio':>8}   lowest .. highest of rounds")
    for name, row in table.items():
        print(
            f"{name:22}{row['wall_ms']:15.2f}{row['cpu_ms']:9.2f}{row['ratio']:7.2f}x"
            f"   {row['ratio_low']:.2f} .. {row['ratio_high']:.2f}"
        )
    about = {"threads": options.threads, "steps": STEPS, "load": os.getloadavg()[0]}
    about |= {"episodes": options.episodes, "frames": options.frames, "windows": options.windows}
    if options.out:
        kept = {"summary": table, **found, "settings": about, **provenance()}
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
