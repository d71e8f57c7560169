"""Numbers that span scales, and sums over the future: symlog, symexp two-hot, lambda-returns.

Sources: Hafner et al. 2023, "Mastering Diverse Domains through World Models" (symlog and symexp
two-hot: robust predictions; lambda-return: critic learning); Bellemare et al. 2017, "A
Distributional Perspective on Reinforcement Learning" (projection on two neighbouring bins); Sutton
and Barto 2018, "Reinforcement Learning", section 12.1 (lambda-return).
"""

from __future__ import annotations

import torch
from torch import Tensor

# ---------------------------------------------------------------------------------------------
# Scales
# ---------------------------------------------------------------------------------------------


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(|x| + 1): the identity near 0, a logarithm far from it; inverse of `symexp`.

    Odd, and its slope at 0 is 1, also as autograd sees it (`torch.sign` would make it 0).
    """
    side = torch.copysign(torch.ones_like(x), x.detach())
    return side * torch.log1p(side * x)


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`; infinite in float32 beyond |x| = 88.7."""
    side = torch.copysign(torch.ones_like(x), x.detach())
    return side * torch.expm1(side * x)


# ---------------------------------------------------------------------------------------------
# Two-hot: a real number as a distribution over bins
# ---------------------------------------------------------------------------------------------


