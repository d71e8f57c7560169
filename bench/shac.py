"""Learning to hop: seconds to the same return, by gradient through physics (SHAC) and by PPO.

    PYTHONPATH=. python bench/shac.py --seeds 0 1 2 --out bench/results/shac.json --peer FOLDER

FOLDER holds stable-baselines3, which is no dependency of this project:

    pip install --target FOLDER --no-deps stable-baselines3 cloudpickle pandas

The hopper of `reverie.physics.robots`, with motors, is to go forward for 5 s (250 decisions of
20 ms). The reward is that of the hopper of Xu et al. 2022, where SHAC and PPO were compared first:
with its speed v [m/s], its height z (0 where it stands straight), and u = clip(z + 0.3, -1, 0.3),

    reward = v + (u or, below zero, -200 u^2) + 1 - (tilt / 30 degrees)^2 - 0.1 |a|^2

and an episode is over where z < -0.45.

It starts in a crouch, dropped by up to 0.1 m with up to 1.5 m/s forward, and differs by up to 0.05
in each entry. Both learners have the same batched simulator, observation (the state without x) and
starts; SHAC takes gradients through it, PPO steps it without a graph. Judged is the deterministic
policy: the mean return of the same 16 episodes, every two seconds of training. Seconds are of
training alone, on `--threads` threads; a run ends at TARGET or after its budget. A result file
keeps the runs of earlier calls with the same settings.

Legend: `B` worlds, `D` features, `A` action.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Obs, Transition
from reverie.core.spec import Space
from reverie.imagine import SHAC, CriticConfig, DescentConfig, SHACConfig
from reverie.models.physics import Physics
from reverie.models.physics.model import PhysicsState
from reverie.physics import robots
from reverie.physics.rigid import load
from reverie.physics.world import World, WorldState
from reverie.viz.provenance import provenance

DT, SUBSTEPS, LIMIT = 0.02, 4, 250
CROUCH = (0.0, -0.075, 0.0, -0.4, 0.8, -0.4)
"""x, z [m], tilt, hip, knee and ankle [rad] at the start: the foot is flat, just on the floor."""
SPREAD = 0.05
"""In every entry [m, rad, m/s, rad/s]."""
DROP, PUSH = 0.1, 1.5
"""The most that it is dropped by [m], and pushed forward with [m/s]."""
LOW, SPARE, TILT = -0.45, 0.15, math.pi / 6
"""Where it has fallen [m] (z of a trunk that stands is 0), what is too near that [m], and a tilt
[rad] that costs what standing upright earns."""
EPISODES = 16
TARGET = 550.0
"""The return of a hopper that goes at 1 m/s and does not fall; standing earns about 300."""


@dataclass(frozen=True)
class Hop:
    """A `Task`: reward 2 (v - s(v - 2)) + 1 - 3 tilt^2 - 0.02 |a|^2, s(x) = ln(1 + e^4x) / 4."""

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
        speed = (q[:, 0] - before.robot.position[:, 0]) / DT
        up = (q[:, 1] - LOW - SPARE).clamp(-1, 0.3)
        high = torch.where(up < 0, -200 * up.square(), up)
        return speed + high + 1 - (q[:, 2] / TILT).square() - 0.1 * action.square().sum(-1)


class Hopper(nn.Module):
    """The hopper as a `Featured` world model that says when it has fallen."""

    def __init__(self) -> None:
        super().__init__()
        robot = load(robots.hopper(dt=DT / SUBSTEPS))
        self.physics = Physics(World(dt=DT, robot=robot, substeps=SUBSTEPS), Hop())
        spec = self.physics.spec
        self.spec = replace(spec, provides=spec.provides | {"continues"})
        self.feature_size = self.physics.feature_size - 1

    def initial(self, batch: int, context: Obs | None = None) -> PhysicsState:
        """As the file has it."""
        return self.physics.initial(batch, context)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """Nothing."""
        return ()

    def observe(
        self, state: PhysicsState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> PhysicsState:
        """The state is sensed."""
        return self.physics.observe(state, action, obs, first, noise)

    def step(
        self, state: PhysicsState, action: Tensor, noise: tuple[()]
    ) -> Transition[PhysicsState]:
        """What physics says, and how surely it stands: less than a half where it has fallen."""
        after = self.physics.step(state, action, noise)
        q = after.state.world.robot.position
        return after._replace(continues=((q[:, 1] - LOW) / 0.03).sigmoid())

    def features(self, state: PhysicsState) -> Tensor:
        """The state without x, `[B, D]`."""
        return self.physics.features(state)[:, 1:]


def starts(model: Hopper) -> Callable[[int, Generator], PhysicsState]:
    """So many crouches, each a little different."""
    crouch = torch.tensor(CROUCH)

    def draw(count: int, generator: Generator) -> PhysicsState:
        state = model.initial(count)
        shift = SPREAD * (2 * torch.rand(2, count, len(crouch), generator=generator) - 1)
        more = torch.rand(2, count, generator=generator)
        shift[0, :, 0] = 0
        shift[0, :, 1] = shift[0, :, 1].abs() + DROP * more[0]  # above the floor
        shift[1, :, 0] += PUSH * more[1]
        robot = state.world.robot._replace(position=crouch + shift[0], velocity=shift[1])
        return state._replace(world=state.world._replace(robot=robot))

    return draw


@torch.no_grad()
def judge(model: Hopper, act: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Mean return, decisions and way [m] of the same episodes, each until it falls."""
    state = starts(model)(EPISODES, Generator().manual_seed(12345))
    going, total = torch.ones(EPISODES), torch.zeros(EPISODES)
    length, way = torch.zeros(EPISODES), torch.zeros(EPISODES)
    for _ in range(LIMIT):
        after = model.step(state, act(model.features(state)).unsqueeze(1), ())
        assert after.reward is not None and after.continues is not None
        total, length = total + going * after.reward, length + going
        way = torch.where(going > 0, after.state.world.robot.position[:, 0], way)
        going, state = going * (after.continues >= 0.5), after.state
        if not going.any():
            break
    return {"return": total.mean().item(), "length": length.mean().item(), "way": way.mean().item()}


