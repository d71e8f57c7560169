import numpy as np
import pytest
from PIL import Image

from reverie.data.datasets import DatasetError
from reverie.data.lerobot.picture import decode
from tests.data.lerobot.made import H, W, picture, png


def decoded(content, channels=3):
    out = np.zeros((channels, H, W), np.uint8)
    decode(content, out, "a.parquet", "top of episode_000001, frame 3")
    return out


def test_pictures_without_loss_are_exact():
    truth = picture(1, 3)
    np.testing.assert_array_equal(decoded(png(truth)), truth.transpose(2, 0, 1))
    np.testing.assert_array_equal(decoded(png(truth[..., 0]), 1)[0], truth[..., 0])


def test_other_kinds_and_modes_become_colours():
    truth = picture(1, 3)
    assert (
        np.abs(decoded(png(truth, "JPEG")).astype(int).mean((1, 2)) - truth.mean((0, 1))).max() < 3
    )
    grey = truth[..., 0]
    np.testing.assert_array_equal(decoded(png(grey)), np.stack([grey] * 3))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "not in the row"),
        (b"", "cannot be read"),
        (b"\x80\x04K\x01.", "cannot be read"),
        (png(picture(0, 0))[:60], "cannot be read"),
        (png(picture(0, 0)[:, :-2]), f"{H} x {W - 2}.*{H} x {W}"),
        (png(picture(0, 0), "GIF"), "cannot be read"),
        (png(np.zeros((H, W), np.uint16)), "8 bits"),
    ],
)
def test_damage_is_named(content, problem):
    with pytest.raises(DatasetError, match=problem) as error:
        decoded(content)
    assert (error.value.file, error.value.field) == ("a.parquet", "top of episode_000001, frame 3")


def test_a_picture_of_another_size_is_refused_before_it_is_unpacked(monkeypatch):
    large = png(np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("unpacked"))
    with pytest.raises(DatasetError, match=r"info\.json says"):
        decoded(large)
