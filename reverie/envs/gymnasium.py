"""Any Gymnasium environment (Towers et al. 2024), a registered one or your own."""

from __future__ import annotations

import difflib
import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.envs import opengl
from reverie.envs.adapter import Adapter
from reverie.envs.camera import LOOKS, MujocoCamera, cameras
from reverie.envs.env import Quality, RenderError
from reverie.envs.physics import Workings

_EXTRA = 'pip install "reverie[gym]"'
_DEFAULT_DT = 0.05
_UNBOUNDED = 3.4e38
_MUJOCO_ENV = "gymnasium.envs.mujoco.mujoco_env"


def from_gymnasium(
    env: Any,
    name: str = "",
    *,
    repeat: int = 1,
    pixels: bool = False,
    with_state: bool = False,
    size: tuple[int, int] = (64, 64),
    camera: str = "",
    quality: Quality = "fast",
    max_decisions: int = 0,
    physics: bool = False,
    repeatable: bool | None = None,
) -> Adapter:
    """Your own Gymnasium environment, or a callable that makes one, as an `Env`.

    A Box action becomes one vector scaled to [-1, 1], a Discrete one a one-hot vector. Box
    observations keep their shape, images turn to `[C, h, w]`; Dict and Tuple become one observation
    each, named "outer/inner"; Discrete and MultiDiscrete become one-hot vectors. A lone Box is
    called "state", or "image" if it is one. World time per frame [s] is 1 / the environment's
    `control_hz` or `control_freq`, else its `dt`, else 1 / metadata["render_fps"], else 0.05.

    Worker processes need what can be pickled: `functools.partial(from_gymnasium, MyEnv)`.

    Args:
        env: A `gymnasium.Env`, or a callable without arguments that returns one.
        name: What it is called in messages and records; its id or class if empty.
        repeat: Simulator frames per decision.
        pixels: Observe a picture, "image", instead of the observation space.
        with_state: With pixels, keep the observation space beside it.
        size: Height and width of that picture [pixels].
        camera: Camera of a MuJoCo environment; empty for its own.
        quality: Look of a MuJoCo environment: fast or full.
        max_decisions: Truncate episodes after so many decisions; 0: only what the environment says.
        physics: Observe also "physics", the whole state of a MuJoCo environment.
        repeatable: Whether seed and actions determine the rows bit by bit; None asks the
            environment's spec, and believes it is where there is none.

    Raises:
        ModuleNotFoundError: Gymnasium is not installed.
        ValueError: A space cannot be expressed; the message says which and what to do.
    """
    _import()
    simulator = GymnasiumSimulator(
        env if _is_env(env) else env(), name, camera, quality, pixels, repeatable
    )
    return Adapter(
        simulator,
        repeat=repeat,
        pixels=pixels,
        with_state=with_state,
        size=size,
        max_decisions=max_decisions,
        physics=physics,
    )


def make_registered(name: str, **options: Any) -> Any:
    """`gymnasium.make` that can draw, with a hint where the name is unknown."""
    gymnasium = _import()
    package = name.partition("/")[0]
    if package.isidentifier() and package != name and importlib.util.find_spec(package):
        importlib.import_module(package)  # it registers its own: "gym_pusht/PushT-v0"
    try:
        spec = gymnasium.spec(name)
        entry = spec.entry_point
        creator = (
            gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
        )
        modes = getattr(creator, "metadata", {}).get("render_modes", ())
        if "rgb_array" in modes:
            options = {"render_mode": "rgb_array", **options}
        return gymnasium.make(name, disable_env_checker=True, **options)
    except gymnasium.error.UnregisteredEnv as unknown:
        near = difflib.get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"Gymnasium has no environment {name!r}: {unknown}{hint}") from unknown


