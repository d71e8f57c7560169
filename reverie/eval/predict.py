"""What a model imagines after it has seen a few recorded rows, with the actions really taken.

Legend: `N` windows, `K` samples of noise, `H` horizon, `C` observed rows, `n` chunk, `A` action.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Batch, Clip, Obs, Transition, WorldModel

Model = WorldModel[Any, Any]


class Prediction(NamedTuple):
    """What the model imagined, and what it saw before; sensors as `decode` gives them."""

    seen: Obs
    """Decoded from the filtered states, each `[K, N, rows, ...]`."""
    obs: Obs
    """Imagined, each `[K, N, len(steps), ...]`."""
    reward: Tensor | None
    """Imagined `[K, N, H / n]`, summed over each chunk; None if the model predicts none."""
    continues: Tensor | None
    """Imagined probability `[K, N, H / n]` that the episode goes on there; None likewise."""
    steps: tuple[int, ...]
    """Decisions after the last observed row, of each imagined observation."""


@torch.no_grad()
def predict(
    model: Model,
    batch: Batch,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    context: Obs | None = None,
    generator: Generator | None = None,
) -> Prediction:
    """Filter `observed` rows of windows `[N, T]`, then imagine `horizon` decisions.

    The model's past begins with the window: its first row is treated as the first of an episode.
    A model with a chunk of n actions reads rows 0, n, 2n, ... and predicts every n-th row, or every
    row if it can show a clip.

    Args:
        model: any world model.
        batch: windows inside one episode each, of at least `observed + horizon` rows.
        observed: C, at least 1; `C - 1` must be a multiple of the model's chunk.
        horizon: H, at least 1; a multiple of the model's chunk.
        samples: K, independent draws of the noise.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        generator: of the noise.
    """
    chunk = model.spec.chunk
    _check_request(batch, observed, horizon, samples, chunk)
    windows = batch.action.shape[0]

    def repeat(x: Any) -> Any:
        return tree.repeat(x, samples)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(0, (windows, samples)).transpose(0, 1)

    action, obs, first = _observed_rows(model, batch, observed)
    begun = {name: value[:, 0] for name, value in batch.obs.items()}
    context = rollout.context_of(model.spec, begun, context)
    state = model.initial(windows * samples, None if context is None else repeat(dict(context)))
    noise = rollout.draw(model, action.shape[1], windows * samples, generator)
    states = rollout.filter(model, state, repeat(action), repeat(obs), repeat(first), noise)
    last = tree.map(lambda x: x[:, -1], states)

    plan = batch.action[:, observed : observed + horizon].unflatten(1, (-1, chunk)).transpose(0, 1)
    noise = rollout.draw(model, horizon // chunk, windows * samples, generator)
    plan = plan.repeat_interleave(samples, 1)
    future = rollout.imagine(model, last, plan, noise)

    seen = [model.decode(tree.map(lambda x, t=t: x[:, t], states)) for t in range(first.shape[1])]
    imagined, steps = _shown(model, last, future, chunk)

    def head(values: Tensor | None) -> Tensor | None:
        return None if values is None else split(values.transpose(0, 1))

    return Prediction(
        {k: split(torch.stack([o[k] for o in seen], 1)) for k in seen[0]},
        {k: split(v) for k, v in imagined.items()},
        head(future.transition.reward),
        head(future.transition.continues),
        steps,
    )


def _check_request(batch: Batch, observed: int, horizon: int, samples: int, chunk: int) -> None:
    rows = batch.action.shape[1]
    if observed < 1 or horizon < 1 or samples < 1:
        raise ValueError(
            f"observed, horizon and samples must be at least 1; got {observed}, {horizon} and "
            f"{samples}."
        )
    if rows < observed + horizon:
        raise ValueError(
            f"The windows have {rows} rows, but {observed} observed and {horizon} imagined rows "
            f"need {observed + horizon}; cut longer windows."
        )
    if (observed - 1) % chunk or horizon % chunk:
        raise ValueError(
            f"The model takes {chunk} actions at a time: horizon ({horizon}) and observed - 1 "
            f"({observed - 1}) must be multiples of {chunk}."
        )
    inside = slice(1, observed + horizon)
    if batch.first[:, inside].any() or batch.last[:, : observed + horizon - 1].any():
        raise ValueError(
            "A window crosses the end of an episode, where nothing can be predicted; "
            "cut the windows with reverie.eval.windows."
        )


def _observed_rows(model: Model, batch: Batch, observed: int) -> tuple[Tensor, Obs, Tensor]:
    """Actions `[N, rows, n, A]`, observations and `first` `[N, rows]` of the rows that are read."""
    chunk = model.spec.chunk
    known = [k for k in batch.obs if k.removesuffix(".present") in model.spec.obs]
    obs = {k: batch.obs[k][:, :observed:chunk] for k in known}
    lacking = [name for name in model.spec.obs if name not in obs]
    if lacking:
        raise ValueError(
            f"The model reads {', '.join(model.spec.obs)}, but the recording lacks "
            f"{', '.join(lacking)}; it has {', '.join(batch.obs)}."
        )
    start = torch.zeros_like(batch.action[:, :1].expand(-1, chunk, -1))
    action = torch.cat([start, batch.action[:, 1:observed]], 1).unflatten(1, (-1, chunk))
    first = torch.zeros(action.shape[:2], dtype=torch.bool, device=action.device)
    first[:, 0] = True
    return action, obs, first


def _shown(
    model: Model, last: Any, future: rollout.Rollout, chunk: int
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Imagined observations `[N * K, steps, ...]`, and their steps; one state is decoded at a time,
    because the decoder's activations for all would not fit in memory."""
    count = future.actions.shape[0]
    after = [
        Transition(*(None if x is None else tree.select(x, k) for x in future.transition))
        for k in range(count)
    ]
    if chunk > 1 and isinstance(model, Clip):
        before = [last, *(t.state for t in after)]
        clips = [model.frames(s, t) for s, t in zip(before, after, strict=False)]
        shown = {k: torch.cat([c[k] for c in clips], 1) for k in clips[0]}
        return shown, tuple(range(1, count * chunk + 1))
    decoded = [model.decode(t.state) for t in after]
    shown = {k: torch.stack([o[k] for o in decoded], 1) for k in decoded[0]}
    return shown, tuple(range(chunk, count * chunk + 1, chunk))
