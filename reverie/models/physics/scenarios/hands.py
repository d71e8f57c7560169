"""Hands that hold cloth and rope: the task of putting every vertex in its place, worlds, and plans.

Hands hold single vertices, move, and let go: each has three velocities and a grip. A plan is a path
of every hand, of which several may be tried in one batch.

Legend: `B` worlds, `V` vertices, `H` hands, `T` decisions, `K` variants or tools.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.scenario import Numbers, end_of
from reverie.models.physics.scenarios.soft import grounded, solids
from reverie.models.physics.task import length
from reverie.physics import cloth
from reverie.physics.cloth import ClothMesh
from reverie.physics.stepper import smooth
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Fabric, Hands, World, WorldState

DT = 0.04
SUBSTEP = 4e-4
FINGER = 0.012
"""Radius of a hand [m]."""
THICKNESS = 0.006
"""Of cloth; half of it lies between a vertex and the table [m]."""
REACH = 0.08
"""Of a hand for its vertices [m]."""
SPEED = 0.8
"""Of a hand [m/s]."""
LET_GO = 0.32
"""[s] in which a plan opens its hands: slowly, so that cloth in tension does not snap."""
KNOBS = ("cloth_mass", "cloth_bend")
Way = Tensor | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Arrange:
    """Bring each vertex to its place, and let go.

        reward = -mean_v |x_v - target_v| - c |a|^2

    Done where at least `enough` of the vertices are within `near` of their places, none is higher
    than `flat`, and every hand is `clear` of all vertices.
    """

    target: Tensor
    """`[V, 3]` [m]."""
    near: float
    """[m]"""
    enough: float = 0.9
    flat: float = math.inf
    """[m]"""
    clear: float = 0.03
    """[m], from the middle of a hand."""
    effort: float = 1e-4
    """c [m]."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """None: the target is the task's own."""
        return {}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """None."""
        return {}

    def away(self, state: WorldState) -> Tensor:
        """Distances `[B, V]` from where vertices should be [m]."""
        x: Tensor = state.cloth.position
        return length(x - self.target.to(x), 1e-10)

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        return -self.away(after).mean(-1) - self.effort * action.square().sum(-1)

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        x = state.cloth.position
        share = (self.away(state) < self.near).to(x).mean(-1)
        let_go = torch.cdist(state.hands.place, x).amin((1, 2)) > self.clear
        return (share >= self.enough) & (x[..., 2].amax(1) < self.flat) & let_go


def frame(yaw: float) -> Tensor:
    """x and y turned by an angle [rad], and z, as rows `[3, 3]`."""
    c, s = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def in_hands(
    mesh: ClothMesh,
    place: Tensor,
    numbers: Numbers,
    *,
    held: Mapping[int, int],
    off: Tensor,
    more: tuple[tuple[Shape, ...], Tools] | None = None,
    layers: bool = False,
) -> World:
    """A table z = 0, cloth or rope at places `[V, 3]`, hands at `off` from the vertices they hold.

    `held` says which hand holds a vertex; a hand begins at the first that is named. `more` are
    obstacles.
    """
    start = cloth.at_rest(mesh)._replace(position=place[None].float())
    params = cloth.fabric(
        mesh,
        start.position,
        density=numbers["density"],
        stretch=numbers["stretch"],
        bend=numbers["bend"],
        damping=5e-4,
        bend_damping=5e-4,
        thickness=THICKNESS,
        friction=0.3,
        drag=1.0,
    )
    holder = torch.full((mesh.vertices,), -1)
    for vertex, hand in held.items():
        holder[vertex] = hand
    vertices, holders = [*held], [*held.values()]
    corners = [vertices[holders.index(hand)] for hand in range(max(holders) + 1)]
    balls = solids((place[corners] + off).tolist(), [(FINGER, 0.0, 0.0)] * len(corners), 0.3)
    shapes, table = grounded(friction=numbers["friction"])
    if more is not None:
        shapes += more[0]
        table = Tools(*(torch.cat(pair, 1) for pair in zip(table, more[1], strict=True)))
    return World(
        dt=DT,
        ticks=4 if layers else 2,
        cloth=Fabric(mesh, params, start, SUBSTEP, layers=layers, held=holder, reach=REACH),
        hands=Hands((Shape.SPHERE,) * len(corners), balls, SPEED),
        obstacles=(shapes, table),
    )


def path(*legs: tuple[float, Way], start: Tensor) -> Tensor:
    """Places `[T + 1, 3]` along legs of so many seconds: each a place to go to, or a function of
    the share in [0, 1]; both go off and arrive at rest."""
    points = [start[None]]
    for seconds, where in legs:
        count = max(round(seconds / DT), 1)
        share = torch.arange(1, count + 1) / count
        share = smooth(share)[:, None]
        here = points[-1][-1]
        points.append(where(share) if callable(where) else here + share * (where - here))
    return torch.cat(points)


def plan(paths: Sequence[Tensor], let_go: int, limit: int) -> Tensor:
    """The plan `[T, 4 H]` of hands along paths `[.., 3]`, that begin to open at a decision.

    Where a path is quicker than hands are, they go as quickly as they can, and stay beside it.
    """
    found = []
    for way in paths:
        waits = way[-1:].expand(max(limit + 1 - len(way), 0), 3)
        at = torch.cat([way, waits])[: limit + 1]
        grip = (1 - 2 * (torch.arange(limit) - let_go) * DT / LET_GO).clamp(-1, 1)
        found += [(at[1:] - at[:-1]) / (DT * SPEED), grip[:, None]]
    return torch.cat(found, 1).clamp(-1, 1).float()


def best(model: Physics, plans: Sequence[Tensor]) -> Tensor:
    """Of plans `[K, T, A]` the one that ends best, after imagining all in one batch."""
    task, state = model.task, end_of(model, torch.stack([*plans]))
    assert isinstance(task, Arrange)
    score = task.success(state, {}).float() - task.away(state).mean(-1)
    return plans[int(score.argmax())]
