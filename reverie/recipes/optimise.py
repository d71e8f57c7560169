"""Solving a scenario: a plan by gradient or by samples, or a policy by gradient.

    reverie optimise push.json --method gradient
    reverie optimise walk-3 --method shac --iterations 300

`gradient` and `cem` look for one course of actions from the scenario's start; `shac` learns a
policy for all its goals and factors, and goes on where the same command was stopped.

Legend: `B` episodes, `T` decisions, `A` action.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.data.container import write_json
from reverie.imagine import SHAC, SHACConfig
from reverie.imagine.descent import DescentConfig
from reverie.learn.checkpoint import Checkpoints
from reverie.models.physics.scenarios import KINDS, Scenario
from reverie.plan import CEM, Gradient, PlanCost
from reverie.plan.trajectory import Effort, optimise
from reverie.recipes.scenarios import Playground, carry_out, frames, playground
from reverie.viz import optimisation, video
from reverie.viz.provenance import provenance
from reverie.viz.ticks import amount

Method = Literal["gradient", "cem", "shac"]
ITERATIONS: dict[Method, int] = {"gradient": 60, "cem": 60, "shac": 200}
JUDGED = 16
"""Episodes that judge a policy."""
SAVED = 60.0
"""Between checkpoints of a policy [s]."""


@dataclass(frozen=True)
class Solver:
    """How a scenario is solved; 0 takes the method's default."""

    method: Method = "gradient"
    """gradient and cem search a plan, shac learns a policy."""
    iterations: int = 0
    """Steps of the gradient, rounds of samples, or updates of the policy."""
    candidates: int = 0
    """Starts of the gradient (2), samples of a round (64), or parallel episodes of a policy
    (32)."""
    rate: float = 0.0
    """Learning rate: of a plan, as a share of half the range of actions (0.1); of a policy
    (0.002)."""
    block: int = 1
    """Decisions for which each action of a plan is held."""
    horizon: int = 16
    """Decisions through which the gradient of a policy flows."""
    seconds: float = 0.0
    """Stop after so long; 0: when the iterations are made."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ITERATIONS:
            raise ValueError(f"There is no method {self.method!r}; take {', '.join(ITERATIONS)}.")
        low = {n: getattr(self, n) for n in ("iterations", "candidates", "rate", "seconds", "seed")}
        if min(low.values()) < 0 or self.block < 1 or self.horizon < 1:
            raise ValueError(f"Solver has {low}, block {self.block} and horizon {self.horizon}.")


class Course(NamedTuple):
    """How an optimisation went."""

    steps: list[int]
    """Simulated, by iteration."""
    value: list[float]
    """Cost of the best plan, or return of the policy's training episodes."""
    seconds: list[float]


class Solved(NamedTuple):
    """What came of it."""

    solved: float
    """Share of the episodes in which the task was done at the end: one of a plan, 16 of a
    policy."""
    reward: float
    """Their mean return."""
    idle: float
    """The return of doing nothing."""
    course: Course
    page: Path
    film: Path | None


@dataclass
class _Result:
    """Before it is written."""

    plan: Tensor
    """`[T, A]`, to be shown."""
    solved: float
    reward: float
    course: Course


def solve(
    name: str | Path | Scenario,
    solver: Solver,
    out: Path,
    told: Callable[[str], None] = lambda words: None,
    size: int = 256,
) -> Solved:
    """Solve a scenario; write `<method>.json`, `<method>.html`, a film and the plan or the policy.

    Args:
        name: a file, a kind, or a kind and a seed; see `recipes.scenarios.find`.
        solver: how.
        out: directory.
        told: hears how it goes.
        size: of the pictures [px]; 0 for none.
    """
    made = playground(name)
    with torch.no_grad():
        none = torch.zeros(made.scene.limit, made.model.spec.action.size)
        idle = float(carry_out(made, none)[1].sum())
    work = _policy if solver.method == "shac" else _plan
    result = work(made, solver, out, told)
    shown = film = None
    if size:
        shown = frames(made, carry_out(made, result.plan)[0], size)
        film = video.write(out / f"{solver.method}.webp", *shown)
    facts = {"scenario": made.scenario.name, **provenance()}
    course = result.course
    write_json(
        out / f"{solver.method}.json",
        {
            **facts,
            "solver": asdict(solver),
            "solved": result.solved,
            "return": result.reward,
            "idle": idle,
            "course": course._asdict(),
        },
    )
    policy = solver.method == "shac"
    page = optimisation.OptimisationPage(
        title=made.scenario.name,
        about=f"To {KINDS[made.scenario.kind].about}.",
        method=solver.method,
        curve=(course.steps, course.value),
        measure="return of an episode" if policy else "cost of the best plan",
        idle=idle if policy else -idle,
        tiles={
            "Done at the end": (f"{100 * result.solved:.0f} %", f"of {JUDGED if policy else 1}"),
            "Return": (amount(result.reward), f"doing nothing: {amount(idle)}"),
            "Simulated steps": (f"{course.steps[-1]:,}", f"in {amount(course.seconds[-1])} s"),
        },
        film=shown,
        config={"solver": asdict(solver), "scenario": made.scenario.__dict__},
        facts=facts,
    )
    path = optimisation.write(page, out / f"{solver.method}.html")
    return Solved(result.solved, result.reward, idle, course, path, film)


