"""The dynamics losses: their values, their floor, and which side each one teaches."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.dreamer.config import LatentConfig, LossConfig
from reverie.models.dreamer.latent import latent
from reverie.models.dreamer.loss import continues_loss, kl_losses, scales

KIND = latent(LatentConfig(variables=3, classes=4))


def pair(spread: float = 3.0) -> tuple[Tensor, Tensor]:
    raw = torch.randn(2, 5, 12, dtype=torch.float64) * spread
    posterior, prior = (x.clone().requires_grad_() for x in KIND.parameters(raw))
    return posterior, prior


def slopes(loss: Tensor, *of: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss.sum(), of, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(of, found, strict=True)]


def test_two_sided_teaches_the_prior_by_dyn_and_the_posterior_by_rep() -> None:
    posterior, prior = pair()
    losses = kl_losses(KIND, posterior, prior, LossConfig(free_nats=0.0))
    plain = KIND.kl(posterior, prior)
    to_posterior, to_prior = slopes(plain, posterior, prior)
    assert losses.keys() == {"dyn", "rep"}
    for loss, expected in (
        (losses["dyn"], (torch.zeros_like(to_posterior), to_prior)),
        (losses["rep"], (to_posterior, torch.zeros_like(to_prior))),
    ):
        torch.testing.assert_close(loss, plain)
        torch.testing.assert_close(slopes(loss, posterior, prior), list(expected))


def test_balanced_mixes_the_two_gradients() -> None:
    posterior, prior = pair()
    setting = LossConfig(kl="balanced", balance=0.8, free_nats=0.0)
    (loss,) = kl_losses(KIND, posterior, prior, setting).values()
    plain = KIND.kl(posterior, prior)
    to_posterior, to_prior = slopes(plain, posterior, prior)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(slopes(loss, posterior, prior), [0.2 * to_posterior, 0.8 * to_prior])


def test_single_is_the_plain_kl_with_both_gradients() -> None:
    posterior, prior = pair()
    (loss,) = kl_losses(KIND, posterior, prior, LossConfig(kl="single", free_nats=0.0)).values()
    plain = KIND.kl(posterior, prior)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(slopes(loss, posterior, prior), slopes(plain, posterior, prior))


@pytest.mark.parametrize("kl", ["two_sided", "balanced", "single"])
def test_below_the_free_nats_a_row_costs_them_and_teaches_nothing(kl: str) -> None:
    posterior, prior = pair(spread=0.7)
    plain = KIND.kl(posterior, prior)
    free = plain.median().item()
    below = plain < free
    assert below.any() and (~below).any()
    for loss in kl_losses(
        KIND,
        posterior,
        prior,
        LossConfig(kl=kl, free_nats=free),  # type: ignore[arg-type]
    ).values():
        torch.testing.assert_close(loss, plain.clamp_min(free))
        teaching = torch.stack([g.abs().sum((-2, -1)) for g in slopes(loss, posterior, prior)])
        assert not teaching[:, below].any()
        assert teaching.sum(0)[plain > free].all()


def test_the_floor_is_held_against_the_sum_over_variables() -> None:
    # three variables of 0.5 nats each: their sum is above one nat, each alone is below it
    one = torch.tensor([0.85, 0.05, 0.05, 0.05], dtype=torch.float64)
    posterior = one.expand(1, 3, 4)
    prior = torch.full((1, 3, 4), 0.25, dtype=torch.float64)
    each = KIND.kl(one, torch.full((1, 4), 0.25, dtype=torch.float64)).item()
    assert 1 / 3 < each < 1
    losses = kl_losses(KIND, posterior, prior, LossConfig(free_nats=1.0))
    torch.testing.assert_close(losses["dyn"], torch.tensor([3 * each], dtype=torch.float64))


@pytest.mark.parametrize("kl", ["two_sided", "balanced", "single"])
def test_scales_are_named_as_the_losses(kl: str) -> None:
    setting = LossConfig(kl=kl, decode=2.0)  # type: ignore[arg-type]
    names = scales(["joints", "camera"], setting)
    dynamics = kl_losses(KIND, *pair(), setting)
    assert set(names) == {*dynamics, "decode/joints", "decode/camera", "reward", "continues"}
    assert names["decode/camera"] == 2.0


def test_the_published_weights_are_the_default() -> None:
    assert scales(["x"], LossConfig()) == {
        "dyn": 1.0,
        "rep": 0.1,
        "decode/x": 1.0,
        "reward": 1.0,
        "continues": 1.0,
    }


def test_the_continue_loss_is_the_cross_entropy_of_going_on() -> None:
    logits = torch.tensor([[2.0, -3.0], [0.0, 40.0]], dtype=torch.float64)
    terminated = torch.tensor([[False, True], [False, True]])
    p = torch.sigmoid(logits)
    expected = -torch.where(terminated, F.logsigmoid(-logits), p.log())
    torch.testing.assert_close(continues_loss(logits, terminated), expected)
