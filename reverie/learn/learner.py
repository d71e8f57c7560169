"""What the learn room fits: a module that turns a batch into named, unreduced losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Agent, Batch, Obs
from reverie.core.spec import Space
from reverie.learn.optim import Group


class Update(NamedTuple):
    """What one batch says about the weights; `Fitter` reduces it to one number and one step."""

    losses: Mapping[str, Tensor]
    """Named, unreduced, of any shape, with their gradient graph."""
    scales: Mapping[str, float]
    """The weight of each loss; exactly the names of `losses`."""
    latents: Any = ()
    """Tree `[B, T, ...]` to write back to the replay, or `()`."""
    metrics: Mapping[str, Tensor] = {}
    """Named scalars worth a curve."""


@runtime_checkable
class Compilable(Protocol):
    """A learner or a model with parts that gain from `torch.compile`."""

    def compile_parts(self, compiled: Callable[[Any], Any]) -> None:
        """Replace those parts, functions of fixed shapes, by `compiled(part)`."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A learner whose weights do not all move alike."""

    @property
    def groups(self) -> Mapping[str, Group]:
        """Settings by prefix of the weights' names."""
        ...


@runtime_checkable
class Learner(Protocol):
    """An `nn.Module` whose `state_dict` holds everything that fitting changes: weights, slow
    copies, normalisers. Nothing hidden: a loaded `state_dict` continues bitwise."""

    @property
    def agent(self) -> Agent:
        """Who acts, always with the current weights."""
        ...

    def update(self, batch: Batch, state: Any, generator: Generator) -> Update:
        """Losses of a batch of rows, from the latents `[B, ...]` of the row before its first (`()`
        where the learner stores none). All randomness comes from `generator`."""
        ...

    def after_update(self) -> None:
        """Called when the weights have moved: slow copies follow here."""
        ...

    def latent(self, memory: Any) -> Any:
        """What to store with a row from the agent's memory of it: a tree `[B, ...]`, or `()`."""
        ...

    def to(self, device: torch.device) -> Any:
        """As in `nn.Module`."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As in `nn.Module`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """As in `nn.Module`."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """As in `nn.Module`."""
        ...


def latent_spaces(learner: Learner) -> dict[str, Space]:
    """The latents that a learner stores with each row, for the replay; `{}` if none."""
    with torch.no_grad():
        latent = learner.latent(learner.agent.begin(1))
    return {
        name: Space(tuple(value.shape[1:]), "float32" if value.is_floating_point() else "int64")
        for name, value in (latent.items() if latent else ())
    }


def latents_before(learner: Learner, stored: Any, known: Tensor, obs: Obs) -> Any:
    """The latents that sequences start from: `stored` `[B, ...]` by name where `known` `[B]`, and
    elsewhere those of an agent that has sensed nothing, in the context that the first rows `obs`
    `[B, ...]` bring."""
    if not tree.leaves(stored) or bool(known.all()):
        return stored
    with torch.no_grad():
        blank = learner.latent(learner.agent.begin(len(known), obs))
    blank = tree.map(lambda new, old: new.to(old.device, old.dtype), dict(blank), stored)
    return tree.where(known, stored, blank)
