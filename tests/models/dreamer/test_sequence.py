"""The hand-written gradient through time against autograd through a loop of `observe`."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reverie.models.dreamer import CellConfig, LatentConfig, RSSMState
from reverie.models.dreamer.rssm import RSSM
from reverie.models.dreamer.sequence import unroll

B, T = 3, 7
Inputs = tuple[RSSMState, Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def rssm() -> RSSM:
    cell = CellConfig(deter=12, hidden=5, blocks=3)
    net = RSSM(cell, LatentConfig(variables=3, classes=4, unimix=0.03), embedding=6, action=2)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net.double()


def inputs(rssm: RSSM, steps: int = T) -> Inputs:
    """A state in the middle of an episode, actions also out of bounds, and resets inside."""
    deter, size = rssm.sizes
    state = RSSMState(torch.rand(B, deter).double() * 2 - 1, torch.randn(B, size).double())
    action = 1.5 * torch.randn(B, steps, 2).double()
    embedding = torch.randn(B, steps, 6).double()
    first = torch.zeros(B, steps, dtype=torch.bool)
    first[0, 0] = True
    first[1, steps // 2] = True
    first[2, -1] = True
    noise = torch.rand(steps, B, 3).double()
    for x in (*state, action, embedding):
        x.requires_grad_()
    return state, action, embedding, first, noise


def loop(rssm: RSSM, given: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    state, action, embedding, first, noise = given
    rows = []
    for t in range(first.shape[1]):
        state, posterior = rssm.observe(state, action[:, t], embedding[:, t], first[:, t], noise[t])
        rows.append((*state, posterior))
    deter, stoch, posterior = (torch.stack(column, 1) for column in zip(*rows, strict=True))
    return deter, stoch, posterior


def at_once(rssm: RSSM, given: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    states, posterior = rssm.observe_all(*given)
    return states.deter, states.stoch, posterior


def used(rssm: RSSM, given: Inputs) -> dict[str, Tensor]:
    """Every tensor whose gradient is asked for, by name."""
    state, action, embedding, _, _ = given
    prior = set(rssm.prior_net.parameters())
    named = {name: p for name, p in rssm.named_parameters() if p not in prior}
    return named | {"h0": state.deter, "z0": state.stoch, "action": action, "embedding": embedding}


def weighted(outputs: tuple[Tensor, ...], which: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in outputs]
    return torch.stack([(outputs[i] * weights[i]).sum() for i in which]).sum()


def test_values_are_those_of_the_loop(rssm: RSSM) -> None:
    given = inputs(rssm)
    for ours, plain in zip(at_once(rssm, given), loop(rssm, given), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)


def test_values_are_the_same_without_gradient(rssm: RSSM) -> None:
    given = inputs(rssm)
    with torch.no_grad():
        without = at_once(rssm, given)
    for ours, plain in zip(at_once(rssm, given), without, strict=True):
        assert torch.equal(ours, plain) and not plain.requires_grad


@pytest.mark.parametrize(
    "which", [(0, 1, 2), (0,), (1,), (2,)], ids=["all", "deter", "stoch", "probs"]
)
def test_every_gradient_is_that_of_the_loop(rssm: RSSM, which: tuple[int, ...]) -> None:
    given = inputs(rssm)
    wanted = used(rssm, given)
    grads = []
    for way in (at_once, loop):
        loss = weighted(way(rssm, given), which)
        found = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
        grads.append(dict(zip(wanted, found, strict=True)))
    ours, plain = grads
    for name in wanted:
        torch.testing.assert_close(
            ours[name], plain[name], rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert plain[name].any(), f"{name} has no gradient, so that nothing was compared"


def test_a_reset_cuts_the_gradient_to_what_was_before(rssm: RSSM) -> None:
    given = inputs(rssm)
    state, action, embedding, _, _ = given
    deter, stoch, probs = at_once(rssm, given)
    late = deter[1, T // 2 :].sum() + (stoch[1, T // 2 :] ** 2).sum() + probs[1, T // 2 :, 0].sum()
    dh, dz, da, de = torch.autograd.grad(late, (*state, action, embedding))
    assert not dh.any() and not dz.any()
    assert not da[1, : T // 2 + 1].any() and da[1, T // 2 + 1 :].any()
    assert not de[1, : T // 2].any() and de[1, T // 2 :].any()
    assert not torch.autograd.grad(at_once(rssm, given)[0][0].sum(), state.deter)[0][0].any()


def test_first_steps_have_the_gradient_of_finite_differences(rssm: RSSM) -> None:
    """h_1 and the probabilities are smooth in every input: nothing has been sampled yet."""
    state, action, embedding, first, noise = inputs(rssm, 1)
    action = (0.5 * action.detach()).clamp(-0.9, 0.9).requires_grad_()  # the bound is not smooth
    first = torch.tensor([[False], [True], [False]])
    cell, posterior = rssm.cell, rssm.posterior_net

    def run(h: Tensor, z: Tensor, a: Tensor, e: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        keep = (~first).double().unsqueeze(-1)
        actions, embedded = cell.embed(a * keep), posterior.from_embedding(e)
        start = RSSMState(h, z)
        h, _, p = unroll(
            cell, posterior, rssm.latent, start, actions, embedded, keep, noise, rssm.steps
        )
        return h, p

    weights = [cell.mix, cell.recur.weight, cell.gates.bias, cell.gain, posterior.output.weight]
    assert torch.autograd.gradcheck(run, (*state, action, embedding, *weights), fast_mode=True)


def test_the_surrogate_of_straight_through_samples_has_our_gradient(rssm: RSSM) -> None:
    """Where the sampled classes are held fixed, z = one_hot + p - p_0 is smooth: its finite
    differences along a direction are the gradient that straight-through promises."""
    given = inputs(rssm)
    state, action, embedding, first, noise = given
    fixed = [x.detach() for x in loop(rssm, given)]
    direction = torch.randn_like(embedding)

    def surrogate(step: float) -> Tensor:
        now, total = state, torch.zeros((), dtype=torch.float64)
        for t in range(T):
            e = embedding[:, t] + step * direction[:, t]
            now, p = rssm.observe(now, action[:, t], e, first[:, t], noise[t])
            z = fixed[1][:, t] + (p - fixed[2][:, t]).flatten(1)
            now = RSSMState(now.deter, z)
            total = total + now.deter.square().sum() + (z * torch.arange(12)).sin().sum()
        return total

    deter, stoch, _ = at_once(rssm, given)
    loss = deter.square().sum() + (stoch * torch.arange(12)).sin().sum()
    (slope,) = torch.autograd.grad(loss, embedding)
    with torch.no_grad():
        difference = (surrogate(1e-6) - surrogate(-1e-6)) / 2e-6
    torch.testing.assert_close((slope * direction).sum(), difference, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    "frozen",
    [lambda name: True, lambda name: name.startswith("cell"), lambda name: "post" in name],
    ids=["all", "cell", "posterior"],
)
def test_frozen_weights_get_no_gradient_and_the_others_keep_theirs(
    rssm: RSSM, frozen: Callable[[str], bool]
) -> None:
    given = inputs(rssm)
    before = {}
    for freeze in (False, True):
        for name, p in rssm.named_parameters():
            p.requires_grad_(not (freeze and frozen(name)))
        rssm.zero_grad()
        given[2].grad = None
        weighted(at_once(rssm, given), (0, 1, 2)).backward()
        grads = {name: p.grad for name, p in used(rssm, given).items()}
        if not freeze:
            before = {name: None if g is None else g.clone() for name, g in grads.items()}
    for name, g in grads.items():
        if not name.startswith(("cell", "posterior")):
            continue
        if frozen(name):
            assert g is None
        else:
            torch.testing.assert_close(g, before[name])
    torch.testing.assert_close(given[2].grad, before["embedding"])


def test_nothing_that_is_given_is_written_to(rssm: RSSM) -> None:
    state, action, embedding, first, noise = given = inputs(rssm)
    tensors = [*state, action, embedding, first, noise, *rssm.parameters()]
    kept = [x.detach().clone() for x in tensors]
    outputs = at_once(rssm, given)
    shown = [x.detach().clone() for x in outputs]
    weighted(outputs, (0, 1, 2)).backward()
    for now, before in zip([*tensors, *outputs], [*kept, *shown], strict=True):
        assert torch.equal(now, before)


def test_writing_into_the_outputs_does_not_spoil_the_gradient(rssm: RSSM) -> None:
    given = inputs(rssm)
    wanted = list(used(rssm, given).values())
    plain = torch.autograd.grad(weighted(at_once(rssm, given), (0, 2)), wanted)
    outputs = at_once(rssm, given)
    loss = weighted(outputs, (0, 2))
    with torch.no_grad():
        for x in outputs:
            x.detach().zero_()
    for ours, expected in zip(torch.autograd.grad(loss, wanted), plain, strict=True):
        torch.testing.assert_close(ours, expected)
