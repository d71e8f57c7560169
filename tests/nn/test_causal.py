"""Causal convolutions against 3-D ones, frame by frame against at once, and their memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.causal import (
    CausalConv,
    CausalResidual,
    Residual,
    fold_time,
    group_norm,
    unfold_time,
)


def awake(module: nn.Module) -> nn.Module:
    """With no weight left at zero, so that nothing is the identity."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def video(frames: int = 7, channels: int = 4) -> Tensor:
    return torch.randn(2, frames, channels, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize(("frames", "size"), [(1, 1), (1, 3), (2, 3), (3, 1), (3, 3), (4, 5)])
def test_it_is_a_3d_convolution_that_repeats_the_first_frame(frames: int, size: int) -> None:
    x = video()
    plain = nn.Conv3d(4, 6, (frames, size, size), dtype=torch.float64)
    layer = CausalConv(4, 6, frames, size).double()
    assert plain.bias is not None
    layer.convolution.weight.data = plain.weight.data.transpose(1, 2).flatten(1, 2)
    layer.convolution.bias.data = plain.bias.data
    before = x[:, :1].expand(-1, frames - 1, -1, -1, -1)
    padded = F.pad(torch.cat([before, x], 1), [size // 2] * 4)
    expected = plain(padded.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(layer(x)[0], expected)


@pytest.mark.parametrize("parts", [[1] * 7, [3, 4], [1, 5, 1], [6, 1]])
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["conv", "residual"])
def test_parts_of_a_video_give_what_it_gives_at_once(
    kind: str, frames: int, parts: list[int]
) -> None:
    layer = awake(CausalConv(4, 4, frames) if kind == "conv" else CausalResidual(4, frames))
    x = video()
    past, found = None, []
    for part in x.split(parts, 1):
        out, past = layer(part, past)
        assert past.shape == (2, frames - 1, 4, 5, 6)
        found.append(out)
    torch.testing.assert_close(torch.cat(found, 1), layer(x)[0])


def test_a_frame_changes_itself_and_the_two_that_follow() -> None:
    layer = awake(CausalResidual(4, 3))
    x = video()
    other = x.clone()
    other[:, 3] += 1
    changed = (layer(x)[0] != layer(other)[0]).flatten(2).any(-1).any(0)
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False]


def test_a_row_that_begins_anew_forgets_and_the_others_go_on() -> None:
    layer = awake(CausalConv(4, 4, 3))
    x, y = video(), video()
    past = layer(x)[1]
    mixed, kept = layer(y, past, torch.tensor([True, False]))
    fresh, going = layer(y), layer(y, past)
    torch.testing.assert_close(mixed, torch.stack([fresh[0][0], going[0][1]]))
    torch.testing.assert_close(kept, torch.stack([fresh[1][0], going[1][1]]))
    assert not torch.allclose(fresh[0][0], going[0][0])


def test_its_past_is_the_last_frames_it_saw() -> None:
    x = video()
    torch.testing.assert_close(CausalConv(4, 4, 3).double()(x)[1], x[:, -2:])
    torch.testing.assert_close(
        CausalConv(4, 4, 4).double()(x[:, :1])[1], x[:, :1].expand(-1, 3, -1, -1, -1)
    )


def test_channels_stay_last_in_memory() -> None:
    layer = awake(CausalResidual(4, 3)).to(memory_format=torch.channels_last)
    pictures = video().flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out = layer(pictures.unflatten(0, (2, 7)))[0].flatten(0, 1)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("block", [Residual(16), CausalResidual(16, 3), CausalResidual(16, 1)])
def test_blocks_begin_as_the_identity_and_can_leave_it(block: nn.Module) -> None:
    x = torch.randn(2, 3, 16, 4, 4)
    still = isinstance(block, Residual)

    def run(block: nn.Module) -> Tensor:
        return block(x[0]) if still else block(x)[0]

    first = run(block)
    torch.testing.assert_close(first, x[0] if still else x)
    (first * torch.randn_like(first)).sum().backward()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.sub_(parameter.grad)
    assert not torch.allclose(run(block), first, atol=1e-2)


def test_a_block_of_one_frame_treats_every_picture_alone() -> None:
    block = awake(CausalResidual(4, 1))
    x = video()
    shuffled = torch.randperm(7)
    torch.testing.assert_close(block(x[:, shuffled])[0], block(x)[0][:, shuffled])


@pytest.mark.parametrize(("channels", "groups"), [(16, 1), (64, 4), (24, 1), (4, 1)])
def test_norm_is_over_groups_of_sixteen_channels(channels: int, groups: int) -> None:
    x = 3 + 2 * torch.randn(2, channels, 4, 4)
    each = group_norm(channels)(x).reshape(2, groups, -1)
    torch.testing.assert_close(each.mean(-1), torch.zeros(2, groups), atol=1e-4, rtol=0)
    torch.testing.assert_close(each.std(-1, correction=0), torch.ones(2, groups))


def test_folding_lays_the_oldest_frame_first_and_is_undone() -> None:
    x = video(frames=6)
    folded = fold_time(x, 3)
    assert folded.shape == (2, 2, 12, 5, 6)
    torch.testing.assert_close(folded[:, 1, 4:8], x[:, 4])
    torch.testing.assert_close(unfold_time(folded, 3), x)
    with pytest.raises(ValueError, match="6 frames cannot be folded by 4"):
        fold_time(x, 4)


@pytest.mark.parametrize(("frames", "size"), [(0, 3), (3, 2), (3, 0)])
def test_a_size_that_cannot_be_is_refused(frames: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"over {frames} frames and {size} x {size} pixels"):
        CausalConv(4, 4, frames, size)
