"""Who is compared, and on what: runs that fit together, the simulator, and shared episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reverie.core import tree
from reverie.core.model import Featured
from reverie.core.spec import Space
from reverie.envs import EnvConfig, make
from reverie.envs.changed import Change, changed, possible
from reverie.envs.parallel import Maker, parallel
from reverie.eval.graded import Graded, grades
from reverie.eval.probe import probe
from reverie.eval.score import Kind as ErrorKind
from reverie.eval.sidebyside import WindowErrors, deviations
from reverie.eval.windows import Windows, from_episodes
from reverie.imagine import PolicyAgent
from reverie.learn.collect import play
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.learn.explore import Explorer
from reverie.models.oracle import Oracle
from reverie.recipes.run import Loaded, load
from reverie.recipes.twin import Twin, TwinConfig, twin
from reverie.recipes.twin_source import PHYSICS
from reverie.viz.comparison import Kind

SIMULATOR = "simulator"
TWIN = "twin"
SCENES = "scene:"
CHANGED: tuple[Change, ...] = ("mass", "motor")
"""What is changed of the robot, where that is possible."""
ADAPTED = 2
"""Episodes of a changed robot that are adapted to."""
WINDOWS = 48
"""Stretches of episodes that are predicted, at most."""

Rows = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Comparing:
    """How runs are compared."""

    observed: int = 20
    """Rows that every model watches before it is left alone."""
    horizon: int = 50
    """Decisions that it then imagines; fewer where episodes are shorter."""
    policies: int = 6
    """Of each run, from its own to random actions: so many episodes are measured on."""
    planned: int = 3
    """Episodes of the same small planner in each model; 0 leaves that out."""
    decisions: int = 75
    """Of each of them, at most; 0 for whole episodes."""
    curve: tuple[int, ...] = ()
    """Numbers of recorded episodes from which fresh models learn, such as 4 8 16 32; none leaves
    the data curve out."""
    updates: int = 600
    """Of each of these models."""
    adapt: int = 0
    """Updates of each run on two episodes of a changed robot; 0 leaves that out for runs."""
    seed: int = 5_000_003
    """Of the episodes and of everything random."""
    out: Path = Path("runs/comparison")
    """Directory of the results; what was recorded and fitted for a data curve stays there."""


class Candidate(NamedTuple):
    """One of those that are compared."""

    name: str
    kind: Kind
    model: Any
    """As it was made."""
    device: Device
    loaded: Loaded | None = None
    """The run that it comes from."""
    silent: Any = None
    """The same without a reward, where that has a price; for gradients."""

    @property
    def spec(self) -> Any:
        """Of the model."""
        return self.model.spec

    def seen(self, windows: Windows) -> Windows:
        """Windows on its device."""
        return windows._replace(batch=self.device.put(windows.batch))


class Ground(NamedTuple):
    """What everyone is asked about."""

    env: EnvConfig
    """Where it was recorded; with the simulator's state, where there is one."""
    sensors: Mapping[str, Space]
    """Those that all runs have in common."""
    deviation: Mapping[str, torch.Tensor]
    """Unit of the errors."""
    windows: Windows
    aside: Windows
    """Of other episodes: for readouts."""
    changes: Mapping[Change, Windows]
    """Of changed robots."""
    adaptation: Mapping[Change, Rows]
    """Other episodes of changed robots, to adapt to."""
    observed: int
    horizon: int
    seed: int

    @property
    def kind(self) -> ErrorKind:
        """Of the sensors by which errors over the whole horizon are summed up: vectors where all
        have some in common, else pictures, else the reward."""
        if self.deviation and any(bool((d > 1e-6).any()) for d in self.deviation.values()):
            return "vector"
        return "image" if any(s.is_image for s in self.sensors.values()) else "reward"

    def is_shown(self, errors: WindowErrors) -> bool:
        """Whether a model shows any of those sensors."""
        return any(sensor.kind == self.kind for sensor in errors.sensors.values())

    @property
    def ahead(self) -> dict[str, Any]:
        """What every measure of predictions is given, but for the noise."""
        return {"observed": self.observed, "horizon": self.horizon}


def loaded_runs(paths: Sequence[Path | str]) -> list[Loaded]:
    """The runs, once that they can be compared.

    Raises:
        ValueError: none or the same one twice is given, or they act in different environments; the
            message says in what they differ.
    """
    if not paths or len({Path(p).resolve() for p in paths}) != len(paths):
        raise ValueError(
            f"compare was given {', '.join(map(str, paths)) or 'no runs'}; give the directories of "
            "different runs, one or more."
        )
    runs = [load(path) for path in paths]
    first = _alike(runs[0])
    for run in runs[1:]:
        other = _alike(run)
        differing = [
            f"{k} is {first[k]} and {other[k]}"
            for k in first
            if first[k] != other[k] and None not in (first[k], other[k])
        ]
        if differing:
            raise ValueError(
                f"{runs[0].recipe.run} and {run.recipe.run} cannot be compared: "
                f"{'; '.join(differing)}. Runs that are compared act in one environment, in the "
                "same way."
            )
    return runs


def _alike(run: Loaded) -> dict[str, Any]:
    """What must be the same in all runs that have it."""
    env, action = run.env, run.model.spec.action
    seen = f"{env.size[0]} x {env.size[1]}, camera {env.camera or 'usual'}"
    return {
        "the environment": env.name,
        "the action repeat": env.repeat,
        "the action": f"{action.size} {'choices' if action.discrete else 'entries'}",
        "the longest episode": env.max_decisions,
        "the picture": seen if env.pixels else None,
    }


