"""Playing in a run's world model, or in the exact simulator as if it were one, on a page.

    reverie play runs/pendulum --beside
    reverie play dmc:cartpole_swingup

Legend: `B` batch, `C h w` image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo
from reverie.envs import Env, EnvConfig, make
from reverie.envs.adapter import Adapter
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.models.oracle import Oracle
from reverie.models.oracle.model import OracleState
from reverie.recipes.data import native_scaling, opened
from reverie.recipes.run import Loaded, load
from reverie.serve import (
    Engine,
    Recorded,
    Recording,
    ServerConfig,
    Session,
    Simulated,
    World,
    serve,
)
from reverie.serve.page import Sheet, sheet_of
from reverie.serve.session import camera_of

FOLDER = "play"
"""Of the recordings, in the run's directory."""


@dataclass(frozen=True)
class Playing:
    """How a model is played in, and where the page is served."""

    beside: bool = False
    """Show the simulator beside the model, on the same actions."""
    seed: int = 0
    """Of the first episode and of the model's noise; recorded episodes are counted by it."""
    text: str = ""
    """What the episode begins with, where the model reads text."""
    camera: str = ""
    """Which picture is shown; by default the model's first."""
    env: str = ""
    """Where episodes begin, if not where the run acted: an environment's name, for a run that
    learnt from recorded episodes; for a run of several tasks, one of them."""
    host: str = "127.0.0.1"
    """Whom the page is served to: this machine alone by default; 0.0.0.0 is everybody in the
    network, who then need the token in the address that is printed."""
    port: int = 8090
    """At which port; 0 takes a free one."""
    token: str = ""
    """What a page must bring, 16 letters or more; beyond this machine one is made if none is given.
    """
    patience: float = 5.0
    """A page that is not heard of for so long is let go [s]."""
    steps: int = 0
    """Denoising steps of a frame, 1, 2, 4 .., of a model that denoises; 0: as it was trained to be
    used. More keep apart what one step blurs, and cost time."""


class Stage(NamedTuple):
    """What is played in, before it is built."""

    name: str
    about: str
    robot: str
    """What a recorded dataset says who made it."""
    folder: Path
    """Of the recordings."""
    action: ActionInfo
    build: Callable[[], Session]


