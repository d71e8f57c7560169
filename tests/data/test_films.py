import av
import numpy as np
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.films import FilmFolder


def film(path, count, codec="libx264", size=(32, 48), times=None, **options):
    """A film whose frame t is grey, as bright as `shade(t)`; one in eight is a key frame."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=20, options={"g": "8", "crf": "10", **options})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for t in range(count):
            picture = np.full((*size, 3), shade(t), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = t if times is None else times[t]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    opened = FilmFolder(tmp_path)
    yield opened
    opened.close()


def shade(t):
    return 20 + 37 * t % 200


def shades(pictures):
    return pictures.mean((1, 2, 3)) if len(pictures) else []


@pytest.mark.parametrize(
    "options", [{}, {"bf": "0"}, {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}]
)
def test_any_frames_by_number(tmp_path, folder, options):
    path = film(tmp_path / "a.mp4", 30, **options)
    assert folder.size(path) == (30, 32, 48)
    with av.open(str(path)) as container:
        shown = [p.pts for p in container.demux(video=0) if p.pts is not None]
    assert (shown != sorted(shown)) == ("b_strategy" in options)
    for start, stop in [(0, 30), (29, 30), (11, 20), (20, 24), (3, 5), (7, 7)]:
        pictures = folder.read(path, start, stop)
        assert pictures.shape == (stop - start, 3, 32, 48) and pictures.dtype == np.uint8
        np.testing.assert_allclose(shades(pictures), [shade(t) for t in range(start, stop)], atol=3)


@pytest.mark.parametrize("width", [24, 50, 84])
def test_every_column_of_any_width(tmp_path, folder, width):
    path = film(tmp_path / "a.mp4", 3, size=(16, width))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    expected = np.stack(frames).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(folder.read(path, 0, 3).astype(int), expected, atol=3)


def test_uneven_frames_are_counted(tmp_path, folder):
    times = np.cumsum([0, *[1, 2, 1, 3] * 5]).tolist()
    path = film(tmp_path / "a.mp4", 21, times=times, bf="0")
    found = shades(folder.read(path, 5, 21))
    np.testing.assert_allclose(found, [shade(t) for t in range(5, 21)], atol=3)


def test_more_films_than_are_held_open(tmp_path, folder):
    paths = [film(tmp_path / f"{k}.mp4", 3 + k % 2) for k in range(20)]
    for path in [*paths, *paths]:
        np.testing.assert_allclose(shades(folder.read(path, 2, 3)), [shade(2)], atol=3)


def test_damaged_films_are_named(tmp_path, folder):
    path = film(tmp_path / "a.mp4", 30)
    whole = path.read_bytes()
    with pytest.raises(DatasetError, match=r"a\.mp4, frame 30: it has 30 frames"):
        folder.read(path, 20, 31)
    for content in (b"", b"no film" * 100, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.mp4"):
            folder.size(path)


def test_playlists_are_no_films(tmp_path, folder):
    film(tmp_path / "secret.mp4", 3)
    path = tmp_path / "a.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n")
    with pytest.raises(DatasetError):
        folder.size(path)
