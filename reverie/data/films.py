"""Films in a folder, one for each camera and episode: frame t by its number.

Decoding is that of `reverie.data.lerobot.video`, which finds frames by their time; here the times
of all frames are taken from the film itself, so that uneven ones are found, too.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reverie.data.container import Array
from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place, damaged
from reverie.data.lerobot.video import Film, Window, pyav

_OPEN = 16
"""Most films held open."""


class _Reel(NamedTuple):
    film: Film
    times: Array
    """Of each frame [s], rising."""
    height: int
    width: int


class FilmFolder:
    """The films in a directory."""

    def __init__(self, place: Path) -> None:
        self._place = Place(place)
        self._root = place.absolute()
        self._open: OrderedDict[Path, _Reel] = OrderedDict()

    def size(self, path: Path) -> tuple[int, int, int]:
        """Number of frames, height and width [pixels], from the film's header.

        Raises:
            DatasetError: it is no MP4 file, or damaged.
        """
        with _opened(path) as (container, stream):
            count = int(stream.frames) or len(_times(container, stream))
            return count, int(stream.height), int(stream.width)

    def read(self, path: Path, start: int, stop: int) -> Array:
        """Frames start..stop: uint8 `[stop - start, 3, h, w]`.

        Raises:
            DatasetError: it is damaged, or has fewer frames than its header says.
        """
        reel = self._reel(path)
        out = np.empty((stop - start, 3, reel.height, reel.width), np.uint8)
        if stop > len(reel.times):
            problem = f"it has {len(reel.times)} frames where its header says more."
            raise DatasetError(path, f"frame {len(reel.times)}", problem)
        if start < stop:
            name = str(path.absolute().relative_to(self._root))
            reel.film.fill(Window(name, reel.times[start:stop], out, "film", start))
        return out

    def close(self) -> None:
        """Close all films."""
        while self._open:
            self._open.popitem()[1].film.close()

    def _reel(self, path: Path) -> _Reel:
        if path not in self._open:
            with _opened(path) as (container, stream):
                times = _times(container, stream)
                rate = float(stream.average_rate or 1)
                height, width = int(stream.height), int(stream.width)
            if len(times) > 1 and np.diff(times).min() < 0.51 / rate:
                problem = f"its frames are too uneven in time for {rate:g} in a second."
                raise DatasetError(path, "", problem)
            name = str(path.absolute().relative_to(self._root))
            self._open[path] = _Reel(Film(self._place, name, rate), times, height, width)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].film.close()
        self._open.move_to_end(path)
        return self._open[path]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A film's container and its stream of pictures."""
    av = pyav()
    source = f"file:{path.absolute()}"
    with damaged(str(path), "", av.FFmpegError), av.open(source, format="mp4") as container:
        if not container.streams.video:
            raise DatasetError(path, "", "there is no video stream in it.")
        stream = container.streams.video[0]
        if stream.codec_context is None or min(stream.height, stream.width) < 1:
            raise DatasetError(path, "", "its pictures are of an unknown kind, or have no size.")
        yield container, stream


def _times(container: Any, stream: Any) -> Array:
    """When each frame is shown [s], without decoding any."""
    ticks = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    return np.array(ticks, np.float64) * float(stream.time_base)
