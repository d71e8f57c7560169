"""What a simulated world is to do: rewards with a gradient, and goals as context.

Legend: `B` worlds, `N` particles, `A` action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.physics.world import WorldState

Part = Literal["matter", "cloth", "liquid"]
PARTS: tuple[Part, ...] = ("matter", "cloth", "liquid")
"""What has points: particles or vertices."""


class Task(Protocol):
    """A reward for each step, and the goals that it reads."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """What of the context it reads, by name."""
        ...

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The goals where no context is given."""
        ...

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        ...


def points(state: WorldState, part: Part) -> Tensor:
    """Positions `[B, N, 3]` of particles or vertices."""
    found: Tensor = getattr(state, part).position
    return found


def length(x: Tensor, tiny: float = 1e-8) -> Tensor:
    """sqrt(|x|^2 + tiny) of the last axis: it has a gradient at 0."""
    return (x.square().sum(-1) + tiny).sqrt()


def up(position: Tensor) -> Tensor:
    """The share of a free root's z axis along the world's `[B]`, of positions `[B, Q]`."""
    return 1 - 2 * (position[:, 4].square() + position[:, 5].square())


@dataclass(frozen=True)
class Move:
    """Bring the mean of particles or vertices to a goal: reward -|mean - goal| - c |a|^2."""

    part: Part = "matter"
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[m], the goal where no context is given."""
    effort: float = 0.0
    """c."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`goal` `[3]` [m]."""
        return {"goal": Space((3,), unit="m")}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The target."""
        return {"goal": self.target}

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        away = points(after, self.part).mean(1) - context["goal"]
        return -length(away) - self.effort * action.square().sum(-1)


@dataclass(frozen=True, eq=False)
class Shape:
    """Bring each particle or vertex to its place: reward -mean |x - target|^2 / s^2 - c |a|^2."""

    part: Part
    target: Any
    """`[N, 3]` [m]."""
    size: float
    """s [m], a distance that is far."""
    effort: float = 0.0

    @property
    def goals(self) -> Mapping[str, Space]:
        """None: the target is the task's own."""
        return {}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """None."""
        return {}

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        x = points(after, self.part)
        away = (x - torch.as_tensor(self.target).to(x)).square().sum(-1).mean(-1)
        return -away / self.size**2 - self.effort * action.square().sum(-1)


@dataclass(frozen=True)
class Forward:
    """Move a robot's free root along x: reward v_x - h (z - height)^2 - u (1 - up) - c |a|^2.

    v_x is the distance moved over dt, up the share of the root's z axis along the world's.
    """

    dt: float
    """[s] of a step."""
    height: float
    """[m], where the root should be."""
    level: float = 10.0
    """h [1/m^2]."""
    upright: float = 1.0
    """u."""
    effort: float = 0.01
    """c."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """None."""
        return {}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """None."""
        return {}

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        q = after.robot.position
        speed = (q[:, 0] - before.robot.position[:, 0]) / self.dt
        low = self.level * (q[:, 2] - self.height).square()
        effort = self.effort * action.square().sum(-1)
        return speed - low - self.upright * (1 - up(q)) - effort
