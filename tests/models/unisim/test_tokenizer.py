"""The tokenizer: sizes, causality, frame by frame against at once, its losses and its scale."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from reverie.models.unisim.tokenizer import Tokenizer, TokenizerConfig

SHAPE = (3, 16, 24)


def tokenizer(**changes: Any) -> Tokenizer:
    """A small one with no weight left at zero, so that blocks are not the identity."""
    config = TokenizerConfig(**{"channels": 5, "width": 16, "context": 3, **changes})
    made = Tokenizer(SHAPE, config)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05)
    with torch.no_grad():
        made.decoder.still[-2].weight.mul_(0.2)  # so that nothing is cut at 0 or 1
    return made


def video(frames: int = 7, batch: int = 2) -> Tensor:
    return torch.rand(batch, frames, *SHAPE)


@pytest.mark.parametrize("bottleneck", ["tanh", "normal"])
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("time_factor", "count"), [(1, 9), (2, 5), (4, 3)])
def test_sizes(bottleneck: str, factor: int, time_factor: int, count: int) -> None:
    model = tokenizer(bottleneck=bottleneck, factor=factor, time_factor=time_factor)
    x = video(9)
    with torch.no_grad():
        latents = model.encode(x)
        found = model.decode(latents)
    assert (
        latents.shape
        == (2, count, *model.latent_shape)
        == (2, count, 5, 16 // factor, 24 // factor)
    )
    assert model.noise(2, 9).shape == latents.shape
    assert found.shape == x.shape
    assert (found >= 0).all() and (found <= 1).all()


@pytest.mark.parametrize(("time_factor", "unchanged"), [(1, 5), (2, 5), (4, 5), (3, 4)])
def test_no_frame_sees_a_later_one(time_factor: int, unchanged: int) -> None:
    """With a time factor, none of a later group: `unchanged` frames stand before that of 5."""
    frames = 10 if time_factor == 3 else 9
    model, x = tokenizer(time_factor=time_factor), video(frames)
    other = x.clone()
    other[:, 5:] = 1 - other[:, 5:]
    with torch.no_grad():
        latents, moved = model.encode(x), model.encode(other)
        found, after = model.decode(latents), model.decode(moved)
    whole = 1 + (unchanged - 1) // time_factor
    torch.testing.assert_close(latents[:, :whole], moved[:, :whole], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[:, :unchanged], after[:, :unchanged], rtol=0, atol=1e-6)
    assert ((found - after).flatten(2).abs().amax(-1) > 1e-4)[:, unchanged:].all()


def test_with_one_frame_of_context_each_picture_stands_alone() -> None:
    model, x = tokenizer(context=1), video()
    order = torch.randperm(7)
    with torch.no_grad():
        latents = model.encode(x)
        torch.testing.assert_close(model.encode(x[:, order]), latents[:, order])
        torch.testing.assert_close(model.decode(latents[:, order]), model.decode(latents)[:, order])


def test_with_context_a_frame_sees_those_before_it() -> None:
    model, x = tokenizer(), video()
    with torch.no_grad():
        latents = model.encode(x)
        alone = model.encode(x[:, -1:])
        assert (latents[:, -1:] - alone).abs().max() > 1e-4
        assert (model.decode(latents)[:, -1:] - model.decode(latents[:, -1:])).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("time_factor", "parts"),
    [(1, [1] * 9), (1, [4, 5]), (2, [1, 2, 2, 2, 2]), (2, [3, 6]), (4, [1, 4, 4]), (4, [5, 4])],
)
def test_frame_by_frame_gives_what_the_clip_gives(time_factor: int, parts: list[int]) -> None:
    model, x = tokenizer(time_factor=time_factor, depth=2), video(9)
    seen = told = None
    latents, found = [], []
    with torch.no_grad():
        for part in x.split(parts, 1):
            z, seen = model.encode_next(part, seen)
            y, told = model.decode_next(z, told)
            assert y.shape == part.shape
            latents.append(z)
            found.append(y)
        whole = model.encode(x)
        torch.testing.assert_close(torch.cat(latents, 1), whole, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.cat(found, 1), model.decode(whole), rtol=0, atol=1e-5)


def test_a_row_begins_anew_while_the_others_go_on() -> None:
    model, x = tokenizer(), video(6, batch=3)
    first = torch.zeros(6, 3, dtype=torch.bool)
    first[0] = True
    first[2, 1] = first[3, 1] = first[4, 2] = True
    seen, told = model.caches(3)
    latents, found = [], []
    with torch.no_grad():
        for t in range(6):
            z, seen = model.encode_next(x[:, t : t + 1], seen, first[t])
            y, told = model.decode_next(z, told, first[t])
            latents.append(z)
            found.append(y)
        for row in range(3):
            starts = [*first[:, row].nonzero().flatten().tolist(), 6]
            for start, stop in pairwise(starts):
                z = model.encode(x[row : row + 1, start:stop])
                found_z = torch.cat(latents, 1)[row : row + 1, start:stop]
                found_x = torch.cat(found, 1)[row : row + 1, start:stop]
                torch.testing.assert_close(found_z, z, rtol=0, atol=1e-5)
                torch.testing.assert_close(found_x, model.decode(z), rtol=0, atol=1e-5)


def test_a_cache_is_a_value() -> None:
    model, x = tokenizer(), video(3)
    with torch.no_grad():
        _, cache = model.encode_next(x[:, :2])
        kept = [past.clone() for past in cache]
        z, _ = model.encode_next(x[:, 2:], cache)
        again, _ = model.encode_next(x[:, 2:], cache)
    assert torch.equal(z, again)
    assert all(torch.equal(a, b) for a, b in zip(cache, kept, strict=True))
    assert all(past.untyped_storage().nbytes() == 4 * past.numel() for past in cache)


def test_tanh_latents_are_bounded() -> None:
    model = tokenizer()
    with torch.no_grad():
        for parameter in model.encoder.output.parameters():
            parameter.mul_(20)
        latents = model.encode(video())
    assert latents.abs().max() <= 1
    assert latents.abs().max() > 0.9


def test_pixel_and_edge_losses_are_those_of_what_is_decoded() -> None:
    model, x = tokenizer(jitter=0.0), video()
    with torch.no_grad():
        losses, latents = model.loss(x, model.noise(2, 7))
        found = model.decode(model.encode(x))
    assert found.min() > 0 and found.max() < 1, "clamped, so it cannot be compared"
    torch.testing.assert_close(latents, model.encode(x))
    torch.testing.assert_close(losses["pixel"], ((found - x) ** 2).flatten(2).mean(-1))
    rows = (found[..., 1:, :] - found[..., :-1, :]) - (x[..., 1:, :] - x[..., :-1, :])
    columns = (found[..., 1:] - found[..., :-1]) - (x[..., 1:] - x[..., :-1])
    edge = (rows.abs().flatten(2).mean(-1) + columns.abs().flatten(2).mean(-1)) / 2
    torch.testing.assert_close(losses["edge"], edge)


def test_jitter_moves_what_is_decoded_by_its_deviation() -> None:
    model, x = tokenizer(jitter=0.3), video()
    noise = model.noise(2, 7, torch.Generator().manual_seed(1))
    with torch.no_grad():
        losses, latents = model.loss(x, noise)
        found = model.decode(latents + 0.3 * noise)
    torch.testing.assert_close(losses["pixel"], (found - x).square().flatten(2).mean(-1))


@pytest.mark.parametrize("time_factor", [1, 2])
def test_kl_is_that_from_the_normal_distribution(time_factor: int) -> None:
    model = tokenizer(bottleneck="normal", time_factor=time_factor)
    x = video()
    noise = model.noise(2, 7)
    with torch.no_grad():
        losses, latents = model.loss(x, noise)
        padded = torch.cat([x[:, :1].expand(-1, time_factor - 1, -1, -1, -1), x], 1)
        mean, logarithm = model.encoder(padded)[0].chunk(2, 2)
    torch.testing.assert_close(latents, mean)
    kl = kl_divergence(Normal(mean, logarithm.exp()), Normal(0.0, 1.0)).flatten(2).sum(-1)
    groups = [(frame + time_factor - 1) // time_factor for frame in range(7)]
    torch.testing.assert_close(losses["kl"], kl[:, groups])
    found = model.decode(mean + logarithm.exp() * noise)
    torch.testing.assert_close(losses["pixel"], (found - x).square().flatten(2).mean(-1))


@pytest.mark.parametrize("bottleneck", ["tanh", "normal"])
@pytest.mark.parametrize("time_factor", [1, 3])
def test_every_loss_has_a_scale_and_a_number_per_frame(bottleneck: str, time_factor: int) -> None:
    model = tokenizer(bottleneck=bottleneck, time_factor=time_factor)
    losses, _ = model.loss(video(), model.noise(2, 7))
    assert losses.keys() == model.scales.keys()
    assert all(loss.shape == (2, 7) for loss in losses.values())
    sum(loss.mean() for loss in losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_statistics_are_those_of_what_was_seen_from_the_first_on() -> None:
    model = tokenizer()
    z = torch.randn(3, 4, *model.latent_shape)
    assert torch.equal(model.normalise(z), z), "before anything was seen"
    seen = 0.3 + 0.1 * torch.randn(3, 4, *model.latent_shape)
    model.statistics.merge(seen.movedim(-3, -1))
    flat = model.normalise(seen).transpose(0, 2).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(model.denormalise(model.normalise(z)), z)
    other = Tokenizer(SHAPE, model.config)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.normalise(z), model.normalise(z))


def test_it_learns_to_copy_a_moving_square() -> None:
    model = Tokenizer((3, 16, 16), TokenizerConfig(factor=2, width=16, context=2))
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    clips = torch.ones(7, 4, 3, 16, 16)
    for start in range(7):
        for t in range(4):
            at = start + t
            clips[start, t, :, at : at + 4, 4:9] = torch.tensor([0.2, 0.3, 0.9])[:, None, None]
    for update in range(300):
        x = clips[[update % 7, (update + 3) % 7]]
        losses, latents = model.loss(x, model.noise(2, 4))
        optimiser.zero_grad()
        losses["pixel"].mean().backward()
        optimiser.step()
        model.statistics.merge(latents.movedim(-3, -1))
    with torch.no_grad():
        error = F.mse_loss(model.decode(model.encode(clips)), clips).item()
    mean = clips.mean((0, 1), keepdim=True)  # the best picture that says nothing of the square
    assert error < F.mse_loss(mean.expand_as(clips), clips).item() / 25


def test_pictures_have_a_gradient_to_the_latents() -> None:
    model = tokenizer()
    latents = torch.zeros(1, 2, *model.latent_shape, requires_grad=True)
    model.decode(latents)[:, 0].sum().backward()
    assert latents.grad is not None
    reached = latents.grad.flatten(2).abs().amax(-1)[0]
    assert reached[0] > 0 and reached[1] == 0


def test_half_precision_keeps_latents_and_pictures_in_float32() -> None:
    model, x = tokenizer(), video(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latents, cache = model.encode_next(x)
        found, _ = model.decode_next(latents)
        again, _ = model.encode_next(x[:, :1], cache)
    assert latents.dtype == found.dtype == again.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(found, model.decode(model.encode(x)), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("shape", "time_factor", "begun", "told"),
    [
        ((2, 4, 3, 16, 16), 1, False, r"\[B, T, 3, 16, 24\]"),
        ((4, 3, 16, 24), 1, False, r"\[B, T, 3, 16, 24\]"),
        ((2, 0, 3, 16, 24), 1, False, "Cut or resize"),
        ((2, 4, 3, 16, 24), 2, False, r"1 \+ 2 k frames"),
        ((2, 3, 3, 16, 24), 2, True, r"0 \+ 2 k frames"),
    ],
)
def test_other_video_is_refused(
    shape: tuple[int, ...], time_factor: int, begun: bool, told: str
) -> None:
    model = tokenizer(time_factor=time_factor)
    cache = model.caches(2)[0] if begun else None
    with pytest.raises(ValueError, match=told):
        model.encode_next(torch.zeros(shape), cache)


def test_rows_cannot_begin_anew_where_latents_stand_for_several_frames() -> None:
    model = tokenizer(time_factor=2)
    first = torch.tensor([True, False])
    for call in (
        lambda: model.encode_next(video(2), model.caches(2)[0], first),
        lambda: model.decode_next(model.noise(2, 1), model.caches(2)[1], first),
    ):
        with pytest.raises(ValueError, match="time factor of 2"):
            call()


@pytest.mark.parametrize(
    "changes",
    [
        *({"factor": 3}, {"factor": 1}, {"time_factor": 0}, {"channels": 0}, {"depth": 0}),
        *({"width": 0}, {"context": 0}, {"bottleneck": "vq"}, {"jitter": -1.0}, {"kl": -1.0}),
        {"edge": float("nan")},
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        TokenizerConfig(**changes)


def test_a_picture_that_the_factor_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="20 x 24 cannot be divided by a factor of 8"):
        Tokenizer((3, 20, 24), TokenizerConfig(factor=8))
