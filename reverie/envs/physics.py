"""The whole state of a MuJoCo simulator as one vector, from which it goes on bit by bit.

The vector is, in this order:

1. MuJoCo's integration state (`mjSTATE_INTEGRATION`: positions, velocities, activations, time, the
   warm start of the solver, controls and applied forces).
2. Fields of the MuJoCo *model* that the task draws anew at a reset: where the target stands, how
   heavy a link is.
3. Derived quantities that the task reads and that setting a state does not bring back: readings of
   touch sensors, or positions that a step leaves as they were one sub-step before.

Which fields belong to 2 and 3 is found by trial, once, when the state is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from reverie.core.spec import Space

_MOST = 20_000
"""Entries of a state beyond which a batch of them would not fit anywhere."""
_SEEDS = 5
_FRAMES = 6
_POISONS = (7.25, np.nan)
_ARMED = 1_000_000


class Workings(NamedTuple):
    """What a simulator shows of the MuJoCo inside."""

    model: Any
    """`mujoco.MjModel`."""
    data: Any
    """`mujoco.MjData`."""
    refresh: Callable[[], None]
    """Brings derived quantities up to date, as far as a frame does, after a state was set."""
    sense: Callable[[], Mapping[str, Any]]
    """What is sensed in the present state."""
    frame: Callable[[np.ndarray], tuple[float, bool, bool]]
    """`Simulator.advance` without time limits, and without an error where it diverges."""


@runtime_checkable
class MujocoSimulator(Protocol):
    """A `Simulator` with MuJoCo inside."""

    name: str
    action: Space

    def begin(self, seed: int) -> None:
        """As in `Simulator`."""
        ...

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """As in `Simulator`."""
        ...

    def observe(self) -> Mapping[str, Any]:
        """As in `Simulator`."""
        ...

    def workings(self) -> Workings:
        """The MuJoCo inside."""
        ...


def physics_of(simulator: Any) -> Physics:
    """The state of a simulator.

    Raises:
        ValueError: It has no MuJoCo inside, its state is too large, or it is not its whole state.
    """
    if not isinstance(simulator, MujocoSimulator):
        raise ValueError(
            f"{simulator.name} has no MuJoCo inside, whose state `physics` would be; leave out "
            f"physics, or choose dmc:... or one of Gymnasium's MuJoCo environments."
        )
    return Physics(simulator)


class Physics:
    """Reads and writes the state of one simulator, `[P]` float64, and steps from it.

    Finding what belongs to the state plays some short episodes: reset the simulator afterwards.
    """

    def __init__(self, simulator: MujocoSimulator) -> None:
        import mujoco

        self.name = simulator.name
        self._simulator = simulator
        self._inside = simulator.workings()
        self._kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self._get, self._set = mujoco.mj_getState, mujoco.mj_setState
        self._integration = int(mujoco.mj_stateSize(self._inside.model, self._kind))
        self._warnings = self._inside.data.warning.number
        self._grave = self._warnings[int(mujoco.mjtWarning.mjWARN_BADQPOS) :]
        self._armed = [_ARMED] * len(self._grave)
        self._fields: dict[str, np.ndarray] = {}
        self._places: list[tuple[np.ndarray, slice]] = []
        self._derived = 0
        fresh = mujoco.MjData(self._inside.model)
        self._keep("model", self._drawn())
        self._derived = len(self._places)
        self._keep("data", self._unrestored(fresh))
        self._verify()

    @property
    def size(self) -> int:
        """P."""
        return self._integration + sum(field.size for field in self._fields.values())

    @property
    def inside(self) -> Workings:
        """The MuJoCo model and data."""
        return self._inside

    @property
    def fields(self) -> dict[str, int]:
        """What follows MuJoCo's integration state, for example "model.geom_pos", and its size."""
        return {name: field.size for name, field in self._fields.items()}

    def read(self, out: np.ndarray | None = None) -> np.ndarray:
        """The present state, `[P]`, in `out` if given."""
        vector = np.empty(self.size) if out is None else out
        inside = self._inside
        self._get(inside.model, inside.data, vector[: self._integration], self._kind)
        for field, place in self._places:
            vector[place] = field
        return vector

    def write(self, vector: np.ndarray) -> bool:
        """Bring the simulator into a state that was read, here or in a copy of it.

        False where MuJoCo refuses the state as diverged; the simulator is then in another.
        """
        inside = self._inside
        self._warnings[:] = _ARMED
        self._set(inside.model, inside.data, vector[: self._integration], self._kind)
        for field, place in self._places[: self._derived]:
            field[:] = vector[place]
        inside.refresh()
        for field, place in self._places[self._derived :]:
            field[:] = vector[place]
        return self._well()

    def sense(self) -> Mapping[str, Any]:
        """What is sensed in the present state."""
        return self._inside.sense()

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One frame under an action within the simulator's bounds: reward, whether the task ended,
        and whether it was cut short, but for time limits.

        The reward is NaN where the simulation diverged: MuJoCo then starts over by itself, so the
        state means nothing.
        """
        self._warnings[:] = _ARMED
        reached = self._inside.frame(action)
        return reached if self._well() else (float("nan"), False, False)

    def _well(self) -> bool:
        """Whether MuJoCo has warned of no divergence since its counts were armed: a count that is
        not zero keeps it from writing a line to its log each time."""
        well = self._grave.tolist() == self._armed
        self._warnings[:] = 0
        return well

    # ------------------------------------------------------------------ what belongs to the state

    def _keep(self, owner: str, fields: Mapping[str, np.ndarray]) -> None:
        """Append fields to the state."""
        for name, field in fields.items():
            start = self.size
            self._fields[f"{owner}.{name}"] = flat = field.reshape(-1)
            self._places.append((flat, slice(start, start + flat.size)))
        if self.size > _MOST:
            largest = max(self._fields, key=lambda name: self._fields[name].size)
            raise ValueError(
                f"{self.name}: its state has {self.size} entries, most of them in {largest}, which "
                f"the task changes; {_MOST} is the limit. Leave out physics."
            )

    def _play(self, seed: int) -> Iterator[np.ndarray]:
        """The actions of a short episode at random, each before it is carried out."""
        random = np.random.default_rng(seed)
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float64), self._simulator.action.shape)
            for bound in (self._simulator.action.low, self._simulator.action.high)
        )
        low, high = np.where(np.isfinite(low), low, -1.0), np.where(np.isfinite(high), high, 1.0)
        self._simulator.begin(seed)
        for _ in range(_FRAMES):
            yield low + (high - low) * random.random(low.shape)

    def _drawn(self) -> dict[str, np.ndarray]:
        """Fields of the model that differ from episode to episode, or in the course of one."""
        fields = dict(_floats(self._inside.model))
        before: dict[str, np.ndarray] = {}
        found = {}
        for seed in range(_SEEDS):
            for k, action in enumerate(self._play(seed)):
                if not before:
                    before = {name: field.copy() for name, field in fields.items()}
                for name, field in fields.items():
                    if field.tobytes() != before[name].tobytes():
                        found[name] = field
                if k == 2 or any(self._simulator.advance(action)[1:]):
                    break
        return {name: fields[name] for name in fields if name in found}

    def _unrestored(self, fresh: Any) -> dict[str, np.ndarray]:
        """Derived quantities whose values before a state was set matter after it.

        They are found by poison: what is sensed, rewarded and reached must not depend on it.
        """
        data, sizes = self._inside.data, {name: field.size for name, field in _floats(fresh)}
        fields = {name: field for name, field in _floats(data) if sizes.get(name) == field.size}
        actions = []
        for action in self._play(0):
            actions.append(action)
            if len(actions) > 3 or any(self._simulator.advance(action)[1:]):
                break
        state, kept = self.read(), {name: field.copy() for name, field in fields.items()}

        def outcome(names: Sequence[str], poison: float) -> bytes:
            for name, field in fields.items():
                field[...] = poison if name in names else kept[name]
            self.write(state)
            try:
                sensed = _bytes(self.sense())
                reward = self.advance(actions[-1])[0]
                return sensed + np.float64(reward).tobytes() + self.read().tobytes()
            except (ArithmeticError, ValueError) as problem:
                return repr(problem).encode()

        with np.errstate(all="ignore"):
            clean = outcome((), 0.0)
            if all(outcome(list(fields), poison) == clean for poison in _POISONS):
                return {}
            return {
                name: field
                for name, field in fields.items()
                if any(outcome([name], poison) != clean for poison in _POISONS)
            }

    def _verify(self) -> None:
        """Hold copies of some moments of an episode to what followed them, from within another."""
        moments = []
        for action in self._play(1):
            before = self.read(), _bytes(self._simulator.observe())
            reward, terminated, cut = self._simulator.advance(action)
            after = reward, terminated, self.read().tobytes(), _bytes(self._simulator.observe())
            moments.append((before, action, after))
            if terminated or cut:
                break
        self._simulator.begin(2)
        for k, ((state, sensed), action, (reward, terminated, reached, seen)) in reversed(
            list(enumerate(moments))
        ):
            self.write(state)
            same = [self.read().tobytes() == state.tobytes(), _bytes(self.sense()) == sensed]
            again = self.advance(action)[:2]
            same += [again[0] == reward, again[1] == terminated]
            same += [self.read().tobytes() == reached, _bytes(self.sense()) == seen]
            if not all(same):
                what = ("state", "observation", "reward", "end", "next state", "next observation")
                wrong = ", ".join(w for w, right in zip(what, same, strict=True) if not right)
                raise ValueError(
                    f"{self.name}: MuJoCo's state is not the whole state of this environment: a "
                    f"copy of frame {k} differs in {wrong}. The task keeps something in Python, or "
                    f"draws at random on its way; leave out physics."
                )


def _floats(owner: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of floats of a MuJoCo structure, by name."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        value = getattr(owner, name, None)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
            yield name, value


def _bytes(obs: Mapping[str, Any]) -> bytes:
    """Observations to be compared bit by bit, -0 and 0 and all NaN alike."""
    return b"".join((np.asarray(obs[name], np.float64) + 0.0).tobytes() for name in sorted(obs))
