"""The posterior over a whole sequence, with its gradient through time written out by hand.

Autograd would multiply each weight's gradient together step by step, in 64 small products; here
the backward pass carries only the states' gradients from step to step, and each weight's gradient
is one product over all steps at the end. Values and gradients equal the plain loop's
(`tests/models/dreamer/test_sequence.py`).

Legend: `T` time, `B` batch, `D` deter, `H` hidden, `G` blocks, `d = D / G`, `Z` flat latent,
`S` variables, `C` classes. All recordings are time-major.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.dreamer.latent import Categorical
from reverie.nn.categorical import mix_uniform, one_hot_sample
from reverie.nn.layers import inverse_rms, silu_backward, tanh, unit_backward
from reverie.nn.products import product, products

if TYPE_CHECKING:
    from reverie.models.dreamer.cell import BlockGRU
    from reverie.models.dreamer.rssm import Posterior, RSSMState


class Weights(NamedTuple):
    """Every parameter on the recurrent path."""

    deter_w: Tensor  # [H, D]
    deter_b: Tensor  # [H]
    deter_g: Tensor  # [H]
    latent_w: Tensor  # [H, Z]
    latent_b: Tensor  # [H]
    latent_g: Tensor  # [H]
    mix: Tensor  # [3 H, D]
    recur_w: Tensor  # [G, d, d]
    recur_b: Tensor  # [D]
    recur_g: Tensor  # [D]
    gates_w: Tensor  # [G, d, 3 d]
    gates_b: Tensor  # [3 D]
    post_w: Tensor  # [H, D]
    post_b: Tensor  # [H]
    post_g: Tensor  # [H]
    out_w: Tensor  # [Z, H]
    out_b: Tensor  # [Z]


class Step(NamedTuple):
    """What the forward pass of one step keeps for the backward pass, each `[B, ...]`."""

    deter_in: Tensor  # h_{t-1}, zero where the row is first
    latent_in: Tensor  # z_{t-1}, likewise
    deter_pre: Tensor  # input of the norm of dense(h)
    latent_pre: Tensor  # input of the norm of dense(z)
    x: Tensor  # [dense(h), dense(z), a]
    pre: Tensor  # input of the norm before the gates
    y: Tensor  # block input of the gates
    reset: Tensor  # s(r)
    candidate: Tensor  # c
    update: Tensor  # s(u - 1)
    deter: Tensor  # h_t
    post_pre: Tensor  # input of the posterior's norm
    post: Tensor  # its output
    probs: Tensor  # [B, S, C]


class Slope(NamedTuple):
    """Gradients of one step, each `[B, ...]` (the gates' `[G, B, 3 d]`)."""

    deter: Tensor
    deter_g: Tensor
    latent: Tensor
    latent_g: Tensor
    x: Tensor
    pre: Tensor
    pre_g: Tensor
    gates: Tensor
    post: Tensor
    post_g: Tensor
    raw: Tensor


def normed(pre: Tensor, gain: Tensor) -> Tensor:
    """silu(g x / rms(x)), without a graph."""
    return F.silu(pre * inverse_rms(pre) * gain)


def normed_backward(grad: Tensor, pre: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient to `pre`, and each row's contribution to the gradient of `gain`."""
    inverse = inverse_rms(pre)
    unit = pre * inverse
    grad = silu_backward(grad, unit * gain)
    return unit_backward(grad * gain, unit, inverse), grad * unit


def to_blocks(x: Tensor, blocks: int) -> Tensor:
    """`[B, G d] -> [G, B, d]`."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def from_blocks(x: Tensor) -> Tensor:
    """`[G, B, d] -> [B, G d]`."""
    return x.transpose(0, 1).flatten(1)


def split_gates(gates: Tensor) -> tuple[Tensor, ...]:
    """`[G, B, 3 d] -> 3 x [B, G d]`."""
    return gates.unflatten(-1, (3, -1)).permute(2, 1, 0, 3).flatten(2).unbind(0)


def join_gates(grads: list[Tensor], blocks: int) -> Tensor:
    """The inverse of `split_gates`."""
    return torch.stack(grads).unflatten(-1, (blocks, -1)).permute(2, 1, 0, 3).flatten(2)


def forward_step(
    w: Weights,
    h: Tensor,
    z: Tensor,
    action: Tensor,
    embedded: Tensor,
    keep: Tensor,
    noise: Tensor,
    unimix: float,
) -> tuple[Step, Tensor]:
    """One step from h_{t-1}, z_{t-1} and what is read of action and observation; and z_t."""
    blocks, variables = w.gates_w.shape[0], noise.shape[-1]
    h, z = h * keep, z * keep
    deter_pre = torch.addmm(w.deter_b, h, w.deter_w.t())
    latent_pre = torch.addmm(w.latent_b, z, w.latent_w.t())
    x = torch.cat([normed(deter_pre, w.deter_g), normed(latent_pre, w.latent_g), action], -1)
    pre = torch.addmm(w.recur_b, x, w.mix)
    pre = pre + from_blocks(torch.bmm(to_blocks(h, blocks), w.recur_w))
    y = normed(pre, w.recur_g)
    gates = torch.bmm(to_blocks(y, blocks), w.gates_w) + w.gates_b.view(blocks, 1, -1)
    reset, candidate, update = split_gates(gates)
    reset, update = torch.sigmoid(reset), torch.sigmoid(update - 1)
    deter = torch.lerp(h, tanh(reset * candidate), update)
    post_pre = torch.addmm(w.post_b, deter, w.post_w.t()) + embedded
    post = normed(post_pre, w.post_g)
    raw = torch.addmm(w.out_b, post, w.out_w.t())
    probs = mix_uniform(raw.unflatten(-1, (-1, variables)), unimix, -2).mT.contiguous()
    step = Step(
        h,
        z,
        deter_pre,
        latent_pre,
        x,
        pre,
        y,
        reset,
        candidate,
        update,
        deter,
        post_pre,
        post,
        probs,
    )
    return step, one_hot_sample(probs, noise).flatten(1)


def backward_step(
    w: Weights, step: Step, keep: Tensor, h: Tensor, z: Tensor, probs: Tensor, unimix: float
) -> tuple[Slope, Tensor, Tensor]:
    """Gradients of one step, of h_{t-1} and of z_{t-1}, from those of h_t, z_t and q's
    probabilities."""
    blocks, hidden = w.gates_w.shape[0], w.deter_w.shape[0]
    soft = (step.probs - unimix / step.probs.shape[-1]) / (1 - unimix)
    slope = (z.view_as(soft) + probs) * soft * (1 - unimix)
    raw = torch.addcmul(slope, soft, slope.sum(-1, keepdim=True), value=-1).mT.flatten(1)
    post, post_g = normed_backward(raw @ w.out_w, step.post_pre, w.post_g)
    h = torch.addmm(h, post, w.post_w)
    proposal = tanh(step.reset * step.candidate)
    grad_update = (proposal - step.deter_in) * h * step.update * (1 - step.update)
    inner = h * step.update * (1 - proposal * proposal)
    grad_reset = inner * step.candidate * step.reset * (1 - step.reset)
    gates = join_gates([grad_reset, inner * step.reset, grad_update], blocks)
    grad_y = from_blocks(torch.bmm(gates, w.gates_w.mT))
    pre, pre_g = normed_backward(grad_y, step.pre, w.recur_g)
    h = h * (1 - step.update) + from_blocks(torch.bmm(to_blocks(pre, blocks), w.recur_w.mT))
    x = pre @ w.mix.t()
    deter, deter_g = normed_backward(x[:, :hidden], step.deter_pre, w.deter_g)
    latent, latent_g = normed_backward(x[:, hidden : 2 * hidden], step.latent_pre, w.latent_g)
    h = torch.addmm(h, deter, w.deter_w) * keep
    z = (latent @ w.latent_w) * keep
    return Slope(deter, deter_g, latent, latent_g, x, pre, pre_g, gates, post, post_g, raw), h, z


class Unroll(torch.autograd.Function):
    """h, z and posterior probabilities of T steps; see the module's text."""

    @staticmethod
    def forward(
        ctx: Any, steps: Steps, unimix: float, *inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run T steps, recording what the backward pass needs."""
        h, z, actions, embedded, keep, noise, *rest = inputs
        w = Weights(*rest)
        taken: list[Step] = []
        latents: list[Tensor] = []
        for t in range(noise.shape[0]):
            step, z = steps.forward(w, h, z, actions[t], embedded[t], keep[t], noise[t], unimix)
            h = step.deter
            taken.append(step)
            latents.append(z)
        ctx.steps, ctx.unimix = steps, unimix
        ctx.save_for_backward(keep, *w, *(x for step in taken for x in step))
        deter, probs = (
            torch.stack(xs) for xs in zip(*((s.deter, s.probs) for s in taken), strict=True)
        )
        return deter, torch.stack(latents), probs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all inputs."""
        keep, *saved = ctx.saved_tensors
        count, width = len(Weights._fields), len(Step._fields)
        w, kept = Weights(*saved[:count]), saved[count:]
        taken = [Step(*kept[i : i + width]) for i in range(0, len(kept), width)]
        grad_deter, grad_latent, grad_probs = grads
        slopes: list[Slope] = []
        h, z = torch.zeros_like(grad_deter[0]), torch.zeros_like(grad_latent[0])
        for t in reversed(range(len(taken))):
            h, z = h + grad_deter[t], z + grad_latent[t]
            slope, h, z = ctx.steps.backward(w, taken[t], keep[t], h, z, grad_probs[t], ctx.unimix)
            slopes.append(slope)
        tape = Step(*(torch.stack(xs) for xs in zip(*taken, strict=True)))
        all_slopes = Slope(*(torch.stack(xs) for xs in zip(*reversed(slopes), strict=True)))
        actions = all_slopes.x[..., 2 * w.deter_w.shape[0] :]
        weights = weight_gradients(w, tape, all_slopes)
        return (None, None, h, z, actions, all_slopes.post, None, None, *weights)


class Steps(NamedTuple):
    """How one step is run: as it stands, or compiled."""

    forward: Callable[..., tuple[Step, Tensor]] = forward_step
    backward: Callable[..., tuple[Slope, Tensor, Tensor]] = backward_step


def weight_gradients(w: Weights, tape: Step, slopes: Slope) -> Weights:
    """Each weight's gradient as one product over all rows of the `[T, B, ...]` tape and slopes."""
    blocks = w.gates_w.shape[0]

    def rows(x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def outer(left: Tensor, right: Tensor) -> Tensor:
        return product(rows(left).t(), rows(right))

    gates = slopes.gates.transpose(0, 1).flatten(1, 2)  # [G, T B, 3 d]
    pre = to_blocks(rows(slopes.pre), blocks)
    return Weights(
        deter_w=outer(slopes.deter, tape.deter_in),
        deter_b=slopes.deter.sum((0, 1)),
        deter_g=slopes.deter_g.sum((0, 1)),
        latent_w=outer(slopes.latent, tape.latent_in),
        latent_b=slopes.latent.sum((0, 1)),
        latent_g=slopes.latent_g.sum((0, 1)),
        mix=outer(tape.x, slopes.pre),
        recur_w=products(to_blocks(rows(tape.deter_in), blocks).mT, pre),
        recur_b=slopes.pre.sum((0, 1)),
        recur_g=slopes.pre_g.sum((0, 1)),
        gates_w=products(to_blocks(rows(tape.y), blocks).mT, gates),
        gates_b=gates.sum(1).flatten(),
        post_w=outer(slopes.post, tape.deter),
        post_b=slopes.post.sum((0, 1)),
        post_g=slopes.post_g.sum((0, 1)),
        out_w=outer(slopes.raw, tape.post),
        out_b=slopes.raw.sum((0, 1)),
    )


def unroll(
    cell: BlockGRU,
    posterior: Posterior,
    latent: Categorical,
    state: RSSMState,
    actions: Tensor,
    embedded: Tensor,
    keep: Tensor,
    noise: Tensor,
    steps: Steps,
) -> tuple[Tensor, Tensor, Tensor]:
    """h `[B, T, D]`, z `[B, T, Z]` and probabilities `[B, T, S, C]` of a recorded sequence.

    `actions` and `embedded` `[B, T, H]` are what cell and posterior read of actions and
    observations, `keep` `[B, T, 1]` is 0 where a row is first, `noise` is `[T, B, S]`.
    """
    weights = Weights(
        cell.deter_in.linear.weight,
        cell.deter_in.linear.bias,
        cell.deter_in.gain,
        cell.latent_in.linear.weight,
        cell.latent_in.linear.bias,
        cell.latent_in.gain,
        cell.mix,
        cell.recur.weight,
        cell.recur.bias,
        cell.gain,
        cell.gates.weight,
        cell.gates.bias,
        posterior.from_deter.weight,
        posterior.from_deter.bias,
        posterior.gain,
        posterior.output.weight,
        posterior.output.bias,
    )
    major = (x.transpose(0, 1).contiguous() for x in (actions, embedded, keep))
    deter, stoch, probs = Unroll.apply(
        steps, latent.unimix, state.deter, state.stoch, *major, noise, *weights
    )
    return deter.transpose(0, 1), stoch.transpose(0, 1), probs.transpose(0, 1)
