"""Recording an environment: with a random, a scripted, a learnt policy or a person at the keys."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from reverie.core.model import Agent
from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.datasets import ActionInfo, open_dataset
from reverie.data.lerobot.writer import LeRobotWriter
from reverie.data.serial import to_json
from reverie.envs import EnvConfig, make
from reverie.envs.env import Env, Row
from reverie.envs.parallel import parallel
from reverie.envs.scripts import OpenLoop, Scripted
from reverie.learn.collect import Sink, play
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.learn.explore import Explorer
from reverie.recipes.data import native_scaling
from reverie.recipes.run import load
from reverie.recipes.scenarios import playground, solution

Format = Literal["lerobot", "store"]


@dataclass(frozen=True)
class Collecting:
    """What is recorded, by whom, and where it goes."""

    out: Path
    """Directory of the dataset; episodes are added where one is there already."""
    env: EnvConfig = field(default_factory=lambda: EnvConfig("dmc:cartpole_swingup"))
    """The environment; --env NAME is short for --env.name NAME."""
    policy: str = "random"
    """Who acts: random, scripted (a script or the scenario's own solution), keyboard, the directory
    of a run, or module:function, which is called with the spaces of the sensors and of the action
    and returns an agent."""
    episodes: int = 10
    """How many to record."""
    format: Format = "lerobot"
    """LeRobotDataset v3, or Reverie's episode store."""
    noise: float = 0.0
    """Deviation of Gaussian noise on the actions, in half ranges."""
    random: float = 0.0
    """Share of stretches of `hold` decisions with a uniform random action instead."""
    hold: int = 5
    """Decisions for which such an action is held."""
    envs: int = 1
    """Environments acted in side by side."""
    workers: int = 0
    """Worker processes that step them; 0 steps them in this process."""
    task: str = ""
    """What the robot does, in words; kept with every episode."""
    seed: int = 0
    """Of the episodes and of everything random."""


class Gathered(NamedTuple):
    """What was recorded."""

    episodes: int
    decisions: int
    returns: tuple[float, ...]
    """Of each episode."""
    seconds: float


def collect(config: Collecting) -> Gathered:
    """Record so many complete episodes.

    Raises:
        ValueError: the policy is unknown or cannot act there, or the directory holds other data.
    """
    begun = time.monotonic()
    before = recorded_already(config.out, config.format)
    seed = config.seed + before
    with parallel(config.env, min(config.envs, config.episodes), seed, config.workers) as envs:
        agent, device = _agent(config, envs.obs, envs.action)
        with recorder(config, envs.obs, envs.action, envs.dt) as taking:
            played = play(agent, envs, config.episodes, device=device, seed=seed, recorder=taking)
    returns = tuple(played.returns.tolist())
    took = time.monotonic() - begun
    return Gathered(len(returns), int(played.decisions.sum()), returns, took)


def _agent(config: Collecting, obs: Mapping[str, Space], action: Space) -> tuple[Agent, Device]:
    device = settle(DeviceConfig(device="cpu"))
    agent: Agent | None
    if config.policy == "random":
        agent = None
    elif config.policy == "scripted":
        agent = _scripted(config.env.name, obs)
    elif (Path(config.policy) / "checkpoints").is_dir():
        loaded = load(config.policy)
        agent, device = loaded.agent, loaded.device
        _require_sensors(loaded.model.spec.obs, obs, config)
    elif ":" in config.policy:
        agent = _custom(config.policy)(obs, action)
    else:
        raise ValueError(
            f"There is no policy {config.policy!r}: give random, scripted, the directory of a run "
            "or module:function."
        )
    strays = {"noise": config.noise, "random": config.random, "hold": config.hold}
    if agent is None:
        strays = {"hold": 1}
    elif not config.noise and not config.random:
        return agent, device
    return Explorer(agent, action, **strays, seed=config.seed), device  # type: ignore[arg-type]


def _scripted(name: str, obs: Mapping[str, Space]) -> Agent:
    if not name.startswith("scenario:"):
        return Scripted(name, obs)
    plan = solution(playground(name.partition(":")[2]))
    if plan is None:
        raise ValueError(f"{name} has no solution by construction; `reverie optimise` can plan.")
    return OpenLoop(plan.float().cpu())


def _require_sensors(
    needs: Mapping[str, Space], obs: Mapping[str, Space], config: Collecting
) -> None:
    wrong = [n for n, space in needs.items() if n not in obs or obs[n].shape != space.shape]
    if wrong:
        raise ValueError(
            f"The policy of {config.policy} reads {', '.join(wrong)}, and {config.env.name} senses "
            f"{', '.join(f'{n} {s.shape}' for n, s in obs.items())}; give the --env options of "
            "its run."
        )


def _custom(name: str) -> Callable[..., Agent]:
    module, _, function = name.partition(":")
    try:
        made: Callable[..., Agent] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"The policy {name!r} cannot be imported ({error}); give module:function, of a module "
            "that Python finds from here."
        ) from error
    return made


