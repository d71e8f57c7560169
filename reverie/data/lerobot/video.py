"""Pictures out of films: one seek to the key frame at or before a window, then straight on.

A picture at time s of a film is the frame whose own time lies within half a frame of s,

    |pts - s| < 1 / (2 fps).

Decoding costs most of all that reading a dataset costs, so it is done once: frames before the
window are decoded but not converted, films stay open, a window that begins where the last one ended
needs no seek, and several films are decoded by threads, which ffmpeg lets run side by side.
Colours go from YUV straight to planes R, G, B (`C h w`), which saves the turn from `h w C`.

Only the MP4 family is opened, whatever a file is called: a playlist that names other files is none.

Shapes: `T` pictures of a window, `C h w` a picture.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from reverie.data.container import Array
from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place, damaged
from reverie.data.lerobot.remote import FilmIndex, RangeFile

RATE_TOLERANCE = 0.05
"""How far a film's own rate may lie from the dataset's, as a share."""

_PLANES = {3: ("gbrp", (1, 2, 0)), 1: ("gray", (0,))}
"""Number of channels -> pixel format of ffmpeg, and where each of its planes goes."""


@dataclass(frozen=True)
class Window:
    """Pictures that are wanted of a film."""

    file: str
    times: Array
    """In the film [s], rising: float64 `[T]`."""
    out: Array
    """Where they go: uint8 `[T, C, h, w]`."""
    what: str
    """Episode and camera, for errors."""
    frame: int
    """Number in the episode of the first, for errors."""


class Films:
    """The video files of a dataset.

    Args:
        place: where they are.
        fps: frames per second of the dataset.
        threads: how many windows are decoded at once.
        most: films that stay open between windows.
    """

    def __init__(self, place: Place, fps: float, threads: int, most: int = 32) -> None:
        self._place = place
        self._fps = fps
        self._most = most
        self._idle: list[Film] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "film") if threads > 1 else None

    def fill(self, windows: Sequence[Window]) -> None:
        """Decode windows into their `out`, in any order.

        Raises:
            DatasetError: a film is missing or damaged, has another size or rate, or lacks a frame;
                it names the file, the episode, the camera and the frame.
        """
        if self._pool is None or len(windows) < 2:
            for window in windows:
                self._fill(window)
            return
        tasks = [self._pool.submit(self._fill, window) for window in windows]
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Close all films, and end the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self.__del__()

    def __del__(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _fill(self, window: Window) -> None:
        film = self._taken(window.file) or Film(self._place, window.file, self._fps)
        try:
            film.fill(window)
        except BaseException:
            film.close()
            raise
        with self._lock:
            self._idle.append(film)
            dropped = self._idle.pop(0) if len(self._idle) > self._most else None
        if dropped is not None:
            dropped.close()

    def _taken(self, file: str) -> Film | None:
        """An idle film of that file, the one used last; it is the caller's alone."""
        with self._lock:
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at].file == file:
                    return self._idle.pop(at)
        return None