def names() -> tuple[str, ...]:
    """Ids of what is registered, in their newest versions; imports Gymnasium."""
    gymnasium = _import()
    newest = gymnasium.envs.registration.find_highest_version
    found = [
        spec.id
        for spec in gymnasium.registry.values()
        if spec.version == newest(spec.namespace, spec.name)
        and not spec.name.startswith("GymV2")  # shims for older interfaces, no tasks
    ]
    return tuple(sorted(found))


class GymnasiumSimulator:
    """A `gymnasium.Env` as a `Simulator`."""

    def __init__(
        self,
        env: Any,
        name: str = "",
        camera: str = "",
        quality: Quality = "fast",
        pixels: bool = False,
        repeatable: bool | None = None,
    ) -> None:
        if not _is_env(env):
            raise ValueError(
                f"from_gymnasium was given {type(env).__name__}; give a gymnasium.Env or a "
                f"callable that makes one, not a vector environment: parallel() makes the copies."
            )
        self._env, self._quality = env, quality
        spec = env.spec
        self.name = name or (f"gym:{spec.id}" if spec else f"gym:{type(env.unwrapped).__name__}")
        self._senses = _senses(self.name, "", env.observation_space)
        self.obs: Mapping[str, Space] = {key: sense.space for key, sense in self._senses.items()}
        self.action, self._to_native = _action(self.name, env.action_space)
        self.dt = _dt(env)
        self.frames = int((spec and spec.max_episode_steps) or 0)
        if repeatable is None:
            repeatable = not (spec and spec.nondeterministic)
        self.repeatable = repeatable
        self._sensed: Any = None
        self._cameras = _mujoco_cameras(env, camera, quality)
        self._camera = self._cameras.get("image")
        self.views = {key: one.picture for key, one in self._cameras.items() if key != "image"}
        if camera and self._camera is None:
            raise ValueError(
                f"{self.name} draws itself; a camera ({camera!r}) can be chosen in MuJoCo "
                f"environments only."
            )
        if pixels and self._camera is None and env.render_mode != "rgb_array":
            raise ValueError(
                f"{self.name} cannot draw: its render_mode is {env.render_mode!r}; "
                f'build it with render_mode="rgb_array".'
            )

    @property
    def env(self) -> Any:
        """The `gymnasium.Env`."""
        return self._env

    def begin(self, seed: int) -> None:
        """Reset with this seed."""
        self._sensed, _ = self._env.reset(seed=seed)

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One step."""
        self._sensed, reward, terminated, truncated, _ = self._env.step(self._to_native(action))
        return float(reward), bool(terminated), bool(truncated)

    def observe(self) -> dict[str, Any]:
        """The observation, one entry for each leaf of the space."""
        return {key: sense.read(self._sensed) for key, sense in self._senses.items()}

    def workings(self) -> Workings:
        """The MuJoCo inside. Its derived quantities are those of the last but one sub-step, as a
        frame leaves them, so nothing is computed when a state is set.

        Raises:
            ValueError: The environment does not stand on MuJoCo as Gymnasium's own do.
        """
        world, read = self._env.unwrapped, getattr(self._env.unwrapped, "_get_obs", None)
        kinds = [type(getattr(world, name, None)).__name__ for name in ("model", "data")]
        if kinds != ["MjModel", "MjData"] or read is None:
            raise ValueError(
                f"{self.name} shows no MuJoCo `model`, `data` and `_get_obs`, as Gymnasium's do; "
                f"leave out physics, or choose one of those, or dmc:..."
            )

        def sense() -> dict[str, Any]:
            sensed = read()
            return {key: sense.read(sensed) for key, sense in self._senses.items()}

        def frame(action: np.ndarray) -> tuple[float, bool, bool]:
            reward, terminated, _ = self.advance(action)
            return reward, terminated, False

        return Workings(world.model, world.data, lambda: None, sense, frame)

    def picture(self, height: int, width: int) -> np.ndarray:
        """From MuJoCo directly where the environment stands on it, else resized by area."""
        if self._camera is not None:
            return self._camera.picture(height, width)
        opengl.suggest_egl()
        try:
            image = self._env.render()
        except Exception as problem:
            raise RenderError(f"{self.name} cannot draw itself: {problem}") from problem
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
            raise RenderError(
                f"{self.name} drew {type(image).__name__}, not an array [h, w, 3]; "
                f'build it with render_mode="rgb_array".'
            )
        return resize(image, height, width)

    def close(self) -> None:
        """Close the environment."""
        for camera in self._cameras.values():
            camera.close()
        self._env.close()


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average of the area that each new pixel covers; uint8 `[h, w, C]` to `[height, width, C]`."""
    h, w, channels = image.shape
    if (h, w) == (height, width):
        return image.astype(np.uint8)
    rows, columns = _area_weights(h, height), _area_weights(w, width)
    tall = rows @ image.reshape(h, -1).astype(np.float32)
    wide = columns @ tall.reshape(height, w, channels)
    return wide.round().clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _area_weights(before: int, after: int) -> np.ndarray:
    """`[after, before]`, rows sum to 1."""
    edges = np.arange(after + 1) * (before / after)
    start, stop = edges[:-1, None], edges[1:, None]
    pixel = np.arange(before)[None]
    overlap = (np.minimum(stop, pixel + 1) - np.maximum(start, pixel)).clip(0)
    weights: np.ndarray = (overlap * (after / before)).astype(np.float32)
    return weights


