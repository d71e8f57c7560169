"""What learning on recorded episodes brings: the data curve of a run, and its adaptation.

Everything that is fitted stays in the directory of the comparison, each a run of its own, and is
resumed or found again by the same command.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.envs import EnvConfig, make
from reverie.envs.changed import Change
from reverie.eval.datacurve import DataCurve
from reverie.eval.score import Curve, Kind
from reverie.eval.sidebyside import WindowErrors, root
from reverie.eval.windows import Windows, from_episodes
from reverie.learn.directory import RunDirectory
from reverie.learn.learner import latent_spaces
from reverie.learn.run import RunConfig
from reverie.learn.run import train as fit
from reverie.recipes.comparison_measure import errors_on
from reverie.recipes.comparison_subjects import (
    Candidate,
    Comparing,
    Ground,
    Rows,
    read_out,
    record,
)
from reverie.recipes.data import DataConfig
from reverie.recipes.run import Loaded, load, train
from reverie.recipes.twin import TwinConfig, identify_twin
from reverie.recipes.twin_source import PHYSICS

MADE = "made.json"
"""How recorded episodes were made; they are made again where it was in another way."""

_ROW = ("action", "reward", "first", "last", "terminated")
_LENGTH, _PIECES = 25, 64  # rows and number of the stretches that a twin is identified from


class StoppedError(RuntimeError):
    """A fit was stopped by a signal; the same command goes on."""


def training_episodes(runs: Sequence[Loaded], env: EnvConfig, config: Comparing) -> Path:
    """A store of `max(config.curve)` recorded episodes, in an order that mixes all policies.

    They are other ones than those that are measured on, and are kept.
    """
    place, count = config.out / "curve", max(config.curve)
    about = {**_about(runs, env, config), "episodes": count}
    if not _is_whole(place, about):
        each = math.ceil(count / (len(runs) * config.policies))
        played = record(runs, env, config.policies, each, config.seed + 7919)
        rows = [episode for episodes in played for episode in episodes]
        order = np.random.default_rng(config.seed).permutation(len(rows))[:count]
        write_store(place / "store", env, [rows[k] for k in order])
        _finish(place, about)
    return place / "store"


def write_store(place: Path, env: EnvConfig, episodes: Rows, only: Sequence[str] = ()) -> None:
    """Write episodes, of all sensors or of some."""
    made = make(env)
    spaces = {n: s for n, s in made.obs.items() if not only or n in only}
    meta = {"env": env.name, "repeat": made.repeat, "dt": made.dt}
    action: Space = made.action
    made.close()
    with EpisodeStore(place, spaces, action, meta=meta) as kept:
        for rows in episodes:
            for k in range(len(rows["reward"])):
                kept.append(0, {n: v[k] for n, v in rows.items() if n in spaces or n in _ROW})
            kept.cut(0)
            kept.flush()


def _about(runs: Sequence[Loaded], env: EnvConfig, config: Comparing) -> dict[str, Any]:
    """On what recorded episodes depend."""
    return {
        "env": to_json(env),
        "runs": [{"run": str(run.recipe.run), **run.counters} for run in runs],
        "policies": config.policies,
        "seed": config.seed,
    }


def _is_whole(place: Path, about: Mapping[str, Any]) -> bool:
    """Whether a directory holds all that is described; else it is emptied to be filled.

    Raises:
        ValueError: it holds what no comparison made.
    """
    said = place / MADE
    if said.exists():
        if json.loads(said.read_text()) == {"about": about, "whole": True}:
            return True
        shutil.rmtree(place)
    elif place.exists() and any(place.iterdir()):
        raise ValueError(
            f"{place} holds something else than what a comparison made; choose another --out."
        )
    place.mkdir(parents=True, exist_ok=True)
    write_json(said, {"about": about, "whole": False})
    return False


def _finish(place: Path, about: Mapping[str, Any]) -> None:
    write_json(place / MADE, {"about": about, "whole": True})


def data_curve(candidate: Candidate, data: Path, ground: Ground, config: Comparing) -> DataCurve:
    """Fresh models of a run's recipe, from the first N episodes each, on the shared windows."""
    found, seconds = [], []
    for count in config.curve:
        loaded = fresh(candidate, data, count, config)
        made = candidate._replace(model=loaded.model, loaded=loaded)
        shown, _ = read_out(made, ground.aside)
        found.append(errors_on(made, shown, ground, ground.windows))
        seconds.append(float(loaded.counters["seconds"]))
    return curve_of(config.curve, found, ground, seconds)


