"""Episodes that a model imagines, written as a dataset that says so.

    reverie generate runs/pusht --data data/pusht --out data/imagined --episodes 200

Each begins where a recorded episode is, or where the environment resets: its first row was sensed,
all others are the model's. The dataset's robot is "generated: ...", and each episode's task names
the run, its checkpoint, who acted and the seed that makes it again.

Legend: `N` episodes, `T` rows, `A` action.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Agent, Obs
from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.datasets import ActionInfo
from reverie.data.lerobot.writer import LeRobotWriter
from reverie.data.serial import to_json
from reverie.envs import make
from reverie.eval.windows import Windows, from_episodes
from reverie.learn.explore import Explorer
from reverie.recipes.collecting import Format, recorded_already
from reverie.recipes.data import DataConfig, native_scaling
from reverie.recipes.evidence import acts, recorded
from reverie.recipes.run import Loaded, load

AT_ONCE = 16
"""Episodes that are imagined side by side."""


@dataclass(frozen=True)
class Generating:
    """What is imagined, by whom, and where it goes."""

    out: Path
    """Directory of the dataset; episodes are added where one is there already."""
    data: DataConfig = field(default_factory=DataConfig)
    """Recorded episodes in which the imagined ones begin; by default those that the run learnt
    from, or resets of the environment in which it acts. --data PATH is short."""
    policy: str = "recorded"
    """Who acts: recorded (the actions that were taken from there on), random, or the directory of
    a run, whose agent sees what the model shows."""
    noise: float = 0.0
    """Deviation of Gaussian noise on the actions, in half ranges."""
    random: float = 0.0
    """Share of stretches of `hold` decisions with a uniform random action instead."""
    hold: int = 5
    """Decisions for which such an action is held."""
    episodes: int = 16
    """How many to imagine."""
    observed: int = 4
    """Recorded rows that the model watches; the last of them is where the episode begins."""
    horizon: int = 50
    """Decisions of an episode, at most."""
    limit: float = 0.0
    """The largest uncertainty of a step, in the unit of the model; before one that is less certain
    the episode ends. 0 for none."""
    format: Format = "lerobot"
    """LeRobotDataset v3, or Reverie's episode store."""
    task: str = ""
    """What the robot does, in words; the episodes' tasks begin with it."""
    steps: int = 0
    """Denoising steps of a frame, 1, 2, 4 .., of a model that denoises, which keeps to them
    afterwards; 0 leaves it as it is."""
    seed: int = 0
    """Of the beginnings, of the model's noise and of everything random."""


class Generated(NamedTuple):
    """What was written."""

    episodes: int
    decisions: int
    returns: tuple[float, ...]
    """Predicted, of each episode; 0 where the model predicts no reward."""
    uncertain: int
    """Episodes that the limit ended; those that it ended at once are not written."""
    seconds: float


def generate(loaded: Loaded, config: Generating) -> Generated:
    """Imagine episodes and write them.

    Raises:
        ValueError: the model shows nothing, or takes several actions at once; nothing is recorded
            to act as; the policy is unknown or sees what the model does not show; the directory
            holds other data.
    """
    begun = time.monotonic()
    _require(loaded, config)
    loaded.denoise_in(config.steps)
    before = recorded_already(config.out, config.format)
    returns, decisions, uncertain = list[float](), 0, 0
    words = _words(loaded, config)
    with _writer(loaded, config, words) as writer:
        for k in range(0, config.episodes, AT_ONCE):
            seed = config.seed + before + k
            count = min(AT_ONCE, config.episodes - k)
            for i, rows in enumerate(dream(loaded, config, count, seed)):
                uncertain += rows.uncertain
                if len(rows.rows) < 2:
                    continue
                _write(writer, rows.rows, f"{words}, seed {seed}, row {i}")
                returns.append(float(sum(row["reward"] for row in rows.rows)))
                decisions += len(rows.rows) - 1
    took = time.monotonic() - begun
    return Generated(len(returns), decisions, tuple(returns), uncertain, took)


class Dreamt(NamedTuple):
    """An imagined episode."""

    rows: list[dict[str, Any]]
    """As the writers of datasets take them; the first was sensed."""
    uncertain: bool
    """Whether the limit ended it."""


