"""The posterior over a whole sequence, with its gradient through time written out by hand.

Autograd would multiply each weight's gradient together step by step, in 64 small products; here
the backward pass carries only the states' gradients from step to step, and each weight's gradient
is one product over all steps at the end. Values and gradients equal the plain loop's
(`tests/models/dreamer/test_sequence.py`).

Legend: `T` time, `B` batch, `D` deter, `H` hidden, `G` blocks, `d = D / G`, `Z` flat latent,
`S` variables, `C` classes. All recordings are time-major.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.dreamer.latent import Categorical
from reverie.nn.categorical import mix_uniform, one_hot_sample
from reverie.nn.layers import inverse_rms, silu_backward, tanh, unit_backward

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


class Tape(NamedTuple):
    """What the forward pass records for the backward pass, each `[T, B, ...]`."""

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
    probs: Tensor  # [T, B, S, C]


def normed(pre: Tensor, gain: Tensor) -> Tensor:
    """silu(g x / rms(x)), without a graph."""
    return F.silu((pre * inverse_rms(pre)).mul_(gain), inplace=True)


def normed_backward(grad: Tensor, pre: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient to `pre`, and each row's contribution to the gradient of `gain`."""
    inverse = inverse_rms(pre)
    unit = pre * inverse
    grad = silu_backward(grad, unit * gain)
    return unit_backward(grad * gain, unit, inverse), grad.mul_(unit)


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


def record(w: Weights, size: tuple[int, ...], like: Tensor) -> Tape:
    """Empty recordings for T steps of B rows."""
    steps, batch, variables, classes = size
    hidden, deter = w.deter_w.shape
    widths = (deter, variables * classes, hidden, hidden, 3 * hidden, *[deter] * 6, hidden, hidden)
    buffers = [like.new_empty(steps, batch, width) for width in widths]
    return Tape(*[*buffers, like.new_empty(steps, batch, variables, classes)])


def forward_step(w: Weights, tape: Tape, t: int, h: Tensor, action: Tensor) -> Tensor:
    """h_t from the masked inputs on the tape and the embedded action."""
    blocks, hidden = w.gates_w.shape[0], w.deter_w.shape[0]
    torch.addmm(w.deter_b, h, w.deter_w.t(), out=tape.deter_pre[t])
    torch.addmm(w.latent_b, tape.latent_in[t], w.latent_w.t(), out=tape.latent_pre[t])
    x = tape.x[t]
    x[:, :hidden] = normed(tape.deter_pre[t], w.deter_g)
    x[:, hidden : 2 * hidden] = normed(tape.latent_pre[t], w.latent_g)
    x[:, 2 * hidden :] = action
    torch.addmm(w.recur_b, x, w.mix, out=tape.pre[t])
    tape.pre[t] += from_blocks(torch.bmm(to_blocks(h, blocks), w.recur_w))
    tape.y[t] = normed(tape.pre[t], w.recur_g)
    gates = torch.bmm(to_blocks(tape.y[t], blocks), w.gates_w)
    gates += w.gates_b.view(blocks, 1, -1)
    reset, candidate, update = split_gates(gates)
    torch.sigmoid(reset, out=tape.reset[t])
    tape.candidate[t] = candidate
    torch.sigmoid(update - 1, out=tape.update[t])
    proposal = tanh(tape.reset[t] * candidate)
    return torch.lerp(h, proposal, tape.update[t], out=tape.deter[t])


