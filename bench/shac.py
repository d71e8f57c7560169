"""Learning to run: seconds to the same return, by gradient through physics (SHAC) and by PPO.

    PYTHONPATH=. python bench/shac.py --seeds 21 22 23 --out bench/results/shac.json --peer FOLDER

FOLDER holds stable-baselines3, which is no dependency of this project:

    pip install --target FOLDER --no-deps stable-baselines3 cloudpickle pandas

The quadruped of `reverie.physics.robots`, with position servos, is to go forward for 5 s (250
decisions of 20 ms). The reward is that of the ant of Xu et al. 2022, where SHAC and PPO were
compared first: with its speed v along x [m/s], the height z of its trunk [m], and how far its own
z and x point along the world's,

    reward = v + 0.1 cos(z, Z) + cos(x, X) + z - 0.2

and an episode is over where z < 0.2. Standing earns about 310. As there, nothing but the floor is
touched. Contacts are chosen for gradients, and PPO is given the same: their time is 40 ms (the file
has 20), and their damping sets in over 2 cm (by default over 0.1 mm), the depth that feet reach: a
step in which a foot lands then has a slope like any other, where it had one of thousands or none
(see `Law.transition`, and tests/physics/rigid/test_contact.py). Friction creeps at 1 cm/s,
and steps take one pass. Against 80 substeps a decision then errs by 0.064 m/s in the trunk's speed
and 5.8 rad/s in that of all joints (medians; these change by 0.34 and 34), with two passes by 0.055
and 6.1; what this law and that by default differ in is 0.005 and 0.5.

It starts where it stands, dropped by 2 to 5 cm, with joints that differ by up to 0.1 rad and
velocities by up to 0.1. Both learners have the same batched simulator, observation (the state
without x and y) and starts; SHAC takes gradients through it, PPO steps it without a graph. Judged
is the deterministic policy: the mean return of the same 16 episodes, every 0.2 s of training.
Seconds are of training alone, on `--threads` threads, after a first step and gradient that load
the kernels; a run ends at the highest of LEVELS or after its budget. A result file keeps the runs
of earlier calls with the same settings. Seeds 0 to 3 (and 11 to 13 for the number of SHAC's worlds)
were used to choose these, of about 40 settings of SHAC and 12 of PPO; each has its best.

Legend: `B` worlds, `D` features, `A` action.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space
from reverie.envs.play import Episodes, Play
from reverie.imagine import SHAC, CriticConfig, DescentConfig, SHACConfig
from reverie.models.physics import Physics
from reverie.models.physics.model import PhysicsState
from reverie.physics import robots
from reverie.physics.rigid import Law, load
from reverie.physics.world import World, WorldState
from reverie.viz.provenance import provenance

DT, SUBSTEPS, LIMIT = 0.02, 2, 250
LOW = 0.2
"""Where the trunk has fallen [m]; it stands at 0.35."""
JOINTS, SPEEDS, DROP = 0.1, 0.1, (0.02, 0.05)
"""Of the starts: in every joint [rad], in every velocity [m/s, rad/s], and above the floor [m]."""
SOFT = 0.04
"""Time of contact [s], as MuJoCo's solref has it."""
LAW = Law(transition=0.02, slip=0.01, passes=1)
EPISODES = 16
LEVELS = (500.0, 1000.0, 1300.0)
"""Returns to reach: at 0.8, 2.8 and 4 m/s."""


@dataclass(frozen=True)
class Run:
    """A `Task`: to go along x, level and straight."""

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
        place = after.robot.position
        speed = (place[:, 0] - before.robot.position[:, 0]) / DT
        _, x, y, z = place[:, 3:7].unbind(-1)
        level, ahead = 1 - 2 * (x * x + y * y), 1 - 2 * (y * y + z * z)
        return speed + 0.1 * level + ahead + place[:, 2] - LOW


def robot() -> str:
    """The quadruped with softer contacts, of which each is with the floor, as MJCF."""
    text, soft = robots.quadruped(dt=DT / SUBSTEPS), f'solref="{SOFT} 1"'
    touch, floor = '<geom contype="1" conaffinity="1"/>', '<geom name="floor" class="touch" '
    assert text.count(touch) == text.count(floor) == 1
    text = text.replace(touch, f'<geom contype="0" conaffinity="1" {soft}/>')
    return text.replace(floor, f'<geom name="floor" contype="1" conaffinity="0" {soft} ')