def symexp_bins(
    count: int = 255, limit: float = 20.0, device: torch.device | None = None
) -> Tensor:
    """b = symexp(linspace(-limit, limit, count)), float32 `[count]`, rising.

    Exactly antisymmetric, b_i = -b_{count-1-i} to the last bit (one half is computed, in float64,
    and mirrored), so that equal logits mean exactly 0. The default spans +-4.85e8.
    """
    if count < 2 or not 0 < limit < 88:
        raise ValueError(
            f"symexp_bins got count={count}, limit={limit}; it needs count >= 2 and "
            "0 < limit < 88, beyond which float32 overflows."
        )
    grid = torch.linspace(-limit, limit, count, dtype=torch.float64, device=device)
    upper = symexp(grid[count - count // 2 :]).float()
    middle = torch.zeros(count % 2, device=device)
    return torch.cat([-upper.flip(0), middle, upper])


def twohot(value: Tensor, bins: Tensor) -> Tensor:
    """The weights `[..., n]` of `value` `[...]` on its two neighbouring `bins` `[n]` (rising).

    w_i = (b_{i+1} - x) / (b_{i+1} - b_i) and w_{i+1} = 1 - w_i where b_i <= x < b_{i+1}, so that
    sum w b = x; values beyond the bins go to the outermost one. NaN stays NaN.
    """
    lower, share = _neighbours(value, bins)
    weights = torch.zeros(*value.shape, bins.shape[0], dtype=share.dtype, device=value.device)
    index = torch.stack([lower, lower + 1], -1)
    return weights.scatter(-1, index, torch.stack([1 - share, share], -1))


def twohot_mean(logits: Tensor, bins: Tensor) -> Tensor:
    """The mean sum_i softmax(logits)_i b_i `[...]` of `logits` `[..., n]` over `bins` `[n]`.

    With antisymmetric bins a symmetric distribution (a head that starts at zero) gives exactly 0:
    the outermost bins of `symexp_bins` are 5e8, and a plain dot product with uniform weights is off
    by 0.5. For this the bins are split into an odd and an even part (which is then zero):

        sum_i p_i b_i = sum_{i > middle} (p_i - p_{n-1-i}) odd_i + sum_i p_i even_i.
    """
    _match(logits, bins)
    logits, half = _precise(logits), bins.shape[0] // 2
    bins = bins.to(logits.dtype)
    odd, even = (bins - bins.flip(0)) / 2, (bins + bins.flip(0)) / 2
    p = torch.softmax(logits, -1)
    upper, lower = p[..., -half:], p[..., :half].flip(-1)
    if not (torch.compiler.is_compiling() or torch.is_autocast_enabled(p.device.type)):
        return (upper - lower) @ odd[-half:] + p @ even
    # Compiled, one elementwise sum is fused with the softmax, and dot products are not. Under
    # autocast, dot products would round bins and probabilities to three digits.
    mean = ((upper - lower) * odd[-half:] + (upper + lower) * even[-half:]).sum(-1)
    return mean + p[..., half] * even[half] if bins.shape[0] % 2 else mean


def twohot_loss(logits: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """Cross-entropy -sum_i twohot(target)_i ln softmax(logits)_i `[...]`, unreduced.

    `logits` `[..., n]`, `target` `[...]` (a constant: no gradient flows into it), `bins` `[n]`.
    """
    _match(logits, bins)
    return twohot_nll(torch.log_softmax(_precise(logits), -1), target, bins)


def twohot_nll(log_probs: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """`twohot_loss` from log-probabilities `[..., n]`, for several targets of one distribution.

    Only the two log-probabilities that carry weight are read; no dense target is made.
    """
    if target.shape != log_probs.shape[:-1]:
        raise ValueError(
            f"Two-hot got a target of shape {tuple(target.shape)} for logits of shape "
            f"{tuple(log_probs.shape)}; the target needs shape {tuple(log_probs.shape[:-1])}."
        )
    lower, share = _neighbours(target.detach(), bins.to(log_probs.dtype))
    index = torch.stack([lower, lower + 1], -1)
    low, high = log_probs.gather(-1, index).unbind(-1)
    return -(low * (1 - share) + high * share)


def _neighbours(value: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The index of the bin at or below `value`, and the share in 0..1 of the bin above it."""
    value = value.to(bins.dtype).contiguous()
    lower = (torch.searchsorted(bins, value, right=True) - 1).clamp(0, bins.shape[0] - 2)
    low, high = bins[lower], bins[lower + 1]
    return lower, ((value - low) / (high - low)).clamp(0, 1)


def _precise(logits: Tensor) -> Tensor:
    """At least float32: in half precision the outer bins would drown the mean."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _match(logits: Tensor, bins: Tensor) -> None:
    if bins.ndim != 1 or bins.shape[0] < 2 or logits.shape[-1:] != bins.shape:
        raise ValueError(
            f"Two-hot got logits of shape {tuple(logits.shape)} and bins of shape "
            f"{tuple(bins.shape)}; the last axis of the logits must be the bins, a vector of >= 2."
        )


def lambda_return(
    reward: Tensor,
    value: Tensor,
    continues: Tensor,
    lam: float,
    last: Tensor | None = None,
    *,
    dim: int = 0,
) -> Tensor:
    """R_k = r_k + c_k [(1 - l_k) v_k + l_k R_{k+1}], l_k = lam (1 - last_k), R_H = v_{H-1}.

    All arguments have one shape, with H entries along `dim` (0 for `[H, B]`, 1 for `[B, H]`); entry
    k belongs to the *arrival* at row k+1, and R_k, of the same shape, is the return from row k.

    Args:
        reward: r_k, received on arriving at row k+1.
        value: v_k, the estimated return from row k+1, with which the return is bootstrapped.
        continues: c_k, the discount times the probability (or the fact) that row k+1 did not
            terminate. Zero where it terminated: nothing is bootstrapped.
        lam: 0 bootstraps after one reward, 1 only at the end.
        last: whether row k+1 ends an episode, by termination or truncation: the sum stops there
            and bootstraps with v_k, because row k+2 belongs to another episode.
        dim: the time axis.

    In imagination (Hafner et al. 2023, critic learning) the arguments are the heads of a `Rollout`
    and the value of its states, and `continues` is `discount * transition.continues`. For recorded
    rows `[B, T]` all are shifted by one, and entries that start from a last row are to be masked:

        discount * (~batch.terminated[:, 1:]), last=batch.last[:, 1:], mask ~batch.last[:, :-1]

    Raises:
        ValueError: the shapes differ, or `lam` is not in 0..1.
    """
    given = {"reward": reward, "value": value, "continues": continues, "last": last}
    shapes = {name: tuple(x.shape) for name, x in given.items() if x is not None}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"lambda_return needs one shape for all arguments; it was given {shapes}.")
    if not 0 <= lam <= 1:
        raise ValueError(f"lambda_return got lam={lam}; it must be in 0..1.")
    follow = lam * continues if last is None else lam * continues * (~last.bool())
    gain, total, sums = reward + (continues - follow) * value, value.select(dim, -1), []
    for now, weight in zip(reversed(gain.unbind(dim)), reversed(follow.unbind(dim)), strict=True):
        total = torch.addcmul(now, weight, total)
        sums.append(total)
    return torch.stack(sums[::-1], dim)
