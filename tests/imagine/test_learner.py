"""Learning a model and a policy in it from the same rows."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, sample_rows
from reverie.imagine import ActorCriticConfig, ImaginationLearner, PolicyAgent
from reverie.learn.device import Device
from reverie.learn.fit import Fitter
from reverie.learn.learner import Learner
from reverie.learn.optim import OptimiserConfig
from tests.models.dreamer import tiny
from tests.toys import Chunked, Latent

B, T, H = 3, 6, 4
SMALL = ActorCriticConfig(horizon=H, units=8, layers=1)
MODELS = {"dreamer": tiny.model, "toy": Latent}


def make(kind: str = "dreamer", config: ActorCriticConfig = SMALL, **options: Any) -> Any:
    return ImaginationLearner(MODELS[kind](**options), config)


def rows(learner: Any, batch: int = B, length: int = T) -> Batch:
    return sample_rows(learner.model.spec, batch, length, torch.Generator().manual_seed(3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", MODELS)
def test_losses_have_the_names_of_their_scales(kind: str) -> None:
    learner: Learner = make(kind)
    update = learner.update(rows(learner), (), seeded())
    assert update.losses.keys() == update.scales.keys()
    assert {"policy", "value", "replay_value", "reward"} <= update.losses.keys()
    assert update.losses["policy"].shape == update.losses["value"].shape == (H, B * T)
    assert update.losses["replay_value"].shape == (B, T - 1)
    assert update.losses["reward"].shape == (B, T)
    assert all(x.shape == () for x in update.metrics.values())


@pytest.mark.parametrize("action", [tiny.ACTION, tiny.BUTTONS], ids=["continuous", "discrete"])
def test_latents_are_the_models_states_by_name(action: Any) -> None:
    learner = make(action=action)
    batch = rows(learner)
    latents = learner.update(batch, (), seeded()).latents
    assert {k: x.shape for k, x in latents.items()} == {"deter": (B, T, 16), "stoch": (B, T, 20)}
    assert not any(x.requires_grad for x in latents.values())
    assert torch.equal(latents["stoch"].unflatten(-1, (4, 5)).sum(-1), torch.ones(B, T, 4))


def test_the_latent_of_the_row_before_is_where_a_sequence_continues() -> None:
    learner = make()
    batch = rows(learner)._replace(first=torch.zeros(B, T, dtype=torch.bool))
    begun = learner.update(batch, (), seeded()).latents
    before = {"deter": torch.randn(B, 16), "stoch": torch.randn(B, 20)}
    went_on = learner.update(batch, before, seeded()).latents
    again = learner.update(batch, tree.clone(before), seeded()).latents
    assert not torch.equal(begun["deter"], went_on["deter"])
    assert torch.equal(went_on["deter"], again["deter"])
    with pytest.raises(KeyError, match="'stoch'"):
        learner.update(batch, {"deter": before["deter"]}, seeded())


def test_what_acting_stores_is_what_learning_reads() -> None:
    learner = make()
    agent = learner.agent
    assert isinstance(agent, PolicyAgent)
    obs = {k: x[:, 0] for k, x in rows(learner).obs.items()}
    _, memory = agent.act(agent.begin(B), obs, torch.ones(B, dtype=torch.bool), seeded())
    latent = learner.latent(memory)
    assert {k: x.shape for k, x in latent.items()} == {"deter": (B, 16), "stoch": (B, 20)}
    learner.update(rows(learner), latent, seeded())


def test_the_agent_acts_with_the_current_weights() -> None:
    learner = make()
    agent, obs = learner.agent, {"joints": torch.randn(B, 5)}
    begin = torch.ones(B, dtype=torch.bool)
    before, _ = agent.act(agent.begin(B), obs, begin)
    with torch.no_grad():
        learner.actor_critic.policy.net.output.bias.add_(1.0)
    after, _ = agent.act(agent.begin(B), obs, begin)
    assert not torch.equal(before, after)


def test_all_randomness_comes_from_the_generator() -> None:
    learner = make()
    batch, runs = rows(learner), []
    for seed in (1, 1, 2):
        learner.actor_critic.low.zero_(), learner.actor_critic.high.zero_()
        torch.rand(seed)
        runs.append(learner.update(batch, (), seeded(seed)).losses["policy"])
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def gradients(learner: Any, update: Any, *without: str) -> dict[str, Tensor | None]:
    learner.zero_grad()
    names = [name for name in update.losses if name not in without]
    torch.stack([update.losses[name].mean() for name in names]).sum().backward(retain_graph=True)
    return {k: None if p.grad is None else p.grad.clone() for k, p in learner.named_parameters()}


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_the_actor_and_the_critic_teach_the_model_by_replay_alone(gradient: Any) -> None:
    learner = make(config=replace(SMALL, gradient=gradient))
    with torch.no_grad():  # a fresh critic is zero and teaches nothing
        for p in learner.actor_critic.value.parameters():
            p.add_(0.1 * torch.randn_like(p))
    update = learner.update(rows(learner), (), seeded())
    everything = gradients(learner, update)
    without_actor = gradients(learner, update, "policy", "value")
    without_replay = gradients(learner, update, "policy", "value", "replay_value")
    of_model = [k for k in everything if k.startswith("model.")]
    for name in of_model:
        assert torch.equal(everything[name], without_actor[name]), name
    moved = {k for k in of_model if not torch.equal(everything[k], without_replay[k])}
    assert "model.rssm.cell.mix" in moved and "model.encoder.dense.0.linear.weight" in moved
    assert not any(k.startswith(("model.decoder", "model.reward")) for k in moved)
    learnt = {k for k, g in everything.items() if g is not None and g.any()}
    assert {k.split(".")[1] for k in learnt if k.startswith("actor_critic")} == {"policy", "value"}


@pytest.mark.parametrize("action", [tiny.ACTION, tiny.BUTTONS], ids=["continuous", "discrete"])
@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fitter_moves_all_weights_and_stays_finite(
    action: Any, gradient: Any, precision: Any
) -> None:
    learner = make(config=replace(SMALL, gradient=gradient), action=action)
    device = Device(torch.device("cpu"), precision)
    fitter = Fitter(learner, OptimiserConfig(lr=1e-3, warmup=0), device)
    before = {k: p.detach().clone() for k, p in learner.named_parameters()}
    for seed in range(3):
        fit = fitter.fit(rows(learner), (), seeded(seed))
    assert all(torch.isfinite(torch.tensor(x)) for x in fit.metrics.values())
    assert all(x.dtype == torch.float32 for x in fit.latents.values())
    fitter.check_weights()
    still = {k for k, p in learner.named_parameters() if torch.equal(p, before[k])}
    assert not still, still


def test_after_an_update_the_slow_critic_follows() -> None:
    learner = make()
    with torch.no_grad():
        learner.actor_critic.value.output.bias.fill_(1.0)
    learner.after_update()
    slow = learner.actor_critic.slow.output.bias
    torch.testing.assert_close(slow, torch.full_like(slow, SMALL.slow_rate))


def test_a_loaded_state_continues_bitwise() -> None:
    learner, twin = make(), make()
    learner.update(rows(learner), (), seeded())
    twin.load_state_dict(learner.state_dict())
    one, two = (x.update(rows(learner), (), seeded(1)) for x in (learner, twin))
    for name in one.losses:
        assert torch.equal(one.losses[name], two.losses[name]), name


def test_a_model_without_rewards_is_refused() -> None:
    with pytest.raises(ValueError, match="predicts reward"):
        ImaginationLearner(Chunked(), SMALL)


def test_learning_through_a_model_without_gradient_is_refused() -> None:
    model: nn.Module = Latent()
    model.spec = replace(model.spec, grad=frozenset({"params"}))
    ImaginationLearner(model, SMALL)
    with pytest.raises(ValueError, match=r"none to action, state\. Use gradient=.reinforce."):
        ImaginationLearner(model, replace(SMALL, gradient="dynamics"))


def test_sequences_start_in_the_context_that_their_first_row_brings() -> None:
    learner = make("toy")
    batch = rows(learner)
    task = torch.randn(B, T, 2, generator=seeded())
    brought = batch._replace(obs={**batch.obs, "task": task})
    one, two = (learner.update(x, (), seeded()) for x in (batch, brought))
    assert not one.latents["task"].any()
    assert torch.equal(two.latents["task"], task[:, :1].expand(-1, T, -1))
    assert not torch.equal(one.losses["reward"], two.losses["reward"])
