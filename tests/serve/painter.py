"""A world model whose pictures are told by a formula, for tests of what shows them.

x' = x + a / 10 + noise / 100,    red = x,    green = first letter of the text / 255
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.envs import EnvConfig, make
from reverie.learn.device import Device
from reverie.serve.session import Session
from reverie.serve.worlds import Simulated, World

SIZE = (8, 10)
TEXT = 12


class PainterState(NamedTuple):
    place: Tensor
    """`[B]`."""
    text: Tensor
    """`[B, L]`, bytes."""


class Painter:
    def __init__(self, dt: float = 0.05, text: bool = True) -> None:
        self.spec = Spec(
            obs={"image": Space((3, *SIZE), "uint8", 0, 255)},
            action=Space((1,), low=-1.0, high=1.0),
            dt=dt,
            context={"text": Space((TEXT,), "uint8")} if text else {},
            provides=frozenset({"obs", "reward"}),
        )

    def initial(self, batch: int, context: Obs | None = None) -> PainterState:
        blank = torch.zeros(batch, TEXT, dtype=torch.uint8)
        return PainterState(torch.zeros(batch), (context or {}).get("text", blank))

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(batch, generator=generator)

    def observe(
        self, state: PainterState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> PainterState:
        return state._replace(place=obs["image"][:, 0].float().mean((-1, -2)) / 255)

    def step(self, state: PainterState, action: Tensor, noise: Tensor) -> Transition[PainterState]:
        after = state._replace(place=state.place + action[:, 0, 0] / 10 + noise / 100)
        return Transition(after, reward=action[:, 0, 0])

    def decode(self, state: PainterState) -> dict[str, Tensor]:
        red, green = state.place, state.text[:, 0] / 255
        channels = torch.stack([red, green, torch.zeros_like(red)], 1)
        return {"image": channels[:, :, None, None].expand(-1, -1, *SIZE)}


class Told(Painter):
    """One that goes on where it is when it is told something else."""

    def told(self, state: PainterState, context: Obs) -> PainterState:
        return state._replace(text=context["text"])


class Slow(Painter):
    """One that takes its time."""

    def step(self, state: PainterState, action: Tensor, noise: Tensor) -> Transition[PainterState]:
        np.linalg.svd(np.ones((200, 200)))
        return super().step(state, action, noise)


CPU = Device(torch.device("cpu"))
ENV = EnvConfig("toy:pendulum", pixels=True, size=SIZE)


def world(beside: bool = False, decisions: int = 0) -> World:
    return Simulated(make(replace(ENV, max_decisions=decisions)), "image", SIZE, beside)


def session(model: Painter | None = None, beside: bool = False, text: str = "") -> Session:
    return Session(model or Painter(), world(beside), CPU, text=text)
