"""Environments that obey orders: in this process, or in a worker process at the end of a pipe.

A worker knows nothing of episodes, seeds or the other workers. Whoever sends the orders keeps the
books, so a worker that dies can be replaced by a fresh one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.envs.adapter import Adapter
from reverie.envs.env import Env, EnvError, RenderError, Row, check_row, check_spaces

_PATIENCE = 5.0
"""How long a worker may take to end after it was asked to [s]."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""By what libraries choose their number of threads when they are loaded."""


class Reset(NamedTuple):
    """Begin the episode of this seed."""

    seed: int


class Step(NamedTuple):
    """Take this action."""

    action: np.ndarray
    decision: int
    """Its number in the episode, for messages."""


class Replay(NamedTuple):
    """Begin the episode of this seed and take these actions `[D, A]`."""

    seed: int
    actions: np.ndarray


Order = Reset | Step | Replay | None
"""What one environment shall do; None leaves it alone."""


class Block(NamedTuple):
    """Rows of the environments that had an order, stacked in their order."""

    obs: dict[str, np.ndarray]
    reward: np.ndarray
    first: np.ndarray
    last: np.ndarray
    terminated: np.ndarray


class Description(NamedTuple):
    """What all environments of a group have in common."""

    name: str
    obs: Mapping[str, Space]
    action: Space
    dt: float
    repeat: int
    repeatable: bool


class WorkerDied(Exception):  # noqa: N818 (an event to be handled, seen by no user)
    """The process at the other end of the pipe is gone."""


class Group:
    """Some environments in one process, one of each maker."""

    def __init__(self, makers: Sequence[Callable[[], Env]]) -> None:
        self._envs = [make_env() for make_env in makers]
        described = [describe(env) for env in self._envs]
        for other in described[1:]:
            if other != described[0]:
                raise ValueError(f"The environments differ: {described[0]} and {other}.")
        self.description = described[0]
        self._foreign = [not isinstance(env, Adapter) for env in self._envs]

    def run(self, orders: Sequence[Order]) -> Block:
        """Obey, one environment after the other."""
        return stack([self._obey(k, order) for k, order in enumerate(orders) if order is not None])

    def render(self, index: int, height: int, width: int) -> np.ndarray:
        """A picture of one environment."""
        return self._envs[index].render(height, width)

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _obey(self, index: int, order: Reset | Step | Replay) -> Row:
        env, decision = self._envs[index], 0
        if isinstance(order, Reset):
            row = env.reset(order.seed)
        elif isinstance(order, Step):
            row, decision = env.step(order.action), order.decision
        elif isinstance(env, Adapter):
            row = env.replay(order.seed, order.actions)
        else:
            row = env.reset(order.seed)
            for action in order.actions:
                row = env.step(action)
        if self._foreign[index]:  # An Adapter has checked its rows.
            return check_row(env.name, env.obs, row, decision)
        return row


def describe(env: Env) -> Description:
    """Its spaces and times, after a check of its names."""
    check_spaces(env.name, env.obs, env.action)
    return Description(env.name, dict(env.obs), env.action, env.dt, env.repeat, env.repeatable)


def stack(rows: Sequence[Row]) -> Block:
    """Rows to one array per entry; a "<name>.present" that only some have is True in the others."""
    if not rows:
        empty = np.zeros(0, bool)
        return Block({}, np.zeros(0, np.float32), empty, empty, empty)
    names = dict.fromkeys(name for row in rows for name in row.obs)
    always = np.ones((), bool)
    return Block(
        {name: np.stack([row.obs.get(name, always) for row in rows]) for name in names},
        np.array([row.reward for row in rows], np.float32),
        np.array([row.first for row in rows]),
        np.array([row.last for row in rows]),
        np.array([row.terminated for row in rows]),
    )


class Local:
    """A group in this process, with the calls of a `Remote`."""

    def __init__(self, makers: Sequence[Callable[[], Env]]) -> None:
        self._group = Group(makers)
        self.count = len(makers)
        self.description = self._group.description
        self._orders: Sequence[Order] = ()

    def send(self, orders: Sequence[Order]) -> None:
        """Keep the orders until they are asked for."""
        self._orders = orders

    def receive(self) -> Block:
        """Obey them."""
        return self._group.run(self._orders)

    def render(self, index: int, height: int, width: int) -> np.ndarray:
        """A picture of one environment."""
        return self._group.render(index, height, width)

    def close(self) -> None:
        """Close the environments."""
        self._group.close()


