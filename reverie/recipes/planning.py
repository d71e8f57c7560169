"""Planning with a trained model, or with the simulator itself: played, timed, filmed, reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reverie.core.model import Agent
from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.envs import EnvConfig, make
from reverie.eval.returns import RandomAgent, Returns, summarise
from reverie.learn.collect import play
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.models.oracle import Oracle
from reverie.plan import (
    CEM,
    MPC,
    MPPI,
    Gradient,
    Hybrid,
    MPCConfig,
    Optimiser,
    Timing,
    icem,
    tdmpc2_mppi,
)
from reverie.recipes.run import Loaded, judges, load
from reverie.viz import plans
from reverie.viz.fan import PlanFilm, shoot_plans
from reverie.viz.provenance import provenance

Planner = Literal["cem", "icem", "mppi", "gradient", "hybrid"]


@dataclass(frozen=True)
class Search:
    """How plans are searched for; 0 takes the default of the planner or of the run."""

    planner: Planner = "icem"
    """How plans are searched."""
    horizon: int = 0
    """Steps of a plan; by default those the run plans with, else 6 where a learnt value judges the
    end, else 12."""
    samples: int = 0
    """Candidates of an iteration (of gradient: starts)."""
    iterations: int = 0
    """Rounds of a search."""
    block: int = 1
    """Decisions for which each action of a plan is held."""
    proposals: int = 24
    """Plans of the learnt policy among the candidates, where there is a policy."""
    terminal: bool = True
    """Whether the learnt value judges the end of a plan, where there is one."""
    budget: float = 0.0
    """Time for a decision [ms]; 0: as long as it takes."""


def optimiser(search: Search, actions: int) -> Optimiser:
    """The optimiser that a name and sizes stand for."""
    if search.planner == "gradient":
        made: Any = Gradient()
        sizes = {"starts": search.samples, "iterations": search.iterations}
    elif search.planner == "hybrid":
        sampling = CEM(samples=search.samples or 200, elites=20, iterations=4)
        return Hybrid(sampling, replace(Gradient(starts=4, rate=0.05), iterations=10))
    else:
        made = {"cem": CEM(), "icem": icem(), "mppi": tdmpc2_mppi(actions)}[search.planner]
        sizes = {"samples": search.samples, "iterations": search.iterations}
        if search.samples:
            sizes["elites"] = min(made.elites, max(search.samples // 10, 2))
    result: CEM | MPPI | Gradient = replace(made, **{k: v for k, v in sizes.items() if v})
    return result


class Subject(NamedTuple):
    """What is planned in."""

    name: str
    """Run directory or environment."""
    model: Any
    env: EnvConfig
    """Where the plans are carried out."""
    device: Device
    policy: Any = None
    critic: Any = None
    actor: Agent | None = None
    """Who acts in the run without this planner."""
    discount: float = 1.0
    loaded: Loaded | None = None


def subject(target: str, repeat: int = 2, threads: int = 1) -> Subject:
    """A run directory, or an environment's name ("dmc:walker_walk") for its exact simulator, which
    `threads` copies step.

    Raises:
        ValueError: it is neither, or a run with several tasks.
    """
    if (Path(target) / "checkpoints").is_dir():
        loaded = load(target)
        learner = loaded.learner
        return Subject(
            target,
            loaded.model,
            loaded.env,
            loaded.device,
            learner.policy,
            learner.critic,
            loaded.agent,
            loaded.recipe.discount,
            loaded,
        )
    if ":" not in target:
        raise ValueError(
            f"{target} is neither the directory of a run nor an environment; give one that "
            "`reverie train` made, or a name such as dmc:walker_walk."
        )
    device = settle(DeviceConfig(device="cpu"))
    env = EnvConfig(target, repeat=repeat, physics=True)
    return Subject(target, Oracle(env, threads), env, device)


def planner(what: Subject, search: Search) -> MPC:
    """The planner that acts in the subject's model."""
    learnt = search.proposals if what.policy is not None else 0
    critic = what.critic if search.terminal else None
    own = getattr(what.loaded.recipe, "plan", None) if what.loaded else None
    horizon = search.horizon or (own.horizon if own else 6 if critic is not None else 12)
    config = MPCConfig(
        horizon=horizon,
        block=search.block,
        discount=what.discount,
        proposals=learnt,
        budget=search.budget,
    )
    chosen = optimiser(search, what.model.spec.action.size)
    return MPC(what.model, chosen, config, policy=what.policy, terminal=critic)


@dataclass(frozen=True)
class Planned:
    """What came of it."""

    planner: Returns
    random: Returns
    actor: Returns | None
    """Of the run's own agent, in the same episodes."""
    timing: Timing
    page: Path | None

    def to_json(self) -> dict[str, Any]:
        """All but the page."""
        return {
            "planner": self.planner.to_json(),
            "random": self.random.to_json(),
            "actor": self.actor.to_json() if self.actor else None,
            "timing": self.timing._asdict(),
        }


def plan(
    what: Subject,
    search: Search,
    out: Path,
    *,
    episodes: int = 5,
    decisions: int = 0,
    film: int = 150,
    seed: int = 1_000_003,
) -> Planned:
    """Play episodes with a planner; write `plan-<planner>.json` and `.html` into `out`.

    Args:
        what: see `subject`.
        search: how to plan.
        out: directory for the results.
        episodes: to play, with the planner, with random actions and with the run's own agent.
        decisions: of an episode, at most; 0: as long as the environment says.
        film: decisions that are filmed; 0 for no film.
        seed: of the episodes.
    """
    agent = planner(what, search)
    env = replace(what.env, max_decisions=decisions or what.env.max_decisions)
    ours = _returns(agent, env, episodes, what.device, seed)
    timing = agent.timing()
    dice = _returns(RandomAgent(what.model.spec.action, seed), env, episodes, what.device, seed)
    own = None if what.actor is None else _returns(what.actor, env, episodes, what.device, seed)
    result = Planned(ours, dice, own, timing, None)
    out.mkdir(parents=True, exist_ok=True)
    name = f"plan-{search.planner}"
    facts = {"subject": what.name, "env": to_json(env), "search": asdict(search), **provenance()}
    write_json(out / f"{name}.json", {**result.to_json(), **facts})
    shot = _film(agent, env, what.device, seed, film) if film else None
    page = plans.PlanPage(
        task=env.name,
        planner=search.planner,
        model=what.name if what.loaded else "the exact simulator",
        returns=ours,
        random=dice,
        actor=own,
        timing=timing._asdict(),
        budget=search.budget,
        film=shot,
        config={"search": asdict(search), "env": to_json(env)},
        facts=provenance(),
    )
    return replace(result, page=plans.write(page, out / f"{name}.html"))


def _returns(agent: Agent, env: EnvConfig, episodes: int, device: Device, seed: int) -> Returns:
    with judges(env, episodes, seed) as envs:
        played = play(agent, envs, episodes, device=device, seed=seed)
    return summarise(played.returns.tolist(), seed=seed)


def _film(agent: MPC, env: EnvConfig, device: Device, seed: int, decisions: int) -> PlanFilm:
    shown = make(env) if env.pixels else make(env, quality="full")
    try:
        return shoot_plans(shown, agent, device=device, seed=seed, decisions=decisions)
    finally:
        shown.close()
