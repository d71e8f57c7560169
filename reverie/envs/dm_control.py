"""The DeepMind Control Suite (Tassa et al. 2020): MuJoCo robots, rewards in [0, 1]."""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.envs import opengl
from reverie.envs.camera import LOOKS, cameras
from reverie.envs.env import Quality
from reverie.envs.physics import Workings

_LOG = logging.getLogger(__name__)
_EXTRA = 'pip install "reverie[dmc]"'
_USUAL_CAMERA = {"quadruped": "2"}  # of the others, 0

_UNITS = {
    "height": "m",
    "head_height": "m",
    "torso_pelvis_height": "m",
    "extremities": "m",
    "origin": "m",
    "to_target": "m",
    "dist_to_target": "m",
    "target_position": "m",
    "target": "m",
    "com_velocity": "m/s",
    "torso_velocity": "m/s",
    "torso_com_velocity": "m/s",
    "joint_angles": "rad",
    "joints": "rad",
    "joint_velocites": "rad/s",  # sic: the dog's key
    "arm_vel": "rad/s",
}
"""Units of observations by name; where one vector mixes units, none."""

_UNITS_OF_DOMAIN = {
    "acrobot": {"velocity": "rad/s"},
    "ball_in_cup": {"position": "m", "velocity": "m/s"},
    "finger": {"velocity": "rad/s"},
    "lqr": {"position": "m", "velocity": "m/s"},
    "pendulum": {"velocity": "rad/s"},
    "point_mass": {"position": "m", "velocity": "m/s"},
    "reacher": {"position": "rad", "velocity": "rad/s"},
}
"""Units of names that mean another thing in each domain."""


