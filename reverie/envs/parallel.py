"""Many environments stepped together, here or in worker processes."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import warnings
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reverie.envs.env import Env, EnvConfig, EnvError, check_action
from reverie.envs.worker import Block, Local, Order, Remote, Replay, Reset, Step, WorkerDied, stack

_CRASHES_IN_A_ROW = 3


class Rows(NamedTuple):
    """One row of each of N environments, as numpy arrays."""

    obs: dict[str, np.ndarray]
    """Each `[N, ...]`."""
    reward: np.ndarray
    """`[N]` float32."""
    first: np.ndarray
    """`[N]` bool."""
    last: np.ndarray
    """`[N]` bool."""
    terminated: np.ndarray
    """`[N]` bool."""
    episode: np.ndarray
    """`[N]` int64, which episode of its environment the row belongs to, counted from 0."""


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of an episode, a function of these three numbers alone; in 0 .. 2^32 - 1."""
    return int(np.random.SeedSequence([seed, env, episode]).generate_state(1)[0])


Maker = str | EnvConfig | Callable[[], Env]
"""What one environment is made from: a name, its configuration, or a function."""


def parallel(
    make_env: Maker | list[Maker] | tuple[Maker, ...], count: int, seed: int, workers: int = 0
) -> Parallel:
    """`count` copies of an environment.

    Args:
        make_env: A name, an `EnvConfig`, or a callable that makes one environment; worker processes
            need one that can be pickled. Of several, alike in spaces and times, environment i is
            made by number i mod n.
        count: N, the number of environments.
        seed: From which every episode's seed follows (`episode_seed`).
        workers: Number of worker processes that share them; 0 steps them in this process. A script
            that asks for workers needs the guard `if __name__ == "__main__":`.

    Raises:
        ValueError: A number is impossible, or the callable cannot be sent to a worker.
    """
    if count < 1 or workers < 0 or seed < 0:
        raise ValueError(
            f"parallel was given count={count}, workers={workers}, seed={seed}; "
            f"it needs at least 1 environment, and workers and seed of at least 0."
        )
    kinds = make_env if isinstance(make_env, list | tuple) else [make_env]
    makers = [_callable(kinds[i % len(kinds)]) for i in range(count)]
    if workers == 0:
        return Parallel([Local(makers)], seed)
    shares = np.array_split(np.arange(count), min(workers, count))
    groups: list[Remote] = []
    try:
        groups.extend(Remote([makers[i] for i in share]) for share in shares)
        return Parallel(groups, seed)
    except BaseException:
        for group in groups:
            group.close()
        raise


def _callable(maker: Maker) -> Callable[[], Env]:
    from reverie.envs import make

    return functools.partial(make, maker) if isinstance(maker, str | EnvConfig) else maker