def planner(solver: Solver) -> Gradient | CEM:
    """The optimiser that a solver's numbers stand for."""
    many = {"iterations": solver.iterations or ITERATIONS[solver.method]}
    if solver.method == "gradient":
        made = Gradient(starts=solver.candidates or 2, deviation=0.3, clip=10.0)
        return replace(made, rate=solver.rate or made.rate, **many)
    samples = solver.candidates or 64
    elites = max(2, samples // 8)
    return CEM(samples=samples, elites=elites, deviation=0.5, exponent=2.0, execute="best", **many)


def _plan(made: Playground, solver: Solver, out: Path, told: Callable[[str], None]) -> _Result:
    """The best plan from the start."""
    limit = made.scene.limit
    steps = -(-limit // solver.block)
    cost = PlanCost(made.model, steps * solver.block)

    def enough(effort: Effort) -> bool:
        told(f"{effort.steps[-1]:,} steps, {effort.seconds[-1]:.0f} s: {effort.least[-1]:.4f}")
        return 0 < solver.seconds < effort.seconds[-1]

    draws = Generator().manual_seed(solver.seed)
    found = optimise(cost, made.begin(1), planner(solver), steps, generator=draws, enough=enough)
    plan = found.plan.repeat_interleave(solver.block, 0)[:limit]
    _, reward, solved = carry_out(made, plan)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / f"{solver.method}.npz", action=plan.numpy())
    effort = found.effort
    course = Course(effort.steps, effort.least, effort.seconds)
    return _Result(plan, float(solved), float(reward.sum()), course)


def learner(made: Playground, solver: Solver) -> SHAC:
    """A policy's learner in the scenario's world."""
    torch.manual_seed(solver.seed)  # of the networks' first weights
    rate = solver.rate or 2e-3
    updates = solver.iterations or ITERATIONS["shac"]
    config = SHACConfig(
        horizon=solver.horizon,
        rows=solver.candidates or 32,
        descent=DescentConfig(actor_lr=rate, critic_lr=rate, updates=updates),
    )
    return SHAC(made.model, config, made.begin, limit=made.scene.limit)


def _policy(made: Playground, solver: Solver, out: Path, told: Callable[[str], None]) -> _Result:
    """The policy, learnt from where it was left."""
    shac, draws = learner(made, solver), Generator().manual_seed(solver.seed)
    kept = Checkpoints(out / "checkpoints")
    course, before = Course([], [], []), 0.0
    found = kept.latest()
    if found is not None:
        course, before = _resume(found, made, solver, shac, draws)
    begun = saved = time.perf_counter()
    total = solver.iterations or ITERATIONS["shac"]
    while shac.updates < total:
        metrics = shac.update(draws)
        now = time.perf_counter()
        spent = before + now - begun
        if metrics["return"] == metrics["return"]:  # an episode has ended
            course.steps.append(int(metrics["decisions"]))
            course.value.append(metrics["return"])
            course.seconds.append(spent)
        if shac.updates % 10 == 0:
            told(f"update {shac.updates}, {spent:.0f} s: return {metrics['return']:.3f}")
        over = shac.updates == total or 0 < solver.seconds < spent
        if over or now - saved > SAVED:
            saved = now
            _save(kept, made, solver, shac, draws, course, spent)
        if over:
            break
    if not course.steps:
        raise ValueError("No episode has ended yet; give more iterations or a longer horizon.")
    return _judge(made, shac, solver, course)


def _save(
    kept: Checkpoints,
    made: Playground,
    solver: Solver,
    shac: SHAC,
    draws: Generator,
    course: Course,
    spent: float,
) -> None:
    parts = {
        "shac": shac.state_dict(),
        "rest": {"draws": draws.get_state(), "course": course._asdict(), "seconds": spent},
    }
    about = {"scenario": made.scenario.__dict__, "solver": asdict(solver)}
    kept.save(parts, "physics", about)


def _resume(
    found: Any, made: Playground, solver: Solver, shac: SHAC, draws: Generator
) -> tuple[Course, float]:
    """Go on from a checkpoint of the same scenario and solver."""
    given = {**asdict(solver), "iterations": 0, "seconds": 0}
    there = {**found.about["solver"], "iterations": 0, "seconds": 0}
    if found.about["scenario"] != made.scenario.__dict__ or there != given:
        raise ValueError(
            f"{found.path} is of another scenario or solver ({found.about['scenario']['kind']}, "
            f"{there}); give another directory."
        )
    shac.load_state_dict(found.part("shac"))
    rest = found.part("rest")
    draws.set_state(torch.as_tensor(rest["draws"]))
    return Course(**rest["course"]), float(rest["seconds"])


@torch.no_grad()
def _judge(made: Playground, shac: SHAC, solver: Solver, course: Course) -> _Result:
    """The policy's mode in episodes of its own."""
    draws = Generator().manual_seed(1_000_003 + solver.seed)
    starts = made.begin(JUDGED, draws)

    def act(state: Any, k: int) -> Tensor:
        return shac.policy.mode(made.model.features(state))[:, None]

    played = rollout.imagine(made.model, starts, act, (), steps=made.scene.limit, keep="last")
    ends = tree.select(played.states, -1)
    assert played.transition.reward is not None
    solved = float(made.success(ends).double().mean())
    alone = rollout.imagine(made.model, made.begin(1), act, (), steps=made.scene.limit, keep="last")
    reward = float(played.transition.reward.sum(0).mean())
    return _Result(alone.actions[:, 0, 0], solved, reward, course)
