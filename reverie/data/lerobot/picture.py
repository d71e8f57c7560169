"""Pictures that a LeRobot dataset keeps one by one, as PNG, JPEG or WebP, in its rows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from reverie.data.container import Array
from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import damaged

KINDS = ("PNG", "JPEG", "WEBP")

_MODES = {3: "RGB", 1: "L"}
_PLAIN = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
"""Modes of Pillow with eight bits per channel; others (depth in 16 bits) would lose some."""


def decode(content: bytes | None, out: Array, file: str, field: str) -> None:
    """One encoded picture into uint8 `[C, h, w]`.

    Args:
        content: the picture; None where the row has none.
        out: where it goes.
        file: of the row, for errors.
        field: column, episode and frame, for errors.

    Raises:
        DatasetError: there is no picture, it is damaged, or it has another size or depth.
    """
    if content is None:
        raise DatasetError(file, field, "the picture is not in the row (null, or kept elsewhere).")
    image = _pillow()
    channels, height, width = out.shape
    with damaged(file, field, SyntaxError, image.DecompressionBombError):
        picture = image.open(io.BytesIO(content), formats=KINDS)
        if picture.size != (width, height):
            raise DatasetError(
                file,
                field,
                f"a picture is {picture.size[1]} x {picture.size[0]}; info.json says "
                f"{height} x {width}.",
            )
        if picture.mode not in _PLAIN:
            raise DatasetError(
                file, field, f"a picture of mode {picture.mode} does not fit into 8 bits."
            )
        values = np.asarray(picture.convert(_MODES[channels]))
    out[...] = values.reshape(height, width, channels).transpose(2, 0, 1)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Pictures in the rows of a LeRobot dataset need Pillow, which is missing: pip install "
            '"reverie[data]".'
        ) from error
    return Image
