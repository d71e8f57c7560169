"""A training scenario: a kind, a seed, a difficulty, and the numbers that were drawn from them.

    numbers = kind.draw(seed, difficulty)     layout, materials, goals: JSON, and all there is
    scene   = kind.scene(numbers)             the world, its task, what differs between episodes
    plan    = kind.plan(model, numbers)       a solution by construction, where there is one

The file is its own description: a scene is made from the numbers in it, never from the seed anew,
so that it stays the same when a kind draws otherwise in a later version, and so that it can be
edited by hand. All scenes of a kind have the same observations and actions.

Legend: `B` worlds, `T` decisions, `A` action.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.models.physics.config import PhysicsConfig
from reverie.models.physics.model import Physics, PhysicsState
from reverie.models.physics.task import Task
from reverie.physics.backend import Backend
from reverie.physics.world import World, WorldState

FORMAT = 1
"""Of the files."""
Numbers = Mapping[str, Any]
"""Numbers, words, and lists of them, by name."""


class Judged(Task, Protocol):
    """A task that says when it is done."""

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """bool `[B]`."""
        ...


class Scene(NamedTuple):
    """What a scenario is made of."""

    world: World
    task: Judged
    limit: int
    """T, decisions of an episode."""
    goals: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    """The lowest and highest value of goals that are drawn anew in each episode."""
    knobs: tuple[str, ...] = ()
    """Those of `world.KNOBS` that are drawn anew in each episode."""
    spread: float = 1.0
    """Their factors are between 1 / spread and spread, even in the logarithm."""
    view: tuple[float, float, float] = (45.0, 30.0, 1.0)
    """See `PhysicsConfig.view`."""
    mjcf: str = ""
    """The text that the robot was loaded from, where there is one."""


class Draw:
    """Numbers from a seed, whose range grows with the difficulty in [0, 1]."""

    def __init__(self, seed: int, difficulty: float) -> None:
        self.difficulty = difficulty
        self._dice = np.random.default_rng(seed)

    def between(self, low: float, high: float, digits: int = 4) -> float:
        """Uniform."""
        return round(float(self._dice.uniform(low, high)), digits)

    def around(self, middle: float, easy: float, hard: float, digits: int = 4) -> float:
        """Uniform within middle times 1 - w and 1 + w, w = easy + difficulty (hard - easy)."""
        width = easy + self.difficulty * (hard - easy)
        return self.between(middle * (1 - width), middle * (1 + width), digits)

    def harder(self, easy: float, hard: float, digits: int = 4) -> float:
        """The value for the difficulty, straight between the easiest and the hardest."""
        return round(easy + self.difficulty * (hard - easy), digits)

    def one_of(self, *choices: str) -> str:
        """One of several words."""
        return choices[int(self._dice.integers(len(choices)))]

    def seed(self) -> int:
        """A seed for something larger, such as a terrain."""
        return int(self._dice.integers(2**31))


class Kind(NamedTuple):
    """A family of scenarios."""

    about: str
    """What is to be done, in one line."""
    materials: tuple[str, ...]
    draw: Callable[[Draw], dict[str, Any]]
    scene: Callable[[Numbers], Scene]
    """Raises ValueError where a number makes no sense."""
    plan: Callable[[Physics, Numbers], Tensor] | None = None
    """Actions `[T, A]` that solve the scenario from its start (goals and knobs as they are without
    draws); None: left to a planner."""


@dataclass(frozen=True)
class Scenario:
    """One task in one world."""

    kind: str
    seed: int
    difficulty: float
    numbers: Numbers

    def save(self, path: Path | str) -> Path:
        """Write it as JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, **self.__dict__}, indent=1) + "\n")
        return path

    @property
    def name(self) -> str:
        """Such as "push-3"."""
        return f"{self.kind}-{self.seed}"


def draw(kinds: Mapping[str, Kind], kind: str, seed: int, difficulty: float) -> Scenario:
    """The scenario of a seed.

    Raises:
        ValueError: there is no such kind, or seed or difficulty are out of range.
    """
    known(kinds, kind)
    if seed < 0 or not 0 <= difficulty <= 1:
        raise ValueError(
            f"A scenario needs a seed of at least 0 and a difficulty in [0, 1]; got {seed} and "
            f"{difficulty}."
        )
    return Scenario(kind, seed, difficulty, kinds[kind].draw(Draw(seed, difficulty)))


def known(kinds: Mapping[str, Kind], kind: str) -> None:
    """Raise ValueError where there is no such kind."""
    if kind not in kinds:
        raise ValueError(f"There is no kind of scenario {kind!r}; there are {', '.join(kinds)}.")


