"""What a trained run is worth: its return beside random actions, its predictions, its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reverie.core.model import Agent
from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.envs import EnvConfig, make
from reverie.envs.parallel import Maker
from reverie.eval.openloop import openloop
from reverie.eval.returns import Comparison, RandomAgent, Returns, compare, summarise
from reverie.eval.score import OpenLoop
from reverie.eval.windows import from_episodes
from reverie.learn.collect import play
from reverie.learn.device import Device
from reverie.learn.log import read
from reverie.recipes.run import JUDGED, Loaded, judges
from reverie.viz.film import Film, shoot
from reverie.viz.provenance import provenance
from reverie.viz.report import Report, write

RESULTS = "results"
"""Directory in a run for what was measured of it."""
RANDOM_EPISODES = 100
"""Of random actions, at least, whatever the policy is given. They earn little, and that by luck: on
cartpole swing-up an episode earns 88 with a spread of 68, so that the mean of ten may be half the
truth, and a ratio to it twice. No network acts in them, so that they cost seconds."""


def evaluate(
    loaded: Loaded, episodes: int = 10, sample: bool = False, seed: int = JUDGED
) -> Comparison:
    """The return of the policy's mode (or of samples) over `episodes`, beside that of uniform
    random actions over the same ones and more, `RANDOM_EPISODES` in all if that is more; written
    to `results/evaluation.json`.

    Raises:
        ValueError: the run has several tasks; `evaluate_each` judges them.
    """
    result = _judge(loaded, loaded.env, episodes, sample, seed)
    _keep(loaded, "evaluation", result.to_json())
    return result


def evaluate_each(
    loaded: Loaded, episodes: int = 10, sample: bool = False, seed: int = JUDGED
) -> dict[str, Comparison]:
    """`evaluate` by name of the task: so many episodes of each of a run's tasks, one or several."""
    if loaded.tasks is None:
        return {loaded.env.name: evaluate(loaded, episodes, sample, seed)}
    names = [task.name for task in loaded.tasks.members]
    found = [_judge(loaded, env, episodes, sample, seed) for env in loaded.tasks.makers]
    results = dict(zip(names, found, strict=True))
    _keep(loaded, "evaluation", {"tasks": {name: r.to_json() for name, r in results.items()}})
    return results


def _judge(loaded: Loaded, env: Maker, episodes: int, sample: bool, seed: int) -> Comparison:
    ours = _play(loaded.agent, env, episodes, loaded.device, sample, seed)
    dice, many = RandomAgent(loaded.model.spec.action, seed), max(episodes, RANDOM_EPISODES)
    return compare(ours, _play(dice, _unseen(env), many, loaded.device, False, seed))


def _unseen(env: Maker) -> Maker:
    """The same task without pictures, which cost most of its time, and which dice do not see."""
    return replace(env, pixels=False, with_state=False) if isinstance(env, EnvConfig) else env


def _play(
    agent: Agent, env: Maker, episodes: int, device: Device, sample: bool, seed: int
) -> Returns:
    with judges(env, episodes, seed) as envs:
        played = play(agent, envs, episodes, device=device, seed=seed, sample=sample)
    return summarise(played.returns.tolist(), deterministic=not sample, seed=seed)


def predict(
    loaded: Loaded,
    *,
    episodes: int = 5,
    observed: int = 20,
    horizon: int = 50,
    samples: int = 8,
    windows: int = 64,
    seed: int = 2_000_003,
) -> OpenLoop:
    """Errors against horizon on new episodes of the policy (sampled actions, so that the model is
    asked about more than one way to act); written to `results/prediction.json`."""
    with judges(loaded.env, episodes, seed) as envs:
        played = play(
            loaded.agent, envs, episodes, device=loaded.device, seed=seed, sample=True, record=True
        )
    ahead = {"observed": observed, "horizon": horizon, "samples": samples, "windows": windows}
    return openloop_on(loaded, played.rows, {}, seed=seed, **ahead)


def openloop_on(
    loaded: Loaded,
    rows: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    *,
    observed: int,
    horizon: int,
    samples: int,
    windows: int,
    seed: int,
) -> OpenLoop:
    """Errors against horizon on whole episodes, over fewer decisions where the longest is shorter;
    written to `results/prediction.json` with what else there is to say `about` it."""
    horizon = min(horizon, max(len(r["reward"]) for r in rows) - observed)
    cut = from_episodes(rows, observed + horizon, windows, seed=seed)
    with torch.no_grad(), loaded.device.autocast():
        result = openloop(
            loaded.model,
            cut._replace(batch=loaded.device.put(cut.batch)),
            observed=observed,
            horizon=horizon,
            samples=samples,
            generator=loaded.device.generator(seed),
            seed=seed,
        )
    _keep(loaded, "prediction", {**about, **result.to_json()})
    return result


def film(loaded: Loaded, *, observed: int = 10, horizon: int = 75, seed: int = 3_000_003) -> Film:
    """One episode of the policy, and the same stretch imagined from its first rows."""
    env = make(loaded.env) if loaded.env.pixels else make(loaded.env, quality="full")
    try:
        with torch.no_grad():
            return shoot(
                env,
                loaded.agent,
                loaded.model,
                device=loaded.device,
                seed=seed,
                observed=observed,
                horizon=horizon,
                generator=loaded.device.generator(seed),
            )
    finally:
        env.close()


def report(loaded: Loaded, out: Path | None = None, episodes: int = 10) -> Path:
    """Judge, predict, film, and write one self-contained page; `report.html` in the run."""
    recipe = loaded.recipe
    parameters = sum(p.numel() for p in loaded.learner.parameters() if p.requires_grad)
    page = Report(
        task=loaded.env.name,
        family=f"{recipe.family}, {parameters / 1e6:.2f} M parameters",
        counters=loaded.counters,
        returns=evaluate(loaded, episodes),
        log=read(recipe.run / "log.jsonl"),
        openloop=predict(loaded),
        film=film(loaded),
        facts={
            "Environment": f"{recipe.env.name}, action repeat {recipe.env.repeat}",
            "Seed": str(recipe.training.seed),
            "Parameters": f"{parameters:,}",
            **provenance(),
        },
        config=to_json(recipe),
    )
    return write(page, out or recipe.run / "report.html")


def results(run: Path | str) -> dict[str, Any]:
    """What was measured of a run so far, by name."""
    return {p.stem: json.loads(p.read_text()) for p in sorted((Path(run) / RESULTS).glob("*.json"))}


def _keep(loaded: Loaded, name: str, value: Any) -> None:
    directory = loaded.recipe.run / RESULTS
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / f"{name}.json", {"counters": loaded.counters, **value})
