"""Episodes in any world model: a batch of them, or one as a simulator.

    s_0 = begin(noise),   s_{t+1}, r_{t+1}, c_{t+1} = step(s_t, a_t, noise),   o_t = decode(s_t)

An episode is truncated after `limit` decisions, and terminated where the model says that it ends
(c < 1/2).

Legend: `B` episodes, `A` action, `D` features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.spec import Space
from reverie.envs.env import RenderError

FEATURES = "features"
Seen = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Episodes:
    """What is played in a model."""

    begin: Callable[[int, Generator], Any]
    """The states in which so many episodes begin, all randomness from the generator."""
    limit: int
    """Decisions after which an episode is truncated."""
    success: Callable[[Any], Tensor] | None = None
    """Of states: bool `[B]`; told in `info["success"]`."""
    picture: Callable[[Any, int, int], NDArray[np.uint8]] | None = None
    """Of states, with height and width: `[B, h, w, 3]`, for people."""
    observe: tuple[str, ...] = (FEATURES,)
    """What is observed: "features" `[D]`, or names in `model.spec.obs`."""


class Play:
    """Episodes in a batch of a model, without Gymnasium."""

    def __init__(self, model: Any, episodes: Episodes, batch: int = 1) -> None:
        """Raises:
        ValueError: the model gives no reward, or lacks what is to be observed.
        """
        spec = model.spec
        if "reward" not in spec.provides:
            raise ValueError("The model provides no reward; an environment needs one.")
        if spec.chunk != 1:
            raise ValueError(f"An environment takes one action a step; the model {spec.chunk}.")
        has = (*((FEATURES,) if hasattr(model, "features") else ()), *spec.obs)
        lacking = sorted(set(episodes.observe) - set(has))
        if lacking or not episodes.observe:
            raise ValueError(f"The model can observe {has}; asked for {episodes.observe}.")
        self.model, self.episodes, self.batch = model, episodes, batch
        self.generator = torch.Generator()
        self.state: Any = None
        self.age = torch.zeros(batch, dtype=torch.int64)
        self.spaces: Mapping[str, Space] = {
            name: Space((model.feature_size,)) if name == FEATURES else spec.obs[name]
            for name in episodes.observe
        }

    @torch.no_grad()
    def reset(self, seed: int | None) -> Seen:
        """Begin all episodes."""
        if seed is not None:
            self.generator.manual_seed(seed)
        self.state = self.episodes.begin(self.batch, self.generator)
        self.age.zero_()
        return self.seen()

    @torch.no_grad()
    def renew(self, rows: Tensor) -> None:
        """Begin episodes `[B]` bool anew."""
        if not bool(rows.any()):
            return
        fresh = self.episodes.begin(int(rows.sum()), self.generator)
        index = rows.nonzero().squeeze(1).to(tree.leaves(fresh)[0].device)
        self.state = tree.map(lambda x, new: x.index_copy(0, index, new), self.state, fresh)
        self.age[rows] = 0

    @torch.no_grad()
    def step(self, action: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Rewards, terminated and truncated `[B]`, after actions `[B, A]`."""
        if self.state is None:
            raise RuntimeError("Reset the environment before its first step.")
        given = torch.as_tensor(np.asarray(action, np.float32))
        if given.shape != (self.batch, *self.model.spec.action.shape):
            expected = (self.batch, *self.model.spec.action.shape)
            raise ValueError(f"Actions are to be {expected}; got {tuple(given.shape)}.")
        device = tree.leaves(self.state)[0].device
        noise = tree.to(self.model.noise(self.batch, self.generator), device)
        made = self.model.step(self.state, given[:, None].to(device), noise)
        self.state = made.state
        self.age += 1
        ends = made.continues
        over = torch.zeros(self.batch, dtype=torch.bool) if ends is None else ends < 0.5
        late = self.age >= self.episodes.limit
        return made.reward.double().cpu().numpy(), over.cpu().numpy(), late.numpy()

    @torch.no_grad()
    def seen(self) -> Seen:
        """The observations `[B, ...]` of now."""
        names = self.episodes.observe
        decoded = self.model.decode(self.state) if set(names) - {FEATURES} else {}
        found = {}
        for name in names:
            value = self.model.features(self.state) if name == FEATURES else decoded[name]
            if self.spaces[name].is_image:
                value = (value * 255).round().to(torch.uint8)
            found[name] = value.cpu().numpy()
        return found

    def succeeded(self) -> NDArray[np.bool_] | None:
        """`[B]`, where it can be said."""
        if self.episodes.success is None:
            return None
        with torch.no_grad():
            done: NDArray[np.bool_] = self.episodes.success(self.state).cpu().numpy()
        return done


class ModelSimulator:
    """One episode in a world model as a `Simulator`."""

    def __init__(self, name: str, model: Any, episodes: Episodes) -> None:
        """`name`: what it is called in messages and records."""
        self.play = Play(model, episodes)
        self.name, self.obs = name, self.play.spaces
        self.action: Space = model.spec.action
        self.dt: float = model.spec.dt
        self.frames = episodes.limit
        self.repeatable = True

    def begin(self, seed: int) -> None:
        """Start the episode of this seed."""
        self.play.reset(seed)

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One step of the model."""
        reward, over, late = self.play.step(action[None])
        return float(reward[0]), bool(over[0]), bool(late[0])

    def observe(self) -> Mapping[str, Any]:
        """What is sensed now."""
        return {name: value[0] for name, value in self.play.seen().items()}

    def picture(self, height: int, width: int) -> np.ndarray:
        """The state as the model's episodes draw it."""
        draw = self.play.episodes.picture
        if draw is None:
            raise RenderError(f"{self.name} has no picture for people.")
        image: np.ndarray = draw(self.play.state, height, width)[0]
        return image

    def close(self) -> None:
        """Nothing is held."""
