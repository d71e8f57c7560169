"""One update of a TD-MPC2 model in one pass: what it computes, and in which order.

Rows run `[B, T]` outside and time first inside, `[T, B]` or flat `[T B]`. Legend: `B` batch, `T`
rows, `H` steps of the rollout, `A` action, `K` Q functions, `L` latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, WorldModelLoss
from reverie.models.tdmpc2.critic import cross_entropy, number
from reverie.models.tdmpc2.loss import (
    TrainingNoise,
    consistency,
    dropout_noise,
    moved_range,
    row_weights,
    td_target,
    termination_loss,
)
from reverie.models.tdmpc2.sensors import shifted

if TYPE_CHECKING:
    from reverie.models.tdmpc2.model import TDMPC2, TDMPC2State


def training_noise(
    model: TDMPC2, rows: int, steps: int, generator: Generator | None
) -> TrainingNoise:
    """All randomness of `loss` on `[rows, steps]` recorded rows."""
    net, critic, like = model.config.net, model.critic, model.bins
    size = (steps - model.warmup) * rows

    def normal(count: int) -> Tensor:
        return model.policy.noise(count, generator).unflatten(0, (-1, rows))

    def kept(heads: int, count: int) -> Tensor | None:
        if not net.dropout:
            return None
        return dropout_noise((heads, count, net.width), net.dropout, generator).to(like)

    source = generator.device if generator else like.device
    shape, most = (rows, steps, 2), 2 * model.config.shift + 1
    shift = {
        name: torch.randint(most, shape, generator=generator, device=source).to(like.device)
        for name in model.encoder.cameras
    }
    return TrainingNoise(
        target_action=normal(size - rows),
        policy_action=normal(size),
        target_pair=critic.pair_noise(generator),
        policy_pair=critic.pair_noise(generator),
        kept=kept(net.heads, size - rows),
        policy_kept=kept(2, size),
        shift=shift,
    )


def silence(model: TDMPC2, rows: int, steps: int) -> TrainingNoise:
    """No randomness: the policy's mode, Q functions 0 and 1, no dropout, no shift."""
    like, size = model.bins, steps - model.warmup
    blank = like.new_zeros(size, rows, model.spec.action.size)
    pair = torch.arange(2, device=like.device)
    return TrainingNoise(blank[1:], blank, pair, pair)


def loss(
    model: TDMPC2, batch: Batch, state: TDMPC2State, noise: TrainingNoise | tuple[()]
) -> WorldModelLoss:
    """The losses of recorded rows, each `[B, T]`, weighed by row; see `TDMPC2.loss`."""
    (rows, steps), start = batch.first.shape, model.warmup
    if steps < start + 2:
        raise ValueError(f"Rows of {steps} steps are too short here; give {start + 2} or more.")
    if not isinstance(noise, TrainingNoise):
        noise = silence(model, rows, steps)
    states = seen(model, batch, state, noise)
    task = model.task_parts(state)
    action = batch.action[:, start + 1 :].transpose(0, 1)
    action = action * task[1] if task else action
    z = predicted(model, states.z[:, start], action, task)
    target, discount = states.z[:, start + 1 :], model.discount(state)
    found = model_losses(model, batch, target, z, action, discount, task, noise)
    found["policy"] = policy_loss(model, z.detach(), tree.detach(task), noise)
    weights = row_weights(batch.first, start, model.config.loss.rho, z.dtype)
    kinds = {"policy": weights.stood, "termination": weights.terminated}
    padded = {name: _at_the_end(x, steps) for name, x in found.items()}
    weighed = {name: x * kinds.get(name, weights.arrived) for name, x in padded.items()}
    return WorldModelLoss(weighed, states)


def seen(model: TDMPC2, batch: Batch, state: TDMPC2State, noise: TrainingNoise) -> TDMPC2State:
    """The states `[B, T, ...]` of all rows; only the one the rollout starts from has a gradient."""
    lead, start = batch.first.shape, model.warmup
    frames = model.stacks(state, batch.obs, batch.first)
    read = frames
    if noise.shift:
        moves, pad = noise.shift, model.config.shift
        read = {
            name: shifted(x.flatten(0, 1), moves[name].flatten(0, 1), pad).unflatten(0, lead)
            for name, x in frames.items()
        }
    task = state.task[:, None].expand(lead) if model.tasks else ()

    def encode(part: slice) -> Tensor:
        given = tree.map(lambda x: x[:, part], (dict(batch.obs), read, task))
        obs, pictures, which = tree.flatten_time(given)
        embedding = model.embedded(state._replace(task=which))
        return model.encoder(obs, pictures, embedding).unflatten(0, (lead[0], -1))

    z = [encode(slice(start, start + 1))]
    with torch.no_grad():
        before = [encode(slice(start))] if start else []
        z = [*before, *z, encode(slice(start + 1, None))]
    return state._replace(z=torch.cat(z, 1), task=task, frames=frames)


