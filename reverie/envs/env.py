"""What an environment is: rows out, actions in, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from reverie.core.spec import Space

Quality = Literal["fast", "full"]

_RESERVED = ("action", "reward", "first", "last", "terminated")
_PRESENT = ".present"
_FLOATS = ("float32", "float64")
_LARGEST = float(np.finfo(np.float32).max)


class EnvError(RuntimeError):
    """An environment broke its promise: a value that is not finite, a wrong shape, a crash."""


class RenderError(RuntimeError):
    """A picture cannot be drawn; the message says what is missing."""


class Row(NamedTuple):
    """What arrived at one moment in one environment.

    The row of a reset has `first=True` and reward 0; an episode of D decisions has D + 1 rows.
    """

    obs: dict[str, np.ndarray]
    """By name, in the dtype that its `Space` says; images `[C, h, w]`."""
    reward: float
    """Received on arriving here, summed over the repeated frames."""
    first: bool
    """The episode begins here."""
    last: bool
    """The episode ends here: terminated, or truncated by a time limit."""
    terminated: bool
    """The task itself ended: nothing follows, and bootstrapping stops."""


@runtime_checkable
class Env(Protocol):
    """A robot or a simulator of one, in the units of its spaces."""

    name: str
    """Family and task, for example "dmc:walker_walk"."""
    obs: Mapping[str, Space]
    action: Space
    """Continuous actions lie in [-1, 1]; a discrete one is a one-hot vector."""
    dt: float
    """World time per decision [s], repeat included."""
    repeat: int
    """Simulator frames per decision."""
    repeatable: bool
    """The same seed and actions give the same rows, bit by bit; False on a real robot."""

    def reset(self, seed: int) -> Row:
        """Begin an episode; the same seed begins the same one."""
        ...

    def step(self, action: np.ndarray) -> Row:
        """Act for `repeat` frames."""
        ...

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture for people, uint8 `[height, width, 3]`."""
        ...

    def close(self) -> None:
        """Give back what the simulator holds."""
        ...


@dataclass(frozen=True)
class EnvConfig:
    """Which environment, how it is driven and what is seen of it."""

    name: str = "toy:pendulum"
    """Family and task: dmc:walker_walk, gym:Pendulum-v1; `reverie envs` lists them."""
    repeat: int = 1
    """Simulator frames per decision: the action is held, the rewards are summed."""
    pixels: bool = False
    """Observe a camera picture, "image", instead of what the simulator observes by itself."""
    with_state: bool = False
    """With pixels: keep what the simulator observes by itself beside the picture."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the observed picture [pixels]."""
    camera: str = ""
    """Name or number of a MuJoCo camera; empty for the task's usual one. Several with commas
    between: "front,side" makes the sensors "image", of the first, and "image_side"."""
    quality: Quality = "fast"
    """Of MuJoCo pictures: fast (no shadows, reflections, sky or smoothing) or full."""
    max_decisions: int = 0
    """Truncate episodes after so many decisions; 0 leaves that to the environment."""
    physics: bool = False
    """Observe also "physics", the whole state of the MuJoCo simulator, float64: what an exact
    simulator plans from. A model that is trained would read it as one more sensor."""

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise ValueError(f"EnvConfig repeat is {self.repeat}; it must be at least 1 frame.")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"EnvConfig size is {self.size}; give height and width in pixels.")
        if self.quality not in ("fast", "full"):
            raise ValueError(f"EnvConfig quality is {self.quality!r}; choose fast or full.")
        if self.max_decisions < 0:
            raise ValueError(
                f"EnvConfig max_decisions is {self.max_decisions}; give 0 (none) or more."
            )
        if self.with_state and not self.pixels:
            raise ValueError("EnvConfig with_state keeps the state beside pixels; set pixels too.")


def moment(decision: int) -> str:
    """Where in an episode, for error messages."""
    return f"decision {decision} of the episode" if decision else "the reset"


def check_spaces(name: str, obs: Mapping[str, Space], action: Space) -> None:
    """Refuse names that the stored rows need for themselves, and actions that are no vector."""
    for key in obs:
        if key in _RESERVED or "." in key or not key:
            raise ValueError(
                f"{name}: an observation may not be called {key!r}; choose a name without a dot "
                f"and other than {', '.join(_RESERVED)}."
            )
    if not obs:
        raise ValueError(f"{name} observes nothing; an environment needs at least one observation.")
    if len(action.shape) != 1 or action.dtype != "float32":
        raise ValueError(
            f"{name}: actions are float32 vectors, not {action.dtype} of shape {action.shape}."
        )


def check_action(name: str, space: Space, action: Any, decision: int) -> np.ndarray:
    """The action as float32 of the right shape, or a ValueError that says what is wrong with it."""
    value = np.asarray(action, np.float32)
    if value.shape != space.shape:
        one_hot = " (a one-hot vector)" if space.discrete else ""
        raise ValueError(
            f"{name}: the action of {moment(decision)} has shape {value.shape}; "
            f"expected {space.shape}{one_hot}."
        )
    if not np.isfinite(value).all():
        entry = int(np.flatnonzero(~np.isfinite(value))[0])
        raise ValueError(
            f"{name}: entry {entry} of the action of {moment(decision)} is {value[entry]}; "
            f"actions must be finite. Did the policy or the model diverge?"
        )
    return value


def check_obs(
    name: str, spaces: Mapping[str, Space], obs: Mapping[str, Any], decision: int
) -> dict[str, np.ndarray]:
    """Copies of the declared observations in their declared types; EnvError for what is not so."""
    checked = {}
    with np.errstate(over="ignore"):  # What overflows float32 is found below.
        for key, space in spaces.items():
            if key not in obs:
                at = moment(decision)
                raise EnvError(f"{name}: observation {key!r} was declared and is missing at {at}.")
            checked[key] = np.array(obs[key], space.dtype if space.dtype in _FLOATS else None)
            problem = _problem(checked[key], space)
            if problem and checked[key].shape == () and space.shape == (1,):
                checked[key] = checked[key].reshape(1)
                problem = _problem(checked[key], space)
            if problem:
                raise EnvError(f"{name}: observation {key!r} at {moment(decision)} {problem}")
            if key + _PRESENT in obs:
                checked[key + _PRESENT] = np.array(obs[key + _PRESENT], bool).reshape(())
    return checked


def _problem(array: np.ndarray, space: Space) -> str:
    """What is wrong with an observation; empty if nothing is."""
    if array.shape != space.shape:
        return f"has shape {array.shape}; {space.shape} was declared."
    if array.dtype != space.dtype:
        return f"has dtype {array.dtype}; {space.dtype} was declared."
    if space.dtype in _FLOATS and not np.isfinite(array).all():
        entry = int(np.flatnonzero(~np.isfinite(array))[0])
        return (
            f"is {array.flat[entry]} in entry {entry}; it must be finite. "
            f"The simulation has diverged, or its sensor is broken."
        )
    return ""


def check_row(name: str, spaces: Mapping[str, Space], row: Row, decision: int) -> Row:
    """The row with checked observations and reward; terminated implies last."""
    reward = float(row.reward)
    if not abs(reward) <= _LARGEST:
        raise EnvError(
            f"{name}: the reward at {moment(decision)} is {reward}; it must be finite. "
            f"The simulation has diverged, or the reward function divides by zero."
        )
    obs = check_obs(name, spaces, row.obs, decision)
    terminated = bool(row.terminated)
    return Row(obs, reward, bool(row.first), bool(row.last) or terminated, terminated)