def read(kinds: Mapping[str, Kind], path: Path | str) -> Scenario:
    """A scenario from its file.

    Raises:
        ValueError: it is no such file; the message says what is wrong with which entry.
    """
    path = Path(path)
    try:
        given = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no scenario: it holds no JSON ({error}).") from error
    wanted: dict[str, Any] = {
        "format": int,
        "kind": str,
        "seed": int,
        "difficulty": (int, float),
        "numbers": dict,
    }
    if not isinstance(given, dict) or set(given) != set(wanted):
        raise ValueError(f"{path} is no scenario: it is to have the entries {', '.join(wanted)}.")
    wrong = [name for name, kind in wanted.items() if not isinstance(given[name], kind)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]!r} is {given[wrong[0]]!r}, of the wrong type.")
    if given["format"] != FORMAT:
        raise ValueError(f"{path} has format {given['format']}; this version reads {FORMAT}.")
    pattern = draw(kinds, given["kind"], given["seed"], given["difficulty"]).numbers
    _alike(str(path), pattern, given["numbers"])
    return Scenario(given["kind"], given["seed"], float(given["difficulty"]), given["numbers"])


def _alike(where: str, pattern: Any, given: Any) -> None:
    """Raise ValueError where `given` is not built as the pattern, or holds a number not finite."""
    if isinstance(pattern, Mapping):
        if not isinstance(given, Mapping) or set(given) != set(pattern):
            raise ValueError(f"{where} is to have the entries {', '.join(pattern)}.")
        for name, part in pattern.items():
            _alike(f"{where}: {name}", part, given[name])
    elif isinstance(pattern, list):
        if not isinstance(given, list) or len(given) != len(pattern):
            raise ValueError(f"{where} is to be a list of {len(pattern)}, not {given!r}.")
        for k, (part, value) in enumerate(zip(pattern, given, strict=True)):
            _alike(f"{where}[{k}]", part, value)
    elif isinstance(pattern, str):
        if not isinstance(given, str):
            raise ValueError(f"{where} is to be a word, not {given!r}.")
    elif isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"{where} is to be a finite number, not {given!r}.")


Bounds = tuple[float, float]
POSITIVE: Bounds = (1e-9, math.inf)


def require(numbers: Numbers, bounds: Mapping[str, Bounds]) -> None:
    """Raise ValueError where a number, or one of a list of numbers, is out of its bounds."""
    for name, (low, high) in bounds.items():
        given = numbers[name]
        if not all(low <= x <= high for x in (given if isinstance(given, list) else [given])):
            wanted = "more than 0" if (low, high) == POSITIVE else f"{low} to {high}"
            raise ValueError(f"The scenario's {name!r} is {given}; give {wanted}.")


def around(goal: Sequence[float], *wander: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lowest and highest values of a goal that differs by so much in each entry (one: alike in
    all)."""
    each = wander if len(wander) > 1 else wander * len(goal)
    low, high = (tuple(x + side * w for x, w in zip(goal, each, strict=True)) for side in (-1, 1))
    return low, high


def world_model(scene: Scene, backend: Backend = "auto", image: int = 0) -> Physics:
    """The scene as a world model; `image` is the side of the picture that it senses [px]."""
    spread = max(scene.spread, 1.0)
    config = PhysicsConfig(
        image=image, view=scene.view, context=scene.knobs, spread=(1 / spread, spread)
    )
    return Physics(scene.world, scene.task, config, backend)


def noise(scene: Scene, batch: int, generator: Generator | None = None) -> Mapping[str, Tensor]:
    """Uniform numbers in [0, 1) for what differs between episodes, `[B, ...]`."""
    sizes: dict[str, tuple[int, ...]] = {n: (len(low),) for n, (low, _) in scene.goals.items()}
    sizes |= dict.fromkeys(scene.knobs, ())
    return {name: torch.rand(batch, *n, generator=generator) for name, n in sizes.items()}


def begin(
    model: Physics, scene: Scene, batch: int, draws: Mapping[str, Tensor] | None = None
) -> PhysicsState:
    """The start of B episodes; without `draws` goals and factors are the scenario's own."""
    context = {}
    for name, share in (draws or {}).items():
        if name in scene.goals:
            low, high = (torch.tensor(bound) for bound in scene.goals[name])
            context[name] = low + share * (high - low)
        else:
            context[name] = scene.spread ** (2 * share - 1)
    return model.initial(batch, context)


@torch.no_grad()
def end_of(model: Physics, plans: Tensor) -> WorldState:
    """The world `[K, ...]` after each of K plans `[K, T, A]` from the start."""
    start = model.initial(len(plans))
    acts = plans.transpose(0, 1).unsqueeze(2)
    last = rollout.imagine(model, start, acts, (), keep="last").states
    world: WorldState = tree.select(last, 0).world
    return world
