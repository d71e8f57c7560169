"""Ctrl-C and SIGTERM end a run where it can be resumed."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """`with Interrupt() as interrupt:` and look at `interrupt.asked` where stopping is possible.

    The first signal asks; the second one ends the process at once. In a thread that is not the
    main one signals are left alone.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        """The name of the signal that came."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number).name
            os.write(2, b"\nSaving and stopping; once more stops at once, without saving.\n")
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