class _Sense(NamedTuple):
    """One leaf of an observation space."""

    space: Space
    read: Callable[[Any], Any]
    """From the whole observation to this leaf."""


def _senses(name: str, path: str, space: Any) -> dict[str, _Sense]:
    """The leaves of a space by name."""
    kind = type(space).__name__
    if kind == "Dict":
        return _nested(name, path, space.spaces.items())
    if kind == "Tuple":
        return _nested(name, path, enumerate(space.spaces))
    if kind == "Box":
        return {path or _box_name(space): _box(space)}
    key = path or "state"
    if kind == "Discrete":
        size, start = int(space.n), int(space.start)
        one_hot = Space((size,), low=0.0, high=1.0, discrete=size > 1)
        return {key: _Sense(one_hot, lambda value: _one_hot(size, int(value) - start))}
    if kind == "MultiDiscrete":
        sizes, starts = space.nvec.ravel().tolist(), space.start.ravel().tolist()
        flat = Space((sum(sizes),), low=0.0, high=1.0)
        return {key: _Sense(flat, lambda value: _one_hots(sizes, starts, value))}
    if kind == "MultiBinary":
        bits = Space(tuple(space.shape), low=0.0, high=1.0)
        return {key: _Sense(bits, lambda value: value)}
    raise ValueError(
        f"{name}: observation {path or 'space'!r} is a {kind}, which has no fixed size; "
        f"supported are Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple. "
        f"Turn it into one with gymnasium.wrappers.TransformObservation, or drop it with "
        f"gymnasium.wrappers.FilterObservation."
    )


def _nested(name: str, path: str, items: Any) -> dict[str, _Sense]:
    found: dict[str, _Sense] = {}
    for key, space in items:
        inner = f"{path}/{key}" if path else str(key)
        for leaf, sense in _senses(name, inner.replace(".", "/"), space).items():
            if leaf in found:
                raise ValueError(f"{name}: two observations would be called {leaf!r}; rename one.")
            found[leaf] = _Sense(sense.space, _read_inside(key, sense.read))
    return found


