"""The recurrent state-space model: what the prior, the posterior and a reset may know."""

import pytest
import torch
import torch.nn.functional as F

from reverie.core import tree
from reverie.models.dreamer import CellConfig, LatentConfig, RSSMState
from reverie.models.dreamer.rssm import RSSM, Posterior

PARTS = [(cell, latent) for cell in ("block_gru", "gru") for latent in ("categorical", "gaussian")]


def make(cell: str = "block_gru", latent: str = "categorical") -> RSSM:
    return RSSM(
        CellConfig(kind=cell, deter=12, hidden=6, blocks=3),  # type: ignore[arg-type]
        LatentConfig(kind=latent, variables=3, classes=4),  # type: ignore[arg-type]
        embedding=5,
        action=2,
    )


def rows(rssm: RSSM, batch: int = 4, length: int = 5) -> tuple[torch.Tensor, ...]:
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0], first[1, 3] = True, True
    noise = rssm.latent.noise(batch * length, torch.empty(0), torch.Generator().manual_seed(0))
    return (
        torch.randn(batch, length, 2),
        torch.randn(batch, length, 5),
        first,
        noise.unflatten(0, (length, batch)),
    )


def somewhere(rssm: RSSM, batch: int) -> RSSMState:
    return tree.map(torch.randn_like, rssm.initial(batch))


@pytest.mark.parametrize(("cell", "latent"), PARTS)
def test_a_sequence_is_a_loop_of_rows(cell: str, latent: str) -> None:
    rssm = make(cell, latent)
    action, embedding, first, noise = rows(rssm)
    start = state = somewhere(rssm, 4)
    states, posteriors = rssm.observe_all(start, action, embedding, first, noise)
    for t in range(5):
        state, posterior = rssm.observe(state, action[:, t], embedding[:, t], first[:, t], noise[t])
        torch.testing.assert_close(tree.select(states, (slice(None), t)), state)
        torch.testing.assert_close(posteriors[:, t], posterior)


@pytest.mark.parametrize(("cell", "latent"), PARTS)
def test_a_first_row_forgets_state_and_action(cell: str, latent: str) -> None:
    rssm = make(cell, latent)
    action, embedding, _, noise = rows(rssm)
    every = torch.ones(4, dtype=torch.bool)
    one = rssm.observe(somewhere(rssm, 4), action[:, 0], embedding[:, 0], every, noise[0])
    two = rssm.observe(rssm.initial(4), 0 * action[:, 0], embedding[:, 0], every, noise[0])
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_posterior_is_one_dense_layer_of_state_and_embedding() -> None:
    net = Posterior(deter=6, embedding=4, hidden=5, outputs=3).double()
    deter, embedding = torch.randn(2, 6).double(), torch.randn(2, 4).double()
    kernel = torch.cat([net.from_deter.weight, net.from_embedding.weight], 1)
    x = F.linear(torch.cat([deter, embedding], 1), kernel, net.from_deter.bias)
    x = F.silu(net.gain * x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-4))
    expected = F.linear(x, net.output.weight, net.output.bias)
    torch.testing.assert_close(net(deter, net.from_embedding(embedding)), expected)


def test_both_halves_of_the_posterior_start_as_one_layer() -> None:
    net = Posterior(deter=300, embedding=100, hidden=400, outputs=3)
    for half in (net.from_deter, net.from_embedding):
        assert half.weight.std().item() == pytest.approx(1 / 20, rel=0.02)


def test_a_step_samples_the_prior_after_the_cell() -> None:
    rssm = make()
    state, action, noise = somewhere(rssm, 4), torch.randn(4, 2), torch.rand(4, 3)
    after = rssm.step(state, action, noise)
    deter = rssm.cell(*state, rssm.cell.embed(action))
    torch.testing.assert_close(after.deter, deter)
    assert torch.equal(after.stoch, rssm.latent.sample(rssm.prior(deter), noise))


def test_the_prior_has_two_hidden_layers_and_the_posterior_one() -> None:
    rssm = make()
    assert len(rssm.prior_net.hidden) == 2
    weights = [tuple(p.shape) for p in rssm.posterior_net.parameters() if p.ndim == 2]
    assert weights == [(6, 12), (6, 5), (12, 6)]


def test_an_episode_begins_at_zero() -> None:
    state = make().initial(3)
    assert state.deter.shape == (3, 12) and state.stoch.shape == (3, 12)
    assert not state.deter.any() and not state.stoch.any()


@pytest.mark.parametrize(("cell", "latent"), PARTS)
def test_under_autocast_a_sequence_is_still_a_loop_of_rows(cell: str, latent: str) -> None:
    rssm = make(cell, latent)
    action, embedding, first, noise = rows(rssm)
    start = state = somewhere(rssm, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, posteriors = rssm.observe_all(start, action, embedding, first, noise)
        for t in range(5):
            state, posterior = rssm.observe(
                state, action[:, t], embedding[:, t], first[:, t], noise[t]
            )
            torch.testing.assert_close(posteriors[:, t], posterior, rtol=0, atol=0.02)
            torch.testing.assert_close(states.deter[:, t], state.deter, rtol=0, atol=0.02)
            assert torch.equal(states.stoch[:, t], state.stoch)
    for x in (*states, posteriors, *state):
        assert x.dtype == torch.float32
