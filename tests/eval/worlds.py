"""Worlds whose future is known in closed form, as models and as recordings."""

from typing import Any

import torch
from torch import Tensor

from reverie.core.model import Batch, Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.eval.windows import Windows

POINT = Spec(
    obs={"position": Space((1,), unit="m"), "still": Space((2,))},
    action=Space((1,)),
    dt=0.5,
    provides=frozenset({"obs", "reward"}),
)


class Point:
    """x' = x + v, v' = v + a, reward x'; `wrong` is added to what it predicts, `jitter` is the
    scale of its noise. The state remembers when it was last told where it is."""

    def __init__(self, wrong: float = 0.0, jitter: float = 0.0, spec: Spec = POINT) -> None:
        self.spec, self.wrong, self.jitter = spec, wrong, jitter

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 2)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(batch, 1, generator=generator) * self.jitter

    def observe(
        self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> Tensor:
        x = obs["position"]
        v = torch.where(first[:, None], torch.zeros_like(x), x - state[:, :1] + action[:, -1])
        return torch.cat([x, v], 1)

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        x, v, total = state[:, :1], state[:, 1:], 0.0
        for a in action.unbind(1):
            x, v = x + v, v + a
            total = total + x[:, 0]
        return Transition(torch.cat([x, v], 1), reward=total + noise[:, 0])

    def decode(self, state: Tensor) -> Obs:
        return {"position": state[:, :1] + self.wrong, "still": torch.ones(len(state), 2)}


def record(windows: int, rows: int, seed: int = 0) -> Windows:
    """Windows of the point under random actions, each from its own episode."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.randn(windows, rows, 1, generator=generator)
    action[:, 0] = 0
    x, v = torch.randn(windows, 1, generator=generator), torch.zeros(windows, 1)
    xs = [x]
    for t in range(1, rows):
        x, v = x + v, v + action[:, t]
        xs.append(x)
    position = torch.stack(xs, 1)
    flags = torch.zeros(windows, rows, dtype=torch.bool)
    first = flags.clone()
    first[:, 0] = True
    reward = position[..., 0].clone()
    reward[:, 0] = 0
    obs = {"position": position, "still": torch.ones(windows, rows, 2)}
    return Windows(Batch(obs, action, reward, first, flags, flags), torch.arange(windows))


CHUNKED = Spec(obs=POINT.obs, action=POINT.action, dt=0.5, chunk=3, provides=POINT.provides)


class Chunked(Point):
    """The point told its position and speed every third row only."""

    def __init__(self) -> None:
        super().__init__(spec=CHUNKED)

    def observe(
        self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> Tensor:
        guess = self.step(state, action, torch.zeros(len(action), 1)).state
        return torch.where(first[:, None], torch.cat([obs["position"], 0 * state[:, 1:]], 1), guess)


class Filmed(Chunked):
    def frames(self, before: Tensor, transition: Transition[Any]) -> Obs:
        """Every row of a chunk; the action is not needed for positions up to the last but one."""
        x, v = before[:, :1], before[:, 1:]
        end = transition.state
        return {"position": torch.stack([x + v, end[:, :1] - end[:, 1:], end[:, :1]], 1)}


class Camera:
    """Predicts a grey of 0.5 everywhere."""

    spec = Spec(
        obs={"camera": Space((1, 2, 3), dtype="uint8"), "text": Space((2,), dtype="int64")},
        action=Space((1,)),
        dt=0.1,
        provides=frozenset({"obs"}),
    )

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 1)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Tensor:
        return state

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        return Transition(state)

    def decode(self, state: Tensor) -> Obs:
        grey = torch.full((len(state), 1, 2, 3), 0.5)
        return {"camera": grey, "text": torch.zeros(len(state), 2, dtype=torch.int64)}


def images(levels: list[int], windows: int = 3) -> Windows:
    """Uniform pictures of the given grey levels."""
    rows = len(levels)
    picture = torch.tensor(levels, dtype=torch.uint8).reshape(1, rows, 1, 1, 1)
    flags = torch.zeros(windows, rows, dtype=torch.bool)
    obs = {
        "camera": picture.expand(windows, rows, 1, 2, 3).clone(),
        "text": torch.zeros(windows, rows, 2, dtype=torch.int64),
    }
    batch = Batch(obs, torch.zeros(windows, rows, 1), flags.float(), flags, flags, flags)
    return Windows(batch, torch.arange(windows))