def _read_inside(key: Any, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: read(value[key])


def _one_hot(size: int, choice: int) -> np.ndarray:
    return np.eye(1, size, choice, dtype=np.float32)[0]


def _one_hots(sizes: list[int], starts: list[int], value: Any) -> np.ndarray:
    choices = np.asarray(value).ravel().tolist()
    parts = zip(sizes, starts, choices, strict=True)
    return np.concatenate([_one_hot(size, choice - start) for size, start, choice in parts])


def _box_name(space: Any) -> str:
    return "image" if _channels(space) is not None else "state"


def _channels(space: Any) -> int | None:
    """Which axis of a uint8 picture holds the channels; -1 to add one; None if it is no picture."""
    shape = space.shape
    if space.dtype != np.uint8 or len(shape) not in (2, 3):
        return None
    if len(shape) == 2:
        return -1 if min(shape) >= 8 else None
    if shape[2] <= 4 or shape[2] <= shape[0]:
        return 2
    return 0


def _box(space: Any) -> _Sense:
    axis = _channels(space)
    if axis is not None:
        h_w = [n for k, n in enumerate(space.shape) if k != axis]
        channels = 1 if axis < 0 else space.shape[axis]
        picture = Space((channels, *h_w), "uint8", 0, 255)
        if axis < 0:
            return _Sense(picture, lambda value: np.asarray(value)[None])
        return _Sense(picture, lambda value: np.moveaxis(np.asarray(value), axis, 0))
    shape = tuple(space.shape) or (1,)
    low, high = (_bound(bound) for bound in (space.low, space.high))
    return _Sense(Space(shape, low=low, high=high), lambda value: value)


def _bound(bound: np.ndarray) -> float | tuple[float, ...]:
    """One number if all are equal; what only fills float32's range means unbounded."""
    values = np.asarray(bound, np.float64).ravel()
    flat = np.where(np.abs(values) < _UNBOUNDED, values, np.copysign(np.inf, values)).tolist()
    return flat[0] if all(value == flat[0] for value in flat) else tuple(flat)


def _action(name: str, space: Any) -> tuple[Space, Callable[[np.ndarray], Any]]:
    """The action as one vector in its own bounds, and the way back."""
    kind = type(space).__name__
    if kind == "Box" and np.issubdtype(space.dtype, np.floating):
        size = int(np.prod(space.shape))
        flat = Space((size,), low=_bound(space.low), high=_bound(space.high))
        return flat, lambda value: value.astype(space.dtype).reshape(space.shape)
    if kind == "Discrete" and space.n > 1:
        one_hot = Space((int(space.n),), low=0.0, high=1.0, discrete=True)
        return one_hot, lambda value: np.int64(np.argmax(value) + space.start)
    dtype = f" of {space.dtype}" if kind == "Box" else ""
    raise ValueError(
        f"{name}: its action space is {kind}{dtype}; supported are a Box of floats and a Discrete "
        f"of at least 2 choices. Wrap the environment in gymnasium.wrappers.TransformAction, for "
        f"example numbering every combination of a MultiDiscrete as one Discrete."
    )


def _dt(env: Any) -> float:
    """World time per frame [s]."""
    for name in ("control_hz", "control_freq", "dt"):  # where these differ, `dt` is of the physics
        for owner in (env, env.unwrapped):
            value = getattr(owner, name, None)
            if isinstance(value, int | float) and value > 0:
                return float(value) if name == "dt" else 1 / float(value)
    fps = (env.metadata or {}).get("render_fps")
    return 1 / float(fps) if fps else _DEFAULT_DT


def _mujoco_cameras(env: Any, camera: str, quality: Quality) -> dict[str, MujocoCamera]:
    """Cameras into an environment that leaves drawing to Gymnasium's own MuJoCo renderer."""
    world = env.unwrapped
    if getattr(type(world).render, "__module__", "") != _MUJOCO_ENV:
        return {}
    view = dict(getattr(world.mujoco_renderer, "default_cam_config", None) or {})
    names = [world.model.camera(k).name for k in range(world.model.ncam)]
    usual = "track" if "track" in names else "-1"
    return cameras(world.model, world.data, camera or usual, LOOKS[quality], view)


def _is_env(value: Any) -> bool:
    return isinstance(value, _import().Env)


def _import() -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"Gymnasium environments need {missing.name}, which is not installed: {_EXTRA}",
            name=missing.name,
        ) from missing
    return gymnasium
