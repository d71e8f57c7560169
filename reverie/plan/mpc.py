"""Model-predictive control: at each decision sense, search a plan, carry out its beginning.

    s_t = observe(s_{t-n}, a_{t-n:t}, o_t)
    u*  = argmin_u J(s_t, u)                    from the last plan, moved on
    a_t = the first action of u*

Legend: `B` environments, `K` candidates, `P` plan steps, `b` control steps of a plan step, `n`
actions of a model step, `H = P b / n` model steps, `e` control steps between plans, `A` action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Obs, Policy
from reverie.plan.clock import Clock, Timing
from reverie.plan.cost import PlanCost
from reverie.plan.objective import Objective, Reward, Terminal
from reverie.plan.search import Box, Draw, Optimiser, Solved, Start, minimise, nothing_known, shift
from reverie.plan.shape import shaped_noise


@dataclass(frozen=True)
class MPCConfig:
    """How far to plan, how often, and how fast."""

    horizon: int = 12
    """P, steps of a plan."""
    block: int = 1
    """b, control steps for which each action of a plan is held."""
    execute: int = 0
    """e, control steps that are carried out before the next plan; 0: one plan step or one model
    step, whichever is longer."""
    discount: float = 1.0
    """Of one control step."""
    proposals: int = 0
    """Plans of the policy that are candidates in each iteration."""
    uncertainty: float = 0.0
    """Weight of the model's uncertainty in the cost."""
    particles: int = 1
    """Draws of the model's noise over which a plan is judged."""
    explore: bool = True
    """Add noise as wide as the search's own doubt, where actions are sampled."""
    budget: float = 0.0
    """Time for a decision [ms], sensing included; 0: as long as it takes."""
    seed: int = 0
    """Of the search where actions are not sampled: the same rows give the same actions."""

    def __post_init__(self) -> None:
        for name in ("horizon", "block", "particles"):
            if getattr(self, name) < 1:
                raise ValueError(f"MPCConfig {name} is {getattr(self, name)}; give at least 1.")
        if self.execute < 0 or self.proposals < 0:
            raise ValueError(
                f"MPCConfig execute is {self.execute} and proposals {self.proposals}; give 0 or "
                "more."
            )


class Memory(NamedTuple):
    """What the planner carries from row to row."""

    state: Any
    """The model's state when it last sensed, `[B, ...]`."""
    past: Tensor
    """The last n actions, `[B, n, A]`."""
    plan: Tensor
    """The actions of the last plan that are carried out, `[B, e, A]`."""
    start: Start
    """What the next search begins with, moved on, `[B, ...]`."""
    age: Tensor
    """Rows read since the episode began, `[B]`."""


