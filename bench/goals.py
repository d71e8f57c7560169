"""CEM to goal pictures in a world model: PushT's agent and block brought to where a picture shows.

    python bench/goals.py runs/pusht/unisim --data runs/pusht/held-out --out FILE.json

A pair is two rows of a recorded episode, K decisions apart: the state of the first, at rest, is
where everybody begins, and the picture of the second is what it shall look like K decisions later.
Half of the pairs ask to reach (the block stays), half to push (it moves). The model sees pictures
alone. Beside it act: random actions, held as long; nobody ("stay"); and an oracle, the same search
with the same number of candidates in the true simulator, with the goal as places of agent and
block. --seer adds the same search in the true simulator by its pictures: what pictures cost, not
the model. The score is how far agent and block are from their goals at the end, in pixels of a
table of 512; p is that of a paired sign-flip test that the model is no better than random actions.

Legend: `B` pairs, `N` rows, `K` decisions, `A` action.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Transition
from reverie.core.spec import Space, Spec
from reverie.data.datasets import open_dataset
from reverie.envs import make
from reverie.eval.interval import bootstrap
from reverie.learn.device import DeviceConfig, settle
from reverie.plan import CEM, MPC, Goal, MPCConfig
from reverie.recipes.run import load
from reverie.viz.provenance import provenance

TABLE, CORNERS = 512, 8
PUSHED, WENT = 20.0, 80.0
"""From how far on [pixels] the block was pushed, and the agent went somewhere."""
TOGETHER = 8
"""Pairs that are acted on side by side."""
STATE = 10
"""Agent's place and velocity, block's place, angle, velocity and rate of turning."""


class Table(NamedTuple):
    """States `[N, 10]` of the true simulator, float64."""

    physics: Tensor


class PushT:
    """The true simulator as a world model of states: exact but for what contacts remember from one
    decision to the next."""

    def __init__(self) -> None:
        self.env = make("gym:gym_pusht/PushT-v0", pixels=True, with_state=True)
        self.env.reset(0)
        self.world = self.env.simulator.env.unwrapped
        local = [v for shape in self.world.block.shapes for v in shape.get_vertices()]
        self.corners = torch.tensor([[v.x, v.y] for v in local], dtype=torch.float64)
        space = {
            "agent": Space((2,)),
            "block": Space((2 * len(local),)),
            "physics": Space((STATE,)),
        }
        self.spec = Spec(space, self.env.action, self.env.dt, provides=frozenset({"obs"}))

    def at_rest(self, state: Tensor) -> Tensor:
        """Physics `[N, 10]` of recorded states `[N, 5]`."""
        physics = torch.zeros(len(state), STATE, dtype=torch.float64)
        physics[:, :2], physics[:, 4:7] = state[:, :2], state[:, 2:5]
        return physics

    def places(self, physics: Tensor) -> tuple[Tensor, Tensor]:
        """The agent `[N, 2]` and the block's corners `[N, 8, 2]`, in pixels."""
        angle = physics[:, 6]
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        x, y = self.corners.T
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], 2)
        return physics[:, :2], physics[:, None, 4:6] + turned

    def picture(self, physics: Tensor) -> Tensor:
        """uint8 `[N, 3, 64, 64]`, as it is recorded."""
        seen = []
        for row in physics.tolist():
            self._set(row)
            seen.append(np.moveaxis(self.env.simulator.picture(64, 64), -1, 0))
        return torch.from_numpy(np.stack(seen))

    def covered(self, physics: Tensor) -> Tensor:
        """The share of the goal that the block covers, over that of a success, `[N]`: its reward,
        which is cut off at 1."""
        found = []
        for row in physics.tolist():
            self._set(row)
            found.append(self.world._get_coverage() / self.world.success_threshold)
        return torch.tensor(found)

    def initial(self, batch: int, context: Any = None) -> Table:
        """The middle of the table."""
        return Table(torch.full((batch, STATE), 0.0, dtype=torch.float64))

    def noise(self, batch: int, generator: Any = None) -> tuple[()]:
        """None."""
        return ()

    def observe(self, state: Table, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Table:
        """The state is sensed."""
        return Table(obs["physics"])

    def step(self, state: Table, action: Tensor, noise: Any) -> Transition[Table]:
        """One decision, row by row."""
        native = self.env.native(action[:, 0].numpy()).tolist()
        rows = zip(state.physics.tolist(), native, strict=True)
        after = [self._moved(row, *aim) for row, aim in rows]
        return Transition(Table(torch.tensor(after, dtype=torch.float64)))

    def decode(self, state: Table) -> dict[str, Tensor]:
        """Places in units of the table."""
        agent, block = self.places(state.physics)
        physics = state.physics
        return {"agent": agent / TABLE, "block": block.flatten(1) / TABLE, "physics": physics}

    def _set(self, row: list[float]) -> None:
        agent, block, space = self.world.agent, self.world.block, self.world.space
        shapes = [*block.shapes, *agent.shapes]
        space.remove(*shapes)  # forgets the contacts of another state
        agent.position, agent.velocity = (row[0], row[1]), (row[2], row[3])
        block.angle = row[6]
        block.position = (row[4], row[5])  # after the angle, which turns about the centre of mass
        block.velocity, block.angular_velocity = (row[7], row[8]), row[9]
        space.add(*shapes)

    def _moved(self, row: list[float], x: float, y: float) -> list[float]:
        """As `step` of the environment, without what that computes of reward and sight."""
        self._set(row)
        world, agent, block = self.world, self.world.agent, self.world.block
        kp, kv, dt = world.k_p, world.k_v, world.dt
        vx, vy = row[2], row[3]
        for _ in range(int(1 / (dt * world.control_hz))):
            px, py = agent.position
            vx += (kp * (x - px) - kv * vx) * dt
            vy += (kp * (y - py) - kv * vy) * dt
            agent.velocity = (vx, vy)
            world.space.step(dt)
        return [
            *(*agent.position, vx, vy),
            *(*block.position, block.angle, *block.velocity, block.angular_velocity),
        ]


class Drawn:
    """The true simulator as a model of pictures: what the picture of a goal alone costs."""

    def __init__(self, world: PushT) -> None:
        self.world, self.spec = world, world.spec
        self.initial, self.noise = world.initial, world.noise
        self.observe, self.step = world.observe, world.step

    def decode(self, state: Table) -> dict[str, Tensor]:
        """The picture, 0..1."""
        return {"image": self.world.picture(state.physics).float() / 255}


class Pairs(NamedTuple):
    """Where everybody begins and where they shall be."""

    start: Tensor
    """`[B, 10]`."""
    goal: Tensor
    """`[B, 10]`."""
    picture: Tensor
    """Of the goal, uint8 `[B, 3, h, w]`."""
    pushes: Tensor
    """`[B]` bool: the block moves; else the agent alone."""


def pairs(place: Path, world: PushT, count: int, apart: int, seed: int) -> Pairs:
    """Pairs of rows of recorded episodes, half of them pushes, from as many episodes as can be."""
    dataset, rng = open_dataset(place), np.random.default_rng(seed)
    listed = list(dataset.episodes())
    found: dict[bool, list[tuple[Tensor, Tensor, Tensor]]] = {True: [], False: []}
    for index in rng.permutation(len(listed)).tolist() * 4:
        rows = dataset.read(listed[index].name, only=["state"])
        physics = world.at_rest(torch.from_numpy(rows["state"]).double())
        agent, block = world.places(physics)
        went = (agent[apart:] - agent[:-apart]).norm(dim=1)
        moved = (block[apart:] - block[:-apart]).norm(dim=2).mean(1)
        wanted = len(found[True]) <= len(found[False])
        fits = moved >= PUSHED if wanted else (moved < 1) & (went >= WENT)
        at = fits.nonzero().flatten().tolist()
        if not at or len(found[wanted]) >= (count + wanted) // 2:
            continue
        row = int(rng.choice(at))
        image = dataset.read(listed[index].name, row + apart, row + apart + 1, only=["image"])
        seen = torch.from_numpy(image["image"][0])
        found[wanted].append((physics[row], physics[row + apart], seen))
    every = found[True] + found[False]
    if len(every) < count:
        raise SystemExit(f"{place} has only {len(every)} such pairs; ask for fewer than {count}.")
    kinds = torch.tensor([True] * len(found[True]) + [False] * len(found[False]))
    return Pairs(*(torch.stack(column) for column in zip(*every, strict=True)), kinds)


def carried_out(world: PushT, chosen: Pairs, build: Any, apart: int) -> Tensor:
    """Physics `[B, 10]` after `apart` decisions of `act(k, physics)`, which `build(pairs, rows)`
    makes for some pairs at a time: all imagined pictures of a search are in memory at once."""
    ends = []
    for rows in torch.arange(len(chosen.start)).split(TOGETHER):
        part = Pairs(*(x[rows] for x in chosen))
        act, state = build(part, rows), Table(part.start)
        for k in range(apart):
            state = world.step(state, act(k, state.physics)[:, None].float(), ()).state
        ends.append(state.physics)
    return torch.cat(ends)


def planned(agent: MPC, sense: Any, device: Any) -> Any:
    """A planner as a function of the decision and the physics, which `sense` turns into rows."""
    memory: Any = None

    def act(k: int, physics: Tensor) -> Tensor:
        nonlocal memory
        obs, first = device.put((sense(physics), torch.full((len(physics),), k == 0)))
        memory = agent.begin(len(physics), obs) if k == 0 else memory
        with torch.no_grad(), device.autocast():
            action, memory = agent.act(memory, obs, first, None)
        return action.float().cpu()

    return act


def flips(gain: Tensor, draws: int = 99_999) -> float:
    """p of a paired test that `gain` `[B]` is not above 0: the share of random signs under which
    its mean is as high, the signs as they are among them."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (draws, len(gain)), generator=generator).double() * 2 - 1
    return float(1 + (signs @ gain.double() >= gain.double().sum() - 1e-9).sum()) / (draws + 1)


def scored(world: PushT, chosen: Pairs, ends: dict[str, Tensor]) -> dict[str, Any]:
    """Mean distances of each, on all pairs and on each kind, and the tests."""
    agent, block = world.places(chosen.goal)
    away: dict[str, dict[str, Tensor]] = {"agent": {}, "block": {}, "both": {}}
    for name, end in ends.items():
        there, corners = world.places(end)
        away["agent"][name] = (there - agent).norm(dim=1)
        away["block"][name] = (corners - block).norm(dim=2).mean(1)
        away["both"][name] = away["agent"][name] + away["block"][name]
    kinds = {"all": chosen.pushes | True, "reach": ~chosen.pushes, "push": chosen.pushes}
    found: dict[str, Any] = {}
    for kind, rows in kinds.items():
        for what, each in away.items():
            entry: dict[str, Any] = {}
            for name, value in each.items():
                low, high = bootstrap(value[rows].numpy())
                entry[name] = [float(value[rows].mean()), float(low), float(high)]
            gain = {n: each["random"][rows] - each[n][rows] for n in ("model", "oracle")}
            entry["p model"] = flips(gain["model"])
            entry["p oracle"] = flips(gain["oracle"])
            entry["share of the oracle's gain"] = float(
                gain["model"].mean() / gain["oracle"].mean()
            )
            found[f"{kind}: {what}"] = entry
    return found


def builders(
    world: PushT, loaded: Any, options: Any, search: CEM, config: MPCConfig
) -> dict[str, Any]:
    """By name what makes an act for some pairs."""
    rng = torch.Generator().manual_seed(options.seed)
    dice = torch.rand(options.apart, options.pairs, 2, generator=rng) * 2 - 1
    plain = settle(DeviceConfig(device="cpu"))

    def stay(part: Pairs, rows: Tensor) -> Any:
        return lambda k, physics: part.start[:, :2] / (TABLE / 2) - 1

    def random(part: Pairs, rows: Tensor) -> Any:
        return lambda k, physics: dice[k // options.block * options.block, rows]

    def by_pictures(model: Any, part: Pairs) -> MPC:
        goal = Goal({"image": part.picture}, at=options.at, blur=tuple(options.blur))
        return MPC(model, search, config, objective=goal)

    def oracle(part: Pairs, rows: Tensor) -> Any:
        agent, block = world.places(part.goal)
        there = {"agent": agent / TABLE, "block": block.flatten(1) / TABLE}
        planner = MPC(world, search, config, objective=Goal(there, at=options.at))
        return planned(planner, lambda physics: {"physics": physics}, plain)

    def seer(part: Pairs, rows: Tensor) -> Any:
        planner = by_pictures(Drawn(world), part)
        return planned(planner, lambda physics: {"physics": physics}, plain)

    def inside(part: Pairs, rows: Tensor) -> Any:
        planner = by_pictures(loaded.model, part)
        return planned(planner, lambda physics: {"image": world.picture(physics)}, loaded.device)

    found = {"stay": stay, "random": random, "oracle": oracle, "model": inside}
    return {**found, "seer": seer} if options.seer else found


def main() -> None:
    """Plan, act, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--apart", type=int, default=8, help="decisions to the goal")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--block", type=int, default=2, help="decisions an action is held")
    parser.add_argument("--replan", type=int, default=2, help="decisions between plans")
    parser.add_argument("--blur", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--at", choices=["all", "last"], default="all")
    parser.add_argument("--seer", action="store_true", help="plan on true pictures, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    world, loaded = PushT(), load(options.run)
    chosen = pairs(options.data, world, options.pairs, options.apart, options.seed)
    search = CEM(options.samples, max(4, options.samples // 8), options.iterations)
    config = MPCConfig(options.apart // options.block, options.block, options.replan)
    actors = builders(world, loaded, options, search, config)
    ends, seconds = {}, {}
    for name, build in actors.items():
        begun = time.perf_counter()
        ends[name] = carried_out(world, chosen, build, options.apart)
        seconds[name] = round(time.perf_counter() - begun, 1)
    found = scored(world, chosen, ends)
    for name, entry in found.items():
        means = "  ".join(f"{n} {entry[n][0]:5.1f}" for n in ends)
        print(
            f"{name:14s} {means}  p {entry['p model']:.5f}  "
            f"of the oracle {entry['share of the oracle' + chr(39) + 's gain']:.2f}"
        )
    print(seconds)
    if options.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        about = {"settings": settings, "counters": loaded.counters, "seconds": seconds}
        options.out.write_text(json.dumps({**about, **provenance(), "distance": found}, indent=1))


if __name__ == "__main__":
    main()
