"""What a twin takes from an environment: its bodies, its state, its senses, its reward.

    vector = (time, q, v, what else MuJoCo integrates, fields of the model that the task draws, ...)

as `reverie.envs.physics` composes it. The bodies are read from the MuJoCo model of the environment,
which MuJoCo writes as MJCF and Reverie's own loader reads: what Reverie's physics does not know is
refused there by name; sites, cameras, lights and pictures do not matter.

Legend: `N` moments, `P` entries of the vector, `Q` positions, `V` velocities, `U` actuators.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reverie.envs import EnvConfig, make
from reverie.envs.adapter import Adapter
from reverie.envs.dm_control import DmControl
from reverie.envs.physics import MujocoSimulator, Physics
from reverie.physics.rigid import Loaded, RigidParams, load
from reverie.recipes.twin_steps import limits_of

PHYSICS = "physics"
"""The sensor that holds the vector."""
DYNAMIC = (
    *("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "body_quat"),
    *("dof_", "jnt_", "qpos", "actuator_", "tendon_", "hfield_"),
)
"""Fields of a MuJoCo model that change how bodies move, by how their names begin: a twin has one
set of them, so a task that draws them anew in each episode is refused."""
ENDLESS = 1e6
"""A bound of a control above this is none."""
ROUNDED = 1e-4
"""Relative: what is written as MJCF has six digits."""


class Layout(NamedTuple):
    """Where in the vector things stand."""

    position: slice
    velocity: slice
    drawn: slice
    """What the task draws: the fields of the model."""
    size: int
    """P."""


class Source:
    """An environment that is never played: only set, asked what it senses, and what it rewards.

    It may be used from any thread.
    """

    def __init__(self, env: EnvConfig, seed: int = 0) -> None:
        """`seed` is of the episode whose beginning is `begin`.

        Raises:
            ValueError: there is no MuJoCo inside, or something in it that a twin does not know.
            ModuleNotFoundError: an extra is missing.
        """
        self.config = env
        bare = dataclasses.replace(
            env, pixels=False, with_state=False, camera="", max_decisions=0, physics=False
        )
        _require_mujoco(bare)
        made = make(bare, physics=True)
        assert isinstance(made, Adapter) and made.physics is not None
        self.env, self.physics = made, made.physics
        model = self.physics.inside.model
        self.bodies = _bodies(env.name, model)
        self.layout = _layout(env.name, self.physics)
        self.stale = any(name.startswith("data.") for name in self.physics.fields)
        self.begin: np.ndarray = made.reset(seed).obs[PHYSICS]
        self.seed, self.lock, self.closed = seed, threading.Lock(), False
        unit = np.ones(made.action.shape, np.float32)
        self.low, self.high = made.native(-unit), made.native(unit)
        if max(abs(self.low).max(), abs(self.high).max()) > ENDLESS:
            raise ValueError(
                f"The actuators of {env.name} have no bounds, so actions in [-1, 1] mean nothing "
                "there; give them a ctrlrange."
            )
        self.timestep = float(model.opt.timestep)
        self.ticks = round(made.dt / made.repeat / self.timestep)
        self.fourth_order = _fourth_order(model)
        self.limits = limits_of(model)
        self._require_plain_control()
        self.blind = env.pixels and not env.with_state

    def __deepcopy__(self, memo: dict[int, object]) -> Source:
        """Itself: whoever uses it sets it first."""
        return self

    @property
    def rewards(self) -> bool:
        """Whether the task can be asked for the reward of a moment, without playing."""
        return isinstance(self.env.simulator, DmControl)

    def close(self) -> None:
        """Free the simulator."""
        with self.lock:
            if not self.closed:
                self.closed = True
                self.env.close()

    def _require_plain_control(self) -> None:
        """The action must be the control of the actuators, nothing else."""
        data = self.physics.inside.data
        wanted = 0.25 * self.low + 0.75 * self.high
        self.physics.advance(wanted)
        if data.ctrl.shape != wanted.shape or not np.allclose(data.ctrl, wanted):
            raise ValueError(
                f"{self.config.name} turns its action {wanted.tolist()} into the controls "
                f"{data.ctrl.tolist()}; a twin needs an environment whose action, scaled, is the "
                "control of its actuators."
            )

    # ------------------------------------------------------------------ moments

    def _set(self, vector: np.ndarray, control: np.ndarray) -> bool:
        """Bring the simulator into a state under a control; False where MuJoCo refuses it."""
        if self.closed:
            raise RuntimeError(f"The twin of {self.config.name} was closed; make a new one.")
        inside = self.physics.inside
        if not self.physics.write(vector):
            return False
        inside.data.ctrl[:] = control
        if self.stale:  # what `write` restores is of another moment
            import mujoco

            mujoco.mj_forward(inside.model, inside.data)
        return True

    def sense(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """What is sensed at `[N, P]`: `[N, ...]` float64 each."""
        names = [n for n, space in self.env.obs.items() if n != PHYSICS and not space.is_image]
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        with self.lock, np.errstate(all="ignore"):
            for vector in vectors:
                self._set(vector, np.zeros_like(self.low))
                now = self.physics.sense()
                for name in names:
                    value = np.array(now[name], np.float64)
                    found[name].append(value.reshape(self.env.obs[name].shape))
        return {name: np.stack(rows) for name, rows in found.items()}

    def reward(self, vectors: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """The task's own reward `[N]` for being at `[N, P]` under a control `[N, U]`; NaN where
        MuJoCo refuses the state."""
        task: Any = self.env.simulator
        task, physics = task.env.task, task.env.physics
        found = np.full(len(vectors), np.nan)
        with self.lock, np.errstate(all="ignore"):
            for n, (vector, control) in enumerate(zip(vectors, controls, strict=True)):
                if self._set(vector, control):
                    found[n] = task.get_reward(physics)
        return found

    def samples(self, count: int, seed: int = 0) -> np.ndarray:
        """Vectors `[N, P]` all over the state space, with what several episodes draw: angles all
        around or within their limits, slides within theirs or 1 m, speeds of about 3."""
        rng, model = np.random.default_rng(seed), self.bodies.model
        starts = []
        with self.lock:
            for k in range(max(8, 2 * (self.layout.drawn.stop - self.layout.drawn.start))):
                starts.append(self.env.reset(k).obs[PHYSICS])
        vectors = np.array(starts)[rng.integers(len(starts), size=count)]
        q = vectors[:, self.layout.position].copy()
        joints = self.bodies.params.joints
        for joint in model.joints:
            at = joint.position
            low, high = (float(x[0, joint.velocity]) for x in (joints.lower, joints.upper))
            if joint.kind in ("hinge", "slide"):
                wide = np.pi if joint.kind == "hinge" else 1.0
                low, high = (low, high) if abs(low) + abs(high) < 1e3 else (-wide, wide)
                q[:, at] = rng.uniform(low, high, count)
                continue
            if joint.kind == "free":
                q[:, at : at + 3] += rng.normal(size=(count, 3))
                at += 3
            turn = rng.normal(size=(count, 4))
            q[:, at : at + 4] = turn / np.linalg.norm(turn, axis=1, keepdims=True)
        vectors[:, self.layout.position] = q
        vectors[:, self.layout.velocity] = 3 * rng.normal(size=(count, model.velocity_size))
        return vectors


def _require_mujoco(env: EnvConfig) -> None:
    plain = make(env)
    try:
        simulator = getattr(plain, "simulator", None)
        if not isinstance(simulator, MujocoSimulator) or plain.action.discrete:
            raise ValueError(
                f"A twin is made of the MuJoCo model inside an environment with continuous "
                f"actions, and {env.name} has none; give dmc:cartpole_swingup, for example."
            )
    finally:
        plain.close()


def _layout(name: str, physics: Physics) -> Layout:
    """Where things stand, and whether a twin can do without what the task draws."""
    import mujoco

    model = physics.inside.model
    drawn = {n: size for n, size in physics.fields.items() if n.startswith("model.")}
    moving = sorted(n for n in drawn if n.removeprefix("model.").startswith(DYNAMIC))
    if moving:
        raise ValueError(
            f"{name} draws {moving} in each episode, which changes how its bodies move; a twin "
            "has one body and cannot follow."
        )
    kinds = mujoco.mjtState
    start = mujoco.mj_stateSize(model, int(kinds.mjSTATE_TIME))
    middle, stop = start + model.nq, start + model.nq + model.nv
    after = physics.size - sum(physics.fields.values())
    return Layout(
        slice(start, middle),
        slice(middle, stop),
        slice(after, after + sum(drawn.values())),
        physics.size,
    )


def _fourth_order(model: Any) -> bool:
    import mujoco

    return bool(model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4)


def _bodies(name: str, model: Any) -> Loaded:
    """Reverie's bodies of a MuJoCo model, float64, with the numbers of the model."""
    import mujoco

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        try:
            mujoco.mj_saveLastXML(str(path), model)
            text = path.read_text()
            again = mujoco.MjModel.from_xml_string(text)
        except (mujoco.FatalError, ValueError) as error:
            raise ValueError(
                f"MuJoCo does not write the model of {name} as a file: {error}"
            ) from error
    fields = ("body_parentid", "body_pos", "body_mass", "jnt_axis", "dof_damping", "geom_type")
    for field in fields:
        one, two = np.asarray(getattr(model, field)), np.asarray(getattr(again, field))
        if one.shape != two.shape or not np.allclose(one, two, rtol=ROUNDED, atol=ROUNDED):
            raise ValueError(
                f"What MuJoCo wrote for {name} differs in {field} from the model that it "
                "simulates; make the twin in a thread that reads no other model meanwhile."
            )
    try:
        loaded = load(text, dtype=torch.float64)
    except ValueError as error:
        what = str(error).partition(" Take it out")[0]
        raise ValueError(f"{name} has no twin. {what}") from error
    return loaded._replace(params=_exact(loaded.params, model))


def _exact(params: RigidParams, model: Any) -> RigidParams:
    """Masses, damping and motors as MuJoCo has them, not as the file rounds them."""

    def row(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(values, np.float64))[None]

    bodies = params.bodies._replace(mass=row(model.body_mass[1:]), centre=row(model.body_ipos[1:]))
    joints = params.joints._replace(
        damping=row(model.dof_damping), armature=row(model.dof_armature)
    )
    return params._replace(bodies=bodies, joints=joints)
