"""The model's own thread: it keeps the pace, carries out orders, and shows every frame.

Everything that touches the model and the simulator happens here (their pictures may be bound to the
thread that made them), so nothing that a page does can stop a step half-way. What is shown goes to
`publish`, which must return at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reverie.serve.messages import (
    Act,
    Message,
    Pause,
    Record,
    RefusedError,
    Reset,
    Speed,
    Step,
    Stop,
)
from reverie.serve.messages import Tell as TellMessage
from reverie.serve.packet import pack
from reverie.serve.recording import Recorder, Recording, Saved
from reverie.serve.session import Moment, Session

_ORDERS = 32
_LATE = 0.25
"""How far behind its pace it may be before it stops trying to catch up [s]."""
_KEPT = 5


@dataclass(frozen=True)
class _Note:
    """Words that another thread has for the page."""

    words: str


class Engine:
    """`start` builds the session in the thread; `close` ends it."""

    def __init__(
        self, build: Callable[[], Session], recording: Callable[[Session], Recording], seed: int = 0
    ) -> None:
        """`build` makes the session and `recording` says where recordings of it go; `seed` is of
        the first episode."""
        self._build, self._recording, self._seed = build, recording, seed
        self._publish: Callable[[bytes], None] = lambda packet: None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._wake = threading.Condition()
        self._ready, self._stopped = threading.Event(), False
        self._problem: BaseException | None = None
        self._orders: deque[Message | _Note] = deque()
        self._action, self._heard = np.zeros(0, np.float32), 0
        self._pending: deque[Moment] = deque()
        self._saved: deque[Saved] = deque(maxlen=_KEPT)
        self._paused, self._broken, self._steps, self._speed = False, False, 0, 1.0
        self._watching, self._words, self._number = 0, "", 0
        self._totals = [0.0, 0.0]
        self._shown: deque[float] = deque(maxlen=60)
        self._took = 0.0
        self.session: Session
        self.recorder: Recorder
        self.latest = b""
        """The newest frame."""

    # ------------------------------------------------------------------ from other threads

    def start(self, publish: Callable[[bytes], None] | None = None) -> None:
        """Build the session and show its first picture; an error on the way is raised here."""
        self._publish = publish or self._publish
        self._thread.start()
        self._ready.wait()
        if self._problem is not None:
            raise self._problem

    def show_to(self, publish: Callable[[bytes], None]) -> None:
        """Whom every frame goes to from now on."""
        self._publish = publish

    def order(self, message: Message) -> None:
        """Have a message carried out before the next frame.

        Raises:
            RefusedError: too many orders are waiting.
        """
        with self._wake:
            if isinstance(message, Act):
                self._action, self._heard = message.action, message.id
            elif len(self._orders) >= _ORDERS:
                raise RefusedError("Too many orders are waiting; let some be carried out first.")
            else:
                self._orders.append(message)
            self._wake.notify()

    def neutral(self) -> None:
        """Nobody drives: hold the action that does nothing."""
        with self._wake:
            self._action, self._heard = self._rest(), 0

    def watched_by(self, count: int) -> None:
        """How many pages look on; it rests where there are none and nothing is recorded."""
        with self._wake:
            self._watching = count
            self._wake.notify()

    def close(self) -> None:
        """End the thread; a recording in progress is finished first."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    # ------------------------------------------------------------------ in its own thread

    def _run(self) -> None:
        try:
            self.session = self._build()
            try:
                moment = self.session.begin(self._seed)
                self.recorder = Recorder(self._recording(self.session), self._recorded)
                self._action = self._rest()
                self._opened(moment)
            except BaseException:
                self.session.close()
                raise
        except BaseException as error:  # told by `start`
            self._problem = error
            self._ready.set()
            return
        self._ready.set()
        try:
            self._go_on()
        finally:
            self.recorder.close()
            self.session.close()

    def _go_on(self) -> None:
        due = time.perf_counter()
        while True:
            with self._wake:
                while not self._stopped and not self._orders and not self._moves():
                    self._wake.wait()
                    due = time.perf_counter()
                wait = due - time.perf_counter()
                if not self._stopped and not self._orders and wait > 0:
                    self._wake.wait(wait)
                    continue
                if self._stopped:
                    return
                orders, self._orders = list(self._orders), deque()
            for order in orders:
                self._guarded(self._carry_out, order)
            if self._moves() and time.perf_counter() >= due:
                self._guarded(self._advance)
                due = max(due + self._period(), time.perf_counter() - _LATE)

    def _moves(self) -> bool:
        if self._broken:
            return False
        if self._steps:
            return True
        return not self._paused and bool(self._watching or self.recorder.name)

    def _period(self) -> float:
        """Time between frames [s]."""
        return self.session.frame_time / self._speed

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        """What goes wrong is told on the page; the model then waits for a reset."""
        try:
            work(*given)
        except RefusedError as error:
            self._tell(str(error))
        except Exception as error:  # the person at the page decides what to do
            self._broken = not given or isinstance(given[0], Reset)
            self._tell(str(error) or type(error).__name__)

    def _carry_out(self, order: Message | _Note) -> None:
        if isinstance(order, Reset):
            seed = self.session.seed + 1 if order.seed is None else order.seed
            self._opened(self.session.begin(seed))
        elif isinstance(order, Pause):
            self._paused, self._steps = order.on, 0
            self._tell("")
        elif isinstance(order, Step):
            self._paused, self._steps = True, min(self._steps + 1, 100)
        elif isinstance(order, Speed):
            self._speed = order.times
            self._tell("")
        elif isinstance(order, TellMessage):
            self._pending.clear()
            self._show(self.session.tell(order.text), "")
        elif isinstance(order, _Note):
            self._tell(order.words)
        elif isinstance(order, Record):
            self.recorder.start(order.film, order.data, self._moment, self.session.text)
            self._tell("")
        elif isinstance(order, Stop):
            if not self.recorder.name:
                raise RefusedError("Nothing is being recorded.")
            self.recorder.stop()
            self._tell("The recording is being written.")

    def _opened(self, moment: Moment) -> None:
        """An episode has begun."""
        self._pending.clear()
        self._totals, self._broken, self._steps = [0.0, 0.0], False, 0
        self._show(moment, "")

    def _advance(self) -> None:
        begun = time.perf_counter()
        if not self._pending:
            self._pending.extend(self.session.advance(self._action))
            self._took = time.perf_counter() - begun
        moment = self._pending.popleft()
        self._steps = max(0, self._steps - 1)
        self._totals[0] += moment.reward or 0.0
        self._totals[1] += moment.actual or 0.0
        self._shown.append(begun)
        self._show(moment, None)

    def _show(self, moment: Moment, words: str | None) -> None:
        """Keep and publish a moment."""
        self.recorder.add(moment, self.session.text)
        self._moment = moment
        self._tell(self._words if words is None else words)

    def _tell(self, words: str) -> None:
        """Publish the present once more, with what there is to say."""
        self._words = words
        self._number += 1
        moment = self._moment
        self.latest = pack(self._head(moment), {"model": moment.picture, "real": moment.real})
        self._publish(self.latest)

    def _recorded(self, saved: Saved) -> None:
        """From the recorder's thread."""
        with self._wake:
            self._saved.append(saved)
            if not self._stopped and len(self._orders) < _ORDERS:
                self._orders.append(_Note(saved.words))
                self._wake.notify()

    def _rest(self) -> np.ndarray:
        """The action that does nothing: zero within bounds, or the first choice."""
        space = self.session.spec.action
        if space.discrete:
            return np.eye(space.size, dtype=np.float32)[0]
        low, high = (np.asarray(b, np.float32) for b in (space.low, space.high))
        return np.broadcast_to(np.clip(np.float32(0), low, high), space.shape).copy()

    def _rate(self) -> float | None:
        """Frames per second over the last ones."""
        times = [at for at in self._shown if at > time.perf_counter() - 3]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None

    def _head(self, moment: Moment) -> dict[str, Any]:
        name, beside = self.recorder.name, self.session.world.beside
        return {
            "frame": self._number,
            "decisions": moment.decisions,
            "time": moment.decisions * self.session.spec.dt,
            "seed": self.session.seed,
            "text": self.session.text,
            "action": [round(float(value), 4) for value in moment.action],
            "heard": self._heard,
            "reward": moment.reward,
            "actual": moment.actual,
            "total": self._totals[0],
            "actual_total": self._totals[1] if beside else None,
            "continues": moment.continues,
            "uncertainty": moment.uncertainty,
            "distance": moment.distance,
            "psnr": moment.psnr,
            "over": moment.over,
            "paused": self._paused or self._broken,
            "speed": self._speed,
            "rate": self._rate(),
            "computing": 1000 * self._took,
            "recording": {"name": name, "frames": self.recorder.frames} if name else None,
            "saved": [saved.name for saved in self._saved if saved.name],
            "watching": self._watching,
            "words": self._words,
        }
