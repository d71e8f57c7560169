from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place
from reverie.data.lerobot.video import Films, Window
from tests.data.lerobot.made import FPS, H, W, film, picture, which

LENGTH = 40
CODECS = {
    "libsvtav1": {"g": "2", "crf": "10"},
    "libx264": {"g": "12", "bf": "3"},
    "libx264 of key frames": {"g": "1"},
    "libx264 of open groups": {"x264-params": "open-gop=1:keyint=8:bframes=3"},
    "libx264 of one key frame": {"g": "1000", "sc_threshold": "0"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    pictures = [picture(1, t) for t in range(LENGTH)]
    for name, options in CODECS.items():
        film(str(root / f"{name}.mp4"), pictures, codec=name.split()[0], **options)
    return root


def films(root, threads=1, fps=FPS):
    return Films(Place(root), fps, threads)


def window(file, frames, channels=3, height=H, fps=FPS):
    out = np.zeros((len(frames), channels, height, W), np.uint8)
    return Window(file, np.asarray(frames) / fps, out, "top of episode_000001", int(frames[0]))


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_is_found_in_whatever_order_windows_come(root, codec):
    reader, file = films(root), f"{codec}.mp4"
    order = [
        (0, 40),
        (0, 3),
        (3, 9),
        (9, 10),
        (5, 6),
        (37, 40),
        (38, 40),
        (0, 1),
        (20, 31),
        (31, 33),
    ]
    for start, stop in order:
        wanted = window(file, range(start, stop))
        reader.fill([wanted])
        assert which(wanted.out).tolist() == list(range(start, stop))
    reader.close()


def test_pictures_are_those_that_went_in(root):
    wanted = window("libx264 of key frames.mp4", [7])
    films(root).fill([wanted])
    error = np.abs(wanted.out[0].astype(int) - picture(1, 7).transpose(2, 0, 1))
    assert np.median(error) <= 2
    assert error.mean() < 4


def test_pictures_are_those_of_pyav(root):
    wanted = window("libsvtav1.mp4", range(LENGTH))
    films(root).fill([wanted])
    with av.open(str(root / "libsvtav1.mp4")) as container:
        theirs = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(wanted.out, np.stack(theirs).transpose(0, 3, 1, 2))


def test_times_match_within_half_a_frame_and_not_beyond(root):
    reader = films(root)
    for shift in (-0.45, 0.45):
        wanted = window("libx264.mp4", np.arange(5, 9) + shift)
        reader.fill([wanted])
        assert which(wanted.out).tolist() == [5, 6, 7, 8]


def test_frames_may_be_left_out_or_asked_for_twice(root):
    wanted = window("libx264.mp4", [4, 7, 7, 12])
    films(root).fill([wanted])
    assert which(wanted.out).tolist() == [4, 7, 7, 12]


def test_grey_pictures(root):
    wanted = window("libx264.mp4", [3], channels=1)
    films(root).fill([wanted])
    grey = picture(1, 3) @ [0.299, 0.587, 0.114]
    assert np.median(np.abs(wanted.out[0, 0] - grey)) <= 3


def test_threads_give_the_same(root):
    one, several = films(root), films(root, threads=3)
    spans = [range(t, t + 8) for t in range(0, 32, 4)]
    alone = [window(f"{codec}.mp4", span) for codec in CODECS for span in spans]
    together = [window(f"{codec}.mp4", span) for codec in CODECS for span in spans]
    one.fill(alone)
    several.fill(together)
    for a, b in zip(alone, together, strict=True):
        assert which(a.out).tolist() == [*range(a.frame, a.frame + 8)]
        np.testing.assert_array_equal(a.out, b.out)
    several.close()


def test_a_window_that_follows_the_last_needs_no_seek(root):
    reader = films(root)
    for span in (range(5), range(5, 10)):
        reader.fill([window("libx264 of one key frame.mp4", span)])
    (kept,) = reader._idle
    kept._seek = lambda first: pytest.fail("sought")
    wanted = window("libx264 of one key frame.mp4", range(10, 20))
    reader.fill([wanted])
    assert which(wanted.out).tolist() == list(range(10, 20))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files")
def test_open_films_are_few_and_closed(root):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    reader = Films(Place(root), FPS, 1, most=2)
    for codec in CODECS:
        reader.fill([window(f"{codec}.mp4", [0])])
    kept = count() - before
    reader.close()
    assert count() == before
    assert kept == 2


def test_films_behind_an_address(root):
    system = fsspec.filesystem("memory")
    system.pipe("/films/a.mp4", (root / "libsvtav1.mp4").read_bytes())
    reader = films("memory://films")
    for span in (range(30, 35), range(4)):
        wanted = window("a.mp4", span)
        reader.fill([wanted])
        assert which(wanted.out).tolist() == list(span)
    reader.close()
    system.rm("/films", recursive=True)


def test_a_missing_frame_is_named(root):
    with pytest.raises(DatasetError, match=r"no picture at 4\.0000 s") as error:
        films(root).fill([window("libx264.mp4", range(37, 43))])
    assert error.value.file.endswith("libx264.mp4")
    assert error.value.field == "top of episode_000001, frame 40"


def test_a_hole_in_a_film_is_named(root):
    with av.open(str(root / "hole.mp4"), "w") as container:
        stream = container.add_stream("libx264", FPS, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for t in [*range(8), *range(10, 20)]:
            frame = av.VideoFrame.from_ndarray(picture(1, t), format="rgb24")
            frame.pts = t
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    reader = films(root)
    wanted = window("hole.mp4", range(10, 14))
    reader.fill([wanted])
    assert which(wanted.out).tolist() == [10, 11, 12, 13]
    with pytest.raises(DatasetError, match="frame 8: there is no picture"):
        reader.fill([window("hole.mp4", range(4, 12))])


def test_torn_missing_and_strange_files(root):
    whole = (root / "libx264.mp4").read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:4,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    for name, content in {
        "empty": b"",
        "torn": whole[: len(whole) // 2],
        "list": playlist,
        "concat": b"ffconcat version 1.0\nfile libx264.mp4\n",
    }.items():
        (root / f"{name}.mp4").write_bytes(content)
        with pytest.raises(DatasetError, match=rf"{name}\.mp4: it cannot be read, InvalidData"):
            films(root).fill([window(f"{name}.mp4", range(40))])
    with pytest.raises(DatasetError, match=r"none\.mp4: the file is missing"):
        films(root, threads=2).fill([window("none.mp4", [0]), window("libx264.mp4", [0])])


def test_damage_in_the_middle_is_an_error_and_the_rest_is_still_read(root):
    whole = bytearray((root / "libx264 of key frames.mp4").read_bytes())
    at = whole.index(b"mdat") + len(whole) // 3
    whole[at : at + 400] = bytes(400)
    (root / "hurt.mp4").write_bytes(whole)
    reader = films(root)
    with pytest.raises(DatasetError, match=r"hurt\.mp4"):
        reader.fill([window("hurt.mp4", range(LENGTH))])
    wanted = window("hurt.mp4", range(2))
    reader.fill([wanted])
    assert which(wanted.out).tolist() == [0, 1]


def test_another_rate_or_size_is_an_error(root):
    with pytest.raises(DatasetError, match=r"10 pictures per second; info\.json says 30"):
        films(root, fps=30).fill([window("libx264.mp4", [0])])
    with pytest.raises(DatasetError, match=f"{H} x {W}; info.json says {H + 2} x {W}"):
        films(root).fill([window("libx264.mp4", [0], height=H + 2)])
