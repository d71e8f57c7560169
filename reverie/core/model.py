"""What a world model is: a filter and a predictor over an explicit state.

Legend: `B` batch, `T` time, `n` actions in a chunk, `A` action, `D` features.
Time index: row t holds what arrived at t and the action that led there, so
`observe(s_{t-1}, a_{t-1}, o_t) -> s_t` reads one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Generator, Tensor

from reverie.core.spec import Spec

Obs = Mapping[str, Tensor]
"""Observations by name, each `[B, ...]`. An image is uint8 in 0..255 or float in 0..1. A boolean
entry `"<name>.present"` `[B]` says in which rows the sensor was there; without it, in all."""

S = TypeVar("S")  # state: an immutable tree of tensors, every leaf [B, ...]
N = TypeVar("N", contravariant=True)  # noise: a tree of tensors, every leaf [B, ...]; () if none


class Transition(NamedTuple, Generic[S]):
    """What one `step` predicts; a head is None exactly where `spec.provides` lacks it."""

    state: S
    reward: Tensor | None = None
    """`[B]`, summed over the chunk."""
    continues: Tensor | None = None
    """`[B]` in [0, 1], the probability that the episode goes on."""
    cost: Tensor | None = None
    """`[B]` >= 0, safety cost, summed over the chunk."""
    uncertainty: Tensor | None = None
    """`[B]` >= 0, epistemic; the family states its unit."""


class Batch(NamedTuple):
    """Recorded rows: at t, what arrived and the action that led there."""

    obs: Obs
    """Each `[B, T, ...]`, with `"<name>.present"` `[B, T]` where a sensor was missing somewhere."""
    action: Tensor
    """`[B, T, A]`, a_{t-1}; zeros where `first`."""
    reward: Tensor
    """`[B, T]`, received on arriving at t; zero where `first`."""
    first: Tensor
    """`[B, T]` bool, row begins an episode."""
    last: Tensor
    """`[B, T]` bool, row ends an episode, by termination or by truncation."""
    terminated: Tensor
    """`[B, T]` bool, row ends an episode because the task ended: nothing follows."""


def sample_rows(spec: Spec, batch: int, length: int, generator: Generator | None = None) -> Batch:
    """Random rows `[batch, length]` from a model's spaces, on the CPU: for tests, not for learning.

    Every sequence begins an episode and the first begins another one half-way; where chunks are
    of n > 1 rows, episodes begin with the last row of a chunk, the one that `observe` reads.
    """
    first = torch.zeros(batch, length, dtype=torch.bool)
    half = (length // spec.chunk + 1) // 2 * spec.chunk
    first[:, spec.chunk - 1] = True
    first[0, half + spec.chunk - 1 :][:1] = True
    last = torch.cat([first[:, 1:], torch.zeros(batch, 1, dtype=torch.bool)], 1)
    obs = {k: space.sample(batch, length, generator=generator) for k, space in spec.obs.items()}
    action = spec.action.sample(batch, length, generator=generator) * ~first[..., None]
    reward = torch.randn(batch, length, generator=generator) * ~first
    return Batch(obs, action, reward, first, last, last)


class WorldModel(Protocol[S, N]):
    """A filter (`observe`) and a predictor (`step`) over one opaque state; no hidden state."""

    @property
    def spec(self) -> Spec:
        """Spaces, time step and promises."""
        ...

    def initial(self, batch: int, context: Obs | None = None) -> S:
        """The state before anything was sensed, `[B, ...]`; `context` is constant in an episode."""
        ...

    def noise(self, batch: int, generator: Generator | None = None) -> Any:
        """All randomness of one `observe` or one `step`, `[B, ...]`; `()` if deterministic."""
        ...

    def observe(self, state: S, action: Tensor, obs: Obs, first: Tensor, noise: N) -> S:
        """s_t from s_{t-n}, a_{t-n:t} `[B, n, A]`, o_t; where `first` `[B]` only context stays."""
        ...

    def step(self, state: S, action: Tensor, noise: N) -> Transition[S]:
        """s_{t+n} from s_t and a_{t:t+n} `[B, n, A]`; a deterministic function of its arguments."""
        ...

    def decode(self, state: S) -> Obs:
        """The observations that the state predicts; images as floats in 0..1."""
        ...


@runtime_checkable
class Sequential(Protocol):
    """A model that reads a whole sequence at once, equal to a loop of `observe`."""

    def observe_all(self, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
        """States `[B, T, ...]` from the state before, actions `[B, T, n, A]`, `obs` and `first`
        `[B, T, ...]`, and noise `[T, B, ...]`."""
        ...


class WorldModelLoss(NamedTuple):
    """What fitting a world model to a batch gives."""

    losses: Mapping[str, Tensor]
    """Named, unreduced, each `[B, T]`."""
    states: Any
    """Posterior states, every leaf `[B, T, ...]`, with their gradient graph."""


@runtime_checkable
class Trainable(Protocol):
    """A model that can be fitted to recorded rows."""

    @property
    def scales(self) -> Mapping[str, float]:
        """The weight of each loss; its names equal those that `loss` returns."""
        ...

    def loss(self, batch: Batch, state: Any, noise: Any) -> WorldModelLoss:
        """Losses of a batch from the state before its first row; noise `[T, B, ...]`."""
        ...


@runtime_checkable
class Featured(Protocol):
    """A model whose state has a vector that policies and value functions read."""

    @property
    def feature_size(self) -> int:
        """D."""
        ...

    def features(self, state: Any) -> Tensor:
        """`[B, D]`."""
        ...


@runtime_checkable
class Clip(Protocol):
    """A chunked model that shows every frame of a chunk."""

    def frames(self, before: Any, transition: Transition[Any]) -> Obs:
        """The n observations of the step from `before`, each `[B, n, ...]`."""
        ...


@runtime_checkable
class Deferred(Protocol):
    """A model whose heads read the arrival alone: `step` is `heads(advance(...))`, and the heads of
    a plan's H steps are made at once."""

    def advance(self, state: Any, action: Tensor, noise: Any) -> Any:
        """The state that `step` returns."""
        ...

    def heads(self, state: Any) -> Transition[Any]:
        """What `step` returns where it arrives in `state` `[B, ...]`."""
        ...


class Policy(Protocol):
    """Actions from features: the mode and the sample are two calls."""

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """The randomness of one sample, `[B, ...]`."""
        ...

    def act(self, features: Tensor, noise: Tensor) -> Tensor:
        """A sampled action `[B, A]`, deterministic given its noise."""
        ...

    def mode(self, features: Tensor) -> Tensor:
        """The most probable action `[B, A]`."""
        ...


class Agent(Protocol):
    """Who chooses actions from what is sensed: a policy on a model, a planner, a script."""

    def begin(self, batch: int, obs: Obs | None = None) -> Any:
        """The memory before anything was sensed; an immutable tree, every leaf `[B, ...]`. The rows
        `obs` that it will read first may bring context; where `first`, `act` takes it by itself."""
        ...

    def act(
        self, memory: Any, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Any]:
        """The action `[B, A]` for this row and the memory for the next; rows where `first` `[B]`
        forget. With a generator the action is sampled; without, it is the mode."""
        ...
