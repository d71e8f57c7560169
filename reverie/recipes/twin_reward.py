"""A task's own reward at predicted states, with a gradient.

    dr/dx_i = (r(x + h e_i) - r(x - h e_i)) / 2h   x: positions, velocities, what is drawn, controls

The reward is code of the task that reads the simulator, so its slope is that of differences, made
only where a gradient is asked for. What else is in the simulator's vector (time, warm starts) gets
none.

Legend: `B` batch, `P` entries of the vector, `Q` positions, `V` velocities, `R` others, `D` drawn,
`U` controls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reverie.recipes.twin_source import Source

DIFFERENCE = 1e-5
"""h, in the unit of each entry."""


def joined(source: Source, position: Tensor, velocity: Tensor, rest: Tensor) -> Tensor:
    """The simulator's vector `[B, P]`."""
    start = source.layout.position.start
    return torch.cat([rest[:, :start], position, velocity, rest[:, start:]], -1)


def asked(
    source: Source,
    position: Tensor,
    velocity: Tensor,
    drawn: Tensor,
    control: Tensor,
    rest: Tensor,
) -> Tensor:
    """The reward of one frame `[B]` that ends in `[B, Q]`, `[B, V]` under `[B, U]`.

    `drawn` `[B, D]` stands for those entries of `rest` `[B, R]`. Where MuJoCo refuses the state as
    diverged it is NaN.
    """
    found: Tensor = _Reward.apply(source, position, velocity, drawn, control, rest)
    return found


class _Reward(torch.autograd.Function):
    """See the top."""

    @staticmethod
    def forward(ctx: Any, source: Source, *given: Tensor) -> Tensor:
        """The arguments of `asked`."""
        ctx.source, ctx.needed = source, ctx.needs_input_grad[1:5]
        ctx.save_for_backward(*given)
        return _values(source, *given)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        """Two moments for each entry of what needs a gradient."""
        *parts, rest = ctx.saved_tensors
        made: list[Tensor | None] = [None] * len(parts)
        for k, (part, needed) in enumerate(zip(parts, ctx.needed, strict=True)):
            size = part.shape[1]
            if not needed:
                continue
            off = DIFFERENCE * torch.eye(size).to(part)
            every = [x.repeat(2 * size, 1) for x in (*parts, rest)]
            every[k] = (part + torch.cat([off, -off])[:, None]).flatten(0, 1)
            up, down = _values(ctx.source, *every).unflatten(0, (2, size, len(part))).unbind(0)
            made[k] = ((up - down) / (2 * DIFFERENCE)).T * slopes[0].unsqueeze(-1)
        return None, *made, None


def _values(
    source: Source,
    position: Tensor,
    velocity: Tensor,
    drawn: Tensor,
    control: Tensor,
    rest: Tensor,
) -> Tensor:
    """`asked`, without gradient."""
    vectors = joined(source, position, velocity, rest).detach().cpu().double().numpy()
    vectors[:, source.layout.drawn] = drawn.detach().cpu().numpy()
    found = source.reward(vectors, control.detach().cpu().double().numpy())
    return torch.from_numpy(found).to(position)
