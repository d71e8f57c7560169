"""Returns against brute force and closed forms; symlog and two-hot against their definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from reverie.core.returns import (
    lambda_return,
    symexp,
    symexp_bins,
    symlog,
    twohot,
    twohot_loss,
    twohot_mean,
    twohot_nll,
)

BINS = symexp_bins()


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=dtype)


# -------------------------------------------------------------------------------------------------
# Symlog


@given(st.floats(-1e30, 1e30))
def test_symexp_undoes_symlog(x: float) -> None:
    value = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(value)), value, rtol=1e-12, atol=1e-300)


@given(st.floats(-1e6, 1e6))
def test_symlog_is_the_signed_logarithm(x: float) -> None:
    expected = math.copysign(math.log1p(abs(x)), x)
    assert symlog(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(expected)


def test_symlog_and_symexp_are_odd_to_the_last_bit() -> None:
    x = randn(100, dtype=torch.float32) * 5
    for function in (symlog, symexp):
        assert torch.equal(function(-x), -function(x))
        assert torch.equal(function(torch.zeros(2)), torch.zeros(2))


def test_symlog_and_symexp_keep_small_numbers_their_precision() -> None:
    x = torch.tensor([1e-12, -3e-9])
    for function in (symlog, symexp):
        torch.testing.assert_close(function(x), x, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("function", [symlog, symexp])
def test_symlog_and_symexp_have_their_slope_everywhere_also_at_zero(function: object) -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(function(x).sum(), x)  # type: ignore[operator]
    size = x.detach().abs()
    expected = 1 / (1 + size) if function is symlog else torch.exp(size)
    torch.testing.assert_close(slope, expected)
    assert torch.autograd.gradcheck(function, x)


# -------------------------------------------------------------------------------------------------
# Two-hot


def test_bins_are_exactly_antisymmetric_and_rise() -> None:
    assert BINS.shape == (255,)
    assert BINS.dtype == torch.float32
    assert torch.equal(BINS, -BINS.flip(0))
    assert BINS[127] == 0
    assert (BINS.diff() > 0).all()
    assert BINS[-1].item() == pytest.approx(math.expm1(20), rel=1e-6)
    grid = torch.linspace(-20, 20, 255, dtype=torch.float64)
    torch.testing.assert_close(BINS.double(), symexp(grid), rtol=1e-6, atol=1e-7)
    even = symexp_bins(40, 3)
    assert torch.equal(even, -even.flip(0))
    assert even.shape == (40,)


@pytest.mark.parametrize(("count", "limit"), [(1, 20.0), (255, 0.0), (255, 90.0)])
def test_impossible_bins_are_refused(count: int, limit: float) -> None:
    with pytest.raises(ValueError, match=f"count={count}, limit={limit}"):
        symexp_bins(count, limit)


@given(st.floats(-4.8e8, 4.8e8, width=32))
def test_twohot_keeps_the_value_on_two_neighbours(x: float) -> None:
    weights = twohot(torch.tensor(x), BINS)
    assert weights.shape == (255,)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    (used,) = weights.nonzero(as_tuple=True)
    assert len(used) <= 2
    assert used.max() - used.min() <= 1
    assert (weights.double() @ BINS.double()).item() == pytest.approx(x, rel=1e-5, abs=1e-6)


@given(st.floats(-4.8e8, 4.8e8, width=32))
def test_mean_of_a_twohot_is_the_value(x: float) -> None:
    logits = torch.log(twohot(torch.tensor(x), BINS))
    assert twohot_mean(logits, BINS).item() == pytest.approx(x, rel=1e-5, abs=1e-6)


def test_values_beyond_the_bins_go_to_the_outermost_and_nan_stays() -> None:
    bins = torch.tensor([-1.0, 0.0, 2.0])
    value = torch.tensor([-7.0, -1.0, 1.0, 2.0, math.inf])
    expected = [[1, 0, 0], [1, 0, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(twohot(value, bins), torch.tensor(expected))
    assert twohot(torch.tensor(math.nan), bins).isnan().any()
    assert twohot_loss(torch.zeros(1, 3), torch.tensor([math.nan]), bins).isnan()


@pytest.mark.parametrize("level", [0.0, 0.1, -3.7, 80.0])
def test_equal_logits_mean_exactly_zero(level: float) -> None:
    logits = torch.full((16, 255), level)
    assert torch.equal(twohot_mean(logits, BINS), torch.zeros(16))
    half = randn(16, 128, dtype=torch.float32) * 3
    symmetric = torch.cat([half, half[:, :-1].flip(1)], 1)
    assert torch.equal(twohot_mean(symmetric, BINS), torch.zeros(16))
    assert torch.equal(twohot_mean(torch.zeros(3, 40), symexp_bins(40)), torch.zeros(3))


ANY_BINS = [torch.linspace(-1, 4, 9), torch.linspace(-1, 4, 8), symexp_bins(21, 3)]


@pytest.mark.parametrize("bins", ANY_BINS, ids=["odd", "even", "symexp"])
def test_mean_is_that_of_the_softmax_for_any_bins(bins: Tensor) -> None:
    logits = randn(4, 5, bins.shape[0]) * 3
    expected = (torch.softmax(logits, -1) * bins.double()).sum(-1)
    torch.testing.assert_close(twohot_mean(logits, bins), expected)


def test_compiled_mean_and_loss_are_those_of_eager_execution() -> None:
    mean, loss = (torch.compile(f, backend="eager") for f in (twohot_mean, twohot_loss))
    for bins in ANY_BINS:
        logits, target = randn(6, bins.shape[0]) * 3, randn(6, seed=1)
        torch.testing.assert_close(mean(logits, bins), twohot_mean(logits, bins))
        expected = twohot_loss(logits, target, bins)
        torch.testing.assert_close(loss(logits, target, bins), expected)
    assert torch.equal(mean(torch.full((3, 255), 0.1), BINS), torch.zeros(3))


def test_half_precision_logits_are_read_in_single_precision() -> None:
    logits = randn(8, 255, dtype=torch.float32).bfloat16()
    mean, loss = twohot_mean(logits, BINS), twohot_loss(logits, torch.ones(8), BINS)
    assert mean.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(mean, twohot_mean(logits.float(), BINS))


def test_autocast_does_not_round_the_bins() -> None:
    logits = randn(8, 255, dtype=torch.float32)
    mean, loss = twohot_mean(logits, BINS), twohot_loss(logits, torch.ones(8), BINS)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(twohot_mean(logits, BINS), mean, rtol=1e-4, atol=1.0)
        torch.testing.assert_close(twohot_loss(logits, torch.ones(8), BINS), loss)


def dense_loss(logits: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """The definition, with a dense target by brute force over all pairs of bins."""
    weights = torch.zeros_like(logits)
    for row, x in enumerate(target.clamp(bins[0], bins[-1]).tolist()):
        for i in range(len(bins) - 1):
            low, high = bins[i].item(), bins[i + 1].item()
            if low <= x <= high:
                weights[row] = 0
                weights[row, i] = (high - x) / (high - low)
                weights[row, i + 1] = (x - low) / (high - low)
    return -(weights * torch.log_softmax(logits, -1)).sum(-1)


def test_loss_and_its_gradient_are_those_of_a_dense_target() -> None:
    bins = symexp_bins(21, 4).double()
    target = torch.cat([randn(12) * 20, bins[:2], torch.tensor([0.0, 500.0, -500.0])])
    logits = (randn(len(target), 21, seed=1) * 2).requires_grad_()
    sparse, dense = twohot_loss(logits, target, bins), dense_loss(logits, target, bins)
    torch.testing.assert_close(sparse, dense)
    weight = randn(len(target), seed=2)
    (slope,) = torch.autograd.grad((sparse * weight).sum(), logits)
    (expected,) = torch.autograd.grad((dense * weight).sum(), logits)
    torch.testing.assert_close(slope, expected)


def test_several_targets_share_the_log_probabilities_of_one_distribution() -> None:
    logits, targets = randn(5, 255), randn(2, 5, seed=1) * 100
    log_probs = torch.log_softmax(logits, -1)
    for target in targets:
        expected = twohot_loss(logits, target, BINS)
        torch.testing.assert_close(twohot_nll(log_probs, target, BINS), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    bins = symexp_bins(9, 2).double()
    logits, target = randn(2, 3, 9).requires_grad_(), randn(2, 3) * 4
    assert torch.autograd.gradcheck(lambda x: twohot_loss(x, target, bins), logits)
    assert torch.autograd.gradcheck(lambda x: twohot_mean(x, bins), logits)


def test_no_gradient_flows_into_the_target() -> None:
    target = torch.ones(4, requires_grad=True)
    loss = twohot_loss(torch.zeros(4, 255, requires_grad=True), target, BINS).sum()
    assert torch.autograd.grad(loss, target, allow_unused=True) == (None,)


def test_loss_is_smallest_at_the_twohot_itself() -> None:
    target = torch.tensor([-40.0, 0.3, 1e5])
    weights = twohot(target, BINS)
    best = twohot_loss(torch.log(weights + 1e-9), target, BINS)
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    torch.testing.assert_close(best, entropy, rtol=1e-3, atol=1e-4)
    other = randn(64, 3, 255, dtype=torch.float32)
    assert (twohot_loss(other, target.expand(64, 3), BINS) > best).all()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(4, 7\) and bins of shape \(255,\)"):
        twohot_mean(torch.zeros(4, 7), BINS)
    with pytest.raises(ValueError, match=r"the target needs shape \(4,\)"):
        twohot_loss(torch.zeros(4, 255), torch.zeros(4, 1), BINS)


# -------------------------------------------------------------------------------------------------
# Returns


class Rows:
    """Random rows `[H, B]` as seen on arrival, with some ends of both kinds."""

    def __init__(self, steps: int = 9, batch: int = 5) -> None:
        self.reward, self.value = randn(steps, batch, seed=1), randn(steps, batch, seed=2)
        self.last = randn(steps, batch, seed=3) > 0.8
        self.terminated = self.last & (randn(steps, batch, seed=4) > 0)
        self.truncated = self.last & ~self.terminated
        self.continues = 0.97 * (~self.terminated).double()
        assert self.terminated.any()
        assert self.truncated.any()


def brute_force(rows: Rows, lam: float) -> Tensor:
    """The weighted mean of all n-step returns, each summed on its own.

    G^(n) = r_0 + c_0 r_1 + ... + c_0 .. c_{n-1} v_{n-1}; weights (1 - lam) lam^(n-1), and all that
    is left on the longest, which ends at an episode's last row or at the end of the sequence.
    """
    steps, batch = rows.reward.shape
    result = torch.zeros(steps, batch, dtype=torch.float64)
    for b in range(batch):
        for start in range(steps):
            discount, gain, left = 1.0, 0.0, 1.0
            for k in range(start, steps):
                gain += discount * rows.reward[k, b].item()
                discount *= rows.continues[k, b].item()
                longest = k == steps - 1 or bool(rows.last[k, b])
                weight = left if longest else left * (1 - lam)
                result[start, b] += weight * (gain + discount * rows.value[k, b].item())
                left -= weight
                if longest:
                    break
    return result


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_lambda_return_is_the_mean_of_n_step_returns(lam: float) -> None:
    rows = Rows()
    found = lambda_return(rows.reward, rows.value, rows.continues, lam, rows.last)
    torch.testing.assert_close(found, brute_force(rows, lam))


def test_either_axis_may_be_time() -> None:
    rows = Rows()
    given = (rows.reward, rows.value, rows.continues)
    found = lambda_return(*given, 0.9, rows.last)
    turned = lambda_return(*(x.T for x in given), 0.9, rows.last.T, dim=1)
    torch.testing.assert_close(turned.T, found)


def test_lambda_zero_bootstraps_after_one_reward() -> None:
    rows = Rows()
    found = lambda_return(rows.reward, rows.value, rows.continues, 0.0)
    torch.testing.assert_close(found, rows.reward + rows.continues * rows.value)


def discounted(reward: Tensor, continues: Tensor, final: Tensor | float = 0.0) -> Tensor:
    """R_k = r_k + c_k R_{k+1}, time-major, with R_H = `final`."""
    total, sums = torch.zeros_like(reward[0]) + final, []
    for k in reversed(range(len(reward))):
        total = reward[k] + continues[k] * total
        sums.append(total)
    return torch.stack(sums[::-1])


def test_lambda_one_is_the_discounted_return_with_the_final_value() -> None:
    rows = Rows()
    found = lambda_return(rows.reward, rows.value, rows.continues, 1.0)
    torch.testing.assert_close(found, discounted(rows.reward, rows.continues, rows.value[-1]))


def test_lambda_one_of_constant_rewards_is_a_geometric_series() -> None:
    reward, continues = torch.ones(20, 2).double(), 0.9 * torch.ones(20, 2).double()
    left = torch.arange(20, 0, -1, dtype=torch.float64)[:, None].expand(20, 2)
    found = lambda_return(reward, torch.zeros_like(reward), continues, 1.0)
    torch.testing.assert_close(found, (1 - 0.9**left) / (1 - 0.9))


def test_a_right_value_is_a_fixed_point_for_every_lambda() -> None:
    rows = Rows()
    value = discounted(rows.reward, rows.continues)
    after = torch.cat([value[1:], torch.zeros_like(value[:1])])
    for lam in (0.0, 0.5, 1.0):
        torch.testing.assert_close(lambda_return(rows.reward, after, rows.continues, lam), value)


def test_only_termination_stops_bootstrapping() -> None:
    reward, value = torch.ones(1, 2), torch.full((1, 2), 10.0)
    terminated, last = torch.tensor([[True, False]]), torch.ones(1, 2, dtype=torch.bool)
    found = lambda_return(reward, value, 0.9 * ~terminated, 0.95, last)
    torch.testing.assert_close(found, torch.tensor([[1.0, 10.0]]))


def test_nothing_crosses_into_the_next_episode() -> None:
    rows = Rows()
    rows.last[4] = True
    before = lambda_return(rows.reward, rows.value, rows.continues, 0.95, rows.last)
    rows.reward[5:], rows.value[5:] = 1e3, -1e3
    after = lambda_return(rows.reward, rows.value, rows.continues, 0.95, rows.last)
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:], after[5:])


def test_gradient_of_the_lambda_return() -> None:
    rows = Rows(5, 2)
    inputs = tuple(x.clone().requires_grad_() for x in (rows.reward, rows.value, rows.continues))
    assert torch.autograd.gradcheck(lambda *x: lambda_return(*x, 0.9, rows.last), inputs)


def test_impossible_returns_are_refused() -> None:
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"'value': \(5, 3\)"):
        lambda_return(x, torch.zeros(5, 3), x, 0.95)
    with pytest.raises(ValueError, match=r"'last': \(4,\)"):
        lambda_return(x, x, x, 0.95, torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"lam=1\.5"):
        lambda_return(x, x, x, 1.5)
    with pytest.raises(ValueError, match=r"'continues': \(4,\)"):
        lambda_return(x, x, torch.zeros(4), 0.95)
