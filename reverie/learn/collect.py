"""Acting in environments: to gather experience, and to be judged.

Legend: `N` environments side by side, `A` action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.model import Agent
from reverie.core.spec import Space
from reverie.data import StorageError
from reverie.learn.device import Device
from reverie.learn.learner import Learner


class Rows(Protocol):
    """One row of each of N environments."""

    obs: Mapping[str, np.ndarray]
    """By name, `[N, ...]`."""
    reward: np.ndarray
    """`[N]`, like the three flags; `episode` counts the episodes of each environment."""
    first: np.ndarray
    last: np.ndarray
    terminated: np.ndarray
    episode: np.ndarray


class Environments(Protocol):
    """N environments that step together; `reverie.envs.parallel` makes them, a robot may be one."""

    count: int
    obs: Mapping[str, Space]
    action: Space
    repeat: int
    repeatable: bool

    def step(self, actions: np.ndarray) -> Any:
        """The next `Rows`, from actions `[N, A]`; an episode that has ended begins anew."""
        ...

    def position(self) -> Any:
        """Where it stands, as a tree of data."""
        ...

    def restore(self, position: Any) -> Any:
        """Go there again, in an object that has not stepped; the rows where it stands. None where
        nothing had begun, or where it cannot be reached: then the next step begins new episodes."""
        ...


class Recorder(Protocol):
    """Takes rows; the replay is one."""

    def append(
        self, stream: int, row: Mapping[str, Any], latent: Mapping[str, Any] | None = None
    ) -> None:
        """One row of one stream."""
        ...


class Sink(Protocol):
    """Takes rows alone; an episode store and the writer of a dataset are some."""

    def append(self, stream: int, row: Mapping[str, Any]) -> Any:
        """One row of one stream."""
        ...


class Episode(NamedTuple):
    """A finished episode."""

    stream: int
    """Which environment."""
    number: int
    """Which of its episodes."""
    ret: float
    """Sum of the rewards."""
    decisions: int


class Collected(NamedTuple):
    """One row of each environment."""

    decisions: int
    """Actions that led to these rows."""
    episodes: list[Episode]
    """That ended."""
    problem: StorageError | None
    """An episode could not be written; it waits in memory."""


class Collector:
    """Steps environments with a learner's agent and records every row with its latents.

    One `collect` is one row of each environment: the row arrives, the agent reads it and chooses,
    the row is recorded. What is recorded is the action chosen, zeros in the row of a reset.
    """

    def __init__(
        self, learner: Learner, envs: Environments, recorder: Recorder, device: Device, seed: int
    ) -> None:
        self._learner, self._envs, self._recorder = learner, envs, recorder
        self._device = device
        self._noise = device.generator(seed)
        self._explore = torch.Generator().manual_seed(seed)
        self._action = np.zeros((envs.count, *envs.action.shape), np.float32)
        self._memory: Any = None
        self._begun = False
        self._returns = np.zeros(envs.count)
        self._lengths = np.zeros(envs.count, np.int64)

    def collect(self, random: bool) -> Collected:
        """One row of each environment. `random` actions are uniform, and leave the agent out."""
        rows = self._envs.step(self._action)
        arrived = _arrays(rows, self._action)
        chosen, latents = self._choose(rows, random)
        problem = None
        for i in range(self._envs.count):
            row = {name: value[i] for name, value in arrived.items()}
            latent = {name: value[i] for name, value in latents.items()} if latents else None
            try:
                self._recorder.append(i, row, latent)
            except StorageError as error:  # the row is taken; the others must be, too
                problem = error
        self._action, self._begun = chosen, True
        return Collected(int((~rows.first).sum()), self._count(rows), problem)

    def _choose(self, rows: Any, random: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if random:
            self._memory = None
            return self._envs.action.sample(self._envs.count, generator=self._explore).numpy(), {}
        agent = self._learner.agent
        with torch.no_grad(), self._device.autocast():
            obs, first = self._device.put((dict(rows.obs), rows.first))
            memory = agent.begin(len(first), obs) if self._memory is None else self._memory
            action, self._memory = agent.act(memory, obs, first, self._noise)
            latents = self._learner.latent(self._memory)
        return _numpy(action), {n: _numpy(value) for n, value in latents.items()} if latents else {}

    def _count(self, rows: Any) -> list[Episode]:
        self._returns = np.where(rows.first, 0.0, self._returns) + rows.reward
        self._lengths = np.where(rows.first, 0, self._lengths + 1)
        return [
            Episode(int(i), int(rows.episode[i]), float(self._returns[i]), int(self._lengths[i]))
            for i in np.flatnonzero(rows.last)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next `collect` depends on."""
        memory = None if self._memory is None else tree.leaves(self._memory)
        return {
            "position": self._envs.position(),
            "begun": self._begun,
            "action": self._action,
            "memory": memory,
            "noise": self._noise.get_state(),
            "explore": self._explore.get_state(),
            "returns": self._returns,
            "lengths": self._lengths,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Continue where `state_dict` was taken; False where the environments could not.

        A simulator is brought back by its seeds and actions, and checks that it shows the rows that
        were recorded. A robot, or a simulator that does not repeat, begins new episodes.
        """
        self._noise.set_state(state["noise"])
        self._explore.set_state(state["explore"])
        self._memory = self._recall(state["memory"])
        self._action = np.array(state["action"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])
        self._begun = bool(state["begun"])
        return self._envs.restore(state["position"]) is not None or not self._begun

    def _recall(self, leaves: list[Tensor] | None) -> Any:
        if leaves is None:
            return None
        with torch.no_grad():
            empty = self._learner.agent.begin(self._envs.count)
        wanted = tree.leaves(empty)
        if [x.shape for x in wanted] != [x.shape for x in leaves]:
            raise ValueError(
                f"The agent's memory in the checkpoint is {[tuple(x.shape) for x in leaves]} and "
                f"this agent's is {[tuple(x.shape) for x in wanted]}; act in the same number of "
                "environments, with the model that was trained."
            )
        stored = iter(leaves)
        return tree.map(lambda x: self._device.put(next(stored).clone()), empty)


def _arrays(rows: Any, action: np.ndarray) -> dict[str, np.ndarray]:
    """The entries of recorded rows, `[N, ...]`; the action is zero where an episode begins."""
    return {
        **rows.obs,
        "action": np.where(rows.first[:, None], np.float32(0), action),
        "reward": rows.reward,
        "first": rows.first,
        "last": rows.last,
        "terminated": rows.terminated,
    }


def _numpy(value: Tensor) -> np.ndarray:
    value = value.detach()
    array: np.ndarray = (value.float() if value.is_floating_point() else value).cpu().numpy()
    return array


class Played(NamedTuple):
    """Complete episodes of one agent."""

    returns: np.ndarray
    """Sum of the rewards of each episode, float64 `[E]`."""
    decisions: np.ndarray
    """Length of each episode, int64 `[E]`."""
    rows: list[dict[str, np.ndarray]]
    """The rows of each episode, `[D + 1, ...]` by name as in the store; empty unless kept."""


def play(
    agent: Agent,
    envs: Environments,
    episodes: int,
    *,
    device: Device,
    seed: int = 0,
    sample: bool = False,
    record: bool = False,
    recorder: Sink | None = None,
) -> Played:
    """Complete episodes with the mode of the policy, or with samples of it.

    Environment i of N plays its share whatever their lengths, so that short episodes are not
    preferred; episodes are ordered by environment. An episode under way is not counted.

    With `record` the rows are returned; a `recorder` is given each as it arrives, environment i as
    its stream i.
    """
    if episodes < 1:
        raise ValueError(f"play was asked for {episodes} episodes; ask for at least 1.")
    generator = device.generator(seed) if sample else None
    shares = [len(range(i, episodes, envs.count)) for i in range(envs.count)]
    takes = [_Take() for _ in shares]
    action = np.zeros((envs.count, *envs.action.shape), np.float32)
    with torch.no_grad(), device.autocast():
        memory = agent.begin(envs.count)
        while any(len(take.returns) < share for take, share in zip(takes, shares, strict=True)):
            rows = envs.step(action)
            arrived = _arrays(rows, action)
            for i, take in enumerate(takes):
                if len(take.returns) < shares[i]:
                    row = {name: value[i] for name, value in arrived.items()}
                    if recorder is not None:
                        recorder.append(i, row)
                    take.add(row, record)
            obs, first = device.put((dict(rows.obs), rows.first))
            chosen, memory = agent.act(memory, obs, first, generator)
            action = _numpy(chosen)
    return Played(
        np.array([ret for take in takes for ret in take.returns]),
        np.array([length for take in takes for length in take.lengths]),
        [rows for take in takes for rows in take.rows],
    )


class _Take:
    """The episodes of one environment while it plays."""

    def __init__(self) -> None:
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.rows: list[dict[str, np.ndarray]] = []
        self._now: list[Mapping[str, np.ndarray]] | None = None
        self._return, self._length = 0.0, 0

    def add(self, row: Mapping[str, np.ndarray], record: bool) -> None:
        if row["first"]:
            self._now, self._return, self._length = [], 0.0, -1
        if self._now is None:
            return
        self._return += float(row["reward"])
        self._length += 1
        if record:
            self._now.append(row)
        if row["last"]:
            self.returns.append(self._return)
            self.lengths.append(self._length)
            if record:
                rows = self._now
                self.rows.append({name: np.stack([r[name] for r in rows]) for name in rows[0]})
            self._now = None
