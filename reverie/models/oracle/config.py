"""Which simulator an oracle is, and how many copies of it work side by side."""

from __future__ import annotations

from dataclasses import dataclass

from reverie.envs.env import EnvConfig


@dataclass(frozen=True)
class OracleConfig:
    """An oracle has no sizes to choose: it is its environment."""

    env: EnvConfig
    """The environment that is predicted; a MuJoCo one. The oracle's copies observe `physics`
    whether it is asked for here or not, and draw no pictures."""
    threads: int = 1
    """Copies of the simulator, each with a thread of its own; results do not depend on it."""
    seed: int = 0
    """Of the episode whose beginning is the state before anything was sensed."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"OracleConfig threads is {self.threads}; it must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"OracleConfig seed is {self.seed}; it must be in 0 .. 2^32 - 1.")
