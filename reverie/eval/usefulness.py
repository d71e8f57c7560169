"""Is a world model of use: does planning in it pay, do policies trained in it, does it rank them?

The imagined return of an agent is what it earns where the model stands in for the world: the agent
acts, the model steps, and shows the agent what it would see.

    J = sum_{k=1}^{H/n} r_k prod_{j<k} c_j        r_k reward of step k, c_j P(going on after step j)

without discount, because the real return has none.

Legend: `G` copies, `N` starts, `B = G N` rows, copy by copy, `C` observed rows, `H` decisions, `n`
actions of a model step, `A` action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Agent, Batch, Featured, Obs, Policy, WorldModel
from reverie.eval import windows as cuts
from reverie.eval.interval import Array
from reverie.eval.ranking import Ranking, Verdict
from reverie.eval.returns import Comparison, Returns, compare
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
Choose = Callable[[Any, int], Tensor]
"""Actions `[B, n, A]` in state `[B, ...]`, where model step k begins."""
Beats = Literal["beats random", "cannot be told", "loses to random"]


class Imagined(NamedTuple):
    """What an agent earns in a model."""

    returns: Array
    """`[G, N]`, over `decisions`."""
    alive: Array
    """`[G, N]`: the probability, by the model, that the episode goes on after them."""
    decisions: int

    def scores(self, names: Sequence[str]) -> dict[str, list[float]]:
        """The returns by policy, one name for each copy, as `ranking` takes them."""
        return dict(zip(names, self.returns.tolist(), strict=True))


@torch.no_grad()
def imagined_returns(
    model: Model,
    agent: Agent,
    windows: Windows,
    *,
    horizon: int,
    observed: int = 1,
    copies: int = 1,
    read: Literal["observations", "features"] = "observations",
    context: Obs | None = None,
    at_once: int = 512,
    sample: bool = False,
    generator: Generator | None = None,
) -> Imagined:
    """The returns of any agent, acting inside a model.

    The model filters the first C rows. The agent begins at the last of them, as at the first of an
    episode: it reads what was sensed there and from then on what the model decodes, and what is
    constant in an episode. Where a model step takes n actions, the agent chooses n times on the
    same observation, for the model shows none between. Only the present is kept in memory.

    A policy that reads the model's own features can do so directly (`OnFeatures`): quicker, also
    with models that decode nothing, and blind to what gets lost in decoding.

    Args:
        model: predicts the reward, and what the agent reads.
        agent: who acts, usually by its mode.
        windows: where episodes start, for example from `starts`.
        horizon: H, at least 1; a multiple of the model's chunk.
        observed: C, at least 1; `C - 1` must be a multiple of the chunk.
        copies: G, times that the starts are repeated, one after the other, for an agent that acts
            differently in each, as `Graded` does. All copies share the model's noise.
        read: what the agent is given: observations, or `{"features": ...}` of a featured model.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        at_once: rows imagined together, at least one start in all copies; bounds the memory. With
            a model that draws no noise it changes nothing else.
        sample: sample the agent's actions with the generator.
        generator: of the model's noise.

    Raises:
        ValueError: the model predicts no reward or does not show what it must, or the windows are
            too short or cross the end of an episode.
    """
    if copies < 1 or at_once < 1:
        raise ValueError(f"copies and at_once must be at least 1; got {copies} and {at_once}.")
    model.spec.require("reward")
    if read == "observations":
        model.spec.require("obs")
    elif not isinstance(model, Featured):
        raise ValueError("This model has no features; let the agent read observations.")
    count, parts = len(windows.episode), []
    begun = agent.begin(copies * count)
    rows = torch.arange(copies * count).unflatten(0, (copies, count))
    size = max(at_once // copies, 1)
    for some, own in zip(_parts(windows, context, size), rows.split(size, 1), strict=True):
        state, seen = _sensed(model, *some, observed, generator)
        state, seen = (tree.map(lambda x: torch.cat([x] * copies), x) for x in (state, seen))
        memory = tree.select(begun, own.flatten())
        shown = None if read == "features" else seen
        reader = _Reader(model, agent, shown, memory, generator if sample else None)
        parts.append(_dream(model, state, reader, horizon, copies, generator))
    returns, alive = (torch.cat(x, 1).double().cpu().numpy() for x in zip(*parts, strict=True))
    return Imagined(returns, alive, horizon)


class OnFeatures:
    """A policy as an agent inside its own model, for `imagined_returns(..., read="features")`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def begin(self, batch: int, obs: Obs | None = None) -> tuple[()]:
        """Nothing: the model's state is the memory."""
        return ()

    def act(
        self, memory: Any, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Any]:
        """The action `[B, A]` for `obs["features"]`, and nothing."""
        features = obs["features"]
        if generator is None:
            return self.policy.mode(features), memory
        return self.policy.act(features, self.policy.noise(len(features), generator)), memory


