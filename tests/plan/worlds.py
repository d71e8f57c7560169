"""Worlds whose best plan is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core.model import Transition
from reverie.core.spec import Space, Spec


class LinearState(NamedTuple):
    x: Tensor
    age: Tensor


class Linear:
    """x' = F x + G u (+ s e), reward -(x' Q x' + u R u); observed without error."""

    def __init__(self, bound=float("inf"), noise=0.0, continues=None, grad=True, chunk=1):
        self.F = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
        self.G = torch.tensor([[0.005], [0.1]])
        self.Q, self.R = torch.diag(torch.tensor([1.0, 0.1])), torch.tensor([[0.1]])
        self.noise_size, self.continue_with = noise, continues
        outputs = {"obs", "reward", "uncertainty"} | ({"continues"} if continues else set())
        self.spec = Spec(
            obs={"x": Space((2,))},
            action=Space((1,), low=-bound, high=bound),
            dt=0.1,
            chunk=chunk,
            provides=frozenset(outputs),
            grad=frozenset({"state", "action"} if grad else ()),
        )
        self.feature_size = 2

    def initial(self, batch, context=None):
        return LinearState(torch.zeros(batch, 2), torch.zeros(batch, 1))

    def noise(self, batch, generator=None):
        return torch.randn(batch, self.spec.chunk, 2, generator=generator)

    def observe(self, state, action, obs, first, noise):
        age = torch.where(first[:, None], 0.0, state.age + 1)
        return LinearState(obs["x"].float(), age)

    def step(self, state, action, noise):
        x, reward = state.x, 0.0
        for k in range(self.spec.chunk):
            u = action[:, k]
            x = x @ self.F.T + u @ self.G.T + self.noise_size * noise[:, k]
            reward = reward - ((x @ self.Q) * x).sum(-1) - ((u @ self.R) * u).sum(-1)
        after = LinearState(x, state.age + 1)
        continues = None
        if self.continue_with:
            continues = torch.full_like(reward, self.continue_with)
        return Transition(after, reward, continues, None, x.detach().square().sum(-1))

    def decode(self, state):
        return {"x": state.x}

    def features(self, state):
        return state.x

    def optimal_cost(self, x: Tensor, horizon: int) -> Tensor:
        """The least sum of costs over the horizon from x `[B, 2]`, by the Riccati recursion of the
        cost that counts x' but not x."""
        P = torch.zeros(2, 2, dtype=torch.float64)
        F, G, Q, R = (m.double() for m in (self.F, self.G, self.Q, self.R))
        for _ in range(horizon):
            V = Q + P
            K = torch.linalg.solve(R + G.T @ V @ G, G.T @ V @ F)
            P = F.T @ V @ (F - G @ K)
        return ((x.double() @ P) * x.double()).sum(-1)


class Script:
    """An environment that follows a world model exactly, for playing an agent in it."""

    def __init__(self, model: Any, x: Tensor) -> None:
        self.model, self.state = model, model.initial(len(x))._replace(x=x)

    def obs(self):
        return {"x": self.state.x}

    def step(self, action):
        moved = self.model.step(self.state, action[:, None], torch.zeros(len(action), 1, 2))
        self.state = moved.state
        return moved.reward