def play(
    target: str,
    playing: Playing | None = None,
    told: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page of a run, or of an environment's exact simulator, until interrupted.

    Raises:
        ValueError: it is neither, shows no pictures, or does not fit what was asked for.
        OSError: the port is taken.
    """
    playing = playing or Playing()
    config = ServerConfig(playing.host, playing.port, playing.token, playing.patience)
    stage = staged(target, playing)
    engine = Engine(stage.build, lambda session: recording_of(stage, session), playing.seed)
    serve(engine, lambda made: _sheet(stage, made.session), stage.folder, config, told)


def staged(target: str, playing: Playing) -> Stage:
    """What a target stands for: a run's directory, or an environment's name."""
    if not 0 <= playing.seed < 2**32:
        raise ValueError(f"The seed {playing.seed} is outside 0 .. 2^32 - 1.")
    if (Path(target) / "checkpoints").is_dir():
        loaded = load(target)
        loaded.denoise_in(playing.steps)
        return _run(loaded, playing)
    if Path(target).exists() or ":" not in target:
        raise ValueError(
            f"{target} is neither the directory of a run with a checkpoint nor an environment; "
            "give one that `reverie train` made, or a name such as dmc:walker_walk."
        )
    if playing.steps:
        raise ValueError(f"{target} is a simulator, which does not denoise; leave --steps out.")
    return _simulator(target, playing)


def recording_of(stage: Stage, session: Session) -> Recording:
    """Where recordings of a session go, and what they say of themselves."""
    return Recording(
        stage.folder,
        stage.robot,
        session.recordable,
        session.spec.action,
        session.spec.dt,
        session.frame_time,
        stage.action,
    )


def _sheet(stage: Stage, session: Session) -> Sheet:
    return sheet_of(session, stage.name, stage.about, stage.action.names)


def _run(loaded: Loaded, playing: Playing) -> Stage:
    """A trained run: it begins where it learnt."""
    model, family, run = loaded.model, loaded.recipe.family, loaded.recipe.run
    camera = camera_of(model, playing.camera)
    place = _place(loaded, playing)
    where = place if isinstance(place, str) else place[0]
    about = f"A {family} world model of {where}, trained for " + _trained(loaded.counters) + "."

    def build() -> Session:
        world = _recorded(loaded) if isinstance(place, str) else None
        if not isinstance(place, str):
            size = model.spec.obs[camera].shape[1:]
            world = Simulated(place[1](), camera, (size[0], size[1]), playing.beside)
        assert world is not None
        return _session(model, world, loaded.device, playing)

    robot = f"generated: {family} world model of {where}"
    return Stage(run.name, about, robot, run / FOLDER, _action(loaded, playing), build)


def _trained(counters: dict[str, Any]) -> str:
    """How long, in words."""
    parts = [f"{counters[n]:,} {n}" for n in ("frames", "updates") if counters.get(n)]
    return " and ".join(parts) or "nothing"


def _place(loaded: Loaded, playing: Playing) -> str | tuple[str, Callable[[], Env]]:
    """Where episodes begin: the place of recorded ones, or an environment's name and maker."""
    recipe = loaded.recipe
    if loaded.tasks is not None:
        names = [task.name for task in loaded.tasks.members]
        name = playing.env or names[0]
        if name not in names:
            raise ValueError(f"The run's tasks are {', '.join(names)}, and not {name}.")
        return name, loaded.tasks.makers[names.index(name)]
    if recipe.data.path and not recipe.training.prefill.updates:
        if playing.env:
            return playing.env, lambda: make(_alike(loaded, playing))
        if playing.beside:
            raise ValueError(
                f"{recipe.run} learnt from the episodes in {recipe.data.path}, which cannot say "
                "what other actions do: give the simulator to show beside it with --env NAME."
            )
        return str(recipe.data.path)
    if playing.env and playing.env != recipe.env.name:
        raise ValueError(f"The run acted in {recipe.env.name}; leave --env out.")
    return recipe.env.name, lambda: make(recipe.env)


def _alike(loaded: Loaded, playing: Playing) -> EnvConfig:
    """An environment that is seen as the model sees."""
    spaces = loaded.model.spec.obs
    shape = spaces[camera_of(loaded.model, playing.camera)].shape
    others = any(not space.is_image for space in spaces.values())
    dt = loaded.model.spec.dt
    plain = make(EnvConfig(playing.env))
    repeat, action = max(1, round(dt / plain.dt)), plain.action
    plain.close()
    if action.shape != loaded.model.spec.action.shape:
        raise ValueError(
            f"{playing.env} takes actions {action.shape}, and the model "
            f"{loaded.model.spec.action.shape}; name the environment that the episodes are of."
        )
    return EnvConfig(playing.env, repeat, pixels=True, with_state=others, size=(shape[1], shape[2]))


def _recorded(loaded: Loaded) -> World:
    known = loaded.known
    return Recorded(opened(loaded.recipe.data, known.scaling if known else None))


def _session(model: Any, world: World, device: Device, playing: Playing) -> Session:
    try:
        return Session(model, world, device, playing.camera, playing.text)
    except BaseException:
        world.close()
        raise


def _action(loaded: Loaded, playing: Playing) -> ActionInfo:
    """What the numbers of an action mean, for the dataset."""
    if loaded.known is not None:
        about, scaling = loaded.known.about.action, loaded.known.scaling
        low, high = (about.low, about.high) if scaling.identity else (scaling.low, scaling.high)
        return replace(about, low=tuple(low), high=tuple(high))
    if loaded.tasks is not None:
        return ActionInfo()
    native = native_scaling(loaded.recipe.env)
    return ActionInfo(low=native.low, high=native.high) if native else ActionInfo()


# -------------------------------------------------------------------------------------------------
# The exact simulator


def _simulator(name: str, playing: Playing) -> Stage:
    """The exact simulator as the model; beside it, itself."""
    size = (192, 256)
    env = EnvConfig(name, pixels=True, with_state=True, size=size, physics=True)
    device = settle(DeviceConfig(device="cpu"))
    native = native_scaling(EnvConfig(name))

    def build() -> Session:
        model = Drawn(env)
        world = Simulated(make(env), "image", size, playing.beside)
        return _session(model, world, device, playing)

    return Stage(
        name,
        f"The exact simulator of {name}, asked as any world model is.",
        f"generated: exact simulator of {name}",
        Path("runs") / FOLDER / name.replace(":", "-").replace("/", "-"),
        ActionInfo(low=native.low, high=native.high) if native else ActionInfo(),
        build,
    )


class Drawn:
    """An oracle that also shows what it looks like: `decode` draws each state."""

    def __init__(self, env: EnvConfig) -> None:
        self._oracle = Oracle(env)
        made = make(replace(env, pixels=False, with_state=False, physics=True))
        assert isinstance(made, Adapter) and made.physics is not None
        made.reset(0)
        self._env, self._physics, self._size = made, made.physics, env.size
        image = Space((3, *env.size), "uint8", 0, 255)
        self.spec = replace(self._oracle.spec, obs={"image": image, **self._oracle.spec.obs})

    def initial(self, batch: int, context: Obs | None = None) -> OracleState:
        """That of the oracle."""
        return self._oracle.initial(batch, context)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """Nothing."""
        return ()

    def observe(
        self, state: OracleState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> OracleState:
        """That of the oracle: the state is sensed."""
        return self._oracle.observe(state, action, obs, first, noise)

    def step(self, state: OracleState, action: Tensor, noise: tuple[()]) -> Transition[OracleState]:
        """That of the oracle."""
        return self._oracle.step(state, action, noise)

    def decode(self, state: OracleState) -> dict[str, Tensor]:
        """What is sensed, and a picture `[B, 3, h, w]` in bytes.

        Raises:
            ValueError: a simulation has diverged.
        """
        pictures = []
        for vector in state.physics.detach().cpu().contiguous().numpy():
            if not np.isfinite(vector).all() or not self._physics.write(vector):
                raise ValueError("The simulation has diverged: there is nothing to draw. Reset it.")
            pictures.append(np.moveaxis(self._env.render(*self._size), -1, 0))
        image = torch.from_numpy(np.stack(pictures))
        return {"image": image, **self._oracle.decode(state)}
