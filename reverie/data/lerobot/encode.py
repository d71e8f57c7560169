"""Pictures to films: one film per camera and episode, and films joined without encoding again.

A film is an MP4 in which frame k is shown at k / fps exactly, and nothing is reordered, so that the
films of two episodes are joined by shifting times. Small groups of pictures (a key frame every
second frame) make any frame quick to reach.

Shapes: `C h w` image, `C` 1 or 3.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reverie.data.container import Array

CODECS = ("libsvtav1", "h264")
"""What can be asked for; AV1 is smaller, H.264 plays on older machines and is encoded sooner."""

_QUALITY = {"libsvtav1": 30, "libx264": 23}
_THREADS = 2


def require_av() -> Any:
    """PyAV, or an error that names the extra."""
    try:
        import av
    except ImportError as error:
        raise ImportError(
            "Films are made by PyAV; pip install 'reverie[data]', or record with video=False."
        ) from error
    return av


@dataclass(frozen=True)
class FilmConfig:
    """How pictures are encoded."""

    codec: str = "libsvtav1"
    """One of `CODECS`; H.264 is taken where AV1 is not built in or refuses the size."""
    crf: int | None = None
    """Constant rate factor, 0 (best) to 51 (H.264) or 63 (AV1); None: 23 or 30, about alike."""
    gop: int = 2
    """Frames from one key frame to the next."""

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ValueError(f"There is no codec {self.codec!r}; choose one of {CODECS}.")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ValueError(f"crf is {self.crf}; give 0 (best) to 51 (H.264) or 63 (AV1).")
        if self.gop < 1:
            raise ValueError(f"gop is {self.gop}; give at least one frame from key to key.")


class Film:
    """The film of one camera and episode while it is made.

    Args:
        path: of the MP4; not whole before `close`.
        shape: `(C, h, w)` of every picture.
        fps: frames per second.

    Raises:
        ImportError: PyAV is missing.
        OSError: the disk is full.
        ValueError: no codec takes pictures of this size.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int, config: FilmConfig) -> None:
        self.path, self.shape, self.fps = path, tuple(shape), fps
        self.frames = 0
        self._av = require_av()
        _, height, width = self.shape
        codec, pixels, options = choose(config, height, width)
        with _as_os_error(path):
            self._container = self._av.open(str(path), "w", format="mp4")
            self._stream = self._container.add_stream(codec, rate=fps, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, pixels

    def add(self, picture: Array) -> None:
        """The next picture, uint8 `(C, h, w)`."""
        frame = self._av.VideoFrame.from_ndarray(_colour(picture), format="rgb24")
        frame.pts, frame.time_base = self.frames, Fraction(1, self.fps)
        with _as_os_error(self.path):
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and see that it is whole.

        Raises:
            OSError: it is not, because the disk is full.
        """
        with _as_os_error(self.path):
            self._container.mux(self._stream.encode(None))
            self._container.close()
        require_whole(self.path, self.frames)

    def cancel(self) -> None:
        """Give it up, whatever state it is in; the file goes."""
        with suppress(self._av.FFmpegError, OSError, ValueError):
            self._container.close()
        self.path.unlink(missing_ok=True)


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """What FFmpeg cannot write is an OSError as everywhere."""
    av = require_av()
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OSError(error.errno, f"{path.name}: {error.strerror}") from error


@functools.lru_cache(maxsize=256)
def choose(config: FilmConfig, height: int, width: int) -> tuple[str, str, dict[str, str]]:
    """The first encoder that opens for pictures of this size: its name, pixel format and options.

    Raises:
        ValueError: none does.
    """
    av = require_av()
    refused = []
    for codec, pixels, options in _choices(config, height, width):
        try:
            context = av.CodecContext.create(codec, "w")
            context.width, context.height, context.pix_fmt = width, height, pixels
            context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
            context.options = options
            context.open()
        except (av.FFmpegError, ValueError) as error:
            refused.append(f"{codec}: {error}")
            continue
        return codec, pixels, options
    raise ValueError(
        f"No codec encodes pictures of {width} x {height}: {'; '.join(refused)}. Record with "
        "video=False, which keeps each picture as a PNG."
    )


def _choices(
    config: FilmConfig, height: int, width: int
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """What to try, in this order."""
    # The encoder of AV1 tells its settings on stderr, twenty lines per film, unless asked not to.
    os.environ.setdefault("SVT_LOG", "1")
    even = height % 2 == 0 and width % 2 == 0
    for codec in ["libsvtav1", "libx264"][CODECS.index(config.codec) :]:
        crf = config.crf if config.crf is not None else _QUALITY[codec]
        options = {"g": str(config.gop), "crf": str(min(crf, 51 if codec == "libx264" else 63))}
        if codec == "libsvtav1":
            options |= {"preset": "12", "svtav1-params": f"lp={_THREADS}"}
        else:
            options |= {"preset": "veryfast", "bf": "0", "threads": str(_THREADS)}
        # Half the colour of an odd row or column is none: H.264 keeps every pixel's colour then.
        yield codec, "yuv420p" if codec == "libsvtav1" or even else "yuv444p", options


def _colour(picture: Array) -> Array:
    """`(C, h, w)` as contiguous `(h, w, 3)`; grey in each channel."""
    moved = picture.transpose(1, 2, 0)
    return np.ascontiguousarray(moved if moved.shape[2] == 3 else np.repeat(moved, 3, axis=2))


class Png:
    """Pictures `(C, h, w)` as PNG files, exactly."""

    def __init__(self) -> None:
        self._av = require_av()
        self._contexts: dict[tuple[int, ...], Any] = {}

    def __call__(self, picture: Array) -> bytes:
        """One picture as the bytes of a file, grey as grey."""
        pixels = "gray" if picture.shape[0] == 1 else "rgb24"
        image = _colour(picture) if pixels == "rgb24" else np.ascontiguousarray(picture[0])
        context = self._contexts.get(picture.shape)
        if context is None:
            context = self._contexts[picture.shape] = self._av.CodecContext.create("png", "w")
            context.height, context.width, context.pix_fmt = *picture.shape[1:], pixels
            context.time_base, context.thread_count = Fraction(1, 1), 1
            context.options = {"compression_level": "4", "pred": "up"}
        frame = self._av.VideoFrame.from_ndarray(image, format=pixels)
        return b"".join(bytes(packet) for packet in context.encode(frame))


class Reel(NamedTuple):
    """A film on disk, or its first frames."""

    path: Path
    frames: int


def describe(path: Path, fps: int) -> dict[str, Any]:
    """What LeRobot's info.json tells of a film."""
    with require_av().open(str(path)) as container:
        stream = container.streams.video[0]
        codec = {"libdav1d": "av1"}.get(stream.codec_context.name, stream.codec_context.name)
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": codec,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }


def joinable(one: Path, two: Path) -> bool:
    """Whether two films can be one without encoding again: codec, size and settings are equal."""
    return _kind(one) == _kind(two)


def _kind(path: Path) -> tuple[Any, ...]:
    with require_av().open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        settings = (context.name, context.width, context.height, context.pix_fmt)
        return (*settings, stream.average_rate, bytes(context.extradata or b""))


def join(reels: Sequence[Reel], target: Path, fps: int) -> None:
    """One film of the frames of several, in their order, copied as they are encoded.

    A reel may name fewer frames than its file has (what follows is left out). The index of the
    film stands before the pictures, for readers over a network.

    Raises:
        OSError: a file has fewer frames than its reel says, or the disk is full.
    """
    av = require_av()
    options = {"movflags": "faststart"}
    with _as_os_error(target), av.open(str(target), "w", format="mp4", options=options) as output:
        stream, done = None, 0
        for reel in reels:
            with av.open(str(reel.path)) as source:
                track = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(track, opaque=True)
                    stream.time_base = track.time_base
                _copy(source, reel, stream, done, fps)
            done += reel.frames
    require_whole(target, done)


def _copy(source: Any, reel: Reel, stream: Any, done: int, fps: int) -> None:
    """The first frames of a film, to follow on the `done` frames before."""
    track = source.streams.video[0]
    tick = 1 / (fps * track.time_base)
    if tick.denominator != 1:
        raise OSError(f"{reel.path} has a clock of {track.time_base} s, not one of {fps} Hz.")
    ticks, copied = int(tick), 0
    for packet in source.demux(track):
        if packet.dts is None or copied == reel.frames:
            break
        packet.pts = packet.dts = (done + copied) * ticks
        packet.duration = ticks
        packet.time_base = track.time_base
        packet.stream = stream
        stream.container.mux(packet)
        copied += 1
    if copied < reel.frames:
        raise OSError(f"{reel.path} has {copied} frames where {reel.frames} were recorded.")


def require_whole(path: Path, frames: int) -> None:
    """Raise an OSError unless an MP4 is complete: the boxes that it consists of end where the file
    ends, and its index lists so many frames."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(16).ljust(16, b"\0")
            length = struct.unpack(">I", head[:4])[0]
            length = struct.unpack(">Q", head[8:])[0] if length == 1 else length
            if length < 8:
                break
            place += length
    listed = -1
    if place == size > 0:
        with require_av().open(str(path)) as container:
            listed = container.streams.video[0].frames
    if listed != frames:
        raise OSError(
            errno.EIO, f"{path.name} is not whole ({listed} of {frames} frames); is the disk full?"
        )
