"""World models of scenes with known faults, and windows recorded in the scenes themselves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.envs.scenes import DT, Constants, Scene, episode, find
from reverie.envs.scenes.picture import picture
from reverie.eval.windows import Windows, from_episodes

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From a state `[n, W]` and what truly follows to what is said to follow."""


def frozen(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return before


class Oracle:
    """The scene's own physics as a world model; `change` spoils each step of it.

    Its state is the scene's, then the constants. With `blind` it always shows the same picture.
    """

    def __init__(
        self, name: str, change: Change | None = None, sees: tuple[str, ...] = ("state",), size=32
    ) -> None:
        self.task, _ = find(name)
        scene = Scene(name)
        spaces = {**scene.obs, "image": Space((3, size, size), "uint8", 0, 255)}
        obs = {key: spaces[key] for key in (*sees, "state", "constants")}
        self.shown, self.change = sees, change
        self.spec = Spec(
            obs, Space(scene.action.shape, low=-1.0, high=1.0), dt=DT, provides=frozenset({"obs"})
        )
        self.width = scene.obs["state"].size

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, self.width + self.spec.obs["constants"].size)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Tensor:
        return torch.cat([obs["state"], obs["constants"]], 1)

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        rows = []
        for line, force in zip(state.numpy(), action[:, 0].numpy(), strict=True):
            before = line[: self.width].reshape(-1, self.task.width).astype(np.float64)
            known = Constants.unpack(line[self.width :])
            after = self.task.advance(known, before, force * self.task.force, True)
            if self.change:
                after = self.change(before, after)
            rows.append(np.concatenate([after.ravel(), line[self.width :]]))
        return Transition(torch.tensor(np.stack(rows), dtype=torch.float32))

    def decode(self, state: Tensor) -> Obs:
        shown = {"state": state[:, : self.width], "constants": state[:, self.width :]}
        if "image" in self.shown:
            shown["image"] = torch.stack([self._draw(line) for line in state.numpy()])
        return shown

    def _draw(self, line: np.ndarray) -> Tensor:
        lines = line[: self.width].reshape(-1, self.task.width).astype(np.float64)
        size = self.spec.obs["image"].shape[1:]
        frame = picture(self.task, Constants.unpack(line[self.width :]), lines, *size)
        return torch.from_numpy(frame).permute(2, 0, 1).float() / 255


def recorded(name: str, episodes: int, length: int, size: int = 32, push: float = 1.0) -> Windows:
    """A window at the start of each of some episodes, under random actions up to `push`."""
    task, _ = find(name)
    rng = np.random.default_rng(5)
    films = [
        episode(name, seed, push * rng.uniform(-1, 1, (length - 1, task.axes)), (size, size))
        for seed in range(episodes)
    ]
    return from_episodes(films, length)