def predicted(model: TDMPC2, z: Tensor, action: Tensor, task: tuple[Tensor, ...]) -> Tensor:
    """z_0 and its future under the recorded actions `[H, B, A]`, `[H + 1, B, L]`."""
    states = [z]
    for a in action:
        z = model.dynamics(torch.cat([z, *task[:1], a], -1))
        states.append(z)
    return torch.stack(states)


def model_losses(
    model: TDMPC2,
    batch: Batch,
    target: Tensor,
    z: Tensor,
    action: Tensor,
    discount: Tensor,
    task: tuple[Tensor, ...],
    noise: TrainingNoise,
) -> dict[str, Tensor]:
    """Consistency, reward, value and termination losses, each `[H, B]`.

    `target` `[B, H, L]` is what the encoder saw, `z` `[H + 1, B, L]` what was predicted.
    """
    steps, rows = action.shape[:2]
    target = target.transpose(0, 1).detach()
    arrived = slice(batch.first.shape[1] - steps, None)
    reward, ended = batch.reward[:, arrived].T, batch.terminated[:, arrived].T
    aim = targets(model, target, reward, ended, discount, task, noise)
    embedding = [x.expand(steps, -1, -1) for x in task[:1]]
    x = torch.cat([z[:-1], *embedding, action], -1).flatten(0, 1)
    values = model.q(x, noise.kept).unflatten(1, (steps, rows))
    aims = aim.expand(values.shape[0], -1, -1)
    found = {
        "consistency": consistency(z[1:], target),
        "reward": cross_entropy(model.reward(x).unflatten(0, (steps, rows)), reward, model.bins),
        "value": cross_entropy(values, aims, model.bins).mean(0),
    }
    if model.termination is not None:
        logits = model.termination(torch.cat([z[1:], *embedding], -1)).squeeze(-1)
        found["termination"] = termination_loss(logits, ended)
    return found


@torch.no_grad()
def targets(
    model: TDMPC2,
    z: Tensor,
    reward: Tensor,
    terminated: Tensor,
    discount: Tensor,
    task: tuple[Tensor, ...],
    noise: TrainingNoise,
) -> Tensor:
    """r + discount (1 - end) min_i Q_i(z, pi(z)) of two slow Q functions, `[H, B]`.

    `z` `[H, B, L]` is what was seen, `discount` `[B]`.
    """
    features = _joined(z, task).flatten(0, 1)
    action = model.policy.act(features, noise.target_action.flatten(0, 1))
    read = features[..., : model.policy.read]
    logits = model.target.some([read, action], noise.target_pair)
    values = number(logits, model.bins).unflatten(1, reward.shape)
    return td_target(reward, terminated, discount, values)


def policy_loss(model: TDMPC2, z: Tensor, task: tuple[Tensor, ...], noise: TrainingNoise) -> Tensor:
    """-(Q / range + e scaled entropy) at constant latents `[H + 1, B, L]`, `[H + 1, B]`.

    Q is the mean of two Q functions with constant parameters. The range is the running one after
    it has seen the first row's values; `after_update` keeps it.
    """
    features = _joined(z, task).flatten(0, 1)
    eps = noise.policy_action.flatten(0, 1)
    policy = model.policy(features)
    pair = model.critic.pair(features, policy.sample(eps), noise.policy_pair, noise.policy_kept)
    value = pair.mean(0).unflatten(0, z.shape[:2])
    config = model.config.policy
    model.range_after = moved_range(model.range, value[0], config.range_rate)
    entropy = policy.scaled_entropy(eps).unflatten(0, z.shape[:2])
    return -(value / model.range_after + config.entropy * entropy)


def _joined(z: Tensor, task: tuple[Tensor, ...]) -> Tensor:
    """The features of latents `[H, B, L]`."""
    return torch.cat([z, *(x.expand(z.shape[0], -1, -1) for x in task)], -1) if task else z


def _at_the_end(loss: Tensor, steps: int) -> Tensor:
    """`[H, B]` as the last columns of `[B, T]`; zero before."""
    return torch.nn.functional.pad(loss.T, (steps - loss.shape[0], 0))
