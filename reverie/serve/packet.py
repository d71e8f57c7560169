"""One frame as it goes to every page: numbers, then pictures, in one binary message.

4 bytes   length of the head, little-endian
head      JSON; `pictures` says the name, type and length of each picture
pictures  PNG where they are small, so that every pixel is the model's, else JPEG
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from reverie.viz.video import Frames, pillow

SMALL = 128 * 128
"""Pixels up to which a picture is sent without loss."""


def pack(head: Mapping[str, Any], pictures: Mapping[str, Frames | None]) -> bytes:
    """The message; pictures that are None are left out."""
    coded = {name: encode(frame) for name, frame in pictures.items() if frame is not None}
    listed = [{"name": n, "type": kind, "bytes": len(raw)} for n, (kind, raw) in coded.items()]
    text = json.dumps({**_finite(head), "pictures": listed}, allow_nan=False).encode()
    return b"".join([struct.pack("<I", len(text)), text, *(raw for _, raw in coded.values())])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Head and coded pictures of a message."""
    (length,) = struct.unpack_from("<I", message)
    head, place, pictures = json.loads(message[4 : 4 + length]), 4 + length, {}
    for picture in head["pictures"]:
        pictures[picture["name"]] = message[place : place + picture["bytes"]]
        place += picture["bytes"]
    return head, pictures


def encode(frame: Frames) -> tuple[str, bytes]:
    """The media type and the bytes of a picture `[h, w, 3]`."""
    image, buffer = pillow().fromarray(frame), io.BytesIO()
    if frame.shape[0] * frame.shape[1] <= SMALL:
        image.save(buffer, "PNG", compress_level=1)
        return "image/png", buffer.getvalue()
    image.save(buffer, "JPEG", quality=88)
    return "image/jpeg", buffer.getvalue()


def _finite(head: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that JSON does not know become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in head.items()
    }
