"""Driving by the keys of a terminal, and seeing the robot in it."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.text import Text

from reverie.envs.env import Env, RenderError, Row

HELD = 0.25
"""A terminal tells when a key is pressed, not when it is let go: it counts as held for so long
after it was last heard [s]."""

PAIRS = (
    ("d", "a"),
    ("w", "s"),
    ("l", "j"),
    ("i", "k"),
    ("e", "q"),
    ("o", "u"),
    ("3", "1"),
    ("9", "7"),
)
"""Keys for up and down of each entry of the action, in order."""

_ARROWS = {"\x1b[C": "d", "\x1b[D": "a", "\x1b[A": "w", "\x1b[B": "s"}
_WISHES: dict[str, Literal["end", "drop", "quit"]] = {
    "\r": "end",
    "\n": "end",
    "\x7f": "drop",
    "\x1b": "quit",
}
HELP = "arrows, a d, s w, j l, k i ... move; Enter keeps the episode; Backspace drops it; Esc ends"


class Keyboard:
    """`with Keyboard() as keys:` takes over the terminal until the block ends.

    Raises:
        RuntimeError: the standard input is no terminal.
    """

    def __init__(self, rows: int = 20) -> None:
        if not sys.stdin.isatty():
            raise OSError("Driving by keys needs a terminal; the standard input is none.")
        self._file = sys.stdin.fileno()
        self._console = Console(highlight=False)
        self._rows = rows
        self._heard: dict[str, float] = {}
        self._asked: Literal["go", "end", "drop", "quit"] = "go"
        self._before: list[Any] = []

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        self._console.print(HELP)
        self._console.file.write("\x1b[?25l\x1b[s")
        return self

    def __exit__(self, *_: Any) -> None:
        termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        self._console.file.write("\x1b[?25h\n")

    def action(self, size: int) -> np.ndarray:
        """Each entry 1, -1 or 0, by the keys held."""
        self._listen()
        now = time.monotonic()
        held = {key for key, at in self._heard.items() if now - at < HELD}
        found = [float(up in held) - float(down in held) for up, down in PAIRS[:size]]
        return np.array(found + [0.0] * (size - len(found)), np.float32)

    def wish(self) -> Literal["go", "end", "drop", "quit"]:
        """What was asked for since the last call."""
        self._listen()
        wish, self._asked = self._asked, "go"
        return wish

    def _listen(self) -> None:
        """Take in what was typed."""
        while select.select([self._file], [], [], 0)[0]:
            typed = os.read(self._file, 64).decode(errors="ignore")
            if not typed:
                self._asked = "quit"
                return
            while typed:
                key = next((a for a in _ARROWS if typed.startswith(a)), typed[0])
                typed = typed[len(key) :]
                if key in _WISHES:
                    self._asked = _WISHES[key]
                else:
                    self._heard[_ARROWS.get(key, key)] = time.monotonic()

    def show(self, env: Env, row: Row, decision: int, episode: int) -> None:
        """A picture of blocks, each two pixels high, above where the episode stands."""
        try:
            picture = env.render(2 * self._rows, 3 * self._rows)
        except RenderError as error:
            picture = np.zeros((2, 2, 3), np.uint8)
            self._console.print(str(error))
        self._console.file.write("\x1b[u")
        self._console.print(blocks(picture))
        line = f"episode {episode}  {decision * env.dt:.1f} s  reward {row.reward:.3g}"
        self._console.print(line.ljust(60))


def blocks(picture: np.ndarray) -> Text:
    """A picture uint8 `[2 h, w, 3]` as h lines of half blocks."""
    text = Text()
    for upper, lower in zip(picture[::2], picture[1::2], strict=False):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append(
                "▀", f"rgb({top[0]},{top[1]},{top[2]}) on rgb({bottom[0]},{bottom[1]},{bottom[2]})"
            )
        text.append("\n")
    return text
