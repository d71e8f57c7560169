"""Attention against sums written out, in one piece and two, and along every pair of axes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.nn.attention import Attention, Past, Weight, attend, computed
from reverie.nn.rotary import phase

B, T, S, H, D = 2, 3, 4, 2, 8


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def mask(*shape: int) -> Tensor:
    """Closed at random, but never all of a row."""
    closed = draw(*shape, seed=7) > 0.3
    closed[..., 0] = False
    return torch.zeros(shape, dtype=torch.float64).masked_fill(closed, -math.inf)


def written_out(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | float = 0.0) -> Tensor:
    logits = torch.einsum("ngld,ngmd->nglm", q.double(), k.double()) + hidden
    weight = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return torch.einsum("nglm,ngmd->ngld", weight, v.double())


@pytest.mark.parametrize("hidden", [None, mask(5, 5), mask(2, 1, 5, 5)], ids=["all", "one", "rows"])
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_it_is_the_sum_written_out(hidden: Tensor | None, dtype: torch.dtype, error: float) -> None:
    q, k, v = (draw(2, 5, 3, 4, seed=i, dtype=dtype).transpose(1, 2) for i in range(3))
    given = None if hidden is None else hidden.to(dtype)
    out = attend(q, k, v, given)
    assert out.dtype == dtype
    expected = written_out(q, k, v, 0.0 if hidden is None else hidden)
    torch.testing.assert_close(out.double(), expected, atol=error, rtol=error)


@pytest.mark.parametrize("hidden", [None, mask(5, 5)], ids=["all", "masked"])
def test_a_past_is_more_keys(hidden: Tensor | None) -> None:
    q, k, v = (draw(2, 3, 5, 4, seed=i) for i in range(3))
    past = Past(draw(2, 3, 6, 4, seed=3), draw(2, 3, 6, 4, seed=4), mask(2, 1, 5, 6))
    new = torch.zeros(5, 5).double() if hidden is None else hidden
    whole = torch.cat([past.hidden, new.expand(2, 1, -1, -1)], -1)
    keys, values = torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2)
    torch.testing.assert_close(attend(q, k, v, hidden, past), written_out(q, keys, values, whole))


def layer() -> Attention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Attention(D, H).double()
    with torch.no_grad():
        made.gain.copy_(draw(H, D // H // 2, seed=5) + 1)
    return made


def by_token(net: Attention, x: Tensor, turn: Tensor, sees: dict[str, bool]) -> Tensor:
    """Token by token and head by head; `sees` says whether other frames, and places, are seen."""
    turn = torch.view_as_complex(turn).expand(B, T, S, H, -1)
    q, k = (
        torch.view_as_complex(F.linear(x, w.weight).view(B, T, S, H, -1, 2))
        for w in (net.query, net.key)
    )
    q, k = (y / (y.abs().square().mean(-1, keepdim=True) / 2 + 1e-4).sqrt() * turn for y in (q, k))
    value = F.linear(x, net.value.weight).view(B, T, S, H, -1)
    out = torch.empty_like(value)
    for b, t, s, h in torch.cartesian_prod(*(torch.arange(n) for n in (B, T, S, H))).tolist():
        frames = range(T) if sees["frames"] else [t]
        places = range(S) if sees["places"] else [s]
        others = [(u, p) for u in frames for p in places]
        logits = torch.stack(
            [(net.gain[h] * (q[b, t, s, h].conj() * k[b, u, p, h]).real).sum() for u, p in others]
        )
        weight = (logits / math.sqrt(D // H)).softmax(0)
        out[b, t, s, h] = sum(
            w * value[b, u, p, h] for w, (u, p) in zip(weight, others, strict=True)
        )
    return F.linear(out.flatten(-2), net.output.weight)


@pytest.mark.parametrize(
    ("axes", "frames", "places"),
    [((0, 1), False, True), ((2, 3), True, False), ((1, 2), True, True)],
    ids=["space", "time", "joint"],
)
def test_the_layer_is_the_sum_over_tokens(
    axes: tuple[int, int], frames: bool, places: bool
) -> None:
    net, x = layer(), draw(B, T, S, D)
    turn = phase(draw(B, T, S, H, D // H // 2, seed=6), torch.float64)
    with torch.no_grad():
        out, (key, value) = net(x, turn, axes)
        expected = by_token(net, x, turn, {"frames": frames, "places": places})
    torch.testing.assert_close(out, expected)
    rows = {(0, 1): (B * T, H, S), (2, 3): (B, S * H, T), (1, 2): (B, H, T * S)}[axes]
    assert key.shape == value.shape == (*rows, D // H)


def test_the_layer_has_the_gradient_of_finite_differences() -> None:
    net, x = layer(), draw(1, 2, 2, D).requires_grad_()
    turn = phase(draw(1, 2, 1, H, D // H // 2, seed=6), torch.float64)

    def out(x: Tensor, gain: Tensor) -> Tensor:
        return torch.func.functional_call(net, {"gain": gain}, (x, turn, (1, 2)))[0]

    assert torch.autograd.gradcheck(out, (x, net.gain))


def test_what_a_linear_layer_returns() -> None:
    cpu = torch.device("cpu")
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert computed(dtype, cpu) == Weight(4, 3).to(dtype)(torch.ones(2, 4, dtype=dtype)).dtype
        with torch.autocast("cpu", torch.bfloat16):
            real = Weight(4, 3).to(dtype)(torch.ones(2, 4, dtype=dtype)).dtype
            assert computed(dtype, cpu) == real
