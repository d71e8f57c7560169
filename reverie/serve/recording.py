"""What is played, kept: a film of the pictures, and the episodes as a LeRobot dataset.

Both are written in one thread of their own, which gets rows through a bounded queue; frames go to
ffmpeg as they come, so that memory does not grow with time. Names are made here, never by a page.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo
from reverie.serve.session import Moment
from reverie.viz.video import Frames

DATASET = "dataset"
LONGEST = 100_000
"""Frames, after which a recording ends by itself."""
_WAITING = 256
_SMALLEST = 256
_GAP = 4


@dataclass(frozen=True)
class Recording:
    """Where recordings go and what they are of."""

    folder: Path
    """Films are written here, and the dataset in `dataset` below it."""
    robot: str
    """Stands in the dataset as its robot: say that a model made it, and which."""
    obs: Mapping[str, Space]
    """Sensors of the dataset; empty where it cannot be kept."""
    action: Space
    dt: float
    """World time per row of the dataset [s]."""
    frame: float
    """World time per frame of the film [s]."""
    about: ActionInfo = field(default_factory=ActionInfo)


class Saved(NamedTuple):
    """A recording that is on the disk."""

    name: str
    """Of the film in the folder; empty where there is none."""
    frames: int
    words: str


class Recorder:
    """`start`, `add` each moment, `stop`; what came of it is told to `done`, from its thread."""

    def __init__(self, config: Recording, done: Callable[[Saved], None]) -> None:
        self.config, self._done = config, done
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._count = 0
        self.name = ""
        """Of the recording in progress; empty where there is none."""
        self.frames = 0

    def start(self, film: str, data: bool, now: Moment, text: str) -> str:
        """Record from this moment on; returns the name. `film` is mp4, gif or empty.

        Raises:
            ValueError: a recording is in progress, or nothing of it could be kept.
            ImportError: what writes films or datasets is not installed.
        """
        if self.name:
            raise ValueError(f"{self.name} is being recorded; stop it first.")
        if data and not self.config.obs:
            data = False
            if not film:
                raise ValueError("This model's rows make no dataset; record a film.")
        _require(film, data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()
        self._count += 1
        self.frames = 0
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self._count}"
        self._queue.put(("start", (self.name, film, data)))
        self.add(now._replace(first=True), text)
        return self.name

    def add(self, moment: Moment, text: str) -> None:
        """One moment; waits where 256 of them are not yet written."""
        if self.name:
            self.frames += 1
            self._queue.put(("add", (moment, text)))
            if self.frames >= LONGEST:
                self.stop()

    def stop(self) -> None:
        """End the recording, if there is one; it is written on in the background."""
        if self.name:
            self.name = ""
            self._queue.put(("stop", None))

    def close(self) -> None:
        """End the recording, and wait until it is written."""
        self.stop()
        if self._thread is not None:
            self._queue.put(("close", None))
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        current: _Current | None = None
        name = ""
        while True:
            kind, given = self._queue.get()
            if kind == "close":
                return
            try:
                if kind == "start":
                    name = given[0]
                    current = _Current(self.config, *given)
                elif current is not None and kind == "add":
                    current.add(*given)
                elif current is not None:
                    self._done(current.finish())
                    current = None
            except Exception as error:  # a full disk must not end the game
                if current is not None:
                    current.drop()
                current = None
                if self.name == name:
                    self.name = ""
                self._done(Saved("", 0, f"The recording failed: {error}"))


class _Current:
    """A recording in progress."""

    def __init__(self, config: Recording, name: str, film: str, data: bool) -> None:
        from reverie.data.lerobot.writer import LeRobotWriter

        config.folder.mkdir(parents=True, exist_ok=True)
        self._config, self._name, self._form = config, name, film
        self._film: _Film | None = None
        self._writer: Any = None
        self._rows = self._frames = 0
        if data:
            self._writer = LeRobotWriter(
                config.folder / DATASET,
                config.obs,
                config.action,
                dt=config.dt,
                about=config.about,
                robot=config.robot,
            )

    def add(self, moment: Moment, text: str) -> None:
        picture = beside(moment.picture, moment.real)
        if self._form:
            if self._film is None:
                path = self._config.folder / f"{self._name}.part.mp4"
                self._film = _Film(path, picture, 1 / self._config.frame)
            self._film.add(picture)
        self._frames += 1
        if self._writer is None:
            return
        self._rows = 1 if moment.first else self._rows + 1
        row = {name: moment.row[name] for name in self._config.obs}
        self._writer.append(
            0,
            {
                **row,
                "action": moment.action * (not moment.first),
                "reward": 0.0 if moment.first else moment.reward or 0.0,
                "first": moment.first,
                "last": False,
                "terminated": False,
            },
            task=text or None,
        )

    def finish(self) -> Saved:
        words, name = [], ""
        if self._film is not None:
            part, self._film = self._film.close(), None
            if self._form == "gif":
                part = _gif(part, 1 / self._config.frame)
            path = part.replace(self._config.folder / f"{self._name}.{self._form}")
            name = path.name
            words.append(f"{name}, {self._frames} frames")
        if self._writer is not None:
            if self._rows < 2:
                self._writer.abandon()
            self._writer.finish()
            episodes = self._writer.episodes
            self._writer.close()
            words.append(f"the {DATASET}, now of {episodes} episode{'s' * (episodes != 1)}")
        return Saved(name, self._frames, "Recorded " + " and ".join(words) + ".")

    def drop(self) -> None:
        """Give back what is held, whatever happens."""
        for end in (
            self._film.discard if self._film else None,
            self._writer.close if self._writer else None,
        ):
            try:
                if end is not None:
                    end()
            except Exception:  # the first error is the one that is told
                continue


class _Film:
    """An MP4 that frames are added to; small pictures are enlarged, pixel by pixel."""

    def __init__(self, path: Path, picture: Frames, fps: float) -> None:
        from imageio_ffmpeg import write_frames

        self._path, self._shape = path, picture.shape
        height, width = picture.shape[:2]
        times = max(1, -(-_SMALLEST // height))
        shape = f"scale=iw*{times}:ih*{times}:flags=neighbor,pad=ceil(iw/2)*2:ceil(ih/2)*2"
        self._writer = write_frames(
            path,
            (width, height),
            fps=fps,
            codec="libx264",
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=["-vf", shape, "-crf", "18", "-movflags", "+faststart", "-threads", "1"],
        )
        self._writer.send(None)

    def add(self, picture: Frames) -> None:
        if picture.shape == self._shape:
            self._writer.send(np.ascontiguousarray(picture))

    def close(self) -> Path:
        self._writer.close()
        return self._path

    def discard(self) -> None:
        self._writer.close()
        self._path.unlink(missing_ok=True)


def beside(one: Frames, other: Frames | None) -> Frames:
    """Two pictures side by side; the second as high as the first."""
    if other is None:
        return one
    height, ratio = one.shape[0], other.shape[0] / one.shape[0]
    rows = (np.arange(height) * ratio).astype(int)
    columns = (np.arange(max(1, round(other.shape[1] / ratio))) * ratio).astype(int)
    fitted = other[rows][:, columns.clip(0, other.shape[1] - 1)]
    gap = np.full((height, _GAP, 3), 128, np.uint8)
    return np.concatenate([one, gap, fitted], 1)


def _gif(film: Path, fps: float) -> Path:
    """A film as a GIF of one palette, in two passes of ffmpeg, neither of which holds it whole."""
    from imageio_ffmpeg import get_ffmpeg_exe

    palette, path = film.with_suffix(".png"), film.with_suffix(".gif")
    rate = f"fps={min(fps, 50):g}"
    start = [get_ffmpeg_exe(), "-loglevel", "error", "-y", "-i", str(film)]
    try:
        for command in (
            [*start, "-vf", f"{rate},palettegen=max_colors=128", "-update", "1", str(palette)],
            [*start, "-i", str(palette), "-lavfi", f"{rate},paletteuse=dither=none", str(path)],
        ):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise RuntimeError(f"ffmpeg could not write it: {done.stderr.decode().strip()}")
    finally:
        palette.unlink(missing_ok=True)
        film.unlink(missing_ok=True)
    return path


def _require(film: str, data: bool) -> None:
    """Say at once what is missing; what is there is imported by the thread that writes."""
    if film and find_spec("imageio_ffmpeg") is None:
        raise ImportError(
            'Films need imageio-ffmpeg, which is missing: pip install "reverie[viz]".'
        )
    missing = [name for name in ("pyarrow", "av") if data and find_spec(name) is None]
    if missing:
        raise ImportError(
            f'Datasets need {" and ".join(missing)}, missing here: pip install "reverie[data]".'
        )
