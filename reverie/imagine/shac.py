"""A policy by gradient through a differentiable model: short-horizon actor-critic (SHAC).

    actor    - 1 / (N h) sum [ sum_{k<h} g^k r_{k+1} + g^h V'(s_h) ]        (`horizon.Window.loss`)
    critic   mean (V(s_k) - R_k)^2,   R_k = r_{k+1} + g c_{k+1} ((1 - l) V'(s_{k+1}) + l R_{k+1})
    slow     V' <- V' + rate (V - V')

of N parallel worlds that go on where the window before ended. Each update moves the actor once,
along the exact gradient of what the window earned, and the critic many times. The model is any
world model with rewards, features, and a gradient to state and action: differentiable physics, or
one that was learnt. Policy and critic read its features, less their running mean and over their
running deviation.

Sources: Xu et al. 2022, "Accelerated Policy Learning with Parallel Differentiable Simulation"
(algorithm and constants); Georgiev et al. 2024 (cuts at contacts, see `horizon`); Chan et al. 1979
(merging mean and variance).

Legend: `N` rows, `h` steps, `D` features, `A` action.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Featured
from reverie.core.spec import Space
from reverie.imagine.actor_critic import constants
from reverie.imagine.agent import PolicyAgent
from reverie.imagine.descent import Descent, DescentConfig, require
from reverie.imagine.horizon import Horizon, Rows, Window
from reverie.imagine.policy import Distribution, PolicyNet
from reverie.nn.layers import MLP
from reverie.nn.moments import Moments

EPS = 1e-5
"""Added to the variance of features before dividing by its root."""


@dataclass(frozen=True)
class CriticConfig:
    """How the critic is fitted to a window."""

    lam: float = 0.95
    """l, the mix of one-step (0) and whole-window (1) returns."""
    passes: int = 16
    """Times that each update goes over the window's states."""
    minibatches: int = 4
    """Parts of a pass, a step of the optimiser each."""
    slow_rate: float = 0.8
    """Share of the critic that flows into the slow critic after each update."""

    def __post_init__(self) -> None:
        require(
            "CriticConfig",
            lam=(self.lam, 0, 1),
            passes=(self.passes, 1, math.inf),
            minibatches=(self.minibatches, 1, math.inf),
            slow_rate=(self.slow_rate, 0, 1),
        )


@dataclass(frozen=True)
class SHACConfig:
    """Short-horizon actor-critic."""

    horizon: int = 32
    """h, steps through which the gradient flows."""
    rows: int = 64
    """N, parallel worlds."""
    discount: float = 0.99
    """g, per action."""
    entropy: float = 0.0
    """The reward for each nat of the policy's entropy, in the actor's loss."""
    stiffness: float | None = None
    """Cut the gradient of a row at steps that stretch its state more than so much (see
    `horizon.growth`; hundreds are usual where feet stand on a floor, so look at its quantiles
    before choosing); None: never. It costs a second backward pass. Where landings are what is
    stiff, a longer `Law.transition` helps more: it leaves the gradient whole."""
    units: int = 64
    """Width of actor and critic layers."""
    layers: int = 2
    """Layers of actor and critic."""
    log_std: float = -1.0
    """The policy's log-deviation at the start, before its actions are squashed."""
    critic: CriticConfig = CriticConfig()
    descent: DescentConfig = field(default_factory=DescentConfig)

    def __post_init__(self) -> None:
        require(
            "SHACConfig",
            horizon=(self.horizon, 1, math.inf),
            rows=(self.rows, 1, math.inf),
            discount=(self.discount, 0, 1),
            entropy=(self.entropy, 0, math.inf),
            units=(self.units, 1, math.inf),
            layers=(self.layers, 1, math.inf),
        )
        if self.stiffness is not None and not self.stiffness > 0:
            raise ValueError(
                f"SHACConfig stiffness is {self.stiffness}; give a number above 0, or None for "
                "plain SHAC."
            )
        if self.critic.minibatches > self.horizon * self.rows:
            raise ValueError(
                f"SHACConfig has {self.critic.minibatches} minibatches of {self.horizon} x "
                f"{self.rows} states; give at most as many as states."
            )