def shared_env(runs: Sequence[Loaded]) -> EnvConfig:
    """One environment in which every run senses what it reads."""
    pixels = [run.env for run in runs if run.env.pixels]
    base = pixels[0] if pixels else runs[0].env
    states = any(not run.env.pixels or run.env.with_state for run in runs)
    beside = states or base.name.startswith(SCENES)
    return replace(base, with_state=bool(pixels) and beside, physics=False)


def shared_sensors(runs: Sequence[Loaded]) -> dict[str, Space]:
    """Sensors that all runs read, apart from the state of a simulator."""
    first, *rest = (run.model.spec.obs for run in runs)
    return {
        name: space
        for name, space in first.items()
        if name != PHYSICS and all(other.get(name) == space for other in rest)
    }


def names(runs: Sequence[Loaded]) -> list[str]:
    """Short ones: the family, with as much of the directory as tells it from others."""
    families = [run.recipe.family for run in runs]
    short = []
    for run, family in zip(runs, families, strict=True):
        others = [r for r in runs if r.recipe.family == family and r is not run]
        path = Path(run.recipe.run).resolve().parts
        depth = 1
        while any(Path(o.recipe.run).resolve().parts[-depth:] == path[-depth:] for o in others):
            depth += 1
        short.append(f"{family} {'/'.join(path[-depth:])}" if others else family)
    return short


def candidates(
    runs: Sequence[Loaded], env: EnvConfig
) -> tuple[list[Candidate], EnvConfig, list[str]]:
    """The runs, the exact simulator and the differentiable twin where there are; the environment,
    then with the simulator's state; and remarks."""
    found = [
        Candidate(name, kind_of(run.model), run.model, run.device, run)
        for name, run in zip(names(runs), runs, strict=True)
    ]
    cpu = settle(DeviceConfig(device="cpu"))
    whole = replace(env, physics=True)
    try:
        oracle = Oracle(whole)
    except ValueError as reason:
        return found, env, [f"There is no exact simulator to compare with: {reason}"]
    found.append(Candidate(SIMULATOR, "exact", oracle, cpu))
    try:
        silent = twin(whole, TwinConfig(reward=False))
    except ValueError as reason:
        return found, whole, [f"There is no differentiable twin to compare with: {reason}"]
    model = Twin(silent.source) if silent.source.rewards else silent
    return [*found, Candidate(TWIN, "physics", model, cpu, silent=silent)], whole, []


def kind_of(model: Any) -> Kind:
    """Pixel where the state holds pictures of a camera's size which the model decodes; latent
    else."""
    shown = "obs" in model.spec.provides
    sizes = {space.shape[-2:] for space in model.spec.obs.values() if space.is_image}
    leaves = tree.leaves(model.initial(1))
    pictures = any(x.ndim >= 4 and tuple(x.shape[-2:]) in sizes for x in leaves)
    return "pixel" if shown and pictures else "latent"


def record(
    runs: Sequence[Loaded], env: Maker, policies: int, episodes: int, seed: int
) -> list[Rows]:
    """Episodes of graded policies of each run, from its own to random ones: `episodes` of each of
    `policies`, those of one policy in a list."""
    shares = grades(policies, scales=(), delays=())
    found: list[Rows] = []
    for k, run in enumerate(runs):
        policy, action = run.learner.policy, run.model.spec.action
        agent = PolicyAgent(run.model, policy) if policy else Explorer(None, action)
        graded = Graded(agent, action, shares, seed + k)
        with parallel(env, policies, seed + 1000 * (k + 1)) as envs:
            total = policies * episodes
            played = play(graded, envs, total, device=run.device, seed=seed, record=True)
        rows = played.rows
        found += [rows[i * episodes : (i + 1) * episodes] for i in range(policies)]
    return found


def ground(runs: Sequence[Loaded], env: EnvConfig, config: Comparing) -> Ground:
    """Record what is compared on, and cut it into windows: once for everyone.

    Of each policy one episode is measured on; another one serves the readouts. On each changed
    robot the same policies play one, and some of them another one to adapt to.
    """
    seed, policies = config.seed, config.policies
    usual = record(runs, env, policies, 2, seed)
    measured = [episodes[0] for episodes in usual]
    longest = max(len(rows["reward"]) for rows in measured)
    seen = min(config.observed, max(2, longest // 3))
    ahead = min(config.horizon, longest - seen)

    def cut(episodes: Rows) -> Windows:
        return from_episodes(episodes, seen + ahead, WINDOWS, seed=seed)

    there, spare = {}, {}
    for change in fitting(env, CHANGED):
        played = record(runs, changed(env, change), policies, 2, seed + 17)
        there[change] = cut([episodes[0] for episodes in played])
        order = np.random.default_rng(seed).permutation(len(played))
        spare[change] = [played[i][1] for i in order[:ADAPTED]]
    mine, sensors = cut(measured), shared_sensors(runs)
    return Ground(
        env,
        sensors,
        deviations(mine, sensors),
        mine,
        cut([episodes[1] for episodes in usual]),
        there,
        spare,
        seen,
        ahead,
        seed,
    )


def fitting(env: EnvConfig, changes: Sequence[Change]) -> list[Change]:
    """Those that make a difference there."""
    made = make(env)
    try:
        return [change for change in changes if change in possible(made)]
    finally:
        made.close()


def read_out(candidate: Candidate, aside: Windows) -> tuple[Any, Mapping[str, float]]:
    """The model, with a linear readout where it shows nothing, and the R^2 of that."""
    model = candidate.model
    if "obs" in model.spec.provides or not isinstance(model, Featured):
        return model, {}
    with torch.no_grad(), candidate.device.autocast():
        probed = probe(model, candidate.seen(aside), candidate.device.generator(0))
    return probed, probed.share