@contextmanager
def recorder(
    config: Collecting, obs: Mapping[str, Space], action: Space, dt: float
) -> Iterator[Sink]:
    """What takes the rows, in the format asked for; finished episodes survive whatever happens."""
    native = native_scaling(config.env)
    about = ActionInfo(low=native.low, high=native.high) if native else ActionInfo()
    if config.format == "store":
        meta = {
            "env": config.env.name,
            "repeat": config.env.repeat,
            "dt": dt,
            "action": to_json(about),
            "task": config.task,
        }
        with EpisodeStore(config.out, obs, action, meta=meta) as store:
            yield store
        return
    with LeRobotWriter(
        config.out, obs, action, dt=dt, about=about, robot=config.env.name, task=config.task
    ) as writer:
        yield writer


def recorded_already(out: Path, format: Format) -> int:
    """Episodes that are there, so that the next ones are others."""
    if not out.exists() or not any(out.iterdir()):
        return 0
    found = open_dataset(out)
    kind = found.about.format.split()[0]
    count = len(found.episodes())
    found.close()
    if kind != {"lerobot": "lerobot", "store": "reverie"}[format]:
        raise ValueError(
            f"{out} holds data in the format {found.about.format!r}; choose another directory, or "
            f"--format {'store' if kind == 'reverie' else 'lerobot'}."
        )
    return count


class Keys(Protocol):
    """What a person holds down."""

    def action(self, size: int) -> np.ndarray:
        """The action `[size]` in -1..1 that the keys held now stand for."""
        ...

    def wish(self) -> Literal["go", "end", "drop", "quit"]:
        """What the person wants with the episode."""
        ...

    def show(self, env: Env, row: Row, decision: int, episode: int) -> None:
        """Let the person see where things stand."""
        ...


def drive(config: Collecting, keys: Keys, pause: Callable[[float], None] = time.sleep) -> Gathered:
    """Record episodes that a person drives, in the environment's own time.

    An episode is kept when it ends or when the person ends it; one that is dropped leaves nothing.
    """
    before = recorded_already(config.out, config.format)
    env = make(config.env)
    begun, returns, decisions = time.monotonic(), list[float](), 0
    try:
        if env.action.discrete:
            raise ValueError(
                f"{config.env.name} chooses among {env.action.size} actions; the keys stand for "
                "continuous ones. Record it with a policy."
            )
        with recorder(config, env.obs, env.action, env.dt) as taking:
            while len(returns) < config.episodes:
                rows, wish = _driven(
                    env, keys, config.seed + before + len(returns), pause, len(returns)
                )
                if wish != "drop" and len(rows) > 1:
                    for row in rows:
                        taking.append(0, row)
                    returns.append(float(sum(row["reward"] for row in rows)))
                    decisions += len(rows) - 1
                if wish == "quit":
                    break
    finally:
        env.close()
    return Gathered(len(returns), decisions, tuple(returns), time.monotonic() - begun)


def _driven(
    env: Env, keys: Keys, seed: int, pause: Callable[[float], None], episode: int
) -> tuple[list[dict[str, Any]], str]:
    """One episode's rows, and how it ended."""
    row, action = env.reset(seed), np.zeros(env.action.shape, np.float32)
    rows = [_recorded(row, action)]
    due = time.monotonic()
    while not row.last and (wish := keys.wish()) == "go":
        keys.show(env, row, len(rows) - 1, episode)
        due += env.dt
        pause(max(0.0, due - time.monotonic()))
        action = np.clip(keys.action(env.action.size), -1, 1).astype(np.float32)
        row = env.step(action)
        rows.append(_recorded(row, action))
    rows[-1]["last"] = True
    return rows, "end" if row.last else wish


def _recorded(row: Row, action: np.ndarray) -> dict[str, Any]:
    flags = {name: getattr(row, name) for name in ("reward", "first", "last", "terminated")}
    return {**row.obs, **flags, "action": action}
