"""A policy that learns inside the finished world model of a run, and is judged in the real
environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reverie.core.model import Agent
from reverie.data import EpisodeStore
from reverie.data.container import write_json
from reverie.data.serial import from_json, to_json
from reverie.eval.returns import Comparison, RandomAgent, Returns, compare, summarise
from reverie.imagine import ActorCriticConfig, FrozenLearner, ReturnConfig
from reverie.learn.checkpoint import CheckpointError, Checkpoints, load_weights
from reverie.learn.collect import play
from reverie.learn.directory import RunDirectory
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import RunConfig
from reverie.learn.run import train as fit
from reverie.recipes.data import DataConfig, as_store, closing, opened
from reverie.recipes.evidence import acts
from reverie.recipes.run import JUDGED, Loaded, judges
from reverie.viz.provenance import provenance


@dataclass(frozen=True)
class Dreaming:
    """How a policy learns in a finished model, and how it is judged."""

    out: str = ""
    """Directory of the policy: checkpoints, log, result; by default `dream` in the run. The same
    command goes on where it was stopped."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes in whose states imagination begins; by default those that the run learnt
    from. --data PATH is short."""
    behaviour: ActorCriticConfig = field(
        default_factory=lambda: ActorCriticConfig(
            horizon=10, starts=4, returns=ReturnConfig(discount=0.975)
        )
    )
    """Actor and critic."""
    training: RunConfig = field(
        default_factory=lambda: RunConfig(
            updates=1000, optimiser=OptimiserConfig(lr=1e-3, warmup=100)
        )
    )
    """Updates, optimiser and seed."""
    judged: int = 10
    """Episodes in the real environment, of the policy and of random actions; 0 leaves that out."""


class Dreamed(NamedTuple):
    """What came of it."""

    finished: bool
    """False where it was stopped: the same call goes on."""
    updates: int
    place: Path
    returns: Comparison | None
    """Of the policy, beside random actions, in the same episodes of the real environment."""


def dream(loaded: Loaded, config: Dreaming) -> Dreamed:
    """Train a policy in the model of a run, which does not change, and judge it; what it earned is
    written to `result.json` in its directory.

    Raises:
        ValueError: the model predicts no reward or has no features, no number of updates is given,
            the data does not fit, or the directory holds a policy with other settings.
    """
    place = _place(loaded, config.out)
    learner = _learner(loaded, config.behaviour, config.training.seed)
    about = {
        "behaviour": to_json(config.behaviour),
        "seed": config.training.seed,
        "model": loaded.checkpoint.name,
    }
    with RunDirectory(place) as directory:
        _same(directory, about)
        with _episodes(loaded, config, directory) as store:
            replay = loaded.recipe.replay.build(store, seed=config.training.seed, latent={})
            result = fit(
                learner,
                replay,
                config.training,
                directory,
                family=loaded.recipe.family,
                recipe=about,
            )
    updates = result.counters.updates
    if not result.finished:
        return Dreamed(False, updates, place, None)
    learner.eval()
    judged = _judged(loaded, learner.agent, config.judged) if config.judged else None
    said = {"returns": judged.to_json() if judged else None, "updates": updates}
    write_json(place / "result.json", {**said, **about, **provenance()})
    return Dreamed(True, updates, place, judged)


def dreamt(loaded: Loaded, place: Path | str = "") -> FrozenLearner:
    """What `dream` made: its `agent` acts, its `policy` and `critic` help planners.

    Raises:
        CheckpointError: there is none, or it learnt in another checkpoint of the model.
    """
    where = _place(loaded, str(place))
    found = Checkpoints(where / "checkpoints").latest()
    if found is None:
        raise CheckpointError(f"{where} holds no policy; `reverie dream` trains one.")
    about = found.about["recipe"]
    if about["model"] != loaded.checkpoint.name:
        raise CheckpointError(
            f"The policy in {where} learnt in checkpoint {about['model']} of {loaded.recipe.run}, "
            f"and this is {loaded.checkpoint.name}; train it anew, elsewhere."
        )
    behaviour = from_json(ActorCriticConfig, about["behaviour"], "behaviour")
    learner = _learner(loaded, behaviour, int(about["seed"]))
    load_weights(learner, found.part("model"), str(found.path))
    return learner.eval()


def _place(loaded: Loaded, out: str) -> Path:
    return Path(out) if out else Path(loaded.recipe.run) / "dream"


def _learner(loaded: Loaded, behaviour: ActorCriticConfig, seed: int) -> FrozenLearner:
    torch.manual_seed(seed)
    learner = FrozenLearner(loaded.model, behaviour)
    learner.to(loaded.device.device)
    return learner


def _same(directory: RunDirectory, about: dict[str, Any]) -> None:
    """Refuse to go on with something else."""
    found = Checkpoints(directory.checkpoints).latest()
    if found is None:
        return
    before = dict(found.about["recipe"])
    stored = from_json(ActorCriticConfig, before["behaviour"], "behaviour")
    before["behaviour"] = to_json(stored)  # with the defaults of options it had not yet
    changed = [f"{n} was {before[n]} and is {v}" for n, v in about.items() if before[n] != v]
    if changed:
        raise ValueError(
            f"{directory.path} holds a policy that was trained otherwise: {'; '.join(changed)}. "
            "Choose another --out."
        )


@contextmanager
def _episodes(loaded: Loaded, config: Dreaming, directory: RunDirectory) -> Iterator[EpisodeStore]:
    """The rows in whose states imagination begins."""
    learnt, known, run = loaded.recipe.data, loaded.known, RunDirectory(loaded.recipe.run)
    own = run.episodes if acts(loaded) else run.path / "data"  # a copy, where one was needed
    if not config.data.path and own.is_dir():
        yield EpisodeStore.open(own)
        return
    data = config.data if config.data.path else learnt
    sensors = data.sensors or learnt.sensors or tuple(loaded.model.spec.obs)
    size = data.size if any(data.size) else learnt.size
    data = DataConfig(data.path, sensors, size, data.actions, data.episodes)
    with (
        closing(opened(data, known.scaling if known else None)) as dataset,
        as_store(dataset, directory) as (store, _),
    ):
        yield store


def _judged(loaded: Loaded, agent: Agent, episodes: int) -> Comparison:
    """In the same episodes of the real environment."""

    def earned(who: Any) -> Returns:
        with judges(loaded.env, episodes) as envs:
            played = play(who, envs, episodes, device=loaded.device, seed=JUDGED)
        return summarise(played.returns.tolist(), seed=JUDGED)

    return compare(earned(agent), earned(RandomAgent(loaded.model.spec.action, JUDGED)))