class MPC:
    """An `Agent` that plans with any world model, any objective, any optimiser.

    With a generator the search is random and, with `explore`, its actions are noisy. Without one,
    the noise of row t of an episode is a fixed function of `seed` and t.
    """

    def __init__(
        self,
        model: Any,
        optimiser: Optimiser,
        config: MPCConfig | None = None,
        *,
        objective: Objective | None = None,
        policy: Policy | None = None,
        terminal: Terminal | None = None,
        constraints: Sequence[Objective] = (),
        context: Obs | None = None,
    ) -> None:
        """A planner.

        Args:
            model: a world model.
            optimiser: `CEM`, `icem()`, `MPPI`, `Gradient`, `Hybrid` or your own.
            config: how far, how often, how fast.
            objective: what to achieve; by default the model's reward.
            policy: proposes plans, `config.proposals` of them; needs a model with features.
            terminal: what the state at the end of a plan is worth.
            constraints: each g `[H, N]`, kept where g <= 0.
            context: what is constant in an episode, `[B, ...]`, where rows do not bring it.

        Raises:
            ValueError: the model lacks what the objective or the optimiser needs, or blocks,
                chunks and horizon do not fit together; the message says which.
        """
        self.config = config = config or MPCConfig()
        self.model, self.optimiser, self.policy, self.context = model, optimiser, policy, context
        chunk, length = model.spec.chunk, config.horizon * config.block
        self.execute = config.execute or max(config.block, chunk)
        if length % chunk or self.execute % chunk or self.execute % config.block:
            raise ValueError(
                f"A plan of {config.horizon} steps held for {config.block} decisions, of which "
                f"{self.execute} are carried out, does not fit a model that consumes {chunk} "
                "actions at once; make both multiples of them."
            )
        if self.execute > length:
            raise ValueError(
                f"{self.execute} decisions cannot be carried out of a plan of {length}; plan "
                "further ahead."
            )
        missing = {"state", "action"} - model.spec.grad
        if optimiser.differentiates and missing:
            raise ValueError(
                f"{type(optimiser).__name__} needs a model with a gradient to state and action; "
                f"this one has none to {', '.join(sorted(missing))}. Plan with cem, icem or mppi."
            )
        if config.proposals and policy is None:
            raise ValueError("MPCConfig asks for proposals; pass the policy that makes them.")
        self.cost = PlanCost(
            model,
            length // chunk,
            objective or Reward(),
            config.discount,
            terminal,
            tuple(constraints),
            config.uncertainty,
            config.particles,
        )
        self.clock = Clock(config.budget)
        self.watch: Callable[[Any, Solved], None] | None = None
        """Told the states `[B, ...]` and the plans of each search, by those who look on."""
        self._boxes: dict[torch.device, Box] = {}

    # ------------------------------------------------------------------ as an agent

    def begin(self, batch: int, obs: Obs | None = None) -> Memory:
        """Nothing sensed, nothing planned, in the context that rows `obs` bring."""
        context = rollout.context_of(self.model.spec, obs or {}, self.context)
        state = self.model.initial(batch, context)
        leaves = tree.leaves(state)
        box = self._box(leaves[0].device)
        shape = (*self.model.spec.action.shape,)
        zeros = torch.zeros(batch, self.model.spec.chunk, *shape, device=leaves[0].device)
        plan = zeros.new_zeros(batch, self.execute, *shape)
        start = nothing_known(self.optimiser, batch, self.config.horizon, box)
        return Memory(state, zeros, plan, start, torch.zeros(batch, dtype=torch.int64))

    @torch.no_grad()
    def act(
        self, memory: Memory, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Memory]:
        """The action `[B, A]` for this row, and the memory for the next."""
        self.clock.begin()
        begins = first.to(memory.age.device).bool()
        if bool(begins.any()):
            memory = tree.where(begins, self._fresh(memory, obs), memory)
        if self.execute == 1:
            state = self._sense(memory, obs, first, None, generator)
            solved = self._plan(state, memory.start, memory.age, generator)
            plan, start, action = solved.plan, solved.start, solved.plan[:, 0]
            self.clock.end(solved.iterations)
        else:
            state, plan, start, action = self._phased(memory, obs, first, generator)
        past = torch.cat([memory.past[:, 1:], action.unsqueeze(1)], 1)
        return action, Memory(state, past, plan, start, memory.age + 1)

    def solve(self, state: Any, generator: Generator | None = None) -> Solved:
        """A plan from states `[B, ...]`, from nothing known: for planning outside of a loop."""
        batch = tree.batch_size(state)
        device = tree.leaves(state)[0].device
        start = nothing_known(self.optimiser, batch, self.config.horizon, self._box(device))
        with torch.no_grad():
            age = torch.zeros(batch, dtype=torch.int64)
            return self._search(state, start, _draw(age, generator, self.config.seed))

    def around(self, solved: Solved, count: int, generator: Generator | None = None) -> Tensor:
        """Plans `[B, 1 + count, P, A]` from where a search ended: the chosen one, then smooth
        draws as far from it as its spread."""
        box = self._box(solved.units.device)
        batch, steps, size = solved.units.shape
        shape = (batch, count, steps, size)
        noise = shaped_noise(shape, generator, solved.units.device, exponent=2.0)
        drawn = solved.units.unsqueeze(1) + solved.spread.unsqueeze(1) * noise
        plans = torch.cat([solved.units.unsqueeze(1), box.clip(drawn)], 1)
        return box.actions(plans)

    def futures(self, state: Any, plans: Tensor) -> rollout.Rollout:
        """What the model imagines of plans `[B, K, P, A]` from states `[B, ...]`, all states kept:
        every leaf `[H, B * K, ...]`."""
        return self.cost.imagine(state, plans, self.cost.noise(_draw_one(len(plans))), True)

    def timing(self) -> Timing:
        """Iterations, latency and frequency of the decisions so far."""
        return self.clock.timing()

    # ------------------------------------------------------------------ parts

    def _box(self, device: torch.device) -> Box:
        if device not in self._boxes:
            self._boxes[device] = Box(self.model.spec.action, device)
        return self._boxes[device]

    def _fresh(self, memory: Memory, obs: Obs) -> Memory:
        fresh = self.begin(len(memory.age), obs)
        if rollout.context_of(self.model.spec, obs) is None:
            return fresh._replace(state=memory.state)  # `observe` resets all but its context
        return fresh

    def _phased(
        self, memory: Memory, obs: Obs, first: Tensor, generator: Generator | None
    ) -> tuple[Any, Tensor, Start, Tensor]:
        """State, plan, start and action where not every row senses and plans at every decision."""
        state, plan, start = memory.state, memory.plan, memory.start
        phase = memory.age % self.execute
        senses, due = memory.age % self.model.spec.chunk == 0, phase == 0
        if bool(senses.any()):
            state = self._sense(memory, obs, first, senses, generator)
        if bool(due.any()):
            rows = due.nonzero().flatten()
            here, begun = tree.select((state, start), rows)
            solved = self._plan(here, begun, memory.age[rows], generator)
            plan = plan.index_copy(0, rows, solved.plan)
            start = tree.map(lambda x, y: x.index_copy(0, rows, y), start, solved.start)
            self.clock.end(solved.iterations)
        return state, plan, start, plan[torch.arange(len(phase)), phase.to(plan.device)]

    def _sense(
        self,
        memory: Memory,
        obs: Obs,
        first: Tensor,
        senses: Tensor | None,
        generator: Generator | None,
    ) -> Any:
        """s_t, in the rows in which the model's step has ended; None: in all."""
        draw = _draw(memory.age, generator, self.config.seed)
        noise = draw(self.model.noise)
        state = self.model.observe(memory.state, memory.past, obs, first, noise)
        if senses is None or bool(senses.all()):
            return state
        return tree.where(senses, state, memory.state)

    def _plan(self, state: Any, start: Start, age: Tensor, generator: Generator | None) -> Solved:
        """A plan of actions `[B, e, A]`, and the start of the next search."""
        draw = _draw(age, generator, self.config.seed + 1)
        solved = self._search(state, start, draw)
        steps = self.execute // self.config.block
        if self.watch is not None:
            self.watch(state, solved)
        plan = solved.plan[:, :steps]
        if generator is not None and self.config.explore and solved.iterations:
            box = self._box(plan.device)
            noise = shaped_noise((1, *plan.shape), generator, plan.device)[0]
            noisy = solved.units[:, :steps] + solved.spread[:, :steps] * noise
            plan = box.actions(box.clip(noisy))
        if self.config.block > 1:
            plan = plan.repeat_interleave(self.config.block, 1)
        return solved._replace(plan=plan, start=shift(solved.start, steps))

    def _search(self, state: Any, start: Start, draw: Draw) -> Solved:
        device = start.guess.device
        noise = self.cost.noise(draw)
        proposals = self._propose(state, noise.model, draw) if self.config.proposals else None
        return minimise(
            self.optimiser,
            lambda plans: self.cost(state, plans, noise),
            self._box(device),
            start,
            proposals=proposals,
            draw=draw,
            enough=self.clock.enough,
        )

    def _propose(self, state: Any, noise: Any, draw: Draw) -> Tensor:
        """Plans of the policy `[B, proposals, P, A]`: each plan step its first action there."""
        policy, config, model = self.policy, self.config, self.model
        assert policy is not None
        batch, count = tree.batch_size(state), config.proposals
        steps, chunk = self.cost.horizon, model.spec.chunk

        def drawn(rows: int, g: Generator | None) -> Tensor:
            eps = policy.noise(rows * count * steps, g)
            return eps.unflatten(0, (rows, steps, count))

        eps = draw(drawn)
        shared = tree.map(
            lambda x: (
                x.unflatten(1, (batch, -1))[:, :, :1]
                .expand(-1, -1, count, *x.shape[2:])
                .flatten(1, 2)
            ),
            noise,
        )

        def act(now: Any, k: int) -> Tensor:
            action = policy.act(model.features(now), eps[:, k].flatten(0, 1))
            return action.unsqueeze(1).expand(-1, chunk, -1)

        future = rollout.imagine(
            model, tree.repeat(state, count), act, shared, steps=steps, keep="last"
        )
        actions = future.actions.transpose(0, 1).flatten(1, 2)  # [B * count, H n, A]
        return actions[:, :: config.block].unflatten(0, (batch, count))


def _draw_one(batch: int) -> Draw:
    return _draw(torch.zeros(batch, dtype=torch.int64), None, 0)


def _draw(age: Tensor, generator: Generator | None, seed: int) -> Draw:
    """Noise for rows: from the generator, or for each row from its seed and age."""
    batch = len(age)
    if generator is not None:
        return lambda make: make(batch, generator)
    ages, which = age.unique(return_inverse=True)
    sources = [Generator().manual_seed((seed << 32) + int(a)) for a in ages]

    def draw(make: Callable[[int, Generator | None], Any]) -> Any:
        drawn = [make(1, source) for source in sources]
        if len(drawn) == 1:
            return tree.map(lambda x: x.expand(batch, *x.shape[1:]), drawn[0])
        return tree.select(tree.concat(drawn), which)

    return draw