class Runner(nn.Module):
    """The quadruped as a `Featured` world model that says when it has fallen."""

    def __init__(self) -> None:
        super().__init__()
        self.physics = Physics(World(dt=DT, robot=load(robot(), law=LAW), substeps=SUBSTEPS), Run())
        spec = self.physics.spec
        self.spec = replace(spec, provides=spec.provides | {"continues"})
        self.feature_size = self.physics.feature_size - 2

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
        height = after.state.world.robot.position[:, 2]
        return after._replace(continues=((height - LOW) / 0.01).sigmoid())

    def features(self, state: PhysicsState) -> Tensor:
        """The state without x and y, `[B, D]`."""
        return self.physics.features(state)[:, 2:]


def starts(model: Runner) -> Callable[[int, Generator], PhysicsState]:
    """So many that stand, each a little different."""

    def draw(count: int, generator: Generator) -> PhysicsState:
        state = model.initial(count)
        robot = state.world.robot
        place, low, high = robot.position.clone(), *DROP
        pace = SPEEDS * (2 * torch.rand(robot.velocity.shape, generator=generator) - 1)
        place[:, 7:] += JOINTS * (2 * torch.rand(place[:, 7:].shape, generator=generator) - 1)
        place[:, 2] += low + (high - low) * torch.rand(count, generator=generator)
        robot = robot._replace(position=place, velocity=pace)
        return state._replace(world=state.world._replace(robot=robot))

    return draw


def warm() -> None:
    """Load the kernels of steps and their gradient."""
    tiny = replace(SHAC_SETTINGS, horizon=2, rows=4)
    SHAC(Runner(), tiny, starts(Runner()), LIMIT).update(Generator().manual_seed(0))


@torch.no_grad()
def judge(model: Runner, act: Callable[[Tensor], Tensor]) -> dict[str, float]:
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

    def __init__(self, every: float, budget: float) -> None:
        self.every, self.budget = every, budget
        self.points: list[dict[str, float]] = []
        self._spent, self._last = 0.0, time.perf_counter()
        self.reached: dict[str, float | None] = {f"{level:g}": None for level in LEVELS}

    def due(self, steps: int, score: Callable[[], dict[str, float]]) -> bool:
        """Judge where it is time, and say whether to stop."""
        self._spent += time.perf_counter() - self._last
        over = self._spent >= self.budget
        before = self.points[-1]["seconds"] if self.points else 0.0
        if over or self._spent >= before + self.every:
            found = {"seconds": self._spent, "steps": steps, **score()}
            self.points.append(found)
            for level in LEVELS:
                if found["return"] >= level and self.reached[f"{level:g}"] is None:
                    self.reached[f"{level:g}"] = self._spent
            over = over or found["return"] >= LEVELS[-1]
        self._last = time.perf_counter()
        return over


# ------------------------------------------------------------------ SHAC

SHAC_SETTINGS = SHACConfig(
    horizon=8,
    rows=64,
    discount=0.97,
    log_std=-1.7,
    critic=CriticConfig(passes=4, minibatches=4, slow_rate=0.6),
    descent=DescentConfig(actor_lr=5e-3, critic_lr=5e-3, updates=600),
)


def learn_shac(seed: int, curve: Curve, config: SHACConfig = SHAC_SETTINGS) -> SHAC:
    """Updates until the curve is over."""
    torch.manual_seed(seed)
    model, generator = Runner(), Generator().manual_seed(seed)
    learner = SHAC(model, config, starts(model), LIMIT)
    while True:
        decisions = int(learner.update(generator)["decisions"])
        if curve.due(decisions, lambda: judge(model, learner.policy.mode)):
            return learner


# ------------------------------------------------------------------ PPO

