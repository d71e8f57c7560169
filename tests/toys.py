"""Three world models of a page each, one of every kind that the interface must hold.

`Latent` is learned and recurrent, `Chunked` predicts several frames at once, `Pendulum` is physics.
Tests of every room may use them; `tests/core/test_check.py` breaks them in many ways.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition, WorldModelLoss
from reverie.core.spec import Space, Spec


class LatentState(NamedTuple):
    deter: Tensor
    stoch: Tensor
    task: Tensor


class Latent(nn.Module):
    """A recurrent state-space model with Gaussian latents, for two sensors and a task vector."""

    def __init__(self, deter: int = 8, stoch: int = 4) -> None:
        super().__init__()
        self.spec = Spec(
            obs={
                "position": Space((3,), unit="m"),
                "camera": Space((1, 4, 4), "uint8"),
            },
            action=Space((2,), low=-1.0, high=1.0),
            dt=0.05,
            context={"task": Space((2,))},
            provides=frozenset({"obs", "reward", "continues"}),
            grad=frozenset({"params", "state", "action"}),
        )
        self.feature_size = deter + stoch
        self.scales = {"obs": 1.0, "reward": 1.0, "continues": 1.0, "prior": 0.5}
        self.deter_size, self.stoch_size = deter, stoch
        self.encoder = nn.Linear(3 + 16, 8)
        self.cell = nn.GRUCell(stoch + 2 + 2, deter)
        self.prior = nn.Linear(deter, stoch)
        self.posterior = nn.Linear(deter + 8, stoch)
        self.decoder = nn.Linear(deter + stoch, 3 + 16)
        self.ends = nn.Linear(deter + stoch, 2)

    def initial(self, batch: int, context: Obs | None = None) -> LatentState:
        like = self.prior.weight
        task = like.new_zeros(batch, 2) if context is None else context["task"].to(like.dtype)
        deter, stoch = (
            like.new_zeros(batch, self.deter_size),
            like.new_zeros(batch, self.stoch_size),
        )
        return LatentState(deter, stoch, task)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(batch, self.stoch_size, generator=generator)

    def observe(
        self, state: LatentState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> LatentState:
        return self._filter(state, action, self._encode(obs), first, noise)

    def observe_all(
        self, state: LatentState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> LatentState:
        seen, states = self._encode(obs), []
        for t in range(first.shape[1]):
            state = self._filter(state, action[:, t], seen[:, t], first[:, t], noise[t])
            states.append(state)
        return tree.stack(states, 1)

    def _filter(
        self, state: LatentState, action: Tensor, seen: Tensor, first: Tensor, noise: Tensor
    ) -> LatentState:
        fresh = self.initial(first.shape[0], {"task": state.task})
        state = tree.where(first, fresh, state)
        deter = self._advance(state, action.masked_fill(first[:, None, None], 0))
        mean = self.posterior(torch.cat([deter, seen], -1))
        return LatentState(deter, mean + 0.1 * noise, state.task)

    def step(self, state: LatentState, action: Tensor, noise: Tensor) -> Transition[LatentState]:
        deter = self._advance(state, action)
        after = LatentState(deter, self.prior(deter) + 0.1 * noise, state.task)
        reward, logit = self.ends(self.features(after)).unbind(-1)
        return Transition(after, reward, torch.sigmoid(logit))

    def decode(self, state: LatentState) -> Obs:
        position, camera = self.decoder(self.features(state)).split([3, 16], -1)
        return {
            "position": position,
            "camera": torch.sigmoid(camera).unflatten(-1, (1, 4, 4)),
        }

    def features(self, state: LatentState) -> Tensor:
        return torch.cat([state.deter, state.stoch], -1)

    def loss(self, batch: Batch, state: LatentState, noise: Tensor) -> WorldModelLoss:
        states = self.observe_all(state, batch.action[:, :, None], batch.obs, batch.first, noise)
        shown = self.decode(states)
        camera = batch.obs["camera"] / 255
        reward, logit = self.ends(self.features(states)).unbind(-1)
        losses = {
            "obs": (shown["position"] - batch.obs["position"]).square().sum(-1)
            + (shown["camera"] - camera).square().sum((-1, -2, -3)),
            "reward": (reward - batch.reward).square(),
            "continues": F.binary_cross_entropy_with_logits(
                logit, (~batch.terminated).to(logit.dtype), reduction="none"
            ),
            "prior": (self.prior(states.deter) - states.stoch).square().sum(-1),
        }
        return WorldModelLoss(losses, states)

    def _encode(self, obs: Obs) -> Tensor:
        camera = obs["camera"]
        if camera.dtype == torch.uint8:
            camera = camera / 255
        seen = torch.cat([obs["position"], camera.flatten(-3)], -1)
        return torch.tanh(self.encoder(seen.to(self.prior.weight.dtype)))

    def _advance(self, state: LatentState, action: Tensor) -> Tensor:
        return self.cell(torch.cat([state.stoch, action[:, 0], state.task], -1), state.deter)


class Late(Latent):
    """The same, whose heads can wait."""

    def step(self, state: LatentState, action: Tensor, noise: Tensor) -> Transition[LatentState]:
        return self.heads(self.advance(state, action, noise))

    def advance(self, state: LatentState, action: Tensor, noise: Tensor) -> LatentState:
        return super().step(state, action, noise).state

    def heads(self, state: LatentState) -> Transition[LatentState]:
        reward, logit = self.ends(self.features(state)).unbind(-1)
        return Transition(state, reward, torch.sigmoid(logit))


class ChunkState(NamedTuple):
    latent: Tensor
    trail: Tensor
    """The latents of the last chunk's frames, `[B, n, D]`."""