class Film:
    """One open video file."""

    def __init__(self, place: Place, file: str, fps: float) -> None:
        av = pyav()
        self.file = file
        self._where = place.name(file)
        self._errors = (av.FFmpegError,)
        self._container: Any = None
        self._handle: RangeFile | None = None
        try:
            with damaged(self._where, "", *self._errors):
                if place.local is None:
                    self._handle = RangeFile(place.open(file, blocks=False))
                source = self._handle or f"file:{place.local}/{file}"
                self._container = av.open(source, format="mp4")
                if not self._container.streams.video:
                    raise DatasetError(self._where, "", "there is no video stream in it.")
                self._stream = self._container.streams.video[0]
                if self._stream.codec_context is None:
                    raise DatasetError(self._where, "", "its video codec is not known here.")
                # Threads within a film cost more than they save on small pictures.
                self._stream.codec_context.thread_count = 1
                self._stream.codec_context.thread_type = "NONE"
                self._turn = av.video.reformatter.VideoReformatter()
                self._check_rate(fps)
        except BaseException:
            self.close()
            raise
        self._tick = float(self._stream.time_base)
        self._half = 0.5 / fps / self._tick
        entries = self._stream.index_entries
        self._index = FilmIndex.of(entries) if self._handle else None
        self._keys = [e.timestamp for e in entries if e.is_keyframe]
        self._at: int | None = None
        """Time of the frame decoded last [ticks]; None where the next thing is a seek."""

    def fill(self, window: Window) -> None:
        """Decode a window into its `out`."""
        wanted = window.times / self._tick
        self._check_size(self._stream, window)
        if self._handle is not None and self._index is not None:
            ends = (wanted[0] + self._half, wanted[-1] + self._half)
            self._handle.wish(*self._index.extent(*ends))
        with damaged(self._where, window.what, *self._errors):
            done = 0
            if self._is_near(wanted[0]):
                done = self._run(window, wanted)
            if done < len(wanted):
                self._seek(wanted[0])
                done = self._run(window, wanted)
        if done < len(wanted):
            raise DatasetError(
                self._where,
                f"{window.what}, frame {window.frame + done}",
                f"there is no picture at {window.times[done]:.4f} s: the film is shorter than the "
                "table of episodes says, or is damaged.",
            )

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
        if self._handle is not None:
            self._handle.close()

    def _is_near(self, first: float) -> bool:
        """Whether going straight on from here is no more work than a seek."""
        if self._at is None or not self._keys or not self._at < first - self._half:
            return False
        key = max(int(np.searchsorted(self._keys, first + self._half)) - 1, 0)
        return bool(self._keys[key] <= self._at + 3 * self._half)

    def _seek(self, first: float) -> None:
        self._container.seek(max(int(first + self._half / 2), 0), stream=self._stream)
        self._at = None

    def _run(self, window: Window, wanted: Array) -> int:
        """Decode from here on until all are found or one is missing; how many were found."""
        done, number = 0, len(wanted)
        for frame in self._frames():
            while done < number and abs(frame.pts - wanted[done]) < self._half:
                self._convert(frame, window, done)
                done += 1
            if done == number or frame.pts - wanted[done] >= self._half:
                break
        return done

    def _frames(self) -> Iterator[Any]:
        """Frames from here on."""
        with contextlib.suppress(EOFError):  # it gave its last frames before
            for frame in self._container.decode(self._stream):
                if frame.pts is not None:
                    self._at = frame.pts
                    yield frame
        self._at = None  # the end: the decoder takes nothing more before a seek

    def _convert(self, frame: Any, window: Window, at: int) -> None:
        channels, height, width = window.out.shape[1:]
        self._check_size(frame, window)
        if frame.is_corrupt:
            raise DatasetError(
                self._where, f"{window.what}, frame {window.frame + at}", "the picture is damaged."
            )
        if channels == 3 and width % 16:  # swscale leaves the last `width % 16` columns unwritten
            plane = self._turn.reformat(frame, format="rgb24", threads=1).planes[0]
            rows = np.frombuffer(plane, np.uint8, height * plane.line_size)
            rows = rows.reshape(height, plane.line_size)[:, : 3 * width]
            window.out[at] = rows.reshape(height, width, 3).transpose(2, 0, 1)
            return
        form, order = _PLANES[channels]
        picture = self._turn.reformat(frame, format=form, threads=1)
        for plane, channel in zip(picture.planes, order, strict=True):
            rows = np.frombuffer(plane, np.uint8, height * plane.line_size)
            window.out[at, channel] = rows.reshape(height, plane.line_size)[:, :width]

    def _check_size(self, source: Any, window: Window) -> None:
        """Of a stream, before anything is decoded, and of each frame."""
        height, width = window.out.shape[-2:]
        if (source.height, source.width) != (height, width):
            raise DatasetError(
                self._where,
                window.what,
                f"a picture is {source.height} x {source.width}; info.json says "
                f"{height} x {width}.",
            )

    def _check_rate(self, fps: float) -> None:
        stream = self._stream
        rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
        close = any(abs(rate - fps) <= RATE_TOLERANCE * fps for rate in rates)
        if rates and stream.frames > 2 and not close:
            raise DatasetError(
                self._where,
                "fps",
                f"the film has {rates[0]:g} pictures per second; info.json says {fps:g}.",
            )


def pyav() -> Any:
    """PyAV, or an error that says how to get it."""
    try:
        import av
        import av.video.reformatter
    except ImportError as error:
        raise ImportError(
            'Films of LeRobot datasets need PyAV, which is missing: pip install "reverie[data]".'
        ) from error
    return av