class Statistics(Moments):
    """Running mean and variance `[D]` of features, and features normalised by them."""

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(variance + 1e-5), `[.., D]`; before the first `merge` x, all but."""
        return (x.to(self.mean.dtype) - self.mean) * (self.variance + EPS).rsqrt()


class NormalisedPolicy(nn.Module):
    """A `Policy` on a model's features as they are; its network reads them normalised."""

    def __init__(self, features: int, action: Space, config: SHACConfig) -> None:
        super().__init__()
        self.statistics = Statistics(features)
        self.net = PolicyNet(features, action, config.units, config.layers, config.log_std)

    def forward(self, features: Tensor) -> Distribution:
        """The distribution of actions at `[.., D]`."""
        chosen: Distribution = self.net(self.statistics(features))
        return chosen

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """Of one sample, `[B, A]`."""
        return self.net.noise(batch, generator)

    def act(self, features: Tensor, noise: Tensor) -> Tensor:
        """A sampled action `[B, A]`."""
        return self(features).sample(noise)

    def mode(self, features: Tensor) -> Tensor:
        """The action without noise, `[B, A]`."""
        return self(features).mode()


class SHAC:
    """Learns a policy inside a differentiable model, window by window.

        learner = SHAC(model, SHACConfig(), starts, limit=240)
        for _ in range(500):
            metrics = learner.update(generator)
        learner.agent    # acts on the robot; learner.policy acts on features

    Networks stand on the model's device; they are in float64 where its features are.
    """

    def __init__(
        self,
        model: Any,
        config: SHACConfig,
        starts: Callable[[int, Generator], Any],
        limit: int,
    ) -> None:
        """A fresh policy and critic for `model`.

        Args:
            model: a featured world model with rewards and a gradient to state and action. Its own
                weights stay as they are.
            config: see there.
            starts: states of so many new episodes, all randomness from the generator.
            limit: actions after which an episode ends; the value of its last state counts.

        Raises:
            ValueError: the model lacks what is needed, or an argument makes no sense.
        """
        _check(model, limit)
        self.model, self.config = model, config
        size, action = model.feature_size, model.spec.action
        with torch.no_grad():
            like = model.features(model.initial(1))
        self.policy = NormalisedPolicy(size, action, config)
        self.critic = MLP(size, 1, config.units, config.layers, scale=0.0)
        self.slow = copy.deepcopy(self.critic).requires_grad_(False)
        self._networks = nn.ModuleDict(
            {"policy": self.policy, "critic": self.critic, "slow": self.slow}
        )
        self._dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._networks.to(like.device, self._dtype)
        self._actor_descent = Descent(self.policy, config.descent.actor_lr, config.descent)
        self._critic_descent = Descent(self.critic, config.descent.critic_lr, config.descent)
        self._horizon = Horizon(
            model,
            self.policy,
            self._slow_value,
            starts,
            limit,
            config.discount,
            config.entropy,
            config.stiffness,
        )
        self._rows: Rows | None = None
        self._counts = {"updates": 0, "skipped": 0, "skipped_in_a_row": 0, "episodes": 0}
        self._last = {"return": math.nan, "length": math.nan}

    @property
    def agent(self) -> PolicyAgent:
        """The policy on what the model makes of observations, with the current weights."""
        return PolicyAgent(self.model, self.policy)

    @property
    def updates(self) -> int:
        """How often `update` was called."""
        return self._counts["updates"]

    def update(self, generator: Generator) -> dict[str, float]:
        """One window, one step of the actor, many of the critic; metrics by name.

        `return` (sum of rewards) and `length` are means over the episodes that ended last, and NaN
        before the first did; `gradient_norm` is the actor's, before it is shortened; `cut` is the
        share of rows cut at a stiff step. Where the actor's gradient or the critic's targets are
        not finite, nothing is learnt, `skipped` counts it, and broken rows begin anew.

        Raises:
            ValueError: rewards do not depend on the actions, or `starts` gives too many or few.
            FloatingPointError: too many updates in a row were skipped.
        """
        config, counts = self.config, self._counts
        rows = self._rows or self._horizon.begin(config.rows, generator)
        with torch.enable_grad(), constants(self.model):
            window = self._horizon.unroll(rows, config.horizon, generator)
        if not window.flows:
            raise ValueError(
                "The rewards of this model have no gradient to the actions, whatever spec.grad "
                "says; check_world_model(model) shows where it is lost."
            )
        share = min(1.0, counts["updates"] / config.descent.updates)
        counts["updates"] += 1
        targets, norm, error = window.targets(config.critic.lam), math.nan, math.nan
        if bool(targets.isfinite().all() and window.trace.features.isfinite().all()):
            norm = self._actor_descent.step(window.loss, share)
        if math.isfinite(norm):
            error = self._fit(window.trace.features, targets, share, generator)
            self.policy.statistics.merge(window.trace.features)
            counts["skipped_in_a_row"] = 0
            self._rows = window.rows
        else:
            self._skip(window, generator)
        return self._metrics(window, norm, error)

    def state_dict(self) -> dict[str, Any]:
        """Everything that updates change: weights, statistics, moments, rows, counts.

        With it, and the state of the generator, a run goes on bitwise as if it had never stopped.
        """
        rows = self._rows and {
            "state": tree.named(self._rows.state),
            "age": self._rows.age,
            "total": self._rows.total,
        }
        return {
            "networks": self._networks.state_dict(),
            "actor": self._actor_descent.state_dict(),
            "critic": self._critic_descent.state_dict(),
            "rows": rows or {},
            "counts": dict(self._counts),
            "last": dict(self._last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: it was made with another number of rows.
        """
        rows = state["rows"]
        if rows and len(rows["age"]) != self.config.rows:
            raise ValueError(
                f"This state is of {len(rows['age'])} rows and the configuration has "
                f"{self.config.rows}; use the configuration that made it."
            )
        self._networks.load_state_dict(state["networks"])
        self._actor_descent.load_state_dict(state["actor"])
        self._critic_descent.load_state_dict(state["critic"])
        self._counts, self._last = dict(state["counts"]), dict(state["last"])
        self._rows = None
        if rows:
            like = self.model.initial(1)
            there = Rows(tree.from_named(rows["state"], like), rows["age"], rows["total"])
            self._rows = tree.to(there, tree.leaves(like)[0].device)

    # ------------------------------------------------------------------ parts

    def _slow_value(self, features: Tensor) -> Tensor:
        value: Tensor = self.slow(self.policy.statistics(features)).squeeze(-1)
        return value

    def _fit(self, features: Tensor, targets: Tensor, share: float, generator: Generator) -> float:
        """Fit the critic, let the slow one follow, and return the error of the last pass."""
        config = self.config.critic
        inputs = self.policy.statistics(features).flatten(0, 1)
        goals = targets.to(self._dtype).flatten()
        errors: list[Tensor] = []
        for _ in range(config.passes):
            order, errors = shuffle_noise(len(goals), generator).to(goals.device), []
            parts = (x[order].tensor_split(config.minibatches) for x in (inputs, goals))
            for x, goal in zip(*parts, strict=True):
                error = (self.critic(x).squeeze(-1) - goal).square().mean()
                self._critic_descent.step(error, share)
                errors.append(error.detach())
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.slow.parameters()), list(self.critic.parameters()), config.slow_rate
            )
        return float(torch.stack(errors).mean())

    def _skip(self, window: Window, generator: Generator) -> None:
        """Count it, and begin anew where a state or a sum is not finite."""
        counts, rows = self._counts, window.rows
        counts["skipped"] += 1
        counts["skipped_in_a_row"] += 1
        if counts["skipped_in_a_row"] >= self.config.descent.skips:
            raise FloatingPointError(
                f"{counts['skipped_in_a_row']} updates in a row had no finite gradient. Shorten "
                "the horizon, set stiffness to cut it at contacts, or use a smaller time step."
            )
        floats = [x for x in tree.leaves(rows[::2]) if x.is_floating_point()]
        sound = torch.stack([x.isfinite().reshape(len(x), -1).all(1) for x in floats]).all(0)
        self._rows = self._horizon.restart(rows, ~sound, generator)

    def _metrics(self, window: Window, norm: float, error: float) -> dict[str, float]:
        done, counts = window.trace.ended, self._counts
        if bool(done.any()):
            counts["episodes"] += int(done.sum())
            self._last["return"] = float(window.trace.total[done].mean())
            self._last["length"] = float(window.trace.length[done].double().mean())
        return {
            **self._last,
            "episodes": counts["episodes"],
            "decisions": counts["updates"] * window.trace.reward.numel(),
            "actor_loss": float(window.loss.detach()),
            "value_loss": error,
            "gradient_norm": norm,
            "cut": float(window.trace.stiff.any(0).double().mean()),
            "skipped": counts["skipped"],
        }


def shuffle_noise(count: int, generator: Generator) -> Tensor:
    """The numbers 0 .. count - 1 in a random order."""
    return torch.randperm(count, generator=generator, device=generator.device)


def _check(model: Any, limit: int) -> None:
    """Raise one clear sentence where a policy cannot be learnt through this model."""
    spec = model.spec
    spec.require("reward")
    missing = {"state", "action"} - spec.grad
    if missing:
        raise ValueError(
            f"SHAC needs a model with a gradient to state and action; this one has none to "
            f"{', '.join(sorted(missing))}. Use an ActorCritic with gradient='reinforce'."
        )
    if not isinstance(model, Featured):
        raise ValueError(
            f"SHAC needs a model with features and feature_size, which the policy reads; "
            f"{type(model).__name__} has none. Add them (see reverie.core.Featured)."
        )
    if spec.chunk != 1:
        raise ValueError(
            f"A policy acts at every step, but this model's chunk is {spec.chunk}; use a planner."
        )
    if limit < 1:
        raise ValueError(f"SHAC limit is {limit}; an episode has at least 1 action.")
