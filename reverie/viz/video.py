"""Frames to a moving picture: GIF, WebP and PNG through Pillow, MP4 through ffmpeg.

Frames are uint8 `[T, h, w, 3]`. A WebP picture plays in every current browser without a script and
is a tenth of the size of a GIF of the same quality; a GIF plays everywhere; an MP4 is the smallest.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

FORMATS = (".gif", ".mp4", ".png", ".webp")


def write(path: Path | str, frames: Frames, fps: float) -> Path:
    """Write a file in the format that its name ends in; it is there whole, or not at all."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path.name!r} names no known format; end it in one of {', '.join(FORMATS)}."
        )
    content = encode(frames, fps, path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
    return path


def encode(frames: Frames, fps: float, format: str = ".webp", quality: int = 70) -> bytes:
    """The bytes of an endless animation (`.gif .webp .png`) or of a film (`.mp4`).

    Args:
        frames: uint8 `[T, h, w, 3]`; an `.mp4` drops an odd last row or column of pixels.
        fps: frames per second; GIF knows only hundredths of a second per frame.
        format: one of `FORMATS`; `.png` is an animated PNG, or a plain one for one frame.
        quality: of WebP, 0 to 100.
    """
    frames = _checked(frames, fps)
    if format == ".mp4":
        return _mp4(frames, fps)
    image = pillow()
    options: dict[str, Any] = {"save_all": True, "duration": 1000 / fps, "loop": 0}
    if format == ".gif":
        pictures = _one_palette(image, frames)
        options |= {"optimize": False, "disposal": 1, "duration": max(2, round(100 / fps)) * 10}
    else:
        pictures = [image.fromarray(frame) for frame in frames]
    if format == ".webp":
        # No key frames after the first: a still background is then stored once.
        few = {"kmin": len(frames) + 1, "kmax": len(frames) + 2}
        options |= {"quality": quality, "method": 4, "duration": round(1000 / fps), **few}
    if format == ".png" and len(pictures) == 1:
        options = {}
    buffer = io.BytesIO()
    options |= {"append_images": pictures[1:]} if options else {}
    pictures[0].save(buffer, format[1:].upper(), **options)
    return buffer.getvalue()


def still(frame: NDArray[np.uint8], quality: int = 80) -> bytes:
    """One picture `[h, w, 3]` as WebP."""
    return encode(frame[None], 1.0, ".webp", quality)


def pillow() -> Any:
    """Pillow's `Image` module, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'Pictures need Pillow, which is missing: pip install "reverie[viz]".'
        ) from error
    return Image


def _checked(frames: Frames, fps: float) -> Frames:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(
            f"Frames are uint8 [T, h, w, 3] with T >= 1; got {frames.dtype} {list(frames.shape)}."
        )
    if not 0 < fps <= 1000:
        raise ValueError(f"Frames per second must lie in (0, 1000]; got {fps}.")
    return frames


def _one_palette(image: Any, frames: Frames) -> list[Any]:
    """Frames in one palette of 128 colours, chosen over some of them; without dithering, whose
    noise would triple the file."""
    some = frames[:: max(1, len(frames) // 8)]
    sample = image.fromarray(np.concatenate(list(some)))
    palette = sample.quantize(128, method=image.Quantize.MEDIANCUT)
    none = image.Dither.NONE
    return [image.fromarray(frame).quantize(palette=palette, dither=none) for frame in frames]


def _mp4(frames: Frames, fps: float) -> bytes:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(
            'MP4 needs imageio-ffmpeg, which is missing: pip install "reverie[viz]".'
        ) from error
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    if not height or not width:
        raise ValueError(f"An MP4 needs 2 x 2 pixels or more; got {list(frames.shape[1:3])}.")
    source = f"-f rawvideo -pixel_format rgb24 -video_size {width}x{height} -framerate {fps} -i -"
    target = "-codec:v libx264 -pix_fmt yuv420p -crf 23 -movflags +faststart"
    with tempfile.TemporaryDirectory() as directory:
        film = Path(directory) / "film.mp4"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source.split()]
        content = np.ascontiguousarray(frames[:, :height, :width]).tobytes()
        done = subprocess.run(
            [*command, *target.split(), str(film)], input=content, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"ffmpeg could not write the film: {done.stderr.decode().strip()}")
        return film.read_bytes()