def backward_gates(
    w: Weights, tape: Tape, t: int, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From the gradient of h_t: those of h_{t-1}, of the gates, of `pre`, and the gain's rows."""
    blocks = w.gates_w.shape[0]
    h, reset, candidate, update = (
        tape.deter_in[t],
        tape.reset[t],
        tape.candidate[t],
        tape.update[t],
    )
    proposal = tanh(reset * candidate)
    grad_update = (proposal - h).mul_(grad).mul_(update).mul_(1 - update)
    grad_h = grad * (1 - update)
    inner = (grad * update).mul_(1 - proposal * proposal)
    grad_candidate = inner * reset
    grad_reset = inner.mul_(candidate).mul_(reset).mul_(1 - reset)
    gates = join_gates([grad_reset, grad_candidate, grad_update], blocks)
    grad_y = from_blocks(torch.bmm(gates, w.gates_w.mT))
    pre, gain = normed_backward(grad_y, tape.pre[t], w.recur_g)
    grad_h += from_blocks(torch.bmm(to_blocks(pre, blocks), w.recur_w.mT))
    return grad_h, gates, pre, gain


class Unroll(torch.autograd.Function):
    """h, z and posterior probabilities of T steps; see the module's text."""

    @staticmethod
    def forward(ctx: Any, unimix: float, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run T steps, recording what the backward pass needs."""
        h, z, actions, embedded, keep, noise, *rest = inputs
        w = Weights(*rest)
        steps, batch, variables = noise.shape
        tape = record(w, (steps, batch, variables, z.shape[-1] // variables), h)
        latents = z.new_empty(steps, batch, z.shape[-1])
        for t in range(steps):
            torch.mul(h, keep[t], out=tape.deter_in[t])
            torch.mul(z, keep[t], out=tape.latent_in[t])
            h = forward_step(w, tape, t, tape.deter_in[t], actions[t])
            torch.addmm(w.post_b, h, w.post_w.t(), out=tape.post_pre[t])
            tape.post_pre[t] += embedded[t]
            tape.post[t] = normed(tape.post_pre[t], w.post_g)
            raw = torch.addmm(w.out_b, tape.post[t], w.out_w.t())
            tape.probs[t] = mix_uniform(raw.view(batch, -1, variables), unimix, -2).mT
            latents[t] = z = one_hot_sample(tape.probs[t], noise[t]).flatten(1)
        ctx.unimix = unimix
        ctx.save_for_backward(keep, *w, *tape)
        return tape.deter.clone(), latents, tape.probs.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all inputs."""
        saved = ctx.saved_tensors
        keep = saved[0]
        count = len(Weights._fields)
        w, tape = Weights(*saved[1 : 1 + count]), Tape(*saved[1 + count :])
        return backward(w, tape, keep, ctx.unimix, *grads)


class Slopes(NamedTuple):
    """Gradients of each step, each `[T, B, ...]` (the gates' `[T, G, B, 3 d]`)."""

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


def backward(
    w: Weights,
    tape: Tape,
    keep: Tensor,
    unimix: float,
    grad_deter: Tensor,
    grad_latent: Tensor,
    grad_probs: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients of every input of `Unroll`."""
    steps, hidden = keep.shape[0], w.deter_w.shape[0]
    soft = (tape.probs - unimix / tape.probs.shape[-1]) / (1 - unimix)
    rows: list[tuple[Tensor, ...]] = [()] * steps
    h, z = torch.zeros_like(grad_deter[0]), torch.zeros_like(grad_latent[0])
    for t in reversed(range(steps)):
        slope = (z + grad_latent[t]).view_as(soft[t]) + grad_probs[t]
        slope.mul_(soft[t] * (1 - unimix))
        raw = torch.addcmul(slope, soft[t], slope.sum(-1, keepdim=True), value=-1).mT.flatten(1)
        post, post_g = normed_backward(raw @ w.out_w, tape.post_pre[t], w.post_g)
        h = torch.addmm(h + grad_deter[t], post, w.post_w)
        h, gates, pre, pre_g = backward_gates(w, tape, t, h)
        x = pre @ w.mix.t()
        deter, deter_g = normed_backward(x[:, :hidden], tape.deter_pre[t], w.deter_g)
        latent, latent_g = normed_backward(
            x[:, hidden : 2 * hidden], tape.latent_pre[t], w.latent_g
        )
        h = h.addmm_(deter, w.deter_w).mul_(keep[t])
        z = (latent @ w.latent_w).mul_(keep[t])
        rows[t] = (deter, deter_g, latent, latent_g, x, pre, pre_g, gates, post, post_g, raw)
    slopes = Slopes(*(torch.stack(column) for column in zip(*rows, strict=True)))
    actions = slopes.x[..., 2 * hidden :]
    return (None, h, z, actions, slopes.post, None, None, *weight_gradients(w, tape, slopes))


def weight_gradients(w: Weights, tape: Tape, slopes: Slopes) -> Weights:
    """Each weight's gradient as one product over all T B rows."""
    blocks = w.gates_w.shape[0]

    def rows(x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def outer(left: Tensor, right: Tensor) -> Tensor:
        return rows(left).t() @ rows(right)

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
        recur_w=torch.bmm(to_blocks(rows(tape.deter_in), blocks).mT, pre),
        recur_b=slopes.pre.sum((0, 1)),
        recur_g=slopes.pre_g.sum((0, 1)),
        gates_w=torch.bmm(to_blocks(rows(tape.y), blocks).mT, gates),
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
        latent.unimix, state.deter, state.stoch, *major, noise, *weights
    )
    return deter.transpose(0, 1), stoch.transpose(0, 1), probs.transpose(0, 1)
