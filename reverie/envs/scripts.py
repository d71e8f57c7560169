"""Hand-written policies: agents that need no learning, where somebody wrote one down.

They make recordings that hold more than random actions do, and floors and ceilings to compare
with. Each reads what its environment senses by itself, so an environment of pictures must keep
that beside them (`with_state`).

Legend: `B` rows, `A` action.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs
from reverie.envs.instructions import follow
from reverie.envs.room import wander

Row = Mapping[str, np.ndarray]
Script = Callable[[Row], np.ndarray]
"""From what one environment senses to its action `[A]`, within the bounds of the action."""
Path = Callable[[int, int], np.ndarray]
"""From a number that an episode has for its own, and how many actions were taken in it, to the next
action `[A]`."""


def swing_up(row: Row) -> np.ndarray:
    """toy:pendulum: pump energy until the rod can be caught near the top, then hold it there.

    The torque pushes with the motion while the energy `w^2 l / 2 g + cos(theta)` is below that of
    rest at the top, 1 (Astrom and Furuta 2000); within 0.35 rad of it a linear law takes over.
    """
    cos, sin = row["orientation"].tolist()
    rate, angle = float(row["velocity"][0]), math.atan2(sin, cos)
    if abs(angle) < 0.35 and abs(rate) < 3:
        return np.array([np.clip(-6 * angle - 1.2 * rate, -1, 1)], np.float32)
    lacking = 1 - (rate**2 * 0.5 / (2 * 9.81) + cos)
    return np.array([math.copysign(1, rate * lacking) if rate else 1.0], np.float32)


PUSHT_GOAL = (256.0, 256.0, math.pi / 4)
"""Where PushT's block belongs: x, y [pixels of 512], angle [rad]."""


def push(row: Row) -> np.ndarray:
    """gym:gym_pusht/PushT-v0: go behind the block, and push it towards its goal.

    Behind is where the line from the goal through the block leaves it, moved sideways so that the
    push also turns the block the way it must turn. A detour leads around the block. It brings the
    block near its goal and seldom finishes: a source of contact, not an expert.
    """
    agent, block, angle = row["state"][:2], row["state"][2:4], float(row["state"][4])
    goal = np.array(PUSHT_GOAL[:2])
    centre = block + 45 * np.array([-math.sin(angle), math.cos(angle)])  # of mass, not the hinge
    target = goal + 45 * np.array([-math.sin(PUSHT_GOAL[2]), math.cos(PUSHT_GOAL[2])])
    way = target - centre
    ahead = way / max(float(np.linalg.norm(way)), 1e-6)
    side = np.array([-ahead[1], ahead[0]])
    turn = (PUSHT_GOAL[2] - angle + math.pi) % (2 * math.pi) - math.pi
    aside = -side * 22 * float(np.clip(turn, -1, 1))
    start = centre + aside - 95 * ahead
    offset = agent - centre
    along, across = float(offset @ ahead), float((offset - aside) @ side)
    if along < 0 and abs(across) < 25:  # behind: push through
        aim = agent + 60 * ahead - side * across
    elif along > -60 and abs(float(offset @ side)) < 110:  # in the way: around
        aim = centre + math.copysign(130, float(offset @ side)) * side - 110 * ahead
    else:
        aim = start
    return np.asarray(np.clip(aim / 256 - 1, -1, 1), np.float32)


SCRIPTS: dict[str, tuple[Script, tuple[str, ...]]] = {
    "toy:pendulum": (swing_up, ("orientation", "velocity")),
    "gym:gym_pusht/PushT-v0": (push, ("state",)),
    "toy:tabletop": (follow, ("image", "text")),
}
"""Name of an environment -> its script, and the sensors that it reads."""


PATHS: dict[str, Path] = {"toy:room": wander}
"""Name of an environment -> its path. What is sensed when an episode begins gives the episode its
number: another beginning, another path, and the same one again from the same beginning."""


class Scripted:
    """An agent that acts by the script of an environment, or takes one of its paths.

    Raises:
        ValueError: there is no script for it, or the sensors that the script reads are not sensed.
    """

    def __init__(self, env: str, obs: Mapping[str, object]) -> None:
        if env not in SCRIPTS and env not in PATHS:
            raise ValueError(
                f"There is no script for {env!r}; there are some for "
                f"{', '.join([*SCRIPTS, *PATHS])}, and "
                "scenarios have their own solutions. Name your own as module:function."
            )
        self._env = env
        needs = () if env in PATHS else SCRIPTS[env][1]
        lacking = [name for name in needs if name not in obs]
        if lacking:
            raise ValueError(
                f"The script of {env} reads {', '.join(needs)}, but {', '.join(obs)} is sensed; "
                "keep what the environment senses by itself beside pictures: with_state."
            )

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        """The number of the episode, and how many actions were taken in it, `[B, 2]`."""
        return torch.zeros(batch, 2, dtype=torch.int64)

    def act(
        self, memory: Tensor, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the script says, `[B, A]`."""
        values = {name: value.cpu().numpy() for name, value in obs.items()}
        rows = [{name: value[b] for name, value in values.items()} for b in range(len(first))]
        if self._env in PATHS:
            path, counts = PATHS[self._env], memory.tolist()
            counts = [
                [_number(row), 0] if begins else count
                for row, begins, count in zip(rows, first.tolist(), counts, strict=True)
            ]
            chosen = [path(number, age) for number, age in counts]
            memory = torch.tensor(counts) + torch.tensor([0, 1])
        else:
            chosen = [SCRIPTS[self._env][0](row) for row in rows]
        return torch.from_numpy(np.stack(chosen)), memory


def _number(row: Row) -> int:
    """Of an episode, from what is sensed at its beginning."""
    return zlib.crc32(b"".join(np.ascontiguousarray(row[name]).tobytes() for name in sorted(row)))


class OpenLoop:
    """An agent that takes the actions of a plan `[H, A]` from the beginning of each episode, and
    the last one again where an episode is longer."""

    def __init__(self, plan: Tensor) -> None:
        self._plan = plan

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        """How many actions were taken in this episode, `[B]`."""
        return torch.zeros(batch, dtype=torch.int64)

    def act(
        self, memory: Tensor, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The next action of the plan, `[B, A]`."""
        age = torch.where(first.to(memory.device), torch.zeros_like(memory), memory)
        return self._plan[age.clamp(max=len(self._plan) - 1)], age + 1
