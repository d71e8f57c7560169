"""Films are read back: as many frames, in the right order and colours, at the right speed."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reverie.viz import video

FRAMES = np.zeros((12, 34, 46, 3), np.uint8)
for t in range(12):
    FRAMES[t, :, : 3 * (t + 1)] = (200, 60, 30)
    FRAMES[t, :, 3 * (t + 1) :] = (20, 80, 160)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = video.write(tmp_path / "new" / f"film{suffix}", FRAMES, fps=20)
    with Image.open(path) as picture:
        assert picture.n_frames == 12
        assert picture.info["loop"] == 0
        for t in (0, 5, 11):
            picture.seek(t)
            picture.load()
            assert picture.info["duration"] == 50
            found = np.asarray(picture.convert("RGB"), float)
            assert np.abs(found - FRAMES[t]).mean() < 6
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_film_is_read_back(tmp_path: Path) -> None:
    import imageio_ffmpeg

    path = video.write(tmp_path / "film.mp4", FRAMES[:, :33], fps=10)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    done = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
    )
    assert b"46x32" in done.stderr
    assert b"10 fps" in done.stderr
    found = np.frombuffer(done.stdout, np.uint8).reshape(-1, 32, 46, 3)
    assert len(found) == 12
    assert np.abs(found[5].astype(float) - FRAMES[5, :32]).mean() < 12


def test_one_picture() -> None:
    with Image.open(io.BytesIO(video.still(FRAMES[3]))) as picture:
        assert picture.size == (46, 34)
    with Image.open(io.BytesIO(video.encode(FRAMES[:1], 10, ".png"))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), FRAMES[0])


def test_bad_frames_are_refused(tmp_path: Path) -> None:
    for bad in (FRAMES.astype(np.float32), FRAMES[0], FRAMES[:0], FRAMES[..., :1]):
        with pytest.raises(ValueError, match="uint8"):
            video.encode(bad, 10)
    with pytest.raises(ValueError, match="Frames per second"):
        video.encode(FRAMES, 0)
    with pytest.raises(ValueError, match="no known format"):
        video.write(tmp_path / "film.avi", FRAMES, 10)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for suffix in (".webp", ".mp4"):
        with pytest.raises(ImportError, match=r"reverie\[viz\]"):
            video.encode(FRAMES, 10, suffix)