def dream(loaded: Loaded, config: Generating, count: int, seed: int) -> list[Dreamt]:
    """N episodes side by side: some rows are watched, the rest is imagined.

    An episode is over where the model says that it is more likely over than not.
    """
    model, device = loaded.model, loaded.device
    windows, seen = _starts(loaded, config, count, seed)
    generator = device.generator(seed)
    batch = device.put(windows.batch)
    agent = _agent(config, model.spec.action, batch.action[:, seen:], seed)
    known = {n: v[:, seen - 1] for n, v in batch.obs.items()}
    fixed = {n: known[n] for n in model.spec.context if n in known}
    with torch.no_grad(), device.autocast():
        state = _watched(model, batch, seen, generator)
        made = [Dreamt([row], False) for row in _rows(model.spec.obs, known, len(batch.action))]
        memory, obs, going = agent.begin(len(made), known), known, [True] * len(made)
        for k in range(config.horizon):
            first = torch.full((len(made),), k == 0, device=device.device)
            action, memory = agent.act(memory, obs, first, None)
            after = model.step(state, action.unsqueeze(1), model.noise(len(made), generator))
            state, obs = after.state, {**fixed, **model.decode(after.state)}
            _grow(made, going, model.spec.obs, obs, action, after, config.limit)
            if not any(going):
                break
    for episode in made:
        episode.rows[-1]["last"] = True
    return made


def _grow(
    made: list[Dreamt],
    going: list[bool],
    spaces: Mapping[str, Space],
    obs: Obs,
    action: Tensor,
    after: Any,
    limit: float,
) -> None:
    """One row more for each episode that goes on."""
    heads = {n: getattr(after, n) for n in ("reward", "continues", "uncertainty")}
    known = {n: v.float().cpu().tolist() for n, v in heads.items() if v is not None}
    taken = action.float().cpu().numpy()
    for i, row in enumerate(_rows(spaces, obs, len(made))):
        if not going[i]:
            continue
        if limit and known["uncertainty"][i] > limit:
            made[i], going[i] = made[i]._replace(uncertain=True), False
            continue
        row.update(action=taken[i], first=False)
        row["reward"] = known["reward"][i] if "reward" in known else 0.0
        row["terminated"] = "continues" in known and known["continues"][i] < 0.5
        going[i] = not row["terminated"]
        made[i].rows.append(row)


def _rows(spaces: Mapping[str, Space], obs: Obs, count: int) -> list[dict[str, Any]]:
    """First rows of episodes from what was sensed or is imagined `[N, ...]`."""
    columns = {name: _native(space, obs[name]) for name, space in spaces.items()}
    rows: list[dict[str, Any]] = []
    for i in range(count):
        flags = {"reward": 0.0, "first": True, "last": False, "terminated": False}
        rows.append({**{n: v[i] for n, v in columns.items()}, **flags, "action": 0.0})
    return rows


def _native(space: Space, values: Tensor) -> np.ndarray:
    """As it is recorded: pictures in bytes, numbers within the bounds of their sensor."""
    if space.is_image and values.is_floating_point():
        values = (values.float().clamp(0, 1) * 255).round()
    native: np.ndarray = values.to(space.torch_dtype).cpu().numpy()
    if space.dtype.startswith("float"):
        low, high = (np.broadcast_to(b, space.size) for b in (space.low, space.high))
        shape = space.shape
        native = native.clip(low.reshape(shape), high.reshape(shape)).astype(native.dtype)
    return native


def _watched(model: Any, batch: Any, seen: int, generator: Generator) -> Any:
    """The state after the rows that are watched."""
    obs = {n: v[:, :seen] for n, v in batch.obs.items()}
    begun = {n: v[:, 0] for n, v in obs.items()}
    state = model.initial(len(batch.action), rollout.context_of(model.spec, begun))
    noise = rollout.draw(model, seen, len(batch.action), generator)
    first = batch.first[:, :seen].clone()
    first[:, 0] = True
    action = batch.action[:, :seen, None] * ~first[..., None, None]
    states = rollout.filter(model, state, action, obs, first, noise)
    return tree.map(lambda x: x[:, -1], states)


# -------------------------------------------------------------------------------------------------
# Where episodes begin, and who acts


def _replays(config: Generating) -> bool:
    return config.policy == "recorded"


def _from_data(loaded: Loaded, config: Generating) -> bool:
    return bool(config.data.path) or not acts(loaded)


def _starts(loaded: Loaded, config: Generating, count: int, seed: int) -> tuple[Windows, int]:
    """A window of each episode, and how many of its rows are watched; where recorded actions are
    taken, the rows that are imagined follow."""
    rng = np.random.default_rng(seed)
    if not _from_data(loaded, config):
        fresh = [_reset(loaded, int(s)) for s in rng.integers(2**31, size=count)]
        return from_episodes(fresh, 2), 1
    length = config.observed + (config.horizon if _replays(config) else 0)
    known = [r for r in recorded(loaded, config.data, 4 * count, seed) if len(r["reward"]) > length]
    if not known:
        raise ValueError(
            f"No recorded episode has more than {length} rows, of which {config.observed} are "
            "watched; imagine a shorter horizon, or watch fewer."
        )
    cuts = []
    for i in range(count):
        rows = known[i % len(known)]
        at = int(rng.integers(len(rows["reward"]) - length))
        cuts.append({name: value[at : at + length + 1] for name, value in rows.items()})
    return from_episodes(cuts, length + 1), config.observed


