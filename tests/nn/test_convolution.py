"""The image encoder and decoder against plain channel-last formulas, at every size and depth."""

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.nn.convolution import ImageDecoder, ImageEncoder, channels, stages

SIZES = [(64, 64), (96, 96), (100, 84), (48, 48), (128, 128), (32, 32)]


def decoder(shape: tuple[int, ...], depth: int = 2) -> ImageDecoder:
    return ImageDecoder(shape, deter=8, latent=6, units=5, depth=depth, blocks=2)


def norm_silu_first(x: Tensor, gain: Tensor) -> Tensor:
    """The norm over the second axis of `[N, C, h, w]`."""
    gain = gain.reshape(1, -1, 1, 1)
    return F.silu(x * gain / torch.sqrt((x * x).mean(1, keepdim=True) + 1e-4))


@pytest.mark.parametrize(
    ("size", "count"),
    [
        *(((n, n), 4) for n in (48, 64, 96, 128, 256)),
        *((size, 4) for size in ((100, 84), (50, 200))),
        *(((32, 32), 3), ((24, 100), 3), ((16, 16), 2), ((6, 6), 1)),
        *(((257, 257), 5), ((512, 512), 5), ((480, 640), 6)),
    ],
)
def test_images_are_halved_until_few_pixels_are_left(size: tuple[int, int], count: int) -> None:
    assert stages(*size) == count


@pytest.mark.parametrize("size", [(5, 5), (64, 4)])
def test_an_image_too_small_is_refused_with_its_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} is too small"):
        stages(*size)


def test_channels_grow_as_published_and_then_stay() -> None:
    assert channels(16, 4) == [32, 48, 64, 64]
    assert channels(16, 2) == [32, 48]
    assert channels(16, 6) == [32, 48, 64, 64, 64, 64]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_and_number_of_channels_passes(size: tuple[int, int], count: int) -> None:
    shape = (count, *size)
    encoder = ImageEncoder(shape, depth=2)
    with torch.no_grad():
        embedding = encoder(torch.rand(2, *shape))
        picture = decoder(shape)(torch.randn(2, 8), torch.randn(2, 6))
    assert embedding.shape == (2, encoder.size)
    assert picture.shape == (2, *shape)
    assert (picture > 0).all() and (picture < 1).all()
    assert picture.std() > 0


def test_the_encoder_is_convolution_pooling_norm_and_silu() -> None:
    encoder, image = ImageEncoder((3, 64, 48), depth=2).double(), torch.rand(2, 3, 64, 48).double()
    with torch.no_grad():
        for gain in encoder.gains:
            gain.normal_()
    x = image - 0.5
    for layer, gain in zip(encoder.convolutions, encoder.gains, strict=True):
        x = F.max_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=2), 2)
        x = norm_silu_first(x, gain)
    expected = einops.rearrange(x, "n c h w -> n (h w c)")
    torch.testing.assert_close(encoder(image), expected)
    assert [layer.weight.shape[0] for layer in encoder.convolutions] == [4, 6, 8, 8]


def test_the_decoder_is_the_published_one() -> None:
    net, deter, latent = decoder((3, 64, 48)).double(), torch.randn(2, 8), torch.randn(2, 6)
    deter, latent = deter.double(), latent.double()
    with torch.no_grad():
        for gain in (net.gain, *net.gains, *net.from_latent[0].parameters()):
            gain.normal_()
    from_deter = deter @ torch.block_diag(*net.from_deter.weight) + net.from_deter.bias
    from_deter = einops.rearrange(from_deter, "n (g h w c) -> n (g c) h w", g=2, h=4, w=3)
    from_latent = net.from_latent(latent)
    from_latent = einops.rearrange(from_latent, "n (h w c) -> n c h w", h=4, w=3)
    x = norm_silu_first(from_deter + from_latent, net.gain)
    for layer, gain in zip(net.convolutions, net.gains, strict=True):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = norm_silu_first(F.conv2d(x, layer.weight, layer.bias, padding=2), gain)
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = F.conv2d(x, net.output.weight, net.output.bias, padding=2)
    torch.testing.assert_close(net(deter, latent), torch.sigmoid(x))
    assert [layer.weight.shape[0] for layer in net.convolutions] == [8, 6, 4]


def test_a_size_that_does_not_divide_is_padded_with_its_border() -> None:
    image = torch.rand(1, 2, 100, 84)
    odd, even = ImageEncoder((2, 100, 84), depth=2), ImageEncoder((2, 112, 96), depth=2)
    even.load_state_dict(odd.state_dict())
    wide = torch.cat([image, image[:, :, -1:].expand(-1, -1, 12, -1)], 2)
    wide = torch.cat([wide, wide[..., -1:].expand(-1, -1, -1, 12)], 3)
    torch.testing.assert_close(odd(image), even(wide))


def test_every_border_of_an_odd_size_is_seen() -> None:
    image = torch.rand(1, 1, 51, 53, requires_grad=True)
    ImageEncoder((1, 51, 53), depth=2)(image).square().sum().backward()
    assert image.grad is not None
    for edge in (image.grad[..., 0], image.grad[..., -1], image.grad[..., 0, :]):
        assert edge.any()
    assert image.grad[..., -1, :].any()


def test_the_initial_deviation_is_that_of_the_kernels_inputs() -> None:
    encoder = ImageEncoder((3, 64, 64), depth=32)
    for layer, inputs in zip(encoder.convolutions, (3, 64, 96, 128), strict=True):
        assert layer.weight.std().item() == pytest.approx((inputs * 25) ** -0.5, rel=0.02)
        assert not layer.bias.any()


def test_blocks_that_do_not_divide_the_decoders_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a multiple of its 3 blocks"):
        ImageDecoder((3, 64, 64), deter=9, latent=6, units=5, depth=2, blocks=3)