def starts(episodes: Sequence[Mapping[str, Any]], rows: int = 2) -> Windows:
    """The first rows of whole episodes, at least 2 of each, in their order: what `imagined_returns`
    begins with, so that its start k is that of `real_returns(episodes, ...)[k]`."""
    short = [k for k, e in enumerate(episodes) if len(e["reward"]) < rows]
    if short:
        raise ValueError(f"Starts of {rows} rows need as long episodes; {short} are shorter.")
    return cuts.from_episodes([{n: v[:rows] for n, v in e.items()} for e in episodes], rows)


def real_returns(episodes: Sequence[Mapping[str, Any]], decisions: int, observed: int = 1) -> Array:
    """`[N]`: what was really earned in the decisions that follow row C - 1 of each episode.

    Raises:
        ValueError: an episode stopped before that without being over, so that it did not have as
            many decisions as the model imagines.
    """
    stop = observed + decisions
    cut = [k for k, e in enumerate(episodes) if len(e["reward"]) < stop and not e["terminated"][-1]]
    if cut:
        raise ValueError(
            f"Episodes {cut} were cut off before {decisions} decisions; imagine fewer, or play "
            "longer ones."
        )
    return np.array([float(np.sum(e["reward"][observed:stop], dtype=np.float64)) for e in episodes])


