"""Carrying out a recipe, and coming back to what it made: the same for every family."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from reverie.core.model import Agent
from reverie.core.spec import Space
from reverie.data import EpisodeStore, ReplayConfig
from reverie.data.container import write_json
from reverie.data.datasets import Dataset
from reverie.data.schema import Schema
from reverie.data.serial import from_json, to_json
from reverie.envs import EnvConfig
from reverie.envs.parallel import Maker, Parallel, parallel
from reverie.envs.tasks import Tasks, share
from reverie.learn.checkpoint import CheckpointError, Checkpoints, load_weights
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.learn.directory import RunDirectory
from reverie.learn.learner import latent_spaces
from reverie.learn.optim import PMIN
from reverie.learn.run import Result, RunConfig
from reverie.learn.run import train as fit
from reverie.models import FAMILIES
from reverie.recipes.data import DataConfig, Known, as_store, closing, opened, take_in

JUDGED = 1_000_003
"""Seed of the episodes in which a policy is judged: other ones than those it learns from."""

MAY_CHANGE = (
    "run",
    "workers",
    "replay.motion",
    "training.frames",
    "training.updates",
    "training.evaluate",
    "training.checkpoint",
    "training.log",
    "training.device",
    "training.optimiser.cooldown",
)
"""Options that a resumed run may have otherwise than the run that it continues."""


class Recipe(Protocol):
    """What a family's recipe has in common with all others.

    A family with one model for several tasks has names of environments in `tasks`, too; where there
    are any, `build` is given what they are: `reverie.envs.tasks.Task`, one each.
    """

    @property
    def run(self) -> Path:
        """Directory of the run."""
        ...

    @property
    def env(self) -> EnvConfig:
        """Where it acts."""
        ...

    @property
    def envs(self) -> int:
        """How many side by side."""
        ...

    @property
    def workers(self) -> int:
        """Processes that step them."""
        ...

    @property
    def data(self) -> DataConfig:
        """Recorded episodes to learn from, too or instead."""
        ...

    @property
    def replay(self) -> ReplayConfig:
        """How rows are sampled."""
        ...

    @property
    def training(self) -> RunConfig:
        """Budget and settings."""
        ...

    @property
    def family(self) -> str:
        """Name of the model family."""
        ...

    @property
    def discount(self) -> float:
        """Of one decision, in what is learnt."""
        ...

    def build(self, obs: Mapping[str, Space], action: Space, dt: float) -> Any:
        """A new learner for these spaces."""
        ...


def recipe_class(family: str) -> type[Any]:
    """The recipe of a family: `RECIPE` in the module of recipes that has its name.

    Raises:
        ValueError: no family has that name, or it has nothing to train.
    """
    if family not in FAMILIES:
        raise ValueError(f"No model family is called {family!r}; there are: {', '.join(FAMILIES)}.")
    if family not in trained():
        raise ValueError(
            f"The family {family!r} is not trained: nothing in it is fitted; use its model as it "
            f"is. Trained are: {', '.join(trained())}."
        )
    kind: type[Any] = importlib.import_module(f"reverie.recipes.{family}").RECIPE
    return kind


def trained() -> tuple[str, ...]:
    """The families that have a recipe, by which they are trained."""
    return tuple(name for name in FAMILIES if find_spec(f"reverie.recipes.{name}") is not None)


def train(recipe: Recipe) -> Result:
    """Carry out a recipe in its run directory, from where it stands there.

    Raises:
        ValueError: the directory holds a run of another recipe; the message says what differs.
    """
    _same_recipe(recipe)
    if recipe.data.path and not recipe.training.prefill.updates:
        return _train_recorded(recipe)
    tasks = _shared(recipe)
    kinds, count = (tasks.makers, len(tasks.members)) if tasks else (recipe.env, 1)
    seed = recipe.training.seed
    with (
        parallel(kinds, max(recipe.envs, count), seed, recipe.workers) as envs,
        RunDirectory(recipe.run) as directory,
    ):
        meta = {"env": envs.name, "repeat": envs.repeat, "dt": envs.dt, "tasks": to_json(tasks)}
        with EpisodeStore(directory.episodes, envs.obs, envs.action, meta=meta) as store:
            known = take_in(recipe.data, recipe.env, store, directory) if recipe.data.path else None
            return _fit(recipe, store, directory, envs, envs.dt, tasks, known)


def _train_recorded(recipe: Recipe) -> Result:
    with closing(opened(recipe.data)) as dataset:
        tasks = _recorded(recipe, dataset)
        with (
            RunDirectory(recipe.run) as directory,
            as_store(dataset, directory) as (store, known),
        ):
            return _fit(recipe, store, directory, None, dataset.about.dt, tasks, known)


def require_budget(recipe: Recipe) -> None:
    """What every recipe checks of its budget when it is made.

    Raises:
        ValueError: recorded episodes without a number of updates, or the other way round.
    """
    training = recipe.training
    if recipe.data.path and not (training.updates or training.prefill.updates):
        raise ValueError(
            "Learning from recorded episodes ends after a number of updates: set "
            "--training.updates, or --training.prefill.updates to act after so many."
        )
    if training.prefill.updates and not recipe.data.path:
        raise ValueError(
            f"{training.prefill.updates} updates before acting need recorded episodes; set --data."
        )


def _shared(recipe: Recipe) -> Tasks | None:
    """The tasks of a recipe that has several; each is built once."""
    names = getattr(recipe, "tasks", ())
    return share([replace(recipe.env, name=name) for name in names]) if names else None


def _recorded(recipe: Recipe, dataset: Dataset) -> Tasks | None:
    """The tasks that recorded episodes are of, as the episodes say, or else as the recipe does."""
    named, said = list(getattr(recipe, "tasks", ())), dataset.about.extra.get("tasks")
    stored = from_json(Tasks, said, "tasks") if isinstance(said, Mapping) else None
    found = [task.name for task in stored.members] if stored else []
    if stored is not None and hasattr(recipe, "tasks") and named != found:
        raise ValueError(
            f"The episodes in {dataset.where} are of the tasks {', '.join(found)}, in this "
            f"order, and the recipe names {', '.join(named) or 'none'}; set --tasks "
            f"{' '.join(found)}."
        )
    tasks = (stored if named else None) or _shared(recipe)
    if tasks is not None:
        there = Schema(dataset.obs, dataset.action)
        Schema(tasks.obs, tasks.action).require_equal(there, dataset.where)
    return tasks


def _build(
    recipe: Any, obs: Mapping[str, Space], action: Space, dt: float, tasks: Tasks | None
) -> Any:
    return recipe.build(obs, action, dt, *([tasks.members] if tasks else []))


def _fit(
    recipe: Recipe,
    store: EpisodeStore,
    directory: RunDirectory,
    envs: Parallel | None,
    dt: float,
    tasks: Tasks | None,
    known: Known | None,
) -> Result:
    learner = _build(recipe, store.schema.obs, store.schema.action, dt, tasks)
    replay = recipe.replay.build(store, seed=recipe.training.seed, latent=latent_spaces(learner))
    write_json(directory.config, {"family": recipe.family, "recipe": to_json(recipe)})
    every = recipe.training.evaluate
    return fit(
        learner,
        replay,
        recipe.training,
        directory,
        family=recipe.family,
        envs=envs,
        evaluation=(lambda: _judges_of(recipe, tasks)) if every.every else None,
        recipe={
            "recipe": to_json(recipe),
            "dt": dt,
            "tasks": to_json(tasks),
            "data": known.to_json() if known else None,
        },
    )


def judges(env: Maker, count: int, seed: int = JUDGED) -> Parallel:
    """Environments in which a policy is judged: at most 5 side by side, always the same episodes,
    other ones than those it learns from."""
    return parallel(env, min(count, 5), seed)


def _judges_of(recipe: Recipe, tasks: Tasks | None) -> Parallel:
    """Those in which a run is judged on the way; one of each task."""
    if tasks is not None:
        return parallel(tasks.makers, len(tasks.members), JUDGED)
    return judges(recipe.env, recipe.training.evaluate.episodes)


def _same_recipe(recipe: Recipe) -> None:
    path = RunDirectory(recipe.run).config
    if not path.exists():
        return
    stored = json.loads(path.read_text())
    defaults = _flat(to_json(type(recipe)()))  # options it had not yet
    old = {**defaults, **_flat(_today(stored["recipe"]))}
    new = _flat(to_json(recipe))
    if stored["family"] != recipe.family:
        raise ValueError(
            f"{path.parent} holds a run of family {stored['family']!r}, not {recipe.family!r}; "
            "choose another --run."
        )
    changed = [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and not name.startswith(MAY_CHANGE)
    ]
    if changed:
        raise ValueError(
            f"{path.parent} holds a run with other options: {'; '.join(changed)}. "
            "Give the same options to resume it, or choose another --run."
        )


def _today(recipe: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe in today's form: `data` was a directory or null once, and what is `PMIN` now
    was an option."""
    data = recipe.get("data")
    if isinstance(data, str | None):
        recipe = {**recipe, "data": {"path": data or ""}}
    optimiser = recipe.get("training", {}).get("optimiser", {})
    if optimiser.get("pmin") == PMIN:
        kept = {name: value for name, value in optimiser.items() if name != "pmin"}
        recipe = {**recipe, "training": {**recipe["training"], "optimiser": kept}}
    return recipe


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update(_flat(inner, f"{name}.{key}" if name else key))
    return flat


