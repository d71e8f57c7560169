"""Reading sensors: stacks of pictures, random shift, missing sensors, and what is joined how."""

import pytest
import torch
import torch.nn.functional as F

from reverie.core.spec import Space
from reverie.models.tdmpc2.layers import simnorm
from reverie.models.tdmpc2.sensors import Camera, Encoder, as_bytes, masked, pushed, shifted
from tests.models.tdmpc2 import tiny


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8)


def test_a_stack_moves_on_and_is_filled_at_the_first_frame() -> None:
    stack, frame = pictures(2, 6, 4, 5), pictures(2, 2, 4, 5)
    moved = pushed(stack, frame, torch.tensor([False, True]))
    assert torch.equal(moved[0], torch.cat([stack[0, 2:], frame[0]]))
    assert torch.equal(moved[1], torch.cat([frame[1]] * 3))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 3), (6, 6), (1, 5)])
def test_shift_is_a_crop_of_the_padded_picture(down: int, right: int) -> None:
    x, pad = pictures(2, 3, 8, 9), 3
    padded = F.pad(x.float(), (pad,) * 4, mode="replicate").to(torch.uint8)
    expected = padded[:, :, down : down + 8, right : right + 9]
    assert torch.equal(shifted(x, torch.tensor([[down, right]] * 2), pad), expected)


def test_every_picture_has_its_own_shift() -> None:
    x = pictures(1, 3, 8, 8).repeat(2, 1, 1, 1)
    both = shifted(x, torch.tensor([[3, 3], [6, 0]]), 3)
    assert torch.equal(both[0], x[0])
    assert torch.equal(both[1], shifted(x[1:], torch.tensor([[6, 0]]), 3)[0])


def test_bytes_of_floats() -> None:
    x = pictures(2, 3, 4, 4)
    assert torch.equal(as_bytes(x), x)
    assert torch.equal(as_bytes(x.float() / 255), x)


def test_a_missing_sensor_reads_as_zero_whatever_stands_there() -> None:
    x = torch.tensor([[1.0], [torch.nan]])
    obs = {"x": x, "x.present": torch.tensor([True, False])}
    assert torch.equal(masked(obs, "x", x), torch.tensor([[1.0], [0.0]]))
    assert masked({"x": x}, "x", x) is x


def test_the_camera_is_four_convolutions() -> None:
    net = Camera((3, 64, 64), frames=3, channels=32)
    assert net.size == 512
    image = pictures(2, 9, 64, 64)
    x = image.float() / 255 - 0.5
    for i, layer in enumerate(net.convolutions):
        x = layer(x if i == 0 else F.relu(x))
    torch.testing.assert_close(net(image), x.flatten(1))


def test_a_picture_that_is_too_small_is_refused() -> None:
    assert Camera((1, 39, 39), 1, 2).size == 2
    with pytest.raises(ValueError, match="38 x 64 is too small"):
        Camera((1, 38, 64), 1, 2)


def test_one_camera_that_fits_is_the_latent_before_simnorm() -> None:
    config = tiny.net_config(channels=16)
    net = Encoder(tiny.CAMERA, 0, config)
    stack = pictures(2, 9, 39, 39)
    assert not len(net.joins)
    expected = simnorm(net.cameras["camera"](stack), config.group)
    torch.testing.assert_close(net({}, {"camera": stack}), expected)


def test_several_sensors_are_added_before_simnorm() -> None:
    config = tiny.net_config()
    spaces = {"b": Space((2,)), **tiny.CAMERA, "a": Space((2, 2))}
    net = Encoder(spaces, 5, config)
    obs, task = {"a": torch.randn(3, 2, 2), "b": torch.randn(3, 2)}, torch.randn(3, 5)
    stack = pictures(3, 9, 39, 39)
    vector = torch.cat([obs["a"].flatten(1), obs["b"], task], -1)
    seen = net.joins["camera"].norm(net.cameras["camera"](stack))
    expected = simnorm(net.vectors.logits(vector) + seen, config.group)
    torch.testing.assert_close(net(obs, {"camera": stack}, task), expected)