@dataclass(frozen=True)
class Usefulness:
    """What a model is good for, each against acting at random."""

    random: Returns
    planner: Comparison | None
    """Planning with the model, against `random`."""
    policy: Comparison | None
    """The policy trained inside the model, against `random`."""
    ranking: Ranking | None

    @property
    def verdict(self) -> Verdict:
        """Whether the model ranks policies; "cannot be told" where none were ranked."""
        return "cannot be told" if self.ranking is None else self.ranking.verdict

    @property
    def beats(self) -> dict[str, Beats]:
        """For the planner and the policy, where there are: by the interval of the difference."""
        found = {"planner": self.planner, "policy": self.policy}
        return {name: _beats(c) for name, c in found.items() if c is not None}

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        parts = {name: getattr(self, name) for name in ("planner", "policy", "ranking")}
        return {
            "random": self.random.to_json(),
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "verdict": self.verdict,
            "beats": self.beats,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Usefulness:
        """The inverse of `to_json`."""

        def read(name: str, kind: Any) -> Any:
            return None if value[name] is None else kind.from_json(value[name])

        planner, policy = read("planner", Comparison), read("policy", Comparison)
        return Usefulness(read("random", Returns), planner, policy, read("ranking", Ranking))


def usefulness(
    *,
    random: Returns,
    planner: Returns | None = None,
    policy: Returns | None = None,
    ranking: Ranking | None = None,
    seed: int = 0,
) -> Usefulness:
    """Gather what was played in the real environment and what was ranked.

    Args:
        random: returns of random actions, the floor.
        planner: of planning with the model.
        policy: of the policy trained inside it.
        ranking: of policies scored in the model and really.
        seed: of the intervals.
    """
    return Usefulness(
        random,
        None if planner is None else compare(planner, random, seed=seed),
        None if policy is None else compare(policy, random, seed=seed),
        ranking,
    )


def _beats(comparison: Comparison) -> Beats:
    if comparison.difference_low > 0:
        return "beats random"
    return "loses to random" if comparison.difference_high < 0 else "cannot be told"


# -------------------------------------------------------------------------------------------------


class _Reader:
    """An agent that reads what a model shows, and first what was sensed; without that, features."""

    def __init__(
        self, model: Any, agent: Agent, seen: Obs | None, memory: Any, generator: Generator | None
    ) -> None:
        self._model, self._agent, self._seen = model, agent, seen
        self._memory, self._generator = memory, generator
        self._constant = {k: v for k, v in (seen or {}).items() if k in model.spec.context}

    def __call__(self, state: Any, k: int) -> Tensor:
        obs = self._shown(state, k)
        some, actions = next(iter(obs.values())), []
        for part in range(self._model.spec.chunk):
            first = torch.full((len(some),), k == 0 and part == 0, device=some.device)
            action, self._memory = self._agent.act(self._memory, obs, first, self._generator)
            actions.append(action)
        return torch.stack(actions, 1)

    def _shown(self, state: Any, k: int) -> Obs:
        if self._seen is None:
            return {"features": self._model.features(state)}
        return {**self._constant, **self._model.decode(state)} if k else self._seen


def _parts(windows: Windows, context: Obs | None, size: int) -> list[tuple[Batch, Obs | None]]:
    """A few windows at a time, with their context."""
    count = len(windows.episode)
    spans = [slice(k, k + size) for k in range(0, count, size)]
    return [
        (
            tree.select(windows.batch, span),
            None if context is None else tree.select(dict(context), span),
        )
        for span in spans
    ]


def _sensed(
    model: Model, batch: Batch, context: Obs | None, observed: int, generator: Generator | None
) -> tuple[Any, Obs]:
    """The state after C rows `[N, ...]`, and what was sensed in the last."""
    chunk, rows = model.spec.chunk, batch.action.shape[1]
    if observed < 1 or observed > rows or (observed - 1) % chunk:
        raise ValueError(
            f"{observed} rows cannot be observed: the windows have {rows}, and observed - 1 must "
            f"be a multiple of the model's chunk, {chunk}."
        )
    if batch.first[:, 1:observed].any() or batch.last[:, :observed].any():
        raise ValueError(
            "An episode ends within the observed rows, and nothing follows; cut the windows with "
            "reverie.eval.usefulness.starts."
        )
    known = {k: v for k, v in batch.obs.items() if k.removesuffix(".present") in model.spec.obs}
    lacking = [name for name in model.spec.obs if name not in known]
    if lacking:
        raise ValueError(
            f"The model reads {', '.join(model.spec.obs)}, but the recording lacks "
            f"{', '.join(lacking)}; it has {', '.join(batch.obs)}."
        )
    zero = torch.zeros_like(batch.action[:, :1]).expand(-1, chunk, -1)
    action = torch.cat([zero, batch.action[:, 1:observed]], 1).unflatten(1, (-1, chunk))
    first = torch.zeros(action.shape[:2], dtype=torch.bool, device=action.device)
    first[:, 0] = True
    begun = {name: value[:, 0] for name, value in batch.obs.items()}
    given = rollout.context_of(model.spec, begun, context)
    before = model.initial(len(action), given)
    noise = rollout.draw(model, action.shape[1], len(action), generator)
    read = {name: value[:, :observed:chunk] for name, value in known.items()}
    states = rollout.filter(model, before, action, read, first, noise)
    sensed = {name: value[:, observed - 1] for name, value in batch.obs.items()}
    return tree.map(lambda x: x[:, -1], states), {**(given or {}), **sensed}


def _dream(
    model: Model,
    state: Any,
    choose: Choose,
    horizon: int,
    copies: int,
    generator: Generator | None,
) -> tuple[Tensor, Tensor]:
    """Returns and probabilities of going on, each `[G, N]`."""
    chunk = model.spec.chunk
    if horizon < 1 or horizon % chunk:
        raise ValueError(
            f"The horizon is {horizon}; give a positive multiple of the model's chunk, {chunk}."
        )
    rows, device = tree.batch_size(state), tree.leaves(state)[0].device
    total, alive = torch.zeros(rows, device=device), torch.ones(rows, device=device)
    for k in range(horizon // chunk):
        action = choose(state, k).to(device)
        noise = model.noise(rows // copies, generator)
        noise = tree.map(lambda x: torch.cat([x] * copies), noise)
        state, reward, continues, *_ = model.step(state, action, noise)
        assert reward is not None
        total = total + alive * reward
        if continues is not None:
            alive = alive * continues
    return total.unflatten(0, (copies, -1)), alive.unflatten(0, (copies, -1))
