"""What follows from the interface for every world model: encode, filter, imagine, rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint as again

from reverie.core import tree
from reverie.core.model import Deferred, Obs, Sequential, Transition, WorldModel
from reverie.core.spec import Spec

Model = WorldModel[Any, Any]


class Rollout(NamedTuple):
    """An imagined future of H steps, time-major."""

    states: Any
    """s_1 .. s_H, every leaf `[H, B, ...]`."""
    actions: Tensor
    """`[H, B, n, A]`, `actions[k]` leads to `states[k]`."""
    transition: Transition[Any]
    """Heads `[H, B]`; its state is `states`."""


def draw(model: Model, steps: int, batch: int, generator: Generator | None) -> Any:
    """Noise for `steps` calls at once, every leaf `[steps, B, ...]`."""
    return tree.unflatten(model.noise(steps * batch, generator), steps, batch)


def context_of(spec: Spec, obs: Obs, given: Obs | None = None) -> Obs | None:
    """The context that rows `obs` `[B, ...]` bring, for `initial`: a sensor that has the name of an
    entry of `spec.context` is that entry. `given` stands for what they do not bring; None: nothing.
    """
    return {**(given or {}), **{name: obs[name] for name in spec.context if name in obs}} or None


def encode(
    model: Model, obs: Obs, context: Obs | None = None, generator: Generator | None = None
) -> Any:
    """The state after a first observation, without a past: `observe(initial, 0, obs, first)`.

    `context` `[B, ...]` is what is constant in the episode, where `obs` does not bring it.
    """
    some = next(iter(obs.values()))
    batch = some.shape[0]
    action = torch.zeros(batch, model.spec.chunk, *model.spec.action.shape, device=some.device)
    first = torch.ones(batch, dtype=torch.bool, device=some.device)
    state = model.initial(batch, context_of(model.spec, obs, context))
    return model.observe(state, action, obs, first, model.noise(batch, generator))


def filter(model: Model, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
    """States `[B, T, ...]` of recorded rows, from the state before them.

    `action` `[B, T, n, A]`, `obs` and `first` `[B, T, ...]`, `noise` `[T, B, ...]`. A model with
    `observe_all` is asked for the whole sequence at once.
    """
    if isinstance(model, Sequential):
        return model.observe_all(state, action, obs, first, noise)
    states = []
    for t in range(first.shape[1]):
        now = {name: value[:, t] for name, value in obs.items()}
        state = model.observe(state, action[:, t], now, first[:, t], tree.select(noise, t))
        states.append(state)
    return tree.stack(states, 1)


def imagine(
    model: Model,
    state: Any,
    act: Tensor | Callable[[Any, int], Tensor],
    noise: Any,
    steps: int | None = None,
    keep: Literal["all", "last"] = "all",
    checkpoint: int | Literal["sqrt"] | None = None,
) -> Rollout:
    """s_{k+1} = step(s_k, a_k) for H steps from `state`.

    `act` is a plan `[H, B, n, A]`, or a function of (state, k) that returns `[B, n, A]`, which then
    needs `steps`. `noise` is `[H, B, ...]` (see `draw`). With `keep="last"` its states are s_H
    alone, `[1, B, ...]`. The heads of a `Deferred` model are made at once, at the end of a plan.

    With `checkpoint`, a gradient has in memory no more than the states between segments of so many
    steps ("sqrt": of sqrt(H)) and one segment: each is made again, alike, on the way back.
    """
    horizon = act.shape[0] if isinstance(act, Tensor) else steps
    if horizon is None:
        raise ValueError("imagine with a policy needs the number of steps; pass steps=H.")
    size = max(1, math.isqrt(horizon) if checkpoint == "sqrt" else checkpoint or horizon)
    heads, states, actions = list[Any](), list[Any](), list[Any]()
    late = model if isinstance(act, Tensor) and isinstance(model, Deferred) else None
    for k in range(0, horizon, size):
        ahead = range(k, min(k + size, horizon))
        given = model, state, act, noise, ahead, late, keep == "all" or late is not None
        state, *made = again(_steps, *given, use_reentrant=False) if checkpoint else _steps(*given)
        for every, some in zip((heads, states, actions), made, strict=True):
            every.extend(some)
    kept = tree.stack(states) if states else ()
    if late is not None:
        made = late.heads(tree.flatten_time(kept))[1:]
        columns = [x if x is None else x.unflatten(0, (horizon, -1)) for x in made]
    else:
        columns = [None if x[0] is None else torch.stack(x) for x in zip(*heads, strict=True)]
    if keep == "last":
        kept = tree.map(lambda x: x.unsqueeze(0), state)
    taken = act if isinstance(act, Tensor) else torch.stack(actions)
    return Rollout(kept, taken, Transition(kept, *columns))


def _steps(model: Any, state: Any, act: Any, noise: Any, ks: range, late: Any, keep: bool) -> Any:
    """The state after some steps; the heads of each, states where they are kept, actions."""
    heads, states, actions = list[Any](), list[Any](), list[Any]()
    for k in ks:
        actions.append(act[k] if isinstance(act, Tensor) else act(state, k))
        given = state, actions[-1], tree.select(noise, k)
        if late is not None:
            state = late.advance(*given)
        else:
            state, *head = model.step(*given)
            heads.append(head)
        if keep:
            states.append(state)
    return state, heads, states, actions


def rank(
    model: Model, state: Any, plans: Tensor, objective: Callable[[Rollout], Tensor], noise: Any
) -> Tensor:
    """Score `[B, K]` of each plan `[B, K, H, n, A]` from each state `[B, ...]`; higher is better.

    All plans of a state share its noise `[H, B, ...]` (common random numbers). `objective` maps a
    rollout of `B * K` futures to `[B * K]`.
    """
    batch, candidates = plans.shape[:2]
    noise = tree.map(lambda x: x.repeat_interleave(candidates, 1), noise)
    ways, start = plans.flatten(0, 1).transpose(0, 1), tree.repeat(state, candidates)
    return objective(imagine(model, start, ways, noise)).reshape(batch, candidates)
