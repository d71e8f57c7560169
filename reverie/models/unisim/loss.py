"""The losses of UniSim: prediction of the next frame at every noise level, shortcuts, heads.

For a row t with frame x and those before it, signal level tau, noise e and z = (1 - tau) e + tau x:

    flow      = mean (x^(z, tau, d = 0) - x)^2
    shortcut  = mean (x^(z, tau, d) - sg x*)^2,    x* = z + (1 - tau) (b' + b'') / 2,

b' and b'' the velocities of two steps of d / 2 from z (eq. 7 of Hafner et al. 2025, Dreamer 4, in
x-space). The frames before are noisy too in half of the rows
(diffusion forcing, Chen et al. 2024), and in some updates they are the model's own predictions.

Legend: `B` batch, `T` rows, `K` frames looked back to, `P` conditions, `E` members, `C h w` image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, WorldModelLoss
from reverie.models.unisim import flow

if TYPE_CHECKING:
    from reverie.models.unisim.model import UniSim, UniSimState


SEEN = 0.3
"""Share of frames that a transformer learns from as it will see them later, nearly clean."""


class TrainingNoise(NamedTuple):
    """All randomness of one `loss`."""

    start: Tensor
    """e `[B, T, C, h, w]`, standard normal."""
    level: Tensor
    """tau `[B, T]`: 0 in a share of the rows, else uniform."""
    halving: Tensor
    """`[B, T]` uniform: which d a shortcut has, and from which tau."""
    context: Tensor
    """`[B, T]`, noise level of the frames looked back to: 0 in half of the rows."""
    before: Tensor
    """`[B, T, C, h, w]`, the noise of the frames when they are looked back to."""
    drop: Tensor
    """bool `[B, T, P]`, conditions that are hidden."""
    members: Tensor
    """`[E, B, T]`, 1 where a member learns."""
    unroll: Tensor
    """`[]` uniform, or 1: whether the model looks back to its own predictions."""
    tokenizer: Tensor
    """`[B, c, h / f, w / f]`, standard normal, of a tokenizer that learns; `[B]` without one."""


def training_noise(
    model: UniSim, rows: int, steps: int, generator: Generator | None = None
) -> TrainingNoise:
    """All randomness of `losses` on `[rows, steps]`, from one generator."""
    settings, like = model.config.flow, model.features_of.output.weight
    device = like.device if generator is None else generator.device

    def uniform_noise(*shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=generator, device=device, dtype=like.dtype)
        return drawn.to(like.device)

    def normal_noise() -> Tensor:
        return tree.unflatten(model.noise(rows * steps, generator), rows, steps)

    level = uniform_noise(rows, steps) * (uniform_noise(rows, steps) >= settings.start)
    context = settings.context * uniform_noise(rows, steps) * (uniform_noise(rows, steps) < 0.5)
    if model.config.backbone == "transformer":  # what it looks back to, too, when it is used
        level = torch.where(uniform_noise(rows, steps) < SEEN, 1 - context, level)
    names, members = len(model.denoiser.conditions.names), model.config.heads.members
    drop = uniform_noise(rows, steps, names) < settings.drop
    if settings.silent:  # the parts of the action are the first conditions
        drop[..., : len(model.parts)] |= uniform_noise(rows, 1, 1) < settings.silent
    return TrainingNoise(
        normal_noise(),
        level,
        uniform_noise(rows, steps),
        context,
        normal_noise() if settings.context else like.new_zeros(()).expand(rows, steps, 1, 1, 1),
        drop,
        (uniform_noise(members, rows, steps) < 0.5).to(like.dtype),
        uniform_noise(),
        model.noise(rows, generator) if model.lens.tokenizer else like.new_zeros(rows),
    )


def scales(model: UniSim) -> dict[str, float]:
    """Weights of the losses; their names are those that `losses` returns."""
    found = {"flow": 1.0}
    if model.config.flow.shortcut:
        found["shortcut"] = 1.0
    if model.heads.reward is not None:
        found["reward"] = 0.1
    if model.heads.ends is not None:
        found["continues"] = 0.1
    if model.ensemble is not None:
        found["ensemble"] = 0.1
    found |= {f"sensor/{name}": 0.1 for name in model.vectors.spaces}
    return {**found, **model.lens.scales}


def losses(
    model: UniSim, batch: Batch, state: UniSimState, noise: TrainingNoise | Tensor
) -> WorldModelLoss:
    """See `UniSim.loss`."""
    drawn = noise if isinstance(noise, TrainingNoise) else _plain(model, batch, noise)
    obs = dict(batch.obs)
    model.vectors.meet(obs)
    paid = batch.reward.masked_fill(batch.first, math.nan)  # no action led to a first row
    model.heads.size.moments.meet(paid[..., None])
    states = model.observe_all(state, batch.action[:, :, None], obs, batch.first, drawn.start)
    frames = states.frames[:, :, -1]
    context = model.denoiser.conditions.encode(len(frames), state.given)
    past = model.before(state, states, context)
    there = (~batch.first & (past.age > 0)).to(frames.dtype)
    condition = _conditions(model, batch, past, context, drawn.drop)
    settings = model.config.flow
    settled = int(model.updates) >= settings.settle
    short = math.ceil(settings.shortcut * len(frames) - 1e-9) if settled else 0
    if settled and _unrolls(model, drawn) and frames.shape[1] > 1:
        flowed = _unrolled(model, frames, past, condition, drawn)
    else:
        flowed = _predicted(model, frames, past, condition, drawn, max(1, len(frames) - short))
    found = {"flow": flowed * there}
    if settings.shortcut:
        found["shortcut"] = there * _shortcuts(model, frames, past, condition, drawn, short)
    found |= {n: x * there for n, x in _read(model, batch, states, past, condition, drawn).items()}
    if model.lens.tokenizer is not None:
        found |= _tokenized(model, batch, state, drawn)
    return WorldModelLoss(found, states)


def _tokenized(
    model: UniSim, batch: Batch, state: UniSimState, noise: TrainingNoise
) -> dict[str, Tensor]:
    """The tokenizer's losses `[B, T]` on the last frame of each sequence: few pictures and many
    updates teach it most in a given time."""
    last = {name: value[:, -1] for name, value in batch.obs.items()}
    seen = model.cameras.read(last, model.lens.leave(state.frames[:, -1]))
    rows = batch.first.shape[1]
    found = model.lens.losses(seen, noise.tokenizer)
    return {name: F.pad(loss[:, None] * rows, (rows - 1, 0)) for name, loss in found.items()}


def _unrolls(model: UniSim, noise: TrainingNoise) -> bool:
    return model.denoiser.unet is not None and float(noise.unroll) < model.config.flow.unroll


def _plain(model: UniSim, batch: Batch, noise: Tensor) -> TrainingNoise:
    """Prediction of every row from pure noise `[T, B, C, h, w]`, everything known."""
    rows, steps = batch.first.shape
    zero = noise.new_zeros(rows, steps)
    names, members = len(model.denoiser.conditions.names), model.config.heads.members
    return TrainingNoise(
        noise.transpose(0, 1),
        zero,
        zero,
        zero,
        zero[..., None, None, None],
        torch.zeros(rows, steps, names, dtype=torch.bool, device=noise.device),
        noise.new_ones(members, rows, steps),
        noise.new_ones(()),
        torch.zeros_like(noise[0]),
    )


def _conditions(
    model: UniSim, batch: Batch, past: UniSimState, context: Any, drop: Tensor
) -> Tensor:
    """c `[B, T, W]` of the action that leads to each row."""
    found: Tensor = model.denoiser.conditions(batch.action, context, past.vectors, drop)
    return found


def _predicted(
    model: UniSim,
    frames: Tensor,
    past: UniSimState,
    condition: Tensor,
    noise: TrainingNoise,
    count: int,
) -> Tensor:
    """The flow loss `[B, T]` of the first `count` sequences, all rows at once, from true frames."""
    known = int(bool((past.age[:count, 0] > 0).any()))
    part = slice(0, count), slice(1 - known, None)  # nothing stands before a window's first row
    before, level = past.frames[part], 1 - noise.context[part]
    if model.config.flow.context:
        each = level[:, :, None].expand(before.shape[:3])
        before = flow.blend(before, noise.before[part][:, :, None], each)
    x, tau = frames[part], noise.level[part]
    z = flow.blend(x, noise.start[part], tau)
    zero, begins = torch.zeros_like(tau), _begins(past)[part]
    x_hat = model.denoiser(z, before, condition[part], tau, zero, level, first=begins)[0]
    loss = _squared(x_hat, x)
    return F.pad(loss, (1 - known, 0, 0, len(frames) - count)) * (len(frames) / count)


def _unrolled(
    model: UniSim, frames: Tensor, past: UniSimState, condition: Tensor, noise: TrainingNoise
) -> Tensor:
    """The flow loss `[B, T]` row after row, each looking back to what was predicted before.

    The first K rows look back to true frames; gradients stay within a row.
    """
    seen, limit = past.frames[:, 0], model.lens.limit
    one, costs = torch.ones_like(noise.level[:, 0]), list[Tensor]()
    known = min(model.config.frames, frames.shape[1] - 1)
    for t in range(frames.shape[1]):
        x, tau = frames[:, t], noise.level[:, t]
        true = (past.age[:, t] < model.config.frames) | (t <= known)
        seen = torch.where(true[:, None, None, None, None], past.frames[:, t], seen)
        if t < known:
            costs.append(torch.zeros_like(one))
            continue
        z = flow.blend(x, noise.start[:, t], tau)
        rows = (x[:, None] for x in (z, seen, condition[:, t], tau, torch.zeros_like(tau), one))
        x_hat = model.denoiser(*rows)[0][:, 0]
        costs.append(_squared(x_hat, x) * (frames.shape[1] / (frames.shape[1] - known)))
        seen = torch.cat([seen[:, 1:], x_hat.detach().clamp(-limit, limit)[:, None]], 1)
    return torch.stack(costs, 1)


def _shortcuts(
    model: UniSim,
    frames: Tensor,
    past: UniSimState,
    condition: Tensor,
    noise: TrainingNoise,
    count: int,
) -> Tensor:
    """The shortcut loss `[B, T]` of the last `count` sequences, each a row of `frames`."""
    if not count:
        return frames.new_zeros(frames.shape[:2])
    last = slice(len(frames) - count, None)
    x, start, before, c, which = (
        value[last] for value in (frames, noise.start, past.frames, condition, noise.halving)
    )
    finest, choices = model.config.flow.finest, int(math.log2(model.config.flow.finest)) - 1
    step = 2.0 ** -(1 + (which * choices).floor())  # 1/2 .. 2/finest
    tau = ((which * choices) % 1.0 / step).floor() * step
    z, one, half = flow.blend(x, start, tau), torch.ones_like(tau), step / 2
    begins = _begins(past)[last]

    def net(z: Tensor, level: Tensor, told: Tensor) -> Tensor:
        found: Tensor = model.denoiser(z, before, c, level, told, one, first=begins)[0]
        return found

    with torch.no_grad():
        told = torch.where(half <= 1 / finest, 0.0, half)
        middle = flow.advance(z, net(z, tau, told), tau, half)
        end = flow.advance(middle, net(middle, tau + half, told), tau + half, half)
        aim = z + (end - z) * ((1 - tau) / step)[..., None, None, None]
    loss = _squared(net(z, tau, step), aim.clamp(-1.5 * model.lens.limit, 1.5 * model.lens.limit))
    return F.pad(loss, (0, 0, len(frames) - count, 0))


def _begins(past: UniSimState) -> Tensor:
    """Frames that see nothing before them, bool `[B, T]`: those after the first of an episode."""
    found: Tensor = past.age <= 1
    return found


def _read(
    model: UniSim,
    batch: Batch,
    states: UniSimState,
    past: UniSimState,
    condition: Tensor,
    noise: TrainingNoise,
) -> dict[str, Tensor]:
    """The losses of heads and ensemble, each `[B, T]`, on true frames."""
    shape, c = batch.first.shape, condition.detach().flatten(0, 1)
    sensed = {name: value.flatten(0, 1) for name, value in past.vectors.items()}
    read, found = model.heads(states.looked.flatten(0, 1), c, sensed), dict[str, Tensor]()
    if read.reward is not None:
        away = read.reward - batch.reward.flatten()
        found["reward"] = (away / model.heads.size(away)) ** 2
    if read.ends is not None:
        ended = batch.terminated.flatten().to(read.ends.dtype)
        found["continues"] = F.binary_cross_entropy_with_logits(read.ends, ended, reduction="none")
    for name, value in read.sensors.items():
        aim = states.vectors[name].flatten(0, 1)
        found[f"sensor/{name}"] = ((value - aim) ** 2).flatten(1).mean(1)
    if model.ensemble is not None:
        start = past.frames[:, :1, -1]  # the past of a row is the row before it
        last = model.lens.leave(torch.cat([start, states.frames[:, :, -1]], 1)).detach()
        change = model.ensemble.target(last[:, :-1].flatten(0, 1), last[:, 1:].flatten(0, 1))
        away = model.ensemble(past.looked.flatten(0, 1), c) - change
        away = (away**2).mean(-1)
        found["ensemble"] = (away * noise.members.flatten(1)).mean(0)
    return {name: value.unflatten(0, shape) for name, value in found.items()}


def _squared(one: Tensor, two: Tensor) -> Tensor:
    """Mean squared difference of frames in -1..1, over their last three axes."""
    away: Tensor = (one - two).square().mean((-3, -2, -1))
    return away
