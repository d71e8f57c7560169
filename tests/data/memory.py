"""A dataset that lies in memory, and a robot that fills it with clean recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reverie.core.spec import Space
from reverie.data.datasets import About, ActionInfo, Episode

DT = 0.1
SIDE = 12


class Memory:
    """Episodes in memory: each a mapping from entry to `[T, ...]`, as `Dataset.read` returns it."""

    def __init__(
        self,
        obs: Mapping[str, Space],
        action: Space,
        episodes: Sequence[dict[str, np.ndarray]],
        *,
        dt: float = DT,
        info: ActionInfo | None = None,
        tasks: Sequence[str] = (),
        complete: Sequence[bool] = (),
        times: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.where = "memory"
        self.obs, self.action = dict(obs), action
        self.about = About("memory", dt, "a robot that is none", info or ActionInfo())
        self.rows = list(episodes)
        self.tasks = list(tasks)
        self.complete = list(complete)
        if times is not None:
            self.timestamps = lambda name: times[int(name)]

    def episodes(self) -> list[Episode]:
        return [
            Episode(
                str(index),
                len(rows["reward"]),
                self.tasks[index] if self.tasks else "",
                self.complete[index] if self.complete else True,
            )
            for index, rows in enumerate(self.rows)
        ]

    def read(self, name, start=0, stop=None, only=None) -> dict[str, np.ndarray]:
        if not name.isdigit() or int(name) >= len(self.rows):
            raise KeyError(name)
        rows = self.rows[int(name)]
        stop = len(rows["reward"]) if stop is None else stop
        if not 0 <= start <= stop <= len(rows["reward"]):
            raise IndexError(f"{start}..{stop}")
        left_out = {n for n in self.obs if only is not None and n not in only}
        return {
            n: v[start:stop].copy()
            for n, v in rows.items()
            if n.removesuffix(".present") not in left_out
        }

    def close(self) -> None:
        pass


OBS = {
    "state": Space((3,), low=-4, high=4, unit="m"),
    "front": Space((3, SIDE, SIDE), "uint8", 0, 255),
}
ACTION = Space((2,), low=-1, high=1)


def drive(actions: np.ndarray, rng: np.random.Generator, noise: float = 0.002) -> np.ndarray:
    """Where a point robot is `[T + 1, 3]`: pushed by its actions `[T, 2]`, held back by a spring;
    the third entry is how far it is from the middle."""
    place = rng.uniform(-0.5, 0.5, 2)
    places = [place]
    for action in actions:
        place = 0.9 * place + 0.2 * action + noise * rng.standard_normal(2)
        places.append(place)
    where = np.stack(places)
    return np.concatenate([where, np.linalg.norm(where, axis=1, keepdims=True)], 1)


def picture(where: np.ndarray) -> np.ndarray:
    """What a camera over the table sees `[T, 3, SIDE, SIDE]`: a soft spot, on a grey that is the
    light's."""
    grid = np.linspace(-3, 3, SIDE)
    x = np.exp(-np.square(grid - where[:, :1]))
    y = np.exp(-np.square(grid - where[:, 1:2]))
    spot = y[:, :, None] * x[:, None, :]
    colours = np.array([200, 120, 60])[None, :, None, None]
    return (30 + spot[:, None] * colours).astype(np.uint8)


def recording(length: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One episode of `length` decisions."""
    actions = np.empty((length, 2))
    push = np.zeros(2)
    for t in range(length):
        push = 0.7 * push + 0.3 * rng.standard_normal(2)
        actions[t] = np.clip(push, -0.99, 0.99)
    state = drive(actions, rng)
    rows = length + 1
    reward = np.concatenate([[0.0], -state[1:, 2]]).astype(np.float32)
    return {
        "state": state.astype(np.float32),
        "front": picture(state),
        "action": np.concatenate([np.zeros((1, 2)), actions]).astype(np.float32),
        "reward": reward,
        "first": np.arange(rows) == 0,
        "last": np.arange(rows) == rows - 1,
        "terminated": np.zeros(rows, bool),
    }


def clean(episodes: int = 8, length: int = 40, seed: int = 0, **options) -> Memory:
    """Recordings in which nothing is wrong."""
    rng = np.random.default_rng(seed)
    rows = [recording(length + 2 * (index % 4), rng) for index in range(episodes)]
    return Memory(OBS, ACTION, rows, **options)
