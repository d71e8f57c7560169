"""The U-Net: what it is at first, what it sees, pictures of any size, and its blocks by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.models.unisim import UNetConfig
from reverie.models.unisim.unet import Attention, Residual, UNet, channels_last, fill_places


def unet(shape: tuple[int, ...] = (3, 16, 16), still: bool = False, **changes: int) -> UNet:
    made = UNet(shape, 3, 12, UNetConfig((8, 16), **changes))
    if not still:
        shaken(made)
    return made


def shaken(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module


def given(shape: tuple[int, ...] = (3, 16, 16), count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(count, *shape), torch.randn(count, 3, *shape), torch.randn(count, 12)


def test_at_first_it_says_that_nothing_changes() -> None:
    noisy, before, condition = given()
    assert torch.equal(unet(still=True)(noisy, before, condition), before[:, -1])


def test_it_sees_the_noisy_frame_each_frame_before_and_the_condition() -> None:
    net, inputs = unet(), [x.requires_grad_() for x in given()]
    change = net(*inputs) - inputs[1][:, -1]
    noisy, before, condition = torch.autograd.grad(change.square().sum(), inputs)
    assert (noisy.flatten(1).abs().sum(1) > 0).all()
    assert (before.flatten(2).abs().sum(2) > 0).all()
    assert (condition.abs().sum(1) > 0).all()


def test_rows_know_nothing_of_each_other() -> None:
    net, inputs = unet(), given(count=3)
    whole = net(*inputs)
    for row in range(3):
        torch.testing.assert_close(net(*(x[row : row + 1] for x in inputs)), whole[row : row + 1])


@pytest.mark.parametrize("shape", [(3, 17, 13), (1, 5, 9), (4, 16, 18)])
def test_pictures_of_any_size_are_continued_at_the_border(shape: tuple[int, ...]) -> None:
    net, inputs = unet(shape), given(shape)
    right, below = -shape[2] % 4, -shape[1] % 4
    wide = unet((shape[0], shape[1] + below, shape[2] + right))
    wide.load_state_dict(net.state_dict())
    noisy, before, condition = inputs
    larger = F.pad(noisy, (0, right, 0, below), mode="replicate")
    earlier = F.pad(before.flatten(0, 1), (0, right, 0, below), mode="replicate")
    expected = wide(larger, earlier.unflatten(0, before.shape[:2]), condition)
    found = net(*inputs)
    assert found.shape == noisy.shape
    torch.testing.assert_close(found, expected[..., : shape[1], : shape[2]])


@pytest.mark.parametrize(
    "changes", [{"blocks": 2}, {"patch": 1}, {"patch": 4}, {"attention": 0}, {"attention": 2}]
)
def test_its_parts_can_be_chosen(changes: dict[str, int]) -> None:
    net = unet(**changes)
    assert net(*given()).shape == (2, 3, 16, 16)
    assert len(net.attention) == changes.get("attention", 1)
    assert net.input.in_channels == 3 * 4 * changes.get("patch", 2) ** 2


def test_a_block_is_its_skip_connection_at_first_and_then_the_formula() -> None:
    x, c = torch.randn(2, 8, 6, 5), torch.randn(2, 12)
    assert torch.equal(Residual(8, 8, 12)(x, c), x)
    block = Residual(8, 16, 12)
    torch.testing.assert_close(block(x, c), block.skip(x))
    shaken(block)

    def norm(x: Tensor, layer: nn.GroupNorm) -> Tensor:
        groups = x.unflatten(1, (8, -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        variance = (groups - mean).square().mean((2, 3, 4), keepdim=True)
        y = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        return y * layer.weight[:, None, None] + layer.bias[:, None, None]

    h = norm(block.first(F.silu(norm(x, block.first_norm))), block.second_norm)
    scale, shift = (c @ block.modulation.weight.T + block.modulation.bias).split(16, 1)
    h = (1 + scale)[..., None, None] * h + shift[..., None, None]
    expected = block.skip(x) + block.second(F.silu(h))
    torch.testing.assert_close(block(x, c), expected, atol=1e-5, rtol=1e-5)


def test_attention_is_a_softmax_over_all_places_in_heads_of_32() -> None:
    layer, x = Attention(64), torch.randn(2, 64, 3, 4)
    assert torch.equal(layer(x), x)
    shaken(layer)
    tokens = layer.norm(x).flatten(2).transpose(1, 2)
    q, k, v = layer.project(tokens).chunk(3, -1)
    heads = []
    for h in range(2):
        part = slice(32 * h, 32 * (h + 1))
        weight = (q[..., part] @ k[..., part].transpose(1, 2) / 32**0.5).softmax(-1)
        heads.append(weight @ v[..., part])
    change = layer.output(torch.cat(heads, -1)).transpose(1, 2).unflatten(2, (3, 4))
    torch.testing.assert_close(layer(x), x + change, atol=1e-5, rtol=1e-5)


def test_maps_of_position_are_sums_of_waves_along_rows_and_columns() -> None:
    maps = torch.empty(1, 40, 6, 8)
    fill_places(maps)
    corner = maps[..., :1, :1] + maps - maps[..., :1, :] - maps[..., :, :1]
    torch.testing.assert_close(corner, torch.zeros_like(maps), atol=1e-5, rtol=0)
    places = maps[0].flatten(1).T  # every place is told from every other
    assert torch.cdist(places, places).add(torch.eye(48) * 9).min() > 0.1
    assert 0.3 < maps.std() < 1.2


def test_layout_in_memory_changes_no_value() -> None:
    net = unet()
    before = {name: x.clone() for name, x in net.state_dict().items()}
    channels_last(net)
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())
    assert net.input.weight.is_contiguous(memory_format=torch.channels_last)