def _reset(loaded: Loaded, seed: int) -> dict[str, np.ndarray]:
    """The first row of an episode of the environment, twice, for a window has two."""
    env = make(loaded.env)
    try:
        row = env.reset(seed)
    finally:
        env.close()
    flags = {"reward": 0.0, "first": True, "last": False, "terminated": False}
    one = {**row.obs, **flags, "action": np.zeros(env.action.shape, np.float32)}
    return {name: np.stack([np.asarray(value)] * 2) for name, value in one.items()}


class _Taken:
    """The actions that were taken, `[N, H, A]`."""

    def __init__(self, actions: Tensor) -> None:
        self._actions = actions

    def begin(self, batch: int, obs: Obs | None = None) -> int:
        return 0

    def act(
        self, memory: int, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, int]:
        return self._actions[:, memory], memory + 1


def _agent(config: Generating, action: Space, taken: Tensor, seed: int) -> Agent:
    strays: dict[str, Any] = {"hold": config.hold, "seed": seed}
    if config.policy == "random":
        return Explorer(None, action, **strays)
    agent: Agent = _Taken(taken) if _replays(config) else load(config.policy).agent
    if not config.noise and not config.random:
        return agent
    return Explorer(agent, action, noise=config.noise, random=config.random, **strays)


def _require(loaded: Loaded, config: Generating) -> None:
    """Refuse what cannot be done before anything is written."""
    spec = loaded.model.spec
    spec.require("obs", *(["uncertainty"] if config.limit else []))
    if spec.chunk != 1:
        raise ValueError(
            f"Each row of a dataset has one action, and a step of this model takes {spec.chunk}."
        )
    if config.episodes < 1 or config.horizon < 1 or config.observed < 1:
        raise ValueError(
            f"episodes is {config.episodes}, horizon {config.horizon} and observed "
            f"{config.observed}; give at least 1 of each."
        )
    if _replays(config) and not _from_data(loaded, config):
        raise ValueError(
            "Recorded actions need recorded episodes: give them with --data, or --policy random or "
            "the directory of a run."
        )
    if config.policy in ("recorded", "random"):
        return
    if not (Path(config.policy) / "checkpoints").is_dir():
        raise ValueError(
            f"There is no policy {config.policy!r}: give recorded, random or the directory of a "
            "run."
        )
    needs = load(config.policy).model.spec.obs
    wrong = [n for n, space in needs.items() if n not in spec.obs or spec.obs[n] != space]
    if wrong:
        raise ValueError(
            f"The policy of {config.policy} reads {', '.join(wrong)}, and this model shows "
            f"{', '.join(spec.obs)}."
        )


# -------------------------------------------------------------------------------------------------
# Writing


def _words(loaded: Loaded, config: Generating) -> str:
    """What every episode says of itself."""
    place = config.data.path or (loaded.recipe.data.path if not acts(loaded) else "")
    strays = f" with noise {config.noise:g}" if config.noise else ""
    strays += f" and {config.random:.0%} random" if config.random else ""
    begun = f"recorded rows of {place}" if place else f"resets of {loaded.env.name}"
    about = (
        f"generated by the {loaded.recipe.family} world model of {loaded.recipe.run}, checkpoint "
        f"{loaded.checkpoint.name} ({loaded.counters['updates']:,} updates), from {begun}, actions "
        f"{config.policy}{strays}"
    )
    return f"{config.task}; {about}" if config.task else about


def _units(loaded: Loaded) -> ActionInfo:
    """What the numbers of an action mean."""
    if loaded.known is not None:
        about, scaling = loaded.known.about.action, loaded.known.scaling
        same = (about.low, about.high) if scaling.identity else (scaling.low, scaling.high)
        return replace(about, low=tuple(same[0]), high=tuple(same[1]))
    native = native_scaling(loaded.env)
    return ActionInfo(low=native.low, high=native.high) if native else ActionInfo()


def _writer(loaded: Loaded, config: Generating, words: str) -> Any:
    spec, about = loaded.model.spec, _units(loaded)
    robot = f"generated: {loaded.recipe.family} world model of {loaded.recipe.run}"
    if config.format == "lerobot":
        given = {"dt": spec.dt, "about": about, "robot": robot, "task": words}
        return LeRobotWriter(config.out, spec.obs, spec.action, **given)
    meta = {"env": robot, "repeat": 1, "dt": spec.dt, "action": to_json(about), "task": words}
    return EpisodeStore(config.out, spec.obs, spec.action, meta={**meta, "generated": True})


def _write(writer: Any, rows: list[dict[str, Any]], task: str) -> None:
    """One episode; an episode store keeps its words for all episodes together."""
    more = {"task": task} if isinstance(writer, LeRobotWriter) else {}
    zeros = np.zeros_like(rows[1]["action"])
    for k, row in enumerate(rows):
        writer.append(0, row if k else {**row, "action": zeros}, **more)
