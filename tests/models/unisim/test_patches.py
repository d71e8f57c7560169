"""The transformer on patches: what it is at first, what it sees, any size of picture, its cache."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.unisim.config import TransformerConfig
from reverie.models.unisim.patches import Patches
from reverie.nn.spacetime import SpaceTimeConfig

SIZES = SpaceTimeConfig(16, 2, 2, time_every=1, window=3)


def patches(shape: tuple[int, ...] = (3, 8, 8), still: bool = False) -> Patches:
    made = Patches(shape, 2, 12, TransformerConfig(4, SIZES))
    with torch.no_grad():
        for p in [] if still else made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def given(shape: tuple[int, ...] = (3, 8, 8), frames: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    lead = 2, frames
    return torch.randn(*lead, *shape), torch.randn(*lead, 2, *shape), torch.randn(*lead, 12)


def test_at_first_it_says_that_nothing_changes() -> None:
    noisy, before, condition = given()
    assert torch.equal(patches(still=True)(noisy, before, condition)[0], before[:, :, -1])


def test_no_frame_sees_a_later_one_nor_one_out_of_its_sight() -> None:
    net, inputs = patches(), given()
    whole = net(*inputs)[0]
    for t in range(6):
        changed = [x.clone() for x in inputs]
        for x in changed:
            x[:, t] += 1
        moved = (net(*changed)[0] - whole).abs().amax((0, 2, 3, 4)) > 1e-5
        # two layers, each of which looks two frames back
        assert moved.tolist() == [t <= s <= t + 4 for s in range(6)]


def test_frames_that_begin_anew_see_nothing_before_them() -> None:
    net, inputs = patches(), given()
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[1, 3] = True
    found = net(*inputs, first=first)[0]
    alone = net(*(x[1:, 3:] for x in inputs))[0]
    torch.testing.assert_close(found[1:, 3:], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0], net(*inputs)[0][0], atol=1e-5, rtol=1e-4)


def test_frame_by_frame_with_a_cache_is_all_at_once() -> None:
    net, inputs = patches(), given()
    whole, cache = net(*inputs)[0], net.net.empty_cache(2)
    for t in range(6):
        frame, entries = net(*(x[:, t : t + 1] for x in inputs), cache=cache)
        cache = net.net.append(cache, entries)
        torch.testing.assert_close(frame[:, 0], whole[:, t], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 13), (1, 5, 6)])
def test_pictures_of_any_size_are_continued_at_the_border(shape: tuple[int, ...]) -> None:
    net, (noisy, before, condition) = patches(shape), given(shape, 3)
    border = (0, -shape[2] % 4, 0, -shape[1] % 4)
    wide = patches((shape[0], shape[1] + border[3], shape[2] + border[1]))
    wide.load_state_dict(net.state_dict())

    def larger(x: Tensor) -> Tensor:
        padded = F.pad(x.flatten(0, -4), border, mode="replicate")
        return padded.unflatten(0, x.shape[:-3])

    expected = wide(larger(noisy), larger(before), condition)[0]
    found = net(noisy, before, condition)[0]
    assert found.shape == noisy.shape
    torch.testing.assert_close(found, expected[..., : shape[1], : shape[2]], atol=1e-5, rtol=1e-4)