class Parallel:
    """N environments that give exactly one row each per call; made by `parallel`.

    The first call of `step` resets all. After a row with `last` the next call resets that
    environment and ignores its action. If a worker process dies, it is replaced with a warning, and
    the episodes it was in end as truncated: a last row that repeats the observation before. Three
    deaths of a worker without a finished episode between them raise `EnvError`.
    """

    def __init__(self, groups: Sequence[Local | Remote], seed: int) -> None:
        described = [group.description for group in groups]
        for other in described[1:]:
            if other != described[0]:
                raise ValueError(f"The environments differ: {described[0]} and {other}.")
        self.name, self.obs, self.action, self.dt, self.repeat, self.repeatable = described[0]
        self.count = sum(group.count for group in groups)
        self.seed = seed
        self._groups = groups
        starts = np.cumsum([0, *(group.count for group in groups)]).tolist()
        self._members = [range(a, b) for a, b in itertools.pairwise(starts)]
        self._crashes = [0] * len(groups)
        self._episode = np.full(self.count, -1, np.int64)
        self._actions: list[list[np.ndarray]] = [[] for _ in range(self.count)]
        self._cut = self._just_cut = np.zeros(self.count, bool)
        self._rows: Rows | None = None
        self._under_way = False
        self._closed = False
        self._at_exit = _close_at_exit(self)

    def step(self, actions: np.ndarray) -> Rows:
        """One row of each environment after the actions `[N, A]`.

        Raises:
            ValueError: An action has the wrong shape or is not finite.
            EnvError: An environment or its worker failed for good.
        """
        return self._carry_out(self._orders(actions))

    def render(self, index: int, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture of one environment, uint8 `[height, width, 3]`."""
        self._check_usable()
        for group, members in zip(self._groups, self._members, strict=True):
            if index in members:
                try:
                    return group.render(index - members.start, height, width)
                except WorkerDied:
                    raise EnvError(
                        f"{self.name}: the worker of environment {index} died; the next step "
                        f"replaces it."
                    ) from None
        raise ValueError(f"There is no environment {index}; they are 0 .. {self.count - 1}.")

    def position(self) -> dict[str, Any]:
        """Where the environments stand after the last finished call: numbers and arrays.

        Of each environment the index of its episode, and the actions since its reset; the state of
        a simulator follows from them.
        """
        lengths = [len(actions) for actions in self._actions]
        nothing = np.zeros((0, *self.action.shape), np.float32)
        return {
            "seed": self.seed,
            "episode": self._episode.copy(),
            "decisions": np.array(lengths, np.int64),
            "actions": np.concatenate([nothing, *(np.array(a) for a in self._actions if a)]),
            "cut": self._cut.copy(),
            "digest": self._digest(self._rows),
        }

    def restore(self, position: Mapping[str, Any]) -> Rows | None:
        """Return to a position by replaying the actions of each unfinished episode.

        Returns:
            The rows where the environments stand, as `step` returned them then. None where they
            cannot be reached: nothing had begun, or the environment is not repeatable (a real
            robot); then the next `step` begins new episodes.

        Raises:
            ValueError: The position belongs to other environments or another seed.
        """
        self._check_position(position)
        ends = np.cumsum(position["decisions"])[:-1]
        actions = np.split(np.asarray(position["actions"], np.float32), ends)
        episode = np.array(position["episode"], np.int64)
        if (episode < 0).any():
            return None
        if not self.repeatable:
            self._begin_after(episode)
            return None
        seeds = [episode_seed(self.seed, i, int(e)) for i, e in enumerate(episode)]
        block = self._exchange([Replay(s, a) for s, a in zip(seeds, actions, strict=True)])
        cut = np.array(position["cut"], bool)
        block = block._replace(
            reward=np.where(cut, np.float32(0), block.reward), last=block.last | cut
        )
        rows = Rows(*block, episode)
        if not np.array_equal(self._digest(rows), position["digest"]):
            warnings.warn(
                f"{self.name} did not return to where it was: the same seed and actions gave other "
                f"rows, so it is not repeatable. New episodes begin.",
                RuntimeWarning,
                stacklevel=2,
            )
            self._begin_after(episode)
            return None
        self._episode, self._cut, self._rows = episode, cut, _copied(rows)
        self._actions = [list(each) for each in actions]
        return rows

    def close(self) -> None:
        """Close the environments and end the workers."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self._at_exit)
            for group in self._groups:
                group.close()

    def __enter__(self) -> Parallel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _orders(self, actions: np.ndarray) -> list[Order]:
        """A reset where an episode ended, else a step; checked before anybody moves."""
        expected = (self.count, *self.action.shape)
        if np.shape(actions) != expected:
            raise ValueError(
                f"{self.name}: actions have shape {np.shape(actions)}; expected {expected}."
            )
        over = np.ones(self.count, bool) if self._rows is None else self._rows.last
        orders: list[Order] = []
        for i, action in enumerate(np.asarray(actions)):
            if over[i]:
                orders.append(Reset(episode_seed(self.seed, i, int(self._episode[i]) + 1)))
            else:
                decision = len(self._actions[i]) + 1
                name = f"{self.name} (environment {i})"
                checked = check_action(name, self.action, action, decision).copy()
                orders.append(Step(checked, decision))
        return orders

    def _carry_out(self, orders: list[Order]) -> Rows:
        """Exchange orders for rows, and enter them in the books when all have arrived."""
        block = self._exchange(orders)
        reset = np.array([isinstance(order, Reset) for order in orders])
        self._episode = self._episode + reset
        for i, order in enumerate(orders):
            if isinstance(order, Reset):
                self._actions[i] = []
            elif isinstance(order, Step) and not self._just_cut[i]:
                self._actions[i].append(order.action)
        self._cut = self._just_cut
        rows = Rows(*block, self._episode.copy())
        self._rows = _copied(rows)
        return rows

    def _exchange(self, orders: list[Order]) -> Block:
        """Rows for orders, whatever happens to workers; after an exception no call is possible."""
        self._check_usable()
        self._under_way = True
        self._just_cut = np.zeros(self.count, bool)
        shares = [[orders[i] for i in members] for members in self._members]
        for group, share in zip(self._groups, shares, strict=True):
            group.send(share)
        blocks, errors = [], []
        for k, share in enumerate(shares):
            try:
                blocks.append(self._receive(k, share))
            except Exception as error:  # The others' answers must leave their pipes first.
                errors.append(error)
        if errors:
            raise errors[0]
        self._under_way = False
        return _join(blocks)

    def _receive(self, k: int, orders: list[Order]) -> Block:
        """The rows of one group; a dead worker is replaced."""
        group, members = self._groups[k], self._members[k]
        cut: list[int] = []
        while True:
            try:
                block = group.receive()
                break
            except WorkerDied:
                assert isinstance(group, Remote)
                cut += [i for i, o in zip(members, orders, strict=True) if isinstance(o, Step)]
                self._replace(k, group, cut)
                orders = [None if isinstance(order, Step) else order for order in orders]
                if all(order is None for order in orders):
                    block = stack([])  # Nobody waits: the new worker builds meanwhile.
                    break
                group.send(orders)
        if block.last.any():
            self._crashes[k] = 0
        return self._with_cut(block, members, cut) if cut else block

    def _replace(self, k: int, group: Remote, cut: list[int]) -> None:
        """Start a new worker, or give up."""
        pid, end = group.process.pid, group.end()
        group.close()
        self._crashes[k] += 1
        what = f"{self.name}: worker process {pid} died ({end})"
        if self._crashes[k] >= _CRASHES_IN_A_ROW:
            raise EnvError(
                f"{what}, the {_CRASHES_IN_A_ROW}rd time without a finished episode. Is memory "
                f"short? Does the environment crash with workers=0 too?"
            )
        lost = ", ".join(f"{i} (decision {len(self._actions[i])})" for i in cut) or "none"
        warnings.warn(
            f"{what}; a new one takes its place. "
            f"Episodes ended as truncated in environments: {lost}.",
            RuntimeWarning,
            stacklevel=5,
        )
        group.start()

    def _with_cut(self, block: Block, members: range, cut: list[int]) -> Block:
        """Rows of a replaced worker: the fresh ones, and for cut episodes the last ones again."""
        assert self._rows is not None
        fresh = np.array([i not in cut for i in members])
        self._just_cut[[*cut]] = True
        mine = slice(members.start, members.stop)
        obs = {name: value[mine].copy() for name, value in self._rows.obs.items()}
        for name in block.obs.keys() - obs.keys():  # a mask that only some rows have
            obs[name] = np.ones(len(fresh), bool)
        for name, value in obs.items():
            value[fresh] = block.obs.get(name, True)
        reward, first, last = np.zeros(len(fresh), np.float32), fresh.copy(), ~fresh
        terminated = np.zeros(len(fresh), bool)
        for target, value in zip((reward, first, last, terminated), block[1:], strict=True):
            target[fresh] = value
        return Block(obs, reward, first, last, terminated)

    def _begin_after(self, episode: np.ndarray) -> None:
        """Have the next call begin the episodes after these."""
        self._episode, self._rows = episode, None
        self._actions = [[] for _ in range(self.count)]
        self._cut = np.zeros(self.count, bool)

    def _digest(self, rows: Rows | None) -> np.ndarray:
        """A checksum of each environment's row, `[N]` int64."""
        digest = np.zeros(self.count, np.int64)
        if rows is not None:
            parts = [*(rows.obs[name] for name in sorted(rows.obs)), *rows[1:5]]
            for i in range(self.count):
                for part in parts:
                    digest[i] = zlib.crc32(np.ascontiguousarray(part[i]).tobytes(), int(digest[i]))
        return digest

    def _check_position(self, position: Mapping[str, Any]) -> None:
        if position["seed"] != self.seed or len(position["episode"]) != self.count:
            raise ValueError(
                f"The position is of {len(position['episode'])} environments with seed "
                f"{position['seed']}; these are {self.count} with seed {self.seed}."
            )
        size = np.shape(position["actions"])[1:]
        if size != self.action.shape:
            raise ValueError(
                f"The position holds actions of shape {size}; "
                f"{self.name} takes {self.action.shape}."
            )

    def _check_usable(self) -> None:
        if self._closed:
            raise EnvError(f"{self.name}: the environments are closed.")
        if self._under_way:
            raise EnvError(
                f"{self.name}: a call was interrupted or failed before all had answered; "
                f"save position(), build new environments and restore() it there."
            )


def _copied(rows: Rows) -> Rows:
    """Rows that nobody else can change."""
    obs = {name: value.copy() for name, value in rows.obs.items()}
    return Rows(obs, *(part.copy() for part in rows[1:]))


def _join(blocks: list[Block]) -> Block:
    """The rows of all groups, in the order of the environments."""
    if len(blocks) == 1:
        return blocks[0]
    names = dict.fromkeys(name for block in blocks for name in block.obs)
    obs = {
        name: np.concatenate(
            [block.obs.get(name, np.ones(len(block.reward), bool)) for block in blocks]
        )
        for name in names
    }
    fields = zip(*(block[1:] for block in blocks), strict=True)
    return Block(obs, *(np.concatenate(field) for field in fields))


def _close_at_exit(environments: Parallel) -> Callable[[], None]:
    """Workers end before multiprocessing waits for them, also where nobody called close."""
    weak, owner = weakref.ref(environments), os.getpid()

    def close() -> None:
        alive = weak()
        if alive is not None and os.getpid() == owner:
            alive.close()

    atexit.register(close)
    return close