def identified(
    candidate: Candidate, episodes: Rows, ground: Ground, windows: Windows
) -> WindowErrors:
    """Errors of the twin once that its masses are identified from recorded episodes, by gradient.

    One factor for all masses stands for weaker motors, too: without springs and armature, a robot
    moves alike when it is twice as heavy and when its motors are half as strong.
    """
    cut = from_episodes(episodes, _LENGTH, _PIECES, seed=ground.seed)
    silent = TwinConfig(reward=False)
    found = identify_twin(ground.env, cut.batch, ("mass",), length=_LENGTH, config=silent)
    now = candidate._replace(model=found.twin, silent=None)
    return errors_on(now, found.twin, ground, windows)


def twin_curve(
    candidate: Candidate, data: Path, known: WindowErrors, ground: Ground, config: Comparing
) -> DataCurve:
    """The twin as its description says, with 0 episodes and the errors `known`, and identified from
    the first N."""
    kept, found = EpisodeStore.open(data), [known]
    seconds = [0.0]
    for count in config.curve:
        begun = time.monotonic()
        rows = [kept.read(e.name) for e in kept.episodes()[:count]]
        found.append(identified(candidate, rows, ground, ground.windows))
        seconds.append(time.monotonic() - begun)
    return curve_of((0, *config.curve), found, ground, seconds)


def curve_of(
    counts: Sequence[int],
    found: Sequence[WindowErrors],
    ground: Ground,
    seconds: Sequence[float] = (),
) -> DataCurve:
    """Errors over the whole horizon: the root of the mean of `overall`."""
    points = [root(overall(e, ground.kind)[:, None], e.groups, ground.seed) for e in found]
    ends = (tuple(getattr(p, k)[0] for p in points) for k in ("mean", "low", "high"))
    return DataCurve(tuple(counts), Curve(*ends), tuple(seconds))


def overall(errors: WindowErrors, kind: Kind) -> Any:
    """Squared error of each window over the whole horizon, `[N]`, of the sensors of one kind: of
    vectors in variances; NaN where the model shows none."""
    square = [s.square.mean(1) for s in errors.sensors.values() if s.kind == kind]
    if not square:
        return np.full(len(errors.groups), np.nan)
    return errors.pooled().mean(1) if kind == "vector" else np.mean(square, 0)


def fresh(candidate: Candidate, data: Path, count: int, config: Comparing) -> Loaded:
    """A model of the run's recipe that learnt from the first `count` recorded episodes alone.

    Raises:
        StoppedError: a signal stopped it.
    """
    assert candidate.loaded is not None
    recipe = candidate.loaded.recipe
    seen = tuple(candidate.spec.obs)
    made = replace(
        recipe,
        run=data.parent / f"{_word(candidate)}-{count}-{config.updates}",
        data=DataConfig(str(data), sensors=seen, episodes=count),
        training=offline(recipe.training, config.updates, config.seed),
    )
    if not train(made).finished:
        raise StoppedError("The data curve was stopped; run the same command again to go on.")
    return load(made.run)


def offline(training: RunConfig, updates: int, seed: int) -> RunConfig:
    """So many updates on recorded episodes, quietly."""
    return replace(
        training,
        seed=seed % 2**31,
        updates=updates,
        prefill=replace(training.prefill, updates=0),
        evaluate=replace(training.evaluate, every=0),
        log=replace(training.log, progress="off", tensorboard=False),
    )


def adapted(
    candidate: Candidate, change: Change, ground: Ground, config: Comparing
) -> WindowErrors:
    """Errors on a changed robot after `config.adapt` further updates on a few of its episodes.

    Raises:
        StoppedError: a signal stopped it.
    """
    assert candidate.loaded is not None
    loaded, spec = load(candidate.loaded.recipe.run), candidate.spec
    recipe, learner = loaded.recipe, loaded.learner.train()
    training = offline(recipe.training, config.adapt, config.seed)
    place = config.out / "adapted" / f"{_word(candidate)}-{change}"
    seen = [name for name in spec.obs if name != PHYSICS]
    about = {**_about([loaded], ground.env, config), "updates": config.adapt}
    if not _is_whole(place, about):
        write_store(place / "store", ground.env, ground.adaptation[change], seen)
        _finish(place, about)
    with EpisodeStore(place / "store", {n: spec.obs[n] for n in seen}, spec.action) as kept:
        replay = recipe.replay.build(kept, seed=training.seed, latent=latent_spaces(learner))
        made = {"recipe": to_json(recipe), "dt": spec.dt, "tasks": None, "data": None}
        given = {"family": recipe.family, "recipe": made}
        result = fit(learner, replay, training, RunDirectory(place / "run"), **given)
    if not result.finished:
        raise StoppedError("Adapting was stopped; run the same command again to go on.")
    now = candidate._replace(model=learner.eval().model)
    shown, _ = read_out(now, ground.aside)
    return errors_on(now, shown, ground, ground.changes[change])


def _word(candidate: Candidate) -> str:
    """Its name as that of a directory."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in candidate.name)
