"""What every command needs: its options read, tables, and a console."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import tyro
from rich.console import Console
from rich.table import Table

T = TypeVar("T")


@dataclass(frozen=True)
class Nothing:
    """This command has no options."""


def wrong(message: str) -> int:
    """Say what is wrong with how it was called; 2."""
    print(f"reverie: {message}", file=sys.stderr)
    return 2


def parse(kind: type[T], command: str, arguments: Sequence[str]) -> T:
    """The options of a command."""
    return tyro.cli(kind, prog=f"reverie {command}", args=list(arguments))


def whole(word: str) -> str:
    """`--env NAME` stands for `--env.name NAME`, `--data PATH` for `--data.path PATH`."""
    option, equals, value = word.partition("=")
    return {"--env": "--env.name", "--data": "--data.path"}.get(option, option) + equals + value


def table(*columns: str, words: int = 1) -> Table:
    """An empty table: the first `words` columns to the left, numbers to the right."""
    made = Table(box=None, pad_edge=False)
    for k, column in enumerate(columns):
        made.add_column(column, justify="left" if k < words else "right")
    return made


def console() -> Console:
    """It wraps nothing: lines stay whole where they are piped."""
    return Console(soft_wrap=True)
