"""Actor and critic learnt from imagined trajectories, for any world model with features.

    imagine    s_{k+1} ~ p(. | s_k, a_k),  a_k ~ pi(. | s_k),  k = 0 .. H-1
    reward     r_{k+1} - p u_{k+1},  u the model's uncertainty where it has a price p
    return     R_k = r_{k+1} + g c_{k+1} ((1 - l) v_{k+1} + l R_{k+1}),  R_{H-1} with v_H
    advantage  A_k = (R_k - v_k) / max(1, S),  S = the moving 5 to 95 percentile range of R
    actor      - w_k (log pi(a_k | s_k) sg(A_k) + e H[pi(. | s_k)])       (REINFORCE)
               - w_k (R_k / max(1, S) + e H[pi(. | s_k)])                 (through the dynamics)
    critic     w_k (CE(twohot(sg(R_k))) + CE(twohot(sg(slow v_k))))
    weight     w_k = w_0 prod_{i <= k} g c_i

Actor learning, critic learning and the replay loss of Hafner et al. 2023; backpropagation through
the dynamics of Hafner et al. 2020; the price of uncertainty of Yu et al. 2020 (MOPO).
Legend: `H` horizon, `N` starts, `B` batch, `T` time, `F` features.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch
from reverie.core.returns import lambda_return, symexp_bins, twohot_mean, twohot_nll
from reverie.core.spec import Space
from reverie.imagine.policy import Distribution, PolicyNet
from reverie.nn.layers import MLP


@dataclass(frozen=True)
class ReturnConfig:
    """How returns are summed and normalised."""

    discount: float = 1 - 1 / 333
    """g, per action; 1 - 1/333 looks about 333 actions ahead."""
    lam: float = 0.95
    """l, the mix of one-step (0) and whole-horizon (1) returns."""
    percentiles: tuple[float, float] = (0.05, 0.95)
    """The range of returns that the advantage is divided by."""
    rate: float = 0.01
    """How fast the moving range follows."""
    limit: float = 1.0
    """The range never counts as smaller than this, so that noise is not blown up."""


@dataclass(frozen=True)
class ActorCriticConfig:
    """Actor and critic."""

    horizon: int = 15
    """H, imagined steps."""
    starts: int = 0
    """Imagine from the last so many rows of each sequence; 0: from all."""
    gradient: Literal["reinforce", "dynamics"] = "reinforce"
    """How the actor learns: REINFORCE (v3), or backpropagation through the model (v1)."""
    entropy: float = 3e-4
    """e, weight of the policy's entropy."""
    units: int = 64
    """Width of actor and critic layers."""
    layers: int = 3
    """Layers of actor and critic."""
    slow_rate: float = 0.02
    """Share of the critic that flows into the slow critic after each update."""
    replay_value: float = 0.3
    """Weight of the critic's loss on recorded rows; 0 turns it off."""
    returns: ReturnConfig = ReturnConfig()
    uncertainty: float = 0.0
    """p, what a unit of the model's uncertainty takes off an imagined reward: a policy that learns
    in a finished model goes where the model is wrong to its advantage."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(
                f"ActorCriticConfig horizon is {self.horizon}; imagine at least 1 step."
            )
        if self.gradient not in ("reinforce", "dynamics"):
            raise ValueError(
                f"ActorCriticConfig gradient is {self.gradient!r}; choose reinforce or dynamics."
            )
        if not 0 <= self.uncertainty < float("inf"):
            raise ValueError(
                f"ActorCriticConfig uncertainty is {self.uncertainty}; give a price of at least 0."
            )
        if self.starts < 0 or (self.starts == 1 and self.replay_value):
            raise ValueError(
                f"ActorCriticConfig starts is {self.starts}; give 0 for all rows, or at least 2: "
                "the critic's loss on recorded rows is of pairs (or set replay_value to 0)."
            )


class Imagined(NamedTuple):
    """What one imagination gives the losses, time-major, with the actor's and critic's graph."""

    policy: list[Distribution]
    """At s_0 .. s_{H-1}."""
    actions: Tensor
    """`[H, N, A]`."""
    logits: Tensor
    """Critic at s_0 .. s_{H-1}, `[H, N, bins]`."""
    slow: Tensor
    """Slow critic's value at s_0 .. s_{H-1}, `[H, N]`."""
    value: Tensor
    """Critic's value at s_0 .. s_H, `[H + 1, N]`, constant."""
    returns: Tensor
    """R_0 .. R_{H-1}, `[H, N]`; a function of the actions where the actor learns through them."""
    weight: Tensor
    """w_0 .. w_{H-1}, `[H, N]`, constant."""
    uncertainty: Tensor | None
    """Of the model at s_1 .. s_H, `[H, N]`, constant; None where it tells none."""


