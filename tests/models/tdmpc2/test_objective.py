"""One update: each loss by hand, what is masked, and which parameters each loss reaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.model import Batch
from reverie.models.tdmpc2 import TDMPC2, TrainingNoise
from reverie.models.tdmpc2.critic import cross_entropy, number
from reverie.models.tdmpc2.objective import silence
from reverie.models.tdmpc2.sensors import shifted
from tests.models.tdmpc2 import tiny


def drawn(net: TDMPC2, batch: Batch, seed: int = 3) -> TrainingNoise:
    size, steps = batch.first.shape
    return net.training_noise(size, steps, torch.Generator().manual_seed(seed))


def by_hand(net: TDMPC2, batch: Batch, noise: TrainingNoise) -> dict[str, Tensor]:
    """The losses `[B, H]` without weights, one step after the other, for vectors and one task."""
    found: dict[str, list[Tensor]] = {"consistency": [], "reward": [], "value": [], "policy": []}
    found |= {"termination": []} if net.termination is not None else {}
    size, steps = batch.first.shape
    z = net.encoder({"joints": batch.obs["joints"][:, 0]}, {})
    path = [z]
    for t in range(1, steps):
        x = torch.cat([z, batch.action[:, t]], -1)
        with torch.no_grad():
            seen = net.encoder({"joints": batch.obs["joints"][:, t]}, {})
            action = net.policy.act(seen, noise.target_action[t - 1])
            slow = number(net.target(torch.cat([seen, action], -1)), net.bins)[noise.target_pair]
            live = 1 - batch.terminated[:, t].to(z.dtype)
            aim = batch.reward[:, t] + net.config.discount * live * slow.min(0).values
        rows = slice((t - 1) * size, t * size)
        values = net.q(x, None if noise.kept is None else noise.kept[:, rows])
        heads = [cross_entropy(v, aim, net.bins) for v in values]
        found["value"].append(torch.stack(heads).mean(0))
        found["reward"].append(cross_entropy(net.reward(x), batch.reward[:, t], net.bins))
        z = net.dynamics(x)
        path.append(z)
        found["consistency"].append((z - seen).square().mean(-1))
        if net.termination is not None:
            p = torch.sigmoid(net.termination(z)[:, 0])
            found["termination"].append(-torch.where(batch.terminated[:, t], p, 1 - p).log())
    values, entropies = [], []
    for t, z in enumerate(path):
        made, eps = net.policy(z.detach()), noise.policy_action[t]
        rows = slice(t * size, (t + 1) * size)
        kept = None
        if noise.policy_kept is not None:  # of the two heads that are asked
            kept = torch.ones(net.config.net.heads, size, net.config.net.width).to(z)
            kept[noise.policy_pair] = noise.policy_kept[:, rows]
        logits = net.q(torch.cat([z.detach(), made.sample(eps)], -1), kept)
        values.append(number(logits[noise.policy_pair], net.bins).mean(0))
        entropies.append(made.scaled_entropy(eps))
    ordered = values[0].detach().sort().values
    low, high = (torch.quantile(ordered, q) for q in (0.05, 0.95))
    scale = net.range + 0.01 * ((high - low).clamp_min(1) - net.range)
    found["policy"] = [-(v / scale + 1e-4 * e) for v, e in zip(values, entropies, strict=True)]
    return {name: torch.stack(x, 1) for name, x in found.items()}


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("episodic", [False, True])
def test_every_loss_by_hand(random: bool, episodic: bool) -> None:
    net = tiny.model(net=tiny.net_config(dropout=0.2), episodic=episodic).double()
    batch = tiny.rows(net)
    batch = batch._replace(
        terminated=torch.tensor([[0, 0, 0, episodic]] * 4).bool(), reward=3 * batch.reward
    )
    noise = drawn(net, batch) if random else silence(net, 4, 4)
    losses = net.loss(batch, net.initial(4), noise if random else ()).losses
    expected = by_hand(net, batch, noise)
    rho = 0.5 ** torch.arange(4).double()
    weights = {"policy": rho, "termination": torch.full((3,), 4 / 3).double()}
    assert losses.keys() == expected.keys() == net.scales.keys()
    for name, x in expected.items():
        weighed = x * weights.get(name, rho[:3] * 4 / 3)
        assert not losses[name][:, : 4 - x.shape[1]].any()
        torch.testing.assert_close(losses[name][:, 4 - x.shape[1] :], weighed, msg=name)


def reached(net: TDMPC2, loss: Tensor) -> set[str]:
    """The parts whose parameters a loss moves."""
    net.zero_grad()
    loss.sum().backward(retain_graph=True)
    moved = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    return {name.partition(".")[0] for name in moved}


@pytest.mark.parametrize("several", [False, True])
def test_each_loss_reaches_its_own_parameters(several: bool) -> None:
    net = tiny.model(tasks=tiny.TASKS if several else (), episodic=True)
    batch = tiny.rows(net)
    before = net.initial(4, tiny.some_tasks(4) if several else None)
    losses = net.loss(batch, before, drawn(net, batch)).losses
    read = {"encoder", "dynamics", *(["embeddings"] if several else [])}
    assert reached(net, losses["policy"]) == {"policy"}
    assert reached(net, losses["consistency"]) == read
    assert reached(net, losses["reward"]) == {*read, "reward"}
    assert reached(net, losses["value"]) == {*read, "q"}
    assert reached(net, losses["termination"]) == {*read, "termination"}


def test_nothing_flows_into_targets() -> None:
    """Only the observation of the first row moves the encoder."""
    net = tiny.model()
    batch = tiny.rows(net)
    seen = batch.obs["joints"].requires_grad_()
    losses = net.loss(batch._replace(obs={"joints": seen}), net.initial(4), ()).losses
    (slope,) = torch.autograd.grad(sum(x.sum() for x in losses.values()), seen)
    assert slope[:, 0].any() and not slope[:, 1:].any()
    assert not any(p.requires_grad for p in net.target.parameters())


@pytest.mark.parametrize("start", [1, 2, 3])
def test_what_stands_in_another_episode_has_no_effect(start: int) -> None:
    net = tiny.model(episodic=True)
    batch = tiny.rows(net)
    first = batch.first.index_fill(1, torch.tensor([start]), True)
    batch = batch._replace(first=first)

    def replaced(x: Tensor) -> Tensor:
        same = torch.arange(4).reshape(1, 4, *[1] * (x.ndim - 2)) < start
        return torch.where(same, x, x.roll(1, 0))

    other = tree.map(replaced, batch)._replace(first=first)
    noise = drawn(net, batch)
    one, two = (net.loss(b, net.initial(4), noise) for b in (batch, other))
    for name in one.losses:
        torch.testing.assert_close(one.losses[name], two.losses[name])
        assert not one.losses[name][:, start:].any()
    assert one.losses["policy"][:, start - 1].all()
    if start > 1:
        weights = list(net.dynamics.parameters())
        totals = [sum(x.sum() for x in found.losses.values()) for found in (one, two)]
        torch.testing.assert_close(*(torch.autograd.grad(x, weights) for x in totals))


def test_several_tasks_have_their_own_discount_and_mask() -> None:
    net = tiny.model(tasks=tiny.TASKS).double()
    batch, context = tiny.rows(net), tiny.some_tasks(4)
    losses = net.loss(batch, net.initial(4, context), ()).losses
    # an entry of the action that a task does not use means nothing
    changed = batch.action.clone()
    changed[1::2, :, 1] += 1.0
    again = net.loss(batch._replace(action=changed), net.initial(4, context), ()).losses
    for name, x in losses.items():
        torch.testing.assert_close(again[name], x)
    # with another discount, only the rows of that task change
    net.discounts[1] = 0.99
    later = net.loss(batch, net.initial(4, context), ()).losses["value"]
    assert torch.equal(later[0::2], losses["value"][0::2])
    assert (later[1::2, 1:] != losses["value"][1::2, 1:]).all()


def test_pictures_are_stacked_before_they_are_shifted_and_the_head_of_a_batch_is_not_learnt() -> (
    None
):
    net = tiny.model(tiny.CAMERA)
    batch = tiny.rows(net, batch=2, length=5)
    assert net.warmup == 2
    noise = drawn(net, batch)
    losses, states = net.loss(batch, net.initial(2), noise)
    assert all(not x[:, :2].any() for x in losses.values())
    assert not losses["reward"][:, 2].any() and losses["policy"][:, 2].all()
    frames = batch.obs["camera"]
    assert torch.equal(states.frames["camera"][:, 4], frames[:, 2:].flatten(1, 2))
    move = noise.shift["camera"]
    stack = shifted(frames[:, 2:].flatten(1, 2), move[:, 4], 3)
    torch.testing.assert_close(states.z[:, 4], net.encoder({}, {"camera": stack}))
    short = tree.map(lambda x: x[:, :3], batch)
    with pytest.raises(ValueError, match="3 steps are too short here; give 4 or more"):
        net.loss(short, net.initial(2), ())


def test_noise_has_the_shapes_of_an_update_and_is_repeatable() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.JOINTS})
    one, two = (net.training_noise(4, 6, torch.Generator().manual_seed(1)) for _ in range(2))
    assert not tree.differ(one, two)
    shapes = {name: tuple(x.shape) for name, x in tree.named(one).items()}
    assert shapes == {
        "target_action": (3, 4, 2),
        "policy_action": (4, 4, 2),
        "target_pair": (2,),
        "policy_pair": (2,),
        "kept": (3, 12, 16),
        "policy_kept": (2, 16, 16),
        "shift.camera": (4, 6, 2),
    }
    plain = tiny.model(net=tiny.net_config(dropout=0.0)).training_noise(4, 4)
    assert plain.kept is None and plain.policy_kept is None
