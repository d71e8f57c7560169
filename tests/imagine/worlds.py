"""A differentiable world with features, rewards and endings, in float64."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from reverie.core.model import Obs, Transition
from reverie.core.spec import Output, Space, Spec

DRIVE = Space((2,), low=-1.0, high=1.0)
BUTTONS = Space((3,), discrete=True)


class Glide(nn.Module):
    """x' = x + tanh(x A + a U) / 3 + noise / 10; reward 5 sin(x' . v), going on s(x' . u + 2)."""

    def __init__(self, action: Space = DRIVE, endings: bool = True, size: int = 3) -> None:
        super().__init__()
        provides: set[Output] = {"reward", "continues"} if endings else {"reward"}
        self.spec = Spec(
            obs={"x": Space((size,))},
            action=action,
            dt=0.1,
            provides=frozenset(provides),
            grad=frozenset({"params", "state", "action"}),
        )
        self.feature_size = size
        self.drift = nn.Parameter(torch.randn(size, size))
        self.push = nn.Parameter(torch.randn(action.size, size))
        self.prize = nn.Parameter(torch.randn(size))
        self.danger = nn.Parameter(torch.randn(size))
        self.double()

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return self.drift.new_zeros(batch, self.feature_size)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(batch, self.feature_size, generator=generator, dtype=self.drift.dtype)

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, _: Tensor) -> Tensor:
        return obs["x"].to(self.drift.dtype)

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        pull = torch.tanh(state @ self.drift + action[:, 0] @ self.push)
        x = state + pull / 3 + noise / 10
        reward, going_on = 5 * torch.sin(x @ self.prize), torch.sigmoid(x @ self.danger + 2)
        return Transition(x, reward, going_on if "continues" in self.spec.provides else None)

    def decode(self, state: Tensor) -> Obs:
        return {}

    def features(self, state: Tensor) -> Tensor:
        return state
