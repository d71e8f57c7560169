"""What must a model of matter know? Small scenes with known physics: a projectile, a pendulum, a
collision, a sliding box and a stack of boxes, each with parameters inside and outside a range of
training, with the truth about energy, momentum and contact, and with what cannot happen."""

from reverie.envs.env import Env, EnvConfig
from reverie.envs.scenes.impossible import KINDS, Kind, Pair, impossible
from reverie.envs.scenes.layout import DT, FRAMES, OUT, ROOM, Constants, Ranges, Task
from reverie.envs.scenes.picture import background, colours, film, places
from reverie.envs.scenes.simulator import Rows, Scene, episode, retake, start
from reverie.envs.scenes.tasks import TASKS, find
from reverie.envs.scenes.truth import Truth, describe, gaps, pairs, truth

__all__ = [
    "DT",
    "FRAMES",
    "KINDS",
    "OUT",
    "ROOM",
    "TASKS",
    "Constants",
    "Kind",
    "Pair",
    "Ranges",
    "Rows",
    "Scene",
    "Task",
    "Truth",
    "background",
    "build",
    "colours",
    "describe",
    "episode",
    "film",
    "find",
    "gaps",
    "impossible",
    "names",
    "pairs",
    "places",
    "retake",
    "start",
    "truth",
]


def names() -> tuple[str, ...]:
    """Of all scenes, without the family: "projectile", ..., then "projectile-out", ..."""
    return (*TASKS, *(name + OUT for name in TASKS))


def build(name: str, config: EnvConfig) -> Env:
    """The environment "scene:<name>" as the config says."""
    from reverie.envs import adapt

    if config.camera:
        raise ValueError(f"{config.name} has one view and no camera {config.camera!r}.")
    return adapt(Scene(name), config)
