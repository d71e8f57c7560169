"""What is measured of each model that is compared, in the same way for every family.

Legend: `B` problems, `H` model steps, `N` futures, `A` action.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.core.rollout import Rollout
from reverie.envs.changed import Change
from reverie.eval.gradient import GradientCheck, finite_difference_check
from reverie.eval.interval import Bounds, bootstrap
from reverie.eval.physics import physics
from reverie.eval.physics_score import Physics
from reverie.eval.returns import RandomAgent, Returns, summarise
from reverie.eval.sidebyside import WindowErrors, window_errors
from reverie.eval.speed import Speed, speed
from reverie.eval.windows import Windows
from reverie.learn.collect import play
from reverie.learn.device import Device
from reverie.plan.objective import Objective, Reward, Stage
from reverie.recipes.comparison_subjects import (
    SCENES,
    Candidate,
    Comparing,
    Ground,
    read_out,
)
from reverie.recipes.planning import Search, Subject, planner
from reverie.recipes.run import JUDGED, judges

SAMPLES = 4
"""Draws of a model's noise; the error is that of one of them, on average."""
SEARCH = Search("icem", horizon=12, samples=32, iterations=2, proposals=0, terminal=False)
"""The planner that everyone is given: no policy helps it, and no learnt value judges its ends."""
HORIZONS = (1, 10, 50)
"""At which gradients are checked."""
BATCHES = (1, 64)
"""Rows at once, at which steps are timed."""
_PROBLEMS = 2  # whose gradients are checked
_TIMED = 12  # gradients


@dataclass(frozen=True)
class Measured:
    """All that was measured of one candidate; words say why something was not."""

    candidate: Candidate
    errors: WindowErrors
    changed: Mapping[Change, WindowErrors]
    """On changed robots, as it is."""
    speed: Speed
    planned: Returns | str
    acting: Returns | None
    """Of the run's own agent, in the same episodes."""
    gradient: GradientCheck | str
    milliseconds: Bounds
    """Of one gradient through the longest horizon."""
    physics: Physics | str
    readout: Mapping[str, float] = field(default_factory=dict)


def measure(candidate: Candidate, ground: Ground, config: Comparing) -> Measured:
    """Everything but what needs learning."""
    shown, readout = read_out(candidate, ground.aside)
    there = {c: errors_on(candidate, shown, ground, w) for c, w in ground.changes.items()}
    checked, took = gradient(candidate, ground)
    return Measured(
        candidate,
        errors_on(candidate, shown, ground, ground.windows),
        there,
        timed(candidate, ground),
        planned(candidate, ground, config),
        acting(candidate, ground, config),
        checked,
        took,
        known_physics(candidate, shown, ground),
        readout,
    )


def errors_on(candidate: Candidate, shown: Any, ground: Ground, windows: Windows) -> WindowErrors:
    """Errors on windows of the usual or of a changed robot, with the same noise each time."""
    with torch.no_grad(), candidate.device.autocast():
        return window_errors(
            shown,
            candidate.seen(windows),
            ground.sensors,
            ground.deviation,
            samples=SAMPLES if tree.leaves(candidate.model.noise(1)) else 1,
            generator=candidate.device.generator(ground.seed),
            **ground.ahead,
        )


def timed(candidate: Candidate, ground: Ground) -> Speed:
    """How fast it imagines, and what it takes."""
    batch = candidate.seen(ground.windows).batch
    first = {n: v[:1, 0] for n, v in batch.obs.items() if n in candidate.spec.obs}
    kind = candidate.device.device.type
    wait = None if kind == "cpu" else getattr(torch, kind).synchronize
    with torch.no_grad(), candidate.device.autocast():
        return speed(
            candidate.model,
            batches=BATCHES,
            decisions=100,
            warmup=5,
            limit=0.3,
            obs=first,
            synchronise=wait,
        )


# ------------------------------------------------------------------ planability


def planned(candidate: Candidate, ground: Ground, config: Comparing) -> Returns | str:
    """What the planner that everyone is given earns in the real environment with this model."""
    if not config.planned:
        return "not asked for"
    if "reward" not in candidate.spec.provides:
        return "predicts no reward"
    if candidate.spec.action.discrete:
        return "actions are discrete"
    what = Subject(candidate.name, candidate.model, ground.env, candidate.device)
    return returns_of(planner(what, SEARCH), ground, config, candidate.device)


def acting(candidate: Candidate, ground: Ground, config: Comparing) -> Returns | None:
    """What the run's own agent earns, as it acts by itself."""
    if candidate.loaded is None or not config.planned:
        return None
    return returns_of(candidate.loaded.agent, ground, config, candidate.device)


def random_returns(ground: Ground, action: Any, device: Device, config: Comparing) -> Returns:
    """What random actions earn."""
    return returns_of(RandomAgent(action, ground.seed), ground, config, device)


