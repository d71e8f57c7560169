"""From what a model imagines that it senses, back to a pose of the robot that can be drawn.

Only where the sensors tell the pose. What they leave out (how far a walker has come) is integrated
from the imagined speed, starting where the robot really was when the model was left alone; each
recovered pose says so in words.

Legend: `T` rows, `C` rows of which the true pose is known, `q` configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Sensors = Mapping[str, Array]


class Poses(NamedTuple):
    """Configurations in the simulator's own order."""

    qpos: Array
    """`[T, q]`: metres and radians."""
    assumed: str
    """What the sensors do not tell and how it was filled in; empty where they tell all."""


def recover(task: str, obs: Sensors, known: Array, dt: float) -> Poses | None:
    """The poses that imagined observations describe, or None where this task's do not tell.

    Args:
        task: an environment's name, such as "dmc:walker_walk".
        obs: by name, `[T, ...]`.
        known: the true configurations `[C, q]` of the first C rows, C >= 1; only what the sensors
            leave out is taken from them.
        dt: world time between rows [s].
    """
    family, _, name = task.partition(":")
    rule = _DMC.get(_domain(name)) if family == "dmc" else None
    if rule is None:
        return None
    rows = {k: np.asarray(v, np.float64).reshape(len(v), -1) for k, v in obs.items()}
    if any(sensor not in rows for sensor in rule.needs):
        return None
    return Poses(rule.recover(rows, np.asarray(known, np.float64), dt), rule.assumed)


class Puppet:
    """A simulated robot that is put into poses and drawn, and then left as it was found."""

    def __init__(self, env: Any) -> None:
        """Raises `TypeError` where the environment shows no MuJoCo physics."""
        physics = _physics(env)
        if physics is None:
            raise TypeError(f"{getattr(env, 'name', env)!r} has no MuJoCo physics to pose.")
        self._env, self._physics = env, physics

    @property
    def qpos(self) -> Array:
        """The present configuration `[q]`."""
        return np.array(self._physics.data.qpos)

    def draw(self, qpos: Array, height: int, width: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` of the robot in this configuration."""
        state = self._physics.get_state().copy()
        try:
            self._physics.data.qpos[:] = qpos
            self._physics.forward()
            picture: NDArray[np.uint8] = self._env.render(height, width)
        finally:
            self._physics.set_state(state)
            self._physics.forward()
        return picture


def can_pose(env: Any) -> bool:
    """Whether `Puppet` can move this environment's robot."""
    return _physics(env) is not None


def _physics(env: Any) -> Any:
    """The `dm_control` physics within an environment, or None."""
    for _ in range(4):
        physics = getattr(env, "physics", None)
        if hasattr(physics, "get_state") and hasattr(physics, "forward"):
            return physics
        env = getattr(env, "simulator", None) or getattr(env, "env", None)
    return None


class _Rule(NamedTuple):
    needs: tuple[str, ...]
    recover: Callable[[Sensors, Array, float], Array]
    assumed: str = ""


def _domain(name: str) -> str:
    """The longest known domain that a task's name begins with: "ball_in_cup_catch"."""
    return max((d for d in _DMC if name.startswith(d + "_")), key=len, default="")


def _travel(speed: Array, known: Array, dt: float) -> Array:
    """Where a speed `[T]` leads from the known places `[C]`, by the trapezoid rule."""
    rows = len(known)
    steps = (speed[rows - 1 : -1] + speed[rows:]) / 2 * dt
    return np.concatenate([known, known[-1] + np.cumsum(steps)])


def _angles(cosine: Array, sine: Array) -> Array:
    return np.arctan2(sine, cosine)


def _cartpole(obs: Sensors, known: Array, dt: float) -> Array:
    """position = [x, (cos, sin) of each pole against the vertical]; joints are differences."""
    position = obs["position"]
    angles = _angles(position[:, 1::2], position[:, 2::2])
    return np.concatenate([position[:, :1], angles[:, :1], np.diff(angles)], 1)


def _pendulum(obs: Sensors, known: Array, dt: float) -> Array:
    """orientation = [cos, sin]."""
    return _angles(obs["orientation"][:, :1], obs["orientation"][:, 1:])


def _acrobot(obs: Sensors, known: Array, dt: float) -> Array:
    """orientations = [sin upper, sin lower, cos upper, cos lower]."""
    orientations = obs["orientations"]
    angles = _angles(orientations[:, 2:], orientations[:, :2])
    return np.stack([angles[:, 0], angles[:, 1] - angles[:, 0]], 1)


def _walker(obs: Sensors, known: Array, dt: float) -> Array:
    """orientations = (cos, sin) of torso and of thigh, shin and foot of both legs, about +y;
    the joints turn about -y. q = [z, x, torso, 3 right joints, 3 left joints]."""
    pairs = obs["orientations"].reshape(-1, 7, 2)
    angles = _angles(pairs[..., 0], pairs[..., 1])
    chains = [angles[:, [0, 1, 2, 3]], angles[:, [0, 4, 5, 6]]]
    joints = [_wrap(-np.diff(chain)) for chain in chains]
    height = obs["height"] - 1.3
    x = _travel(obs["velocity"][:, 1], known[:, 1], dt)[:, None]
    return np.concatenate([height, x, angles[:, :1], *joints], 1)


def _wrap(angle: Array) -> Array:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _runner(obs: Sensors, known: Array, dt: float) -> Array:
    """position = q without x, which comes first; velocity begins with that of x."""
    x = _travel(obs["velocity"][:, 0], known[:, 0], dt)[:, None]
    return np.concatenate([x, obs["position"]], 1)


def _finger(obs: Sensors, known: Array, dt: float) -> Array:
    """position = [proximal, distal, tip x, tip z]; the hinge tells only its speed."""
    hinge = _travel(obs["velocity"][:, 2], known[:, 2], dt)[:, None]
    return np.concatenate([obs["position"][:, :2], hinge], 1)


def _all_told(obs: Sensors, known: Array, dt: float) -> Array:
    """position = q."""
    return obs["position"]


_DISTANCE = (
    "The sensors do not tell how far it has come: that is integrated from the imagined speed."
)
_DMC = {
    "acrobot": _Rule(("orientations",), _acrobot),
    "ball_in_cup": _Rule(("position",), _all_told),
    "cartpole": _Rule(("position",), _cartpole),
    "cheetah": _Rule(("position", "velocity"), _runner, _DISTANCE),
    "finger": _Rule(
        ("position", "velocity"),
        _finger,
        "The sensors do not tell the spinner's angle: it is integrated from its imagined speed.",
    ),
    "hopper": _Rule(("position", "velocity"), _runner, _DISTANCE),
    "pendulum": _Rule(("orientation",), _pendulum),
    "point_mass": _Rule(("position",), _all_told),
    "reacher": _Rule(("position",), _all_told),
    "walker": _Rule(("orientations", "height", "velocity"), _walker, _DISTANCE),
}
"""By domain of the DM Control suite."""
