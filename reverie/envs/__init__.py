"""Where does experience come from? Environments by name, your own, and many at once."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, NamedTuple

from reverie.envs.adapter import Adapter, Simulator
from reverie.envs.env import Env, EnvConfig, EnvError, Quality, RenderError, Row
from reverie.envs.gymnasium import from_gymnasium
from reverie.envs.parallel import Parallel, Rows, episode_seed, parallel

__all__ = [
    "Adapter",
    "Env",
    "EnvConfig",
    "EnvError",
    "Family",
    "Parallel",
    "Plugin",
    "Quality",
    "RenderError",
    "Row",
    "Rows",
    "Simulator",
    "adapt",
    "available",
    "episode_seed",
    "from_gymnasium",
    "make",
    "parallel",
]

_FIELDS = tuple(field.name for field in dataclasses.fields(EnvConfig))


class Family(NamedTuple):
    """Environments that share a prefix."""

    name: str
    """What stands before the colon: "dmc" of "dmc:walker_walk"."""
    about: str
    installed: bool
    names: tuple[str, ...]
    """Full names, as `make` takes them; empty if not installed."""
    install: str
    """What to do where it is not; empty for what comes with the base install."""


class Plugin(NamedTuple):
    """A family that another package brings: an object that its entry point in the group
    "reverie.envs" names, under the name of the family.

        [project.entry-points."reverie.envs"]
        lab = "lab_robots.reverie:PLUGIN"
    """

    about: str
    names: Callable[[], tuple[str, ...]]
    """Tasks, without the family."""
    make: Callable[[str, EnvConfig], Env]
    """An environment from the task and everything else that was asked for."""


def make(name: str | EnvConfig, **options: Any) -> Env:
    """An environment by its name: "dmc:walker_walk", "gym:Pendulum-v1", "toy:pendulum", or one of
    a `Plugin`: "scenario:push".

    Args:
        name: Family and task, or a whole `EnvConfig`.
        options: Fields of `EnvConfig`; they replace those of a config. What is left goes to
            `gymnasium.make`.

    Raises:
        ValueError: The family, the task or an option is unknown; the message names close matches.
        ModuleNotFoundError: The extra that brings the family is not installed.
    """
    extra = {key: options.pop(key) for key in list(options) if key not in _FIELDS}
    if isinstance(name, EnvConfig):
        config = dataclasses.replace(name, **options)
    else:
        config = EnvConfig(name, **options)
    family, colon, task = config.name.partition(":")
    if not colon or family not in (*_BUILDERS, *_plugins()):
        raise ValueError(_unknown(config.name))
    if extra and family != "gym":
        raise ValueError(
            f"{config.name} has no option {', '.join(map(repr, extra))}; "
            f"options are {', '.join(_FIELDS[1:])}."
        )
    if family in _BUILDERS:
        return _BUILDERS[family](task, config, extra)
    plugin: Plugin = _plugins()[family].load()
    return plugin.make(task, config)


def available() -> tuple[Family, ...]:
    """All families and what they offer; imports a simulator only where it is installed."""
    from reverie.envs import scenes
    from reverie.envs.toy import TASKS

    families = [
        Family("toy", "built in, plain numpy", True, _full("toy", tuple(TASKS)), ""),
        Family("scene", "built in: known physics", True, _full("scene", scenes.names()), ""),
    ]
    for name, about, module, extra in (
        ("dmc", "DeepMind Control Suite: MuJoCo robots", "dm_control", "dmc"),
        ("gym", "Gymnasium: everything registered there", "gymnasium", "gym"),
        ("crafter", "Crafter: survive in a small open world", "crafter", "crafter"),
    ):
        installed = find_spec(module) is not None
        names = _full(name, _tasks(name)) if installed else ()
        families.append(Family(name, about, installed, names, f'pip install "reverie[{extra}]"'))
    for name, entry in _plugins().items():
        plugin: Plugin = entry.load()
        families.append(Family(name, plugin.about, True, _full(name, plugin.names()), ""))
    return tuple(families)


@functools.cache
def _plugins() -> dict[str, EntryPoint]:
    """Families that packages bring, not yet imported."""
    return {entry.name: entry for entry in entry_points(group="reverie.envs")}


def _full(family: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{family}:{name}" for name in names)


def _tasks(family: str) -> tuple[str, ...]:
    if family == "dmc":
        from reverie.envs.dm_control import tasks

        return tasks()
    if family == "crafter":
        from reverie.envs.crafter import TASKS

        return TASKS
    from reverie.envs.gymnasium import names

    return names()


def _unknown(name: str) -> str:
    families = ", ".join(f"{family}:..." for family in (*_BUILDERS, *_plugins()))
    known = [full for family in available() for full in family.names]
    bare = {full.partition(":")[2]: full for full in known}
    near = [bare[name]] if name in bare else []
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`reverie envs` lists them all."
    return f"Environment {name!r} is unknown; names begin with {families}; {hint}"


def _make_toy(task: str, config: EnvConfig, extra: dict[str, Any]) -> Env:
    from reverie.envs.toy import TASKS

    if task not in TASKS:
        raise ValueError(_unknown(config.name))
    if config.camera:
        raise ValueError(f"{config.name} has one view and no camera {config.camera!r}.")
    return adapt(TASKS[task](), config)


def _make_scene(task: str, config: EnvConfig, extra: dict[str, Any]) -> Env:
    from reverie.envs.scenes import build

    return build(task, config)


def _make_dmc(task: str, config: EnvConfig, extra: dict[str, Any]) -> Env:
    from reverie.envs.dm_control import DmControl

    return adapt(DmControl(task, config.camera, config.quality), config)


def _make_gym(task: str, config: EnvConfig, extra: dict[str, Any]) -> Env:
    from reverie.envs.gymnasium import make_registered

    fields = {key: getattr(config, key) for key in _FIELDS if key != "name"}
    env = make_registered(task, **extra)
    if task == "gym_pusht/PushT-v0":
        from reverie.envs.pusht import without_cross

        env = without_cross(env)
    return from_gymnasium(env, config.name, **fields)


def _make_crafter(task: str, config: EnvConfig, extra: dict[str, Any]) -> Env:
    from reverie.envs.crafter import TASKS, Crafter

    if task not in TASKS:
        raise ValueError(_unknown(config.name))
    if config.camera:
        raise ValueError(f"{config.name} has one view and no camera {config.camera!r}.")
    return adapt(Crafter(task), config)


def adapt(simulator: Simulator, config: EnvConfig) -> Adapter:
    """A simulator as an environment, driven and seen as the config says."""
    return Adapter(
        simulator,
        repeat=config.repeat,
        pixels=config.pixels,
        with_state=config.with_state,
        size=config.size,
        max_decisions=config.max_decisions,
        physics=config.physics,
    )


_Builder = Callable[[str, EnvConfig, dict[str, Any]], Env]
_BUILDERS: dict[str, _Builder] = {
    "crafter": _make_crafter,
    "dmc": _make_dmc,
    "gym": _make_gym,
    "scene": _make_scene,
    "toy": _make_toy,
}