def returns_of(agent: Any, ground: Ground, config: Comparing, device: Device) -> Returns:
    """The same episodes for everyone."""
    env = ground.env
    if config.decisions:
        env = replace(env, max_decisions=min(config.decisions, env.max_decisions or 10**9))
    episodes = max(config.planned, 1)
    with judges(env, episodes) as envs:
        played = play(agent, envs, episodes, device=device, seed=JUDGED)
    return summarise(played.returns.tolist(), seed=JUDGED)


# ------------------------------------------------------------------ gradient


def gradient(candidate: Candidate, ground: Ground) -> tuple[GradientCheck | str, Bounds]:
    """Whether the slope of what is predicted to the actions is right, and what it costs.

        J_H = sum over k = 1 .. H of the predicted sensors, in standard deviations

    or minus the sum of the predicted rewards, of a model that shows nothing of them.
    """
    objective = _objective(candidate, ground)
    if {"action", "state"} - candidate.spec.grad or objective.needs - candidate.spec.provides:
        return "no gradient", Bounds(np.nan, np.nan, np.nan)
    loud = "reward" in objective.needs or candidate.silent is None
    model = candidate.model if loud else candidate.silent
    batch = candidate.seen(ground.windows).batch
    rows = _first_of_episodes(ground.windows)
    begun = {n: v[rows, 0] for n, v in batch.obs.items() if n in candidate.spec.obs}
    taken = batch.action[rows, 1 : ground.horizon + 1].clamp(-0.9, 0.9)  # clear of the bounds
    plan = taken.transpose(0, 1).unsqueeze(2)
    state = rollout.encode(model, begun, generator=candidate.device.generator(0))
    state = tree.detach(state)
    horizons = [h for h in HORIZONS if h <= len(plan)]
    made = finite_difference_check(
        model,
        state,
        plan,
        objective,
        horizons,
        generator=candidate.device.generator(ground.seed),
    )
    one = tree.select(state, slice(0, 1)), plan[: horizons[-1], :1]
    noise = rollout.draw(model, horizons[-1], 1, candidate.device.generator(0))
    return made, _gradient_time(model, objective, *one, noise)


def _first_of_episodes(windows: Windows) -> Tensor:
    """Indices of the first windows of a few episodes."""
    _, first = np.unique(windows.episode.cpu().numpy(), return_index=True)
    return torch.from_numpy(first[:_PROBLEMS])


def _objective(candidate: Candidate, ground: Ground) -> Objective:
    known = ground.sensors.keys() & candidate.spec.obs.keys()
    units = {n: d.clamp_min(1e-6) for n, d in ground.deviation.items() if n in known}
    images = [n for n in known if ground.sensors[n].is_image]
    if "obs" not in candidate.spec.provides or not (units or images):
        return Reward()

    def sensed(model: Any, futures: Rollout) -> Tensor:
        count = futures.actions.shape[1]
        seen = model.decode(tree.flatten_time(futures.states))
        parts = [(seen[n].flatten(1) / d.to(seen[n])).sum(1) for n, d in units.items()]
        parts += [seen[n].flatten(1).mean(1) for n in images]
        return torch.stack(parts).sum(0).unflatten(0, (-1, count))

    return Stage(sensed, frozenset({"obs"}))


def _gradient_time(
    model: Any, objective: Objective, state: Any, plan: Tensor, noise: Any
) -> Bounds:
    """Mean time [ms] of one gradient of J_H, forward and back, and its interval over calls."""
    rows = torch.zeros(1, dtype=torch.int64, device=plan.device)

    def once() -> None:
        actions = plan.detach().requires_grad_()
        futures = rollout.imagine(model, state, actions, noise)
        cost = objective(model, futures, rows).sum()
        if cost.requires_grad:
            torch.autograd.grad(cost, actions, allow_unused=True)

    times = _milliseconds(once)
    low, high = bootstrap(np.array(times))
    return Bounds(float(np.mean(times)), float(low), float(high))


def _milliseconds(call: Callable[[], None], limit: float = 1.5) -> list[float]:
    """Of calls after a first one; fewer where they take long."""
    call()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or (len(times) < _TIMED and time.perf_counter() - begun < limit):
        mark = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - mark))
    return times


# ------------------------------------------------------------------ physics


def known_physics(candidate: Candidate, shown: Any, ground: Ground) -> Physics | str:
    """On scenes, whose truth is known."""
    if not ground.env.name.startswith(SCENES):
        return "no scene"
    try:
        with torch.no_grad(), candidate.device.autocast():
            return physics(
                shown,
                candidate.seen(ground.windows),
                ground.env.name.removeprefix(SCENES),
                generator=candidate.device.generator(ground.seed),
                **ground.ahead,
            )
    except ValueError:
        return "shows no scene"