class Curve:
    """Judges a policy every few seconds of training, whose clock stands still meanwhile."""

    def __init__(self, every: float, budget: float, target: float) -> None:
        self.every, self.budget, self.target = every, budget, target
        self.points: list[dict[str, float]] = []
        self._spent, self._last = 0.0, time.perf_counter()
        self.reached: float | None = None

    def due(self, steps: int, score: Callable[[], dict[str, float]]) -> bool:
        """Judge where it is time, and say whether to stop."""
        self._spent += time.perf_counter() - self._last
        over = self._spent >= self.budget
        before = self.points[-1]["seconds"] if self.points else 0.0
        if over or self._spent >= before + self.every:
            found = {"seconds": self._spent, "steps": steps, **score()}
            self.points.append(found)
            if found["return"] >= self.target:
                self.reached = self.reached or found["seconds"]
                over = True
        self._last = time.perf_counter()
        return over


# ------------------------------------------------------------------ SHAC

SHAC_SETTINGS = SHACConfig(
    horizon=32,
    rows=64,
    critic=CriticConfig(passes=8, minibatches=4),
    descent=DescentConfig(updates=600),
)


def learn_shac(seed: int, curve: Curve, config: SHACConfig = SHAC_SETTINGS) -> SHAC:
    """Updates until the curve is over."""
    torch.manual_seed(seed)
    model, generator = Hopper(), Generator().manual_seed(seed)
    learner = SHAC(model, config, starts(model), LIMIT)
    while True:
        decisions = int(learner.update(generator)["decisions"])
        if curve.due(decisions, lambda: judge(model, learner.policy.mode)):
            return learner


# ------------------------------------------------------------------ PPO

PPO_SETTINGS: dict[str, Any] = {
    "envs": 256,
    "n_steps": 32,
    "batch_size": 1024,
    "n_epochs": 5,
    "gamma": 0.995,
    "gae_lambda": 0.95,
    "learning_rate": 3e-4,
    "ent_coef": 0.0,
    "clip_range": 0.2,
    "max_grad_norm": 0.7,
    "log_std": -1.0,
    "units": 64,
}


class Simulation:
    """Worlds that go on for ever: each begins anew where its episode ends. No graph."""

    def __init__(self, count: int, seed: int) -> None:
        self.model, self.draws, self.count = Hopper(), Generator().manual_seed(seed), count
        self.starts = starts(self.model)

    def reset(self) -> Tensor:
        """Features of so many starts `[B, D]`."""
        self.state, self.age = self.starts(self.count, self.draws), torch.zeros(self.count)
        return self.model.features(self.state)

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, list[dict[str, Any]]]:
        """Features `[B, D]`, of a new start where an episode ended; rewards `[B]`; which ended
        `[B]`; and of these the last features, and whether only time was up."""
        after = self.model.step(self.state, action.unsqueeze(1), ())
        assert after.reward is not None and after.continues is not None
        self.state, self.age = after.state, self.age + 1
        fallen = after.continues < 0.5
        ended, seen = fallen | (self.age >= LIMIT), self.model.features(self.state)
        notes: list[dict[str, Any]] = [{} for _ in range(self.count)]
        index = ended.nonzero().squeeze(1)
        if len(index):
            for i in index.tolist():
                notes[i] = {"terminal_observation": seen[i].numpy()}
                notes[i]["TimeLimit.truncated"] = not bool(fallen[i])
            fresh = self.starts(len(index), self.draws)
            self.state = tree.map(lambda x, new: x.index_copy(0, index, new), self.state, fresh)
            self.age[index] = 0
            seen = self.model.features(self.state)
        return seen, after.reward, ended, notes