class Remote:
    """A group in a worker process."""

    def __init__(self, makers: Sequence[Callable[[], Env]]) -> None:
        self.count = len(makers)
        self._makers = makers
        self._description: Description | None = None
        self.start()

    def start(self) -> None:
        """Start the process, without waiting until it has built its environments."""
        context = _context()
        self._pipe, far = context.Pipe()
        self.process = context.Process(target=serve, args=(far, self._makers), daemon=True)
        try:
            with _one_thread():
                self.process.start()
        except OSError:
            raise
        except Exception as problem:
            raise ValueError(
                f"Worker processes cannot receive {self._makers[0]!r} ({problem}); give an "
                f"EnvConfig, a function defined at the top of a module, or functools.partial of "
                f"one; or workers=0."
            ) from problem
        finally:
            far.close()
        self._ready = False

    @property
    def description(self) -> Description:
        """What the worker's environments are; waits until they are built."""
        if self._description is None:
            try:
                self._wait_until_ready()
            except WorkerDied:
                raise EnvError(
                    f"A worker process ended while it started ({self.end()}). A script that starts "
                    f'workers needs the guard `if __name__ == "__main__":` around what it runs.'
                ) from None
        assert self._description is not None
        return self._description

    def send(self, orders: Sequence[Order]) -> None:
        """Give orders; a death is noticed when the rows are received."""
        with contextlib.suppress(WorkerDied):
            self._wait_until_ready()
            self._tell(("run", orders))

    def receive(self) -> Block:
        """The rows of the orders sent last."""
        block: Block = self._answer()
        return block

    def render(self, index: int, height: int, width: int) -> np.ndarray:
        """A picture of one environment."""
        self._wait_until_ready()
        self._tell(("render", index, height, width))
        image: np.ndarray = self._answer()
        return image

    def end(self) -> str:
        """How the process ended."""
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    def close(self) -> None:
        """Hang up, on which the worker ends by itself; kill it if it does not."""
        self._pipe.close()
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _wait_until_ready(self) -> None:
        if not self._ready:
            self._description = self._answer()
            self._ready = True

    def _tell(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise WorkerDied from None

    def _answer(self) -> Any:
        try:
            problem, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied from None
        if problem is not None:
            raise _revived(problem, self.process.pid)
        return answer


class _Problem(NamedTuple):
    """An exception on its way out of a worker, as text: any other may not survive the way."""

    kind: str
    message: str
    text: str
    """The traceback."""


_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(EnvError, RenderError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(ImportError, ModuleNotFoundError, NotImplementedError, MemoryError, OSError),
        *(FileNotFoundError, ArithmeticError, ZeroDivisionError, RuntimeError, AssertionError),
    )
}


def _revived(problem: _Problem, pid: int | None) -> Exception:
    """The worker's exception, with the text of its traceback as a note."""
    if problem.kind in _KINDS:
        error = _KINDS[problem.kind](problem.message)
    else:
        error = EnvError(f"{problem.kind}: {problem.message}")
    error.add_note(f"in worker process {pid}:\n{problem.text}")
    return error


def serve(pipe: Connection, makers: Sequence[Callable[[], Env]]) -> None:
    """The life of a worker: build, then obey until the other end hangs up.

    Signals that ask to stop are left to the parent, which saves first.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):  # The parent is gone: end in silence.
        try:
            group = Group(makers)
        except Exception as error:
            pipe.send((_problem(error), None))
            return
        pipe.send((None, group.description))
        while True:
            kind, *rest = pipe.recv()
            act: Callable[..., Any] = group.run if kind == "run" else group.render
            try:
                answer, problem = act(*rest), None
            except Exception as error:
                answer, problem = None, _problem(error)
            pipe.send((problem, answer))


def _problem(error: Exception) -> _Problem:
    text = "".join(traceback.format_exception(error))
    return _Problem(type(error).__name__, str(error), text)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start meanwhile multiply matrices on one thread, unless the user's environment
    says otherwise: with several workers the others are busy, and waiting for them costs most."""
    names = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


def _context() -> Any:
    """On Linux workers are forked from a clean server that has imported this module once (40 ms and
    75 MB each, against 2 s and 150 MB for a fresh interpreter); elsewhere a fresh interpreter."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