@dataclass(frozen=True)
class Loaded:
    """A trained learner, ready to act and to imagine."""

    recipe: Any
    learner: Any
    device: Device
    counters: dict[str, Any]
    """How long it was trained: frames, decisions, updates, seconds."""
    checkpoint: Path
    tasks: Tasks | None = None
    """Where there are several."""
    known: Known | None = None
    """Recorded episodes that it learnt from, and how their actions were scaled."""

    @property
    def env(self) -> EnvConfig:
        """Where it acts.

        Raises:
            ValueError: there are several tasks.
        """
        if self.tasks is not None:
            names = ", ".join(task.name for task in self.tasks.members)
            raise ValueError(
                f"{self.recipe.run} has several tasks, {names}, and this looks at one environment; "
                "`reverie returns` judges each of them."
            )
        env: EnvConfig = self.recipe.env
        return env

    @property
    def model(self) -> Any:
        """The world model."""
        return self.learner.model

    def denoise_in(self, steps: int) -> None:
        """Let the model make a frame in so many denoising steps from now on; 0 leaves it as it is.

        Raises:
            ValueError: its frames are not made by denoising, or not in so many steps.
        """
        if not steps:
            return
        change = getattr(self.model, "denoise_in", None)
        if change is None:
            raise ValueError(
                f"{steps} denoising steps were asked for, and a {self.recipe.family} model does "
                "not denoise; leave --steps out."
            )
        change(steps)

    @property
    def agent(self) -> Agent:
        """Who acts."""
        agent: Agent = self.learner.agent
        return agent


def load(run: Path | str, device: DeviceConfig | None = None) -> Loaded:
    """The newest intact checkpoint of a run directory.

    Raises:
        CheckpointError: there is none, or it does not fit this version.
    """
    found = Checkpoints(Path(run) / "checkpoints").latest()
    if found is None:
        raise CheckpointError(f"{run} holds no checkpoint; give the directory of a run.")
    recipe = from_json(
        recipe_class(found.family), _today(found.about["recipe"]["recipe"]), "recipe"
    )
    recipe = replace(recipe, run=Path(run))
    spaces, said = found.about["spaces"], found.about["recipe"].get("tasks")
    tasks = from_json(Tasks, said, "tasks") if said else None
    learner = _build(
        recipe,
        {name: Space.from_json(space) for name, space in spaces["obs"].items()},
        Space.from_json(spaces["action"]),
        float(found.about["recipe"]["dt"]),
        tasks,
    )
    settled = settle(device or recipe.training.device)
    load_weights(learner, found.part("model"), str(found.path))
    learner.to(settled.device).eval()
    said = found.about["recipe"].get("data")
    known = Known.from_json(said) if said else None
    return Loaded(recipe, learner, settled, dict(found.about["counters"]), found.path, tasks, known)
