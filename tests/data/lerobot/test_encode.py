import io
import os
import sys

import av
import numpy as np
import pytest
from PIL import Image

from reverie.data.lerobot import encode
from reverie.data.lerobot.encode import Film, FilmConfig, Png, Reel
from tests.data.lerobot.toy import H264, picture

FPS = 20


def film(path, count, shape=(3, 32, 48), config=H264, start=0, fps=FPS):
    made = Film(path, shape, fps, config)
    for k in range(count):
        made.add(picture(shape, start + k))
    made.close()
    return Reel(path, count)


def frames(path):
    with av.open(str(path)) as container:
        found = list(container.decode(video=0))
    return [float(frame.time) for frame in found], [f.to_ndarray(format="rgb24") for f in found]


@pytest.mark.parametrize("codec", encode.CODECS)
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_a_film_shows_every_picture_at_its_time(tmp_path, codec, size):
    shape = (3, *size)
    reel = film(tmp_path / "a.mp4", 9, shape, FilmConfig(codec))
    times, pictures = frames(reel.path)
    assert times == pytest.approx([k / FPS for k in range(9)], abs=1e-9)
    for k, found in enumerate(pictures):
        expected = picture(shape, k).transpose(1, 2, 0)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 3
    told = encode.describe(reel.path, FPS)
    name = {"libsvtav1": "av1", "h264": "h264"}[codec]
    assert (told["video.codec"], told["video.height"], told["video.width"]) == (name, *size)


def test_any_frame_is_near_a_key_frame(tmp_path):
    film(tmp_path / "a.mp4", 8, config=FilmConfig("h264", gop=3))
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.dts is not None]
    keys = [k for k, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0 and max(np.diff([*keys, 8])) == 3


def test_a_smaller_rate_factor_is_better_and_larger(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 32, 48), np.uint8)
    errors, sizes = [], []
    for crf in (5, 40):
        made = Film(tmp_path / f"{crf}.mp4", noise.shape, FPS, FilmConfig("h264", crf))
        made.add(noise)
        made.close()
        (found,) = frames(made.path)[1]
        errors.append(np.abs(found.astype(int) - noise.transpose(1, 2, 0)).mean())
        sizes.append(made.path.stat().st_size)
    assert errors[0] < errors[1] and sizes[0] > sizes[1]


@pytest.mark.parametrize("codec", encode.CODECS)
def test_joined_films_show_the_same_frames_in_their_order(tmp_path, codec):
    reels = [
        film(tmp_path / f"{k}.mp4", count, config=FilmConfig(codec), start=10 * k)
        for k, count in enumerate((1, 5, 4))
    ]
    reels[1] = Reel(reels[1].path, 3)  # two frames that nobody wants
    target = tmp_path / "all.mp4.partial"
    encode.join(reels, target, FPS)
    times, found = frames(target)
    expected = [f for reel in reels for f in frames(reel.path)[1][: reel.frames]]
    assert times == pytest.approx([k / FPS for k in range(8)], abs=1e-9)
    assert [f.tobytes() for f in found] == [f.tobytes() for f in expected]
    with av.open(str(target)) as container:
        assert container.streams.video[0].average_rate == FPS
    content = target.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_joining_joined_films_keeps_time(tmp_path):
    reel = film(tmp_path / "0.mp4", 2, fps=33)
    for k in range(1, 6):
        more = film(tmp_path / f"{k}.mp4", 3, start=5 * k, fps=33)
        target = tmp_path / f"joined{k}.mp4"
        encode.join([reel, more], target, 33)
        reel = Reel(target, reel.frames + 3)
    times, _ = frames(reel.path)
    assert times == pytest.approx([k / 33 for k in range(17)], abs=1e-9)


def test_a_film_with_too_few_frames_is_not_joined(tmp_path):
    reel = film(tmp_path / "a.mp4", 3)
    with pytest.raises(OSError, match="has 3 frames where 5 were recorded"):
        encode.join([Reel(reel.path, 5)], tmp_path / "b.mp4", FPS)


def test_films_of_another_kind_are_not_joined(tmp_path):
    one = film(tmp_path / "a.mp4", 2)
    assert encode.joinable(one.path, film(tmp_path / "b.mp4", 5, start=9).path)
    assert not encode.joinable(one.path, film(tmp_path / "c.mp4", 2, (3, 32, 32)).path)
    other = film(tmp_path / "d.mp4", 2, config=FilmConfig("libsvtav1"))
    assert not encode.joinable(one.path, other.path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_film_that_was_cut_is_noticed(tmp_path, share):
    reel = film(tmp_path / "a.mp4", 20)
    joined = tmp_path / "b.mp4"  # its index stands in front
    encode.join([reel], joined, FPS)
    for path in (reel.path, joined):
        encode.require_whole(path, 20)
        with pytest.raises(OSError, match="20 of 19 frames"):
            encode.require_whole(path, 19)
        os.truncate(path, int(share * path.stat().st_size))
        with pytest.raises(OSError, match="not whole"):
            encode.require_whole(path, 20)


def test_a_film_that_is_given_up_leaves_nothing(tmp_path):
    made = Film(tmp_path / "a.mp4", (3, 32, 48), FPS, H264)
    made.add(picture((3, 32, 48), 0))
    made.cancel()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_pixel(channels):
    png = Png()
    rng = np.random.default_rng(0)
    for _ in range(2):
        noise = rng.integers(0, 256, (channels, 17, 23), np.uint8)
        with Image.open(io.BytesIO(png(noise))) as found:
            assert found.format == "PNG" and found.mode == {1: "L", 3: "RGB"}[channels]
            values = np.asarray(found).reshape(17, 23, channels).transpose(2, 0, 1)
            assert np.array_equal(values, noise)


def test_h264_is_taken_where_av1_is_not_built_in(monkeypatch):
    real = av.CodecContext.create

    def without(name, mode):
        if name == "libsvtav1":
            raise av.codec.codec.UnknownCodecError(name)
        return real(name, mode)

    monkeypatch.setattr(encode, "require_av", lambda: Stub(without))
    encode.choose.cache_clear()
    assert encode.choose(FilmConfig(), 32, 48)[:2] == ("libx264", "yuv420p")
    assert encode.choose(FilmConfig(), 33, 48)[:2] == ("libx264", "yuv444p")
    encode.choose.cache_clear()


class Stub:
    """PyAV with another way to make codecs."""

    FFmpegError = av.FFmpegError

    def __init__(self, create):
        self.CodecContext = type("CodecContext", (), {"create": staticmethod(create)})


def test_a_size_that_no_codec_takes_is_said(monkeypatch):
    def never(name, mode):
        raise ValueError("too small")

    monkeypatch.setattr(encode, "require_av", lambda: Stub(never))
    encode.choose.cache_clear()
    with pytest.raises(ValueError, match=r"48 x 32.*too small.*video=False"):
        encode.choose(FilmConfig(), 32, 48)
    encode.choose.cache_clear()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"codec": "vp9"}, "no codec 'vp9'"), ({"crf": 99}, "crf is 99"), ({"gop": 0}, "gop is 0")],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FilmConfig(**options)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"reverie\[data\]"):
        encode.require_av()
