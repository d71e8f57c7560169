"""One MPPI command of ours beside one of pytorch_mppi, in the same run: K = 500, T = 15, a toy
with two states and two actions, one thread.

    PYTHONPATH=. python bench/mppi.py --out bench/results/mppi.json     (needs pytorch_mppi)

Both step the same linear dynamics 15 times and weigh the same squared distances. Ours computes the
distances of all steps at once (`Stage`), as an objective in Reverie reads a whole rollout;
"reward" has them in the model's step, one step at a time, as the peer's running cost is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.plan import MPC, MPPI, MPCConfig, Stage
from reverie.viz.provenance import provenance

GAIN = torch.eye(2) * 0.1
GOAL = torch.tensor([1.0, -1.0])
K, T = 500, 15


class State(NamedTuple):
    """Where the point is."""

    x: Tensor


class Point:
    """x' = x + 0.1 u."""

    def __init__(self, rewards: bool) -> None:
        self.rewards = rewards
        self.spec = Spec(
            obs={"x": Space((2,))},
            action=Space((2,), low=-1.0, high=1.0),
            dt=0.1,
            provides=frozenset({"reward"} if rewards else ()),
        )

    def initial(self, batch: int, context: Obs | None = None) -> State:
        """At the origin."""
        return State(torch.zeros(batch, 2))

    def noise(self, batch: int, generator: Any = None) -> tuple[()]:
        """None."""
        return ()

    def observe(self, state: State, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> State:
        """x is sensed."""
        return State(obs["x"])

    def step(self, state: State, action: Tensor, noise: Any) -> Transition[State]:
        """One step."""
        x = state.x + action[:, 0] @ GAIN
        reward = -(x - GOAL).square().sum(-1) if self.rewards else None
        return Transition(State(x), reward)

    def decode(self, state: State) -> Obs:
        """Nothing."""
        return {}


def ours(rewards: bool) -> Callable[[], Tensor]:
    """A command of our MPPI, warm-started from the one before."""
    objective = None if rewards else Stage(lambda _, f: (f.states.x - GOAL).square().sum(-1))
    search = MPPI(samples=K, deviation=0.5, temperature=1.0)
    config = MPCConfig(horizon=T, explore=False)
    agent = MPC(Point(rewards), search, config, objective=objective)
    memory, obs = agent.begin(1), {"x": torch.zeros(1, 2)}
    first, generator = torch.zeros(1, dtype=torch.bool), torch.Generator().manual_seed(0)

    def command() -> Tensor:
        nonlocal memory
        action, memory = agent.act(memory, obs, first, generator)
        return action

    return command


def theirs() -> Callable[[], Tensor]:
    """A command of pytorch_mppi."""
    import pytorch_mppi

    one = torch.ones(2)
    peer = pytorch_mppi.MPPI(
        lambda x, u: x + u @ GAIN,
        lambda x, u: (x - GOAL).square().sum(-1),
        2,
        torch.eye(2) * 0.25,
        num_samples=K,
        horizon=T,
        lambda_=1.0,
        u_min=-one,
        u_max=one,
    )
    x = torch.zeros(2)

    def command() -> Tensor:
        with torch.no_grad():
            action: Tensor = peer.command(x)
        return action

    return command


def main() -> None:
    """Time them in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--commands", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    subjects = {"reverie": ours(False), "reverie, reward": ours(True), "pytorch_mppi": theirs()}
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(options.rounds):
        for name, command in subjects.items():
            for _ in range(10):
                command()
            for _ in range(options.commands):
                begun = time.perf_counter()
                command()
                times[name].append((time.perf_counter() - begun) * 1e3)
    peer = statistics.median(times["pytorch_mppi"])
    result: dict[str, Any] = {"K": K, "T": T, "unit": "ms", **provenance()}
    for name, values in times.items():
        half, least = statistics.median(values), min(values)
        result[name] = {"median": half, "min": least, "ratio": half / peer}
        print(f"{name:16} median {half:.3f} ms, min {least:.3f} ms, ratio {half / peer:.2f}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
