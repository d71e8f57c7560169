"""A world model that is right, one that only remembers, and what they are asked about."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Batch, Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.envs import Env
from reverie.eval.windows import Windows


class TruePendulum:
    """The toy pendulum's own equations as a world model; state [angle, rate]."""

    def __init__(self, env: Env) -> None:
        provides = frozenset({"obs", "reward"})
        self.spec = Spec(obs=env.obs, action=env.action, dt=env.dt, provides=provides)

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 2, dtype=torch.float64)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Tensor:
        cosine, sine = obs["orientation"].double().unbind(1)
        return torch.stack([torch.atan2(sine, cosine), obs["velocity"].double()[:, 0]], 1)

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        angle, rate = state.unbind(1)
        torque = 1.5 * action[:, -1, 0].clamp(-1, 1).double()
        for _ in range(10):
            pull = 9.81 / 0.5 * torch.sin(angle)
            rate = rate + 0.005 * (pull + (torque - 0.02 * rate) / 0.25)
            angle = angle + 0.005 * rate
        reward = ((1 + torch.cos(angle)) / 2) ** 2
        return Transition(torch.stack([angle, rate], 1), reward=reward)

    def decode(self, state: Tensor) -> Obs:
        angle, rate = state.unbind(1)
        orientation = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
        return {"orientation": orientation.float(), "velocity": rate[:, None].float()}


class Memory:
    """Predicts that nothing changes; images as floats in 0..1."""

    def __init__(self, obs: Mapping[str, Space], action: Space, dt: float, chunk: int = 1) -> None:
        provides = frozenset({"obs"})
        self.spec = Spec(obs=obs, action=action, dt=dt, chunk=chunk, provides=provides)

    def initial(self, batch: int, context: Obs | None = None) -> Any:
        return {name: torch.zeros(batch, *space.shape) for name, space in self.spec.obs.items()}

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
        bytes_ = {name for name, space in self.spec.obs.items() if space.is_image}
        return {k: obs[k].float() / (255 if k in bytes_ else 1) for k in self.spec.obs}

    def step(self, state: Any, action: Tensor, noise: Any) -> Transition[Any]:
        return Transition(state)

    def decode(self, state: Any) -> Obs:
        return dict(state)


class Swing:
    """Pushes back and forth, whatever is sensed."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def begin(self, batch: int) -> Tensor:
        return torch.zeros(batch)

    def act(
        self, memory: Tensor, obs: Obs, first: Tensor, generator: Any = None
    ) -> tuple[Tensor, Tensor]:
        action = torch.sin(memory / 5)[:, None].expand(-1, self.size)
        return action, memory + 1


def recording(windows: int, rows: int) -> Windows:
    """Windows of a swinging arm with a camera, six to an episode."""
    time = torch.arange(rows) / 10 + torch.arange(windows)[:, None]
    flags = torch.zeros(windows, rows, dtype=torch.bool)
    grey = ((torch.sin(time) + 1) * 127).to(torch.uint8)
    obs = {
        "arm": torch.stack([torch.sin(time), torch.cos(time)], 2),
        "camera": grey[..., None, None, None].expand(-1, -1, 3, 4, 4).clone(),
    }
    batch = Batch(obs, torch.zeros(windows, rows, 1), torch.sin(time), flags, flags, flags)
    return Windows(batch, torch.arange(windows) // 6)


ARM = {"arm": Space((2,), unit="rad"), "camera": Space((3, 4, 4), dtype="uint8")}


def log(frames: int = 20_000) -> list[dict[str, Any]]:
    """Lines of a run such as `learn.log` writes them: returns rise from 30 to 400, losses fall."""
    random, lines = np.random.default_rng(0), []
    for frame in range(500, frames + 1, 500):
        counters = {
            "frames": frame,
            "decisions": frame // 2,
            "updates": frame // 4,
            "seconds": frame / 80,
        }
        earned = 30 + 370 / (1 + math.exp(-(frame - 9000) / 2000)) + float(random.normal()) * 12
        lines.append({"kind": "episode", **counters, "stream": 0, "return": earned, "length": 250})
        fall = math.exp(-frame / 4000)
        losses = {
            "loss/dyn": 1 + 3 * fall,
            "loss/decode/arm": 0.01 + 2 * fall**3,
            "loss/policy": -0.2 * (1 - fall),
        }
        lines.append({"kind": "fit", **counters, **losses, "loss": 3.0, "grad_norm": None})
        if frame % 5000 == 0:
            judged = [earned + d for d in (-9.0, 4.0, 8.0)]
            values = {"return": sum(judged) / 3, "returns": judged}
            lines.append({"kind": "evaluate", **counters, **values})
    return lines