def worlds(count: int, seed: int) -> Any:
    """The simulation as a `VecEnv` of stable-baselines3."""
    import gymnasium as gym
    import numpy as np
    from stable_baselines3.common.vec_env import VecEnv

    class Worlds(VecEnv):
        """As above."""

        def __init__(self) -> None:
            self.simulation = Simulation(count, seed)
            model = self.simulation.model
            wide = np.full(model.feature_size, np.inf, np.float32)
            one = np.ones(model.spec.action.size, np.float32)
            super().__init__(count, gym.spaces.Box(-wide, wide), gym.spaces.Box(-one, one))

        def reset(self) -> Any:
            return self.simulation.reset().numpy()

        def step_async(self, actions: Any) -> None:
            self.action = torch.from_numpy(actions)

        def step_wait(self) -> Any:
            *numbers, notes = self.simulation.step(self.action)
            return *(x.numpy() for x in numbers), notes

        def close(self) -> None: ...
        def get_attr(self, attr_name: str, indices: Any = None) -> Any:
            return [None] * count

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...
        def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> Any: ...
        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> Any:
            return [False] * count

    return Worlds()


def learn_ppo(seed: int, curve: Curve, chosen: Mapping[str, Any] = PPO_SETTINGS) -> None:
    """Rollouts and epochs until the curve is over; observations and rewards are normalised."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecNormalize

    given = dict(chosen)
    width, count = given.pop("units"), given.pop("envs")
    policy = {
        "net_arch": [width, width],
        "activation_fn": nn.Tanh,
        "log_std_init": given.pop("log_std"),
    }
    env = VecNormalize(worlds(count, seed), gamma=given["gamma"])
    learner = PPO("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=policy, **given)
    model = Hopper()

    def act(x: Tensor) -> Tensor:
        action, _ = learner.predict(env.normalize_obs(x.numpy()), deterministic=True)
        return torch.from_numpy(action)

    class Judge(BaseCallback):
        """Stops training where the curve is over."""

        def _on_step(self) -> bool:
            if self.n_calls % 4:
                return True
            return not curve.due(self.num_timesteps, lambda: judge(model, act))

    learner.learn(10**9, callback=Judge())


# ------------------------------------------------------------------ both

LEARN: dict[str, Callable[[int, Curve], object]] = {"shac": learn_shac, "ppo": learn_ppo}


def settings(learner: str) -> str:
    """With what it learns, to be read."""
    return repr(SHAC_SETTINGS) if learner == "shac" else json.dumps(PPO_SETTINGS)


def summary(runs: Mapping[str, Mapping[str, Any]], budgets: Mapping[str, float]) -> dict[str, Any]:
    """Seconds to the target by seed, and how many times less SHAC takes; a lower bound where PPO
    ran out of time."""
    seeds = sorted(set(runs["shac"]) & set(runs["ppo"]), key=int)
    found: dict[str, Any] = {"target": TARGET, "seeds": seeds}
    times = {}
    for name, mine in runs.items():
        reached = [mine[s]["reached"] for s in seeds]
        found[name] = {"seconds": reached, "best": [mine[s]["best"] for s in seeds]}
        times[name] = [budgets[name] if x is None else x for x in reached]
    late = any(runs["ppo"][s]["reached"] is None for s in seeds)
    failed = any(runs["shac"][s]["reached"] is None for s in seeds)
    if seeds and not failed:
        found["faster"] = (
            "at least " if late else ""
        ) + f"{sum(times['ppo']) / sum(times['shac']):.1f}"
    return found


def main() -> None:
    """Learn, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learners", nargs="+", choices=list(LEARN), default=list(LEARN))
    parser.add_argument("--peer", type=Path, help="folder with stable-baselines3, see above")
    parser.add_argument("--budget", type=float, nargs=2, default=[120.0, 480.0], metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peer:
        sys.path.append(str(options.peer))
    budgets = dict(zip(LEARN, options.budget, strict=True))
    found: dict[str, Any] = {"runs": {name: {} for name in LEARN}}
    if options.out and options.out.exists():
        found["runs"] = json.loads(options.out.read_text())["runs"]
    for seed in options.seeds:
        for name in options.learners:
            kept = found["runs"][name].get(str(seed))
            if kept and kept["settings"] == settings(name):
                continue
            curve = Curve(2.0, budgets[name], TARGET)
            LEARN[name](seed, curve)
            best = max(point["return"] for point in curve.points)
            run = {"reached": curve.reached, "best": best, "curve": curve.points}
            found["runs"][name][str(seed)] = {**run, "settings": settings(name)}
            found |= {"summary": summary(found["runs"], budgets), "threads": options.threads}
            found |= {"budget": budgets, **provenance()}
            print(f"{name} seed {seed}: {curve.reached} s to {TARGET}, best {best:.0f}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(found.get("summary"))


if __name__ == "__main__":
    main()