PPO_SETTINGS: dict[str, Any] = {
    "envs": 256,
    "n_steps": 16,
    "batch_size": 1024,
    "n_epochs": 4,
    "gamma": 0.97,
    "gae_lambda": 0.95,
    "learning_rate": 2e-3,
    "ent_coef": 0.0,
    "clip_range": 0.2,
    "max_grad_norm": 0.7,
    "log_std": -1.0,
    "units": 64,
}


def worlds(count: int, seed: int) -> Any:
    """So many episodes in one batch, without a graph, as a `VecEnv` of stable-baselines3."""
    import gymnasium as gym
    import numpy as np
    from stable_baselines3.common.vec_env import VecEnv

    class Worlds(VecEnv):
        """As above."""

        def __init__(self) -> None:
            model = Runner()
            self.play = Play(model, Episodes(starts(model), LIMIT), count)
            wide = np.full(model.feature_size, np.inf, np.float32)
            one = np.ones(model.spec.action.size, np.float32)
            super().__init__(count, gym.spaces.Box(-wide, wide), gym.spaces.Box(-one, one))

        def reset(self) -> Any:
            return self.play.reset(seed)["features"]

        def step_async(self, actions: Any) -> None:
            self.action = actions

        def step_wait(self) -> Any:
            reward, fallen, late = self.play.step(self.action)
            seen, ended = self.play.seen()["features"], fallen | late
            notes = [
                {"terminal_observation": x, "TimeLimit.truncated": not fell} if over else {}
                for x, fell, over in zip(seen, fallen.tolist(), ended.tolist(), strict=True)
            ]
            self.play.renew(torch.from_numpy(ended))
            seen = self.play.seen()["features"]
            return seen, reward.astype(np.float32), ended, notes

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
    model = Runner()

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
    """With what it learns which task, to be read."""
    task = f"quadruped, {DT} s in {SUBSTEPS}, contact {SOFT} s, {LAW}, levels {LEVELS}: "
    return task + (repr(SHAC_SETTINGS) if learner == "shac" else json.dumps(PPO_SETTINGS))


def summary(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds to each level by seed (None: not in its budget), best returns, and how many times
    less SHAC took where every run got there."""
    seeds = sorted(set(runs["shac"]) & set(runs["ppo"]), key=int)
    found: dict[str, Any] = {"seeds": seeds}
    for name, mine in runs.items():
        found[name] = {"best": [mine[s]["best"] for s in seeds]}
    for level in (f"{level:g}" for level in LEVELS):
        took = {name: [mine[s]["reached"][level] for s in seeds] for name, mine in runs.items()}
        for name, seconds in took.items():
            found[name][level] = seconds
        if seeds and None not in took["shac"] + took["ppo"]:
            found[f"faster to {level}"] = round(sum(took["ppo"]) / sum(took["shac"]), 2)
    return found


def main() -> None:
    """Learn, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    parser.add_argument("--learners", nargs="+", choices=list(LEARN), default=list(LEARN))
    parser.add_argument("--peer", type=Path, help="folder with stable-baselines3, see above")
    parser.add_argument("--budget", type=float, nargs=2, default=[40.0, 40.0], metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peer:
        sys.path.append(str(options.peer))
    budgets = dict(zip(LEARN, options.budget, strict=True))
    found: dict[str, Any] = {"runs": {name: {} for name in LEARN}}
    if options.out and options.out.exists():
        earlier = json.loads(options.out.read_text())["runs"]
        for name, mine in earlier.items():
            same = {k: run for k, run in mine.items() if run["settings"] == settings(name)}
            found["runs"][name] = same
    warm()
    for seed in options.seeds:
        for name in options.learners:
            if str(seed) in found["runs"][name]:
                continue
            curve = Curve(0.2, budgets[name])
            LEARN[name](seed, curve)
            best = max(point["return"] for point in curve.points)
            run = {"reached": curve.reached, "best": best, "curve": curve.points}
            found["runs"][name][str(seed)] = {**run, "settings": settings(name)}
            found |= {"summary": summary(found["runs"]), "threads": options.threads}
            found |= {"budget": budgets, **provenance()}
            print(f"{name} seed {seed}: seconds to {curve.reached}, best {best:.0f}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(found.get("summary"))


if __name__ == "__main__":
    main()
