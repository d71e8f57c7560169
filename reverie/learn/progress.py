"""The live display of a run: how far it is, how fast, how good, and when it ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reverie.learn.accounting import Counters

_WINDOW = 30.0  # s over which rates are taken


class Progress:
    """Shows the counters of a run from its first moment on; a thread redraws, the run only tells.

    `goal` is how many of which counter end the run, for example `("frames", 50_000)`.
    """

    def __init__(
        self,
        goal: tuple[Literal["frames", "updates"], int],
        counters: Counters,
        mode: Literal["auto", "live", "plain", "off"] = "auto",
        seconds: float = 5.0,
        console: Console | None = None,
    ) -> None:
        self._goal = goal
        self._console = console or Console(stderr=True)
        is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._mode = ("live" if is_terminal else "plain") if mode == "auto" else mode
        self._seconds = seconds
        self._counters, self._stage = counters, "starting"
        self._values: dict[str, float] = {}
        self._marks: deque[tuple[float, str, Counters]] = deque()
        self._since = time.monotonic()
        self._live: Live | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._mode == "live":
            self._live = Live(
                get_renderable=self._panel, console=self._console, refresh_per_second=4
            )
            self._live.start()
        elif self._mode == "plain":
            self._thread = threading.Thread(target=self._speak, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()
            self._console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def update(
        self, counters: Counters, stage: str, values: Mapping[str, float] | None = None
    ) -> None:
        """Tell where the run is; `values` are shown until they are replaced."""
        self._counters, self._stage = counters, stage
        if values:
            self._values = {**self._values, **values}
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] > 0.5:
            self._marks.append((now, stage, counters))
            while now - self._marks[0][0] > _WINDOW and len(self._marks) > 2:
                self._marks.popleft()

    def note(self, text: str) -> None:
        """Show a sentence that stays."""
        if self._mode != "off":
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speak(self) -> None:
        wait = min(1.0, self._seconds)  # the first line comes at once
        while not self._stop.wait(wait):
            self._console.print(self._line(), markup=False, highlight=False, soft_wrap=True)
            wait = self._seconds

    def _rates(self) -> dict[str, float]:
        """Frames, decisions and updates per second in the present stage, lately."""
        marks = [mark for mark in self._marks.copy() if mark[1] == self._stage]
        if not marks:
            return {}
        then, _, before = marks[0]
        # a moment ago is now: else a long update would look like no progress
        passed, now = self._counters.seconds - before.seconds, self._counters
        if passed < 0.5 or then == marks[-1][0]:
            return {}
        return {
            name: (getattr(now, name) - getattr(before, name)) / passed
            for name in ("frames", "decisions", "updates")
        }

    def _remaining(self) -> str:
        name, total = self._goal
        rate = self._rates().get(name, 0.0)
        left = total - getattr(self._counters, name)
        if left <= 0:
            return "0:00"
        return duration(left / rate) if rate > 0 and self._stage == "learning" else "-"

    def _facts(self) -> list[tuple[str, str]]:
        rates = self._rates()
        facts = [
            (name, f"{getattr(self._counters, name):,}" + (f" ({rate:.1f}/s)" if rate else ""))
            for name, rate in ((n, rates.get(n)) for n in ("frames", "decisions", "updates"))
        ]
        facts += [(name, f"{value:.4g}") for name, value in self._values.items()]
        return [*facts, ("time", duration(self._elapsed())), ("ETA", self._remaining())]

    def _elapsed(self) -> float:
        return time.monotonic() - self._since

    def _line(self) -> str:
        name, total = self._goal
        share = 100 * getattr(self._counters, name) / total if total else 0.0
        facts = "  ".join(f"{key} {value}" for key, value in self._facts())
        return f"[{self._stage} {share:.0f} %] {facts}"

    def _panel(self) -> Group:
        name, total = self._goal
        done = min(total, getattr(self._counters, name))
        table = Table.grid(padding=(0, 2))
        facts = self._facts()
        for k in range(0, len(facts), 3):  # fits 80 columns
            cells = [Text.assemble((f"{a} ", "dim"), b, no_wrap=True) for a, b in facts[k : k + 3]]
            table.add_row(*cells)
        head = Text.assemble((self._stage, "bold"), f"  {done:,} of {total:,} {name}")
        bar = Table.grid()  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=max(1, total), completed=done, width=60))
        return Group(head, bar, table)


def duration(seconds: float) -> str:
    """h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