class DmControl:
    """One task of the suite as a `Simulator`; `task` is "walker_walk", `camera` a name or
    number, or several with commas between.

    Every observation keeps its own key; scalars become vectors of one entry. A final discount of 0
    is a termination; any other end is a time limit.
    """

    def __init__(self, task: str, camera: str = "", quality: Quality = "fast") -> None:
        suite = load_suite()
        domain, name = _split(suite, task)
        # Some domains draw their model at random when they are built: the same one for everybody.
        self._env = suite.load(domain, name, task_kwargs={"random": 0})
        physics = self._env.physics
        _without_own_renderer(physics)
        camera = camera or _USUAL_CAMERA.get(domain, "0")
        self._cameras = cameras(physics.model.ptr, physics.data.ptr, camera, LOOKS[quality])
        self.views = {name: one.picture for name, one in self._cameras.items() if name != "image"}
        units = {**_UNITS, **_UNITS_OF_DOMAIN.get(domain, {})}
        self.name = f"dmc:{task}"
        self.obs: Mapping[str, Space] = {
            key: Space(spec.shape or (1,), unit=units.get(key, ""))
            for key, spec in self._env.observation_spec().items()
        }
        bounds = self._env.action_spec()
        self.action = Space(
            bounds.shape,
            low=tuple(np.broadcast_to(bounds.minimum, bounds.shape).tolist()),
            high=tuple(np.broadcast_to(bounds.maximum, bounds.shape).tolist()),
        )
        self.dt = float(self._env.control_timestep())
        limit = self._env._step_limit
        self.frames = math.ceil(limit) if math.isfinite(limit) else 0
        self.repeatable = True
        self._sensed: Mapping[str, Any] = {}

    @property
    def env(self) -> Any:
        """The `dm_control` environment."""
        return self._env

    def begin(self, seed: int) -> None:
        """Reseed the task's generator, from which the suite draws everything, and reset."""
        self._env.task.random.seed(seed)
        self._sensed = self._env.reset().observation
        for camera in self._cameras.values():
            camera.refresh()

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One control step."""
        moment = self._env.step(action)
        self._sensed = moment.observation
        over = bool(moment.last())
        terminated = over and moment.discount == 0
        return float(moment.reward), terminated, over and not terminated

    def observe(self) -> Mapping[str, Any]:
        """What the task observes, float64."""
        return self._sensed

    def workings(self) -> Workings:
        """The MuJoCo inside. A control step is `dm_control.rl.control.Environment.step` without
        its observation, its time limit and its error where the simulation diverges."""
        import mujoco

        physics, task = self._env.physics, self._env.task
        model, data = physics.model.ptr, physics.data.ptr
        substeps = self._env._n_sub_steps
        up_to_date = partial(mujoco.mj_step1, model, data)
        fourth_order = model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4

        def frame(action: np.ndarray) -> tuple[float, bool, bool]:
            task.before_step(action, physics)
            if fourth_order:
                mujoco.mj_step(model, data, substeps)
            else:  # Positions and velocities are up to date: only the rest of the first sub-step.
                mujoco.mj_step2(model, data)
                if substeps > 1:
                    mujoco.mj_step(model, data, substeps - 1)
            up_to_date()
            task.after_step(physics)
            reward, discount = float(task.get_reward(physics)), task.get_termination(physics)
            terminated = discount is not None and discount == 0
            return reward, terminated, discount is not None and not terminated

        return Workings(model, data, up_to_date, partial(task.get_observation, physics), frame)

    def picture(self, height: int, width: int) -> np.ndarray:
        """From the chosen camera, the first of several."""
        return self._cameras["image"].picture(height, width)

    def close(self) -> None:
        """Free the renderer and the physics."""
        for camera in self._cameras.values():
            camera.close()
        self._env.close()


def load_suite() -> Any:
    """`dm_control.suite`, imported even where no GL library is.

    mujoco and dm_control load a renderer when they are imported, and fail there if its library is
    missing, pictures or not. They are given the one that MUJOCO_GL names; without a choice and
    without a display, or if that fails, none. `MujocoCamera` brings its own, later.

    Raises:
        ModuleNotFoundError: The extra is not installed.
        ImportError: This MuJoCo does not work with this dm_control.
    """
    try:
        if opengl.chosen() or opengl.has_display():
            try:
                return _import_suite()
            except ModuleNotFoundError:
                raise
            except Exception:
                _LOG.debug("dm_control does not load with a renderer", exc_info=True)
        with _without_renderer():
            return _import_suite()
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"DM Control tasks need {missing.name}, which is not installed: {_EXTRA}",
            name=missing.name,
        ) from missing


def _import_suite() -> Any:
    import mujoco

    _check_versions(mujoco.__version__)
    from dm_control import suite

    return suite


@contextmanager
def _without_renderer() -> Iterator[None]:
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = before


def tasks() -> tuple[str, ...]:
    """All task names, "domain_task"; imports the suite."""
    return tuple(sorted(f"{domain}_{task}" for domain, task in load_suite().ALL_TASKS))


def _split(suite: Any, task: str) -> tuple[str, str]:
    known = {f"{domain}_{name}": (domain, name) for domain, name in suite.ALL_TASKS}
    if task not in known:
        near = difflib.get_close_matches(task, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`reverie envs` lists them all."
        raise ValueError(f"DM Control has no task {task!r}; {hint}")
    return known[task]


def _check_versions(mujoco: str) -> None:
    try:
        suite = version("dm_control")
    except PackageNotFoundError:
        return  # The import that follows says so better.
    if _numbers(mujoco) >= (4,) and _numbers(suite) <= (1, 0, 50):
        raise ImportError(
            f"dm_control {suite} does not work with mujoco {mujoco} (it reads flex_vertedge, which "
            f"is gone): pip uninstall mujoco mujoco-core, then {_EXTRA}, which takes mujoco<4."
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _without_own_renderer(physics: Any) -> None:
    """Tell a physics that it has no renderer: a task that draws terrain otherwise opens one at each
    reset to upload it there, and fails without GL."""
    plain = type(physics)
    physics.__class__ = type(plain.__name__, (plain,), {"contexts": None})
