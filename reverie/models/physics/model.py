"""A simulated world as a world model: the transition is physics, and its gradient exact.

    s_{t+1} = step(s_t, a_t; theta c)      theta: factors that are learnt, c: those of the episode

See README.md beside this file for what is there and what is approximate.
Legend: `B` batch, `A` action, `P` numbers of the whole state, `n` keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Obs, Transition
from reverie.core.spec import Input, Output, Space, Spec
from reverie.models.physics.config import PhysicsConfig
from reverie.models.physics.loss import one_step
from reverie.models.physics.task import PARTS, Task
from reverie.physics.backend import Backend
from reverie.physics.picture import Viewer
from reverie.physics.stepper import Stepper
from reverie.physics.world import World, WorldState


class PhysicsState(NamedTuple):
    """A world, and what is constant in an episode."""

    world: WorldState
    context: Mapping[str, Tensor]
    """Factors `[B]` and goals `[B, ...]`."""


class Physics(nn.Module):
    """A deterministic `WorldModel` over `PhysicsState`; `Featured`, with `learn` `Trainable`."""

    def __init__(
        self,
        world: World,
        task: Task | None = None,
        config: PhysicsConfig | None = None,
        backend: Backend = "auto",
    ) -> None:
        """`task` gives the reward; without one the model provides none.

        Raises:
            ValueError: a knob is not one of the world's, or the world has no control.
        """
        super().__init__()
        config = config or PhysicsConfig()
        unknown = sorted({*config.context, *config.learn} - set(world.knobs))
        if unknown:
            raise ValueError(f"This world has the knobs {world.knobs}, not {unknown}.")
        if not world.control_size:
            raise ValueError("A world without actuators or hands cannot be acted on.")
        self.world, self.task, self.config = world, task, config
        self.stepper = Stepper(world, backend)
        self.factors = nn.ParameterDict({k: nn.Parameter(torch.zeros(())) for k in config.learn})
        self.register_buffer("like", torch.zeros(()), persistent=False)
        begin = world.initial(1)
        self.chosen = {part: _spread(begin, part, config.keypoints) for part in PARTS}
        self.viewer = Viewer(world, config.image, *config.view) if config.image else None
        goals = dict(task.goals) if task else {}
        low, high = config.spread
        knobs = {name: Space((), low=low, high=high) for name in config.context}
        provides: set[Output] = {"obs", "reward"} if task else {"obs"}
        inputs: set[Input] = {"state", "action", "params"}
        self.spec = Spec(
            obs=self._senses(begin),
            action=Space((world.control_size,), low=-1.0, high=1.0),
            dt=world.dt,
            context={**knobs, **goals},
            provides=frozenset(provides),
            grad=frozenset(inputs if config.learn else inputs - {"params"}),
        )
        if config.learn:  # only then is it `Trainable`
            self.loss = partial(one_step, self)
        self.feature_size = self.features(self.initial(1)).shape[1]

    like: Tensor

    def _senses(self, begin: WorldState) -> dict[str, Space]:
        senses = {"state": Space((sum(x[0].numel() for x in tree.leaves(begin)),))}
        count = sum(len(chosen) for chosen in self.chosen.values())
        if count:
            senses["keypoints"] = Space((count, 3), unit="m")
        if self.config.image:
            senses["image"] = Space((3, self.config.image, self.config.image), "uint8")
        return senses

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> PhysicsState:
        """The world as it begins; without a context factors are 1, and goals the task's."""
        like = self.like
        given = dict(context or {})
        made = {name: torch.ones(batch).to(like) for name in self.config.context}
        if self.task is not None:
            for name, target in self.task.goal().items():
                made[name] = torch.tensor(target).to(like).expand(batch, -1).clone()
        for name, value in made.items():
            made[name] = given[name].to(like).reshape(value.shape) if name in given else value
        world = tree.to(self.world.initial(batch, like.dtype), like.device)
        return PhysicsState(world, made)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """Nothing: physics is deterministic."""
        return ()

    def observe(
        self, state: PhysicsState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> PhysicsState:
        """s_t = o_t["state"]: the state is sensed (or estimated), and nothing before it matters."""
        if "state" not in obs:
            raise ValueError(
                f"A physics model reads the observation 'state' and was given {sorted(obs)}; it "
                "cannot know where everything is from pictures alone."
            )
        return state._replace(world=self.unpack(obs["state"]))

    def step(
        self, state: PhysicsState, action: Tensor, noise: tuple[()]
    ) -> Transition[PhysicsState]:
        """s_{t+1} after dt under an action `[B, 1, A]`, clipped to [-1, 1], and the reward."""
        control = action[:, 0].clamp(-1, 1)
        world = self.stepper(state.world, control, self.knobs(state))
        after = state._replace(world=world)
        if self.task is None:
            return Transition(after)
        reward = self.task.reward(state.world, control, world, state.context)
        return Transition(after, reward=reward)

    def decode(self, state: PhysicsState) -> dict[str, Tensor]:
        """The whole state as one vector, keypoints, and where asked for a picture (no gradient)."""
        seen = {"state": self.pack(state.world)}
        if "keypoints" in self.spec.obs:
            seen["keypoints"] = self._keypoints(state.world, "position")
        if self.viewer is not None:
            frames = self.viewer(state.world)
            pictures = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
            seen["image"] = pictures.to(self.like) / 255
        return seen

    # ------------------------------------------------------------------ optional parts

    def features(self, state: PhysicsState) -> Tensor:
        """Robot, hands, keypoints and their velocities, and goals, `[B, D]`."""
        world, parts = state.world, []
        if world.robot:
            parts += [world.robot.position, world.robot.velocity]
        if world.hands:
            parts += [world.hands.place.flatten(1), world.hands.turn.flatten(1)]
        for name in ("position", "velocity"):
            found = self._keypoints(world, name)
            if found.shape[1]:
                parts.append(found.flatten(1))
        if self.task is not None:
            parts += [state.context[name].flatten(1) for name in self.task.goals]
        return torch.cat(parts, -1)

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the losses that `loss` returns, where the model learns."""
        return {"state": 1.0} if self.config.learn else {}

    # ------------------------------------------------------------------ parts

    def knobs(self, state: PhysicsState) -> dict[str, Tensor]:
        """The factor `[B]` of each knob: learnt times the episode's."""
        made = {name: state.context[name] for name in self.config.context}
        for name, theta in self.factors.items():
            some = tree.leaves(state.world)[0]
            made[name] = made.get(name, torch.ones(len(some)).to(some)) * theta.exp()
        return made

    def pack(self, world: WorldState) -> Tensor:
        """Every number of a world `[B, P]`."""
        return torch.cat([x.flatten(1) for x in tree.leaves(world)], -1)

    def unpack(self, vector: Tensor) -> WorldState:
        """The inverse of `pack`."""
        blank = self.world.initial(1, self.like.dtype)
        sizes = [x[0].numel() for x in tree.leaves(blank)]
        if vector.shape[1:] != (sum(sizes),):
            raise ValueError(f"A state of this world has {sum(sizes)} numbers; got {vector.shape}.")
        pieces = iter(vector.to(self.like).split(sizes, -1))
        world: WorldState = tree.map(lambda x: next(pieces).reshape(-1, *x.shape[1:]), blank)
        return world

    def _keypoints(self, world: WorldState, name: str) -> Tensor:
        found = [
            getattr(getattr(world, part), name)[:, index.to(self.like.device)]
            for part, index in self.chosen.items()
            if len(index)
        ]
        some = tree.leaves(world)[0]
        return torch.cat(found, 1) if found else some.new_zeros(len(some), 0, 3)


def _spread(world: WorldState, part: str, count: int) -> Tensor:
    """Which particles or vertices are keypoints: evenly by their number."""
    there = getattr(world, part)
    if not there:
        return torch.zeros(0, dtype=torch.int64)
    total = there.position.shape[1]
    wanted = min(count or 64, total)
    return torch.linspace(0, total - 1, wanted, dtype=torch.float64).round().long()