@contextlib.contextmanager
def constants(*modules: object) -> Iterator[None]:
    """What is computed inside treats the parameters of `modules` as constants."""
    learnt = [
        p
        for module in modules
        if isinstance(module, nn.Module)
        for p in module.parameters()
        if p.requires_grad
    ]
    for p in learnt:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learnt:
            p.requires_grad_(True)


class ActorCritic(nn.Module):
    """Policy, critic, slow critic and the moving range of returns."""

    bins: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, features: int, action: Space, config: ActorCriticConfig) -> None:
        """Networks that read `features` numbers and act in `action`."""
        super().__init__()
        self.config = config
        self.policy = PolicyNet(features, action, config.units, config.layers)
        self.value = MLP(features, 255, config.units, config.layers, scale=0.0)
        self.slow = copy.deepcopy(self.value).requires_grad_(False)
        self.register_buffer("bins", symexp_bins(255), persistent=False)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the losses that `losses` returns."""
        replay = {"replay_value": self.config.replay_value} if self.config.replay_value else {}
        return {"policy": 1.0, "value": 1.0, **replay}

    def losses(
        self, model: Any, states: Any, batch: Batch, generator: Generator | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses by name (imagined `[H, N]`, replayed `[B, T - 1]`) and metrics.

        `states` `[B, T, ...]` are the model's posterior states of `batch`, with their graph:
        imagination starts from their values, and the replay loss reaches the model through them.
        """
        keep = self.config.starts or batch.first.shape[1]
        states = tree.map(lambda x: x[:, -keep:], states)
        batch = tree.map(lambda x: x[:, -keep:], batch)
        start = tree.flatten_time(tree.detach(states))
        alive = (~batch.terminated).flatten().to(self.low.dtype)
        imagined = self.imagine(model, start, alive, generator)
        losses = {"policy": self._policy_loss(imagined), "value": self._value_loss(imagined)}
        if self.config.replay_value:
            features = model.features(tree.flatten_time(states))
            boot = imagined.returns[0].detach().unflatten(0, batch.first.shape)
            losses["replay_value"] = self._replay_loss(features, boot, batch)
        return losses, self._metrics(imagined)

    def imagine(
        self, model: Any, start: Any, alive: Tensor, generator: Generator | None
    ) -> Imagined:
        """H steps of the policy inside the model from `start` `[N, ...]`, where `alive` `[N]`.

        The policy runs with its graph as the future unfolds, so that its loss need not run it
        again. Where the actor learns through the model, the returns have a graph to the actions in
        which model and critic are constants.
        """
        config, through = self.config, self.config.gradient == "dynamics"
        size = alive.shape[0]
        model_noise = rollout.draw(model, config.horizon, size, generator)
        noise = self.policy.noise(config.horizon * size, generator).unflatten(0, (-1, size))
        policy: list[Distribution] = []
        features: list[Tensor] = []

        def act(state: Any, k: int) -> Tensor:
            features.append(model.features(state))
            with torch.enable_grad():
                policy.append(self.policy(features[-1].detach()))
                action = policy[-1].sample(noise[k])
            return (action if through else action.detach()).unsqueeze(1)

        with constants(model, self.value) if through else torch.no_grad():
            future = rollout.imagine(model, start, act, model_noise, config.horizon, keep="last")
            features.append(model.features(tree.select(future.states, 0)))
            seen = torch.stack(features)  # [H + 1, N, F]
        logits = self.value(seen.detach())
        with constants(self.value) if through else torch.no_grad():
            value = twohot_mean(self.value(seen) if through else logits, self.bins)
            reward, continues = future.transition.reward, future.transition.continues
            assert reward is not None
            if config.uncertainty:
                assert future.transition.uncertainty is not None
                reward = reward - config.uncertainty * future.transition.uncertainty
            carry = torch.full_like(reward, config.returns.discount)
            carry = carry if continues is None else carry * continues
            returns = lambda_return(reward, value[1:], carry, config.returns.lam)
        doubt = future.transition.uncertainty
        return Imagined(
            policy,
            actions=future.actions.squeeze(2),
            logits=logits[:-1],
            slow=self._mean(self.slow, seen[:-1]),
            value=value.detach(),
            returns=returns,
            weight=torch.cat([alive.unsqueeze(0), carry[:-1].detach()]).cumprod(0),
            uncertainty=None if doubt is None else doubt.detach(),
        )

    def after_update(self) -> None:
        """Let a share of the critic flow into the slow critic."""
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.slow.parameters()), list(self.value.parameters()), self.config.slow_rate
            )

    # ------------------------------------------------------------------ parts

    def _mean(self, net: MLP, features: Tensor) -> Tensor:
        with torch.no_grad():
            return twohot_mean(net(features), self.bins)

    def _scale(self, returns: Tensor) -> Tensor:
        """max(limit, S), after S has moved towards the percentiles of `returns`."""
        config = self.config.returns
        with torch.no_grad():
            marks = torch.tensor(config.percentiles, dtype=returns.dtype, device=returns.device)
            low, high = torch.quantile(returns.detach().flatten(), marks)
            self.low.lerp_(low.to(self.low.dtype), config.rate)
            self.high.lerp_(high.to(self.high.dtype), config.rate)
            return (self.high - self.low).clamp_min(config.limit)

    def _policy_loss(self, imagined: Imagined) -> Tensor:
        scale = self._scale(imagined.returns)
        entropy = torch.stack([p.entropy() for p in imagined.policy])
        if self.config.gradient == "dynamics":
            gain = imagined.returns / scale
        else:
            advantage = ((imagined.returns - imagined.value[:-1]) / scale).detach()
            pairs = zip(imagined.policy, imagined.actions, strict=True)
            gain = advantage * torch.stack([p.log_prob(a) for p, a in pairs])
        return -imagined.weight * (gain + self.config.entropy * entropy)

    def _value_loss(self, imagined: Imagined) -> Tensor:
        return imagined.weight * self._critic_loss(
            imagined.logits, imagined.returns.detach(), imagined.slow
        )

    def _critic_loss(self, logits: Tensor, returns: Tensor, slow: Tensor) -> Tensor:
        log_probs = logits.log_softmax(-1)
        targets = (returns, slow)
        return torch.stack([twohot_nll(log_probs, t, self.bins) for t in targets]).sum(0)

    def _replay_loss(self, features: Tensor, boot: Tensor, batch: Batch) -> Tensor:
        """The critic on recorded rows, bootstrapped with imagined returns `[B, T]`."""
        logits = self.value(features).unflatten(0, boot.shape)[:, :-1]
        slow = self._mean(self.slow, features.detach()).unflatten(0, boot.shape)[:, :-1]
        config = self.config.returns
        carry = config.discount * (~batch.terminated[:, 1:]).to(boot.dtype)
        returns = lambda_return(
            batch.reward[:, 1:], boot[:, 1:], carry, config.lam, batch.last[:, 1:], dim=1
        )
        return self._critic_loss(logits, returns, slow) * (~batch.last[:, :-1])

    def _metrics(self, imagined: Imagined) -> dict[str, Tensor]:
        returns = imagined.returns.detach()
        entropy = torch.stack([p.entropy().detach().mean() for p in imagined.policy])
        doubt = imagined.uncertainty
        return {
            "imagined_return": returns.mean(),
            "value": imagined.value.mean(),
            "return_range": self.high - self.low,
            "policy_entropy": entropy.mean(),
            **({} if doubt is None else {"uncertainty": doubt.mean()}),
        }


@dataclass(frozen=True)
class Critic:
    """The learnt value of a state, for those who plan: it needs no noise."""

    of: ActorCritic

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """`()`."""
        return ()

    def value(self, features: Tensor, noise: tuple[()] = ()) -> Tensor:
        """The expected sum of discounted rewards from features `[B, F]` on, `[B]`."""
        return twohot_mean(self.of.value(features), self.of.bins)
