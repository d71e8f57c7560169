"""Frames as pixels or as latents: there and back, what learns, what keeps its promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reverie.core.check import check_world_model
from reverie.models.unisim import UNetConfig
from reverie.models.unisim.config import TransformerConfig
from reverie.models.unisim.lens import LIMIT, Lens
from reverie.models.unisim.tokenizer import TokenizerConfig
from reverie.nn.spacetime import SpaceTimeConfig
from tests.models.unisim import tiny

SMALL = TokenizerConfig(factor=2, channels=2, width=8)
LATENTS = {"space": "latents", "tokenizer": SMALL, "unet": UNetConfig((8, 16), patch=1)}


def test_pixels_stay_what_they_are():
    lens, frames = Lens((3, 16, 16)), torch.rand(2, 4, 3, 16, 16) * 2 - 1
    assert lens.enter(frames) is frames
    assert lens.leave(frames) is frames
    assert (lens.shape, lens.limit, lens.scales) == ((3, 16, 16), 1.0, {})
    assert not list(lens.state_dict())


def test_latents_are_of_each_frame_alone_and_within_the_limit():
    lens, frames = Lens((3, 16, 16), SMALL), torch.rand(2, 4, 3, 16, 16) * 2 - 1
    latents = lens.enter(frames)
    assert latents.shape == (2, 4, 2, 8, 8)
    torch.testing.assert_close(latents[1, 2], lens.enter(frames[1, 2]))
    assert lens.leave(latents).shape == frames.shape
    assert lens.leave(latents).abs().max() <= 1
    assert lens.tokenizer is not None
    lens.tokenizer.statistics.variance.fill_(1e-6)  # so small a deviation makes latents large
    assert lens.enter(frames).abs().max() == LIMIT


def test_nothing_is_learnt_through_what_enters():
    lens, frames = Lens((3, 16, 16), SMALL), torch.rand(2, 3, 16, 16, requires_grad=True)
    assert not lens.enter(frames).requires_grad
    latents = torch.randn(2, 2, 8, 8, requires_grad=True)
    lens.leave(latents).sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0  # planners see through


def test_frames_come_back_once_the_tokenizer_has_learnt():
    torch.manual_seed(0)
    lens, frames = Lens((3, 16, 16), SMALL), torch.rand(8, 3, 1, 1).expand(-1, -1, 16, 16) * 2 - 1
    adam = torch.optim.Adam(lens.parameters(), lr=1e-2)
    before = (lens.leave(lens.enter(frames)) - frames).square().mean()
    for _ in range(150):
        losses = lens.losses(frames, torch.randn(8, *lens.shape))
        assert losses.keys() == lens.scales.keys()
        total = sum(lens.scales[name] * loss.mean() for name, loss in losses.items())
        adam.zero_grad()
        total.backward()
        adam.step()
        lens.after_update()
    latents = lens.enter(frames)
    assert (lens.leave(latents) - frames).square().mean() < 0.05 * before
    assert 0.5 < latents.std() < 1.5


def test_statistics_move_after_an_update_and_not_in_a_loss():
    lens = Lens((3, 16, 16), SMALL)
    assert lens.tokenizer is not None
    lens.after_update()
    assert lens.tokenizer.statistics.count == 0
    lens.losses(torch.rand(2, 3, 16, 16), torch.zeros(2, *lens.shape))
    assert lens.tokenizer.statistics.count == 0
    lens.after_update()
    lens.after_update()
    assert lens.tokenizer.statistics.count == 2 * 8 * 8


@pytest.mark.parametrize("wrong", [{"time_factor": 2}, {"context": 3}])
def test_latents_of_several_frames_are_refused(wrong):
    with pytest.raises(ValueError, match="frame by frame"):
        Lens((3, 16, 16), replace(SMALL, **wrong))


@pytest.mark.parametrize("backbone", ["unet", "transformer"])
def test_a_model_of_latents_keeps_its_promises(backbone):
    torch.manual_seed(0)
    net = SpaceTimeConfig(width=16, depth=2, heads=2, window=3)
    transformer = TransformerConfig(2, net)
    check_world_model(tiny.model(backbone=backbone, transformer=transformer, **LATENTS))


def test_the_tokenizer_learns_along_and_the_denoiser_leaves_it_alone():
    torch.manual_seed(0)
    model = tiny.model(**LATENTS)
    rows = tiny.rows(model)
    noise = model.training_noise(3, 6, torch.Generator().manual_seed(0))
    losses = model.loss(rows, model.initial(3), noise).losses
    assert {"tokenizer/pixel", "tokenizer/edge"} <= losses.keys() == model.scales.keys()
    losses["flow"].sum().backward()
    assert all(p.grad is None for p in model.lens.parameters())
    assert losses["tokenizer/pixel"][:, :-1].eq(0).all()
    losses["tokenizer/pixel"].sum().backward()
    assert model.lens.tokenizer is not None
    encoder = model.lens.tokenizer.encoder
    assert all(p.grad is not None for p in encoder.parameters())