class Chunked(nn.Module):
    """A video model that consumes n actions at once and shows the n frames that they lead to."""

    def __init__(self, chunk: int = 3, size: int = 6) -> None:
        super().__init__()
        self.spec = Spec(
            obs={"camera": Space((3, 4, 4), "uint8")},
            action=Space((4,), discrete=True),
            dt=0.1,
            chunk=chunk,
            provides=frozenset({"obs", "uncertainty"}),
            grad=frozenset({"params", "state", "action"}),
        )
        self.encoder = nn.Linear(48, size)
        self.cell = nn.GRUCell(4, size)
        self.spread = nn.Linear(size, 1)
        self.decoder = nn.Linear(size, 48)

    def initial(self, batch: int, context: Obs | None = None) -> ChunkState:
        size = self.cell.hidden_size
        like = self.spread.weight
        return ChunkState(like.new_zeros(batch, size), like.new_zeros(batch, self.spec.chunk, size))

    def noise(self, batch: int, generator: Generator | None = None) -> dict[str, Tensor]:
        size = self.cell.hidden_size
        return {"frames": torch.randn(batch, self.spec.chunk, size, generator=generator)}

    def observe(
        self, state: ChunkState, action: Tensor, obs: Obs, first: Tensor, noise: dict[str, Tensor]
    ) -> ChunkState:
        state = tree.where(first, self.initial(first.shape[0]), state)
        trail = self._roll(state, action.masked_fill(first[:, None, None], 0), noise)
        frame = obs["camera"] / 255 if obs["camera"].dtype == torch.uint8 else obs["camera"]
        latent = trail[:, -1] + self.encoder(frame.flatten(1).to(trail.dtype))
        return ChunkState(latent, torch.cat([trail[:, :-1], latent[:, None]], 1))

    def step(
        self, state: ChunkState, action: Tensor, noise: dict[str, Tensor]
    ) -> Transition[ChunkState]:
        trail = self._roll(state, action, noise)
        after = ChunkState(trail[:, -1], trail)
        return Transition(after, uncertainty=F.softplus(self.spread(trail)).sum((1, 2)))

    def decode(self, state: ChunkState) -> Obs:
        return {"camera": self._show(state.latent)}

    def frames(self, before: ChunkState, transition: Transition[ChunkState]) -> Obs:
        return {"camera": self._show(transition.state.trail)}

    def _roll(self, state: ChunkState, action: Tensor, noise: dict[str, Tensor]) -> Tensor:
        latent, trail = state.latent, []
        for k in range(self.spec.chunk):
            latent = self.cell(action[:, k], latent) + 0.1 * noise["frames"][:, k]
            trail.append(latent)
        return torch.stack(trail, 1)

    def _show(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(latent)).unflatten(-1, (3, 4, 4))


class PendulumState(NamedTuple):
    angle: Tensor
    """[rad] from upright, `[B]`."""
    speed: Tensor
    """[rad/s], `[B]`."""
    body: dict[str, Tensor]
    """Mass [kg] and length [m], each `[B]`: the context."""


class Pendulum(nn.Module):
    """A damped pendulum with a torque too weak to lift it at once, differentiable throughout.

    m l^2 w' = m g l sin(angle) - damping w + 5 torque, integrated by semi-implicit Euler steps.
    Only the angle is sensed; the speed is its backward difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = Spec(
            obs={"angle": Space((2,), low=-1.0, high=1.0)},
            action=Space((1,), low=-1.0, high=1.0),
            dt=0.05,
            context={
                "mass": Space((), low=0.5, high=1.5, unit="kg"),
                "length": Space((), low=0.5, high=1.5, unit="m"),
            },
            provides=frozenset({"obs", "reward", "cost"}),
            grad=frozenset({"params", "state", "action"}),
        )
        self.gravity = nn.Parameter(torch.tensor(9.81))
        self.damping = nn.Parameter(torch.tensor(0.05))

    def initial(self, batch: int, context: Obs | None = None) -> PendulumState:
        one = self.gravity.detach().new_ones(batch)
        given = {} if context is None else {name: x.to(one) for name, x in context.items()}
        body = {"mass": one, "length": one.clone(), **given}
        return PendulumState(torch.pi * one, 0 * one, body)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        return ()

    def observe(
        self, state: PendulumState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> PendulumState:
        cosine, sine = obs["angle"].to(state.angle).unbind(-1)
        angle = torch.atan2(sine, cosine)
        turned = torch.remainder(angle - state.angle + torch.pi, 2 * torch.pi) - torch.pi
        return PendulumState(angle, (turned / self.spec.dt).masked_fill(first, 0), state.body)

    def step(
        self, state: PendulumState, action: Tensor, noise: tuple[()]
    ) -> Transition[PendulumState]:
        angle, speed, mass, length = state.angle, state.speed, *state.body.values()
        parts = 2
        for _ in range(parts):
            pull = mass * self.gravity * length * torch.sin(angle) - self.damping * speed
            change = (pull + 5 * action[:, 0, 0]) / (mass * length**2)
            speed = speed + change * self.spec.dt / parts
            angle = angle + speed * self.spec.dt / parts
        reward = torch.cos(angle) - 0.01 * speed**2
        cost = F.softplus(speed**2 - 64)
        return Transition(PendulumState(angle, speed, state.body), reward, cost=cost)

    def decode(self, state: PendulumState) -> Obs:
        return {"angle": torch.stack([torch.cos(state.angle), torch.sin(state.angle)], -1)}
