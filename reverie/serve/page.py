"""The page: one document with its style and script inside, which asks nobody but this server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from importlib.resources import files

from reverie.core.spec import Space
from reverie.serve.messages import FASTEST, SLOWEST
from reverie.serve.session import Session

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_FAR = 1e8


@dataclass(frozen=True)
class Sheet:
    """What the page says of the model, and what it can be told."""

    title: str
    about: str
    """A sentence below the title."""
    levers: tuple[str, ...]
    """What each entry of an action is called."""
    low: tuple[float, ...]
    """What each entry can be at least, -1 where there is no bound."""
    high: tuple[float, ...]
    discrete: bool
    text: str
    text_size: int
    """Bytes of text that the model reads; 0 where it reads none."""
    beside: str
    """Name of the simulator that is shown; empty where there is none."""
    uncertain: bool
    """Whether the model tells its uncertainty."""
    data: bool
    """Whether a dataset can be recorded."""


def sheet_of(session: Session, title: str, about: str, levers: tuple[str, ...] = ()) -> Sheet:
    """What a session offers; `levers` are names of the action's entries, where they are known."""
    space = session.spec.action
    low, high = bounds(space)
    kind = "choice" if space.discrete else "action"
    named = levers if len(levers) == space.size else ()
    return Sheet(
        title,
        about,
        named or tuple(f"{kind} {k + 1}" for k in range(space.size)),
        low,
        high,
        space.discrete,
        session.text,
        session.text_size,
        session.world.about if session.world.beside else "",
        "uncertainty" in session.spec.provides,
        bool(session.recordable),
    )


def bounds(space: Space) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What each entry can be at least and at most; -1 and 1 where there is no bound."""

    def each(bound: float | tuple[float, ...], free: float) -> tuple[float, ...]:
        values = bound if isinstance(bound, tuple) else (bound,) * space.size
        return tuple(value if abs(value) < _FAR else free for value in values)

    return each(space.low, -1.0), each(space.high, 1.0)


def render(sheet: Sheet) -> str:
    """The document."""
    data = json.dumps({**asdict(sheet), "slowest": SLOWEST, "fastest": FASTEST})
    style = files("reverie.viz").joinpath("report.css").read_text(encoding="utf-8")
    parts = {
        "title": escape(sheet.title),
        "about": escape(sheet.about),
        "style": style + _read("play.css"),
        "script": _read("play.js"),
        "sheet": data.replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("play.html"))


def policy(host: str) -> str:
    """The security policy: this script alone, and no connection but to `host`, which was asked."""
    digest = base64.b64encode(hashlib.sha256(_read("play.js").encode()).digest()).decode()
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        f"img-src data:; connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


@cache
def _read(name: str) -> str:
    return files("reverie.serve").joinpath(name).read_text(encoding="utf-8")
