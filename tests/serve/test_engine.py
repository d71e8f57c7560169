"""The model's own thread: pace, orders, and what happens when something goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.model import Transition
from reverie.serve.engine import Engine
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
    Tell,
)
from reverie.serve.packet import unpack
from reverie.serve.recording import Recording
from reverie.serve.session import Session
from tests.serve.painter import Painter, PainterState, Told, session


class Watched:
    """An engine, and every head that it publishes."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.heads = engine, list[dict[str, Any]]()
        self._news = threading.Condition()
        engine.start(self._take)

    def _take(self, packet: bytes) -> None:
        with self._news:
            self.heads.append(unpack(packet)[0])
            self._news.notify_all()

    def until(self, true: Callable[[dict[str, Any]], bool], seconds: float = 10) -> dict[str, Any]:
        """The first head from now on for which something is true."""
        with self._news:
            seen = len(self.heads) - 1
            end = time.monotonic() + seconds
            while True:
                for head in self.heads[seen:]:
                    if true(head):
                        return head
                seen = len(self.heads)
                left = end - time.monotonic()
                assert left > 0, f"never; the last was {self.heads[-1]}"
                self._news.wait(left)

    def order(self, message: Message) -> None:
        self.engine.order(message)


def recording(folder: Path) -> Callable[[Session], Recording]:
    def made(played: Session) -> Recording:
        spec = played.spec
        return Recording(folder, "test", played.recordable, spec.action, spec.dt, spec.dt)

    return made


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    engines: list[Engine] = []

    def make(build: Callable[[], Session], seed: int = 0) -> Watched:
        engines.append(Engine(build, recording(tmp_path), seed))
        return Watched(engines[-1])

    yield make
    for engine in engines:
        engine.close()


def fast() -> Session:
    return session(Painter(dt=0.01))


def test_it_rests_until_somebody_looks_on(watched: Callable[..., Watched]) -> None:
    seen = watched(fast)
    time.sleep(0.2)
    assert [head["decisions"] for head in seen.heads] == [0]
    seen.engine.watched_by(1)
    seen.until(lambda head: head["decisions"] > 3)
    seen.engine.watched_by(0)
    time.sleep(0.1)
    count = len(seen.heads)
    time.sleep(0.2)
    assert len(seen.heads) == count


def test_it_keeps_the_worlds_pace_and_the_speed_asked_for(watched: Callable[..., Watched]) -> None:
    seen = watched(lambda: session(Painter(dt=0.02)))
    seen.engine.watched_by(1)
    seen.until(lambda head: head["decisions"] > 5)

    def frames(seconds: float) -> int:
        before = seen.heads[-1]["decisions"]
        time.sleep(seconds)
        return int(seen.heads[-1]["decisions"]) - before

    assert 10 <= frames(0.5) <= 40  # 25, on a machine that may be busy
    seen.order(Speed(0.2))
    seen.until(lambda head: head["speed"] == 0.2)
    assert 1 <= frames(0.5) <= 9  # 5


def test_the_newest_action_is_held(watched: Callable[..., Watched]) -> None:
    seen = watched(fast)
    seen.engine.watched_by(1)
    seen.order(Act(np.float32([0.25]), 1))
    seen.order(Act(np.float32([0.5]), 2))
    head = seen.until(lambda head: head["heard"] == 2 and head["decisions"] > 1)
    assert head["action"] == [0.5]
    seen.engine.neutral()
    assert seen.until(lambda head: head["heard"] == 0 and head["action"] == [0.0])


def test_it_holds_and_goes_frame_by_frame(watched: Callable[..., Watched]) -> None:
    seen = watched(fast)
    seen.engine.watched_by(1)
    seen.order(Pause(True))
    held = seen.until(lambda head: head["paused"])["decisions"]
    time.sleep(0.1)
    assert seen.heads[-1]["decisions"] == held
    for _ in range(3):
        seen.order(Step())
    seen.until(lambda head: head["decisions"] == held + 3)
    time.sleep(0.1)
    assert seen.heads[-1]["decisions"] == held + 3
    seen.order(Pause(False))
    seen.until(lambda head: head["decisions"] > held + 5)


def test_episodes_begin_by_seed_or_with_the_next(watched: Callable[..., Watched]) -> None:
    seen = watched(fast, seed=7)
    assert seen.heads[0]["seed"] == 7
    seen.order(Reset(3))
    assert seen.until(lambda head: head["seed"] == 3)["decisions"] == 0
    seen.order(Reset())
    seen.until(lambda head: head["seed"] == 4)


def test_text_is_told(watched: Callable[..., Watched]) -> None:
    seen = watched(lambda: session(Told(dt=0.01)))
    seen.order(Tell("go"))
    assert seen.until(lambda head: head["text"] == "go")["words"] == ""
    seen.order(Tell("much too long for this"))
    assert "this model reads 12" in seen.until(lambda head: head["words"])["words"]
    assert seen.heads[-1]["text"] == "go"


class Diverging(Painter):
    """One that breaks after some steps."""

    def step(self, state: PainterState, action: torch.Tensor, noise: torch.Tensor) -> Any:
        made = super().step(state, action, noise)
        if float(action[0, 0, 0]) > 0.9:
            return Transition(made.state._replace(place=made.state.place * torch.nan), made.reward)
        return made


def test_a_model_that_diverges_waits_for_a_reset(watched: Callable[..., Watched]) -> None:
    seen = watched(lambda: session(Diverging(dt=0.01)))
    seen.engine.watched_by(1)
    seen.until(lambda head: head["decisions"] > 3)
    seen.order(Act(np.float32([1.0])))
    head = seen.until(lambda head: head["words"])
    assert "diverged" in head["words"]
    assert head["paused"]
    seen.engine.neutral()
    seen.order(Reset())
    seen.until(lambda head: not head["paused"] and head["decisions"] > 3)


def test_what_fails_at_the_start_is_raised_there(tmp_path: Path) -> None:
    def build() -> Session:
        raise ValueError("no such world")

    engine = Engine(build, recording(tmp_path))
    with pytest.raises(ValueError, match="no such world"):
        engine.start()
    engine.close()


def test_orders_that_pile_up_are_refused(watched: Callable[..., Watched]) -> None:
    class Stuck(Painter):
        def step(self, state: PainterState, action: torch.Tensor, noise: torch.Tensor) -> Any:
            going.wait(10)
            return super().step(state, action, noise)

    going = threading.Event()
    seen = watched(lambda: session(Stuck(dt=0.01)))
    seen.engine.watched_by(1)
    with pytest.raises(RefusedError, match="Too many orders"):
        for _ in range(100):
            seen.order(Speed(1.0))
    going.set()


def test_a_recording_is_told_when_it_is_written(
    watched: Callable[..., Watched], tmp_path: Path
) -> None:
    seen = watched(fast)
    seen.order(Record("mp4", False))
    seen.until(lambda head: head["recording"] and head["recording"]["frames"] > 10)
    seen.order(Record("mp4", False))
    assert "stop it first" in seen.until(lambda head: head["words"])["words"]
    seen.order(Stop())
    (name,) = seen.until(lambda head: head["saved"])["saved"]
    assert (tmp_path / name).stat().st_size > 0
    seen.order(Stop())
    seen.until(lambda head: "Nothing is being recorded" in head["words"])


def test_closing_finishes_a_recording(tmp_path: Path) -> None:
    engine = Engine(fast, recording(tmp_path))
    seen = Watched(engine)
    seen.order(Record("mp4", False))
    seen.until(lambda head: head["recording"] and head["recording"]["frames"] > 5)
    engine.close()
    (film,) = tmp_path.glob("*.mp4")
    assert ".part" not in film.name
