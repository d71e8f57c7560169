"""The exact simulator as a world model: set its state, act, and see what comes.

See README.md beside this file for what is exact and what is not.
Legend: `B` batch, `A` action, `P` entries of the simulator's state.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Spec
from reverie.envs import make
from reverie.envs.adapter import Adapter
from reverie.envs.env import EnvConfig
from reverie.envs.physics import Physics
from reverie.models.oracle.config import OracleConfig


class OracleState(NamedTuple):
    """The state of B simulators."""

    physics: Tensor
    """`[B, P]` float64, as `reverie.envs.physics` composes it; NaN where the simulation diverged,
    and from there on."""


class Oracle:
    """A `WorldModel` over `OracleState`: deterministic, exact, without parameters or gradient.

    It may be called from any thread. `close` (or leaving its `with` block) frees the simulators.
    """

    def __init__(self, env: EnvConfig, threads: int = 1, seed: int = 0) -> None:
        """Build `threads` copies of an environment; `seed` is of the episode that `initial` begins.

        Raises:
            ValueError: The environment has no MuJoCo inside, or its state is not MuJoCo's alone.
            ModuleNotFoundError: The extra that brings the environment is not installed.
        """
        self.config = OracleConfig(env, threads, seed)
        bare = dataclasses.replace(
            env, pixels=False, with_state=False, camera="", max_decisions=0, physics=True
        )
        self._copies: list[_Copy] = []
        for _ in range(threads):
            self._copies.append(_Copy(bare))
        first = self._copies[0].env
        blind = env.pixels and not env.with_state
        self.spec = Spec(
            obs={
                name: space
                for name, space in first.obs.items()
                if name == "physics" or not (blind or space.is_image)
            },
            action=first.action,
            dt=first.dt,
            provides=frozenset({"obs", "reward", "continues"}),
        )
        self._begin = torch.from_numpy(first.reset(seed).obs["physics"])
        self._pool = ThreadPoolExecutor(threads, "oracle") if threads > 1 else None
        self._closed = False

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> OracleState:
        """The beginning of the seed's episode, B times; the family has no context."""
        return OracleState(self._begin.repeat(batch, 1))

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """Nothing: the simulator is deterministic."""
        return ()

    def observe(
        self, state: OracleState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> OracleState:
        """s_t = o_t["physics"]: the state is sensed, and nothing before it matters."""
        sensed = obs.get("physics")
        if sensed is None:
            raise ValueError(
                f"An oracle reads the observation 'physics' and was given {sorted(obs)}; make the "
                f"environment with physics=True."
            )
        if sensed.dtype != torch.float64 or sensed.shape[1:] != self._begin.shape:
            raise ValueError(
                f"The observation 'physics' is {[*sensed.shape]} {sensed.dtype}; an oracle of "
                f"{self.config.env.name} needs [B, {len(self._begin)}] float64, as that "
                f"environment gives it: rounded, it is another state."
            )
        return OracleState(sensed.detach().clone())

    def step(self, state: OracleState, action: Tensor, noise: tuple[()]) -> Transition[OracleState]:
        """s_{t+1} after the environment's `repeat` frames under an action `[B, 1, A]`.

        The reward, summed over the frames, is float32 as in recorded rows. Where a candidate makes
        the simulation diverge, its reward and its state are NaN from there on, and it does not
        continue; the other rows are as they would be without it.
        """
        physics = state.physics.detach().cpu().contiguous().numpy()
        acts = action.detach().to("cpu", torch.float32)[:, 0].numpy()
        fit = np.isfinite(physics).all(1) & np.isfinite(acts).all(1)
        native = self._copies[0].env.native(np.where(fit[:, None], acts, 0))
        after = np.full_like(physics, np.nan)
        reward, continues = np.full(len(fit), np.nan), np.zeros(len(fit))
        self._share(np.flatnonzero(fit), _Copy.step, physics, native, after, reward, continues)
        broken = ~np.isfinite(after).all(1)
        after[broken], reward[broken], continues[broken] = np.nan, np.nan, 0.0
        return Transition(
            OracleState(torch.from_numpy(after).to(state.physics.device)),
            reward=torch.from_numpy(reward).to(action.device, torch.float32),
            continues=torch.from_numpy(continues).to(action.device, torch.float32),
        )

    def decode(self, state: OracleState) -> dict[str, Tensor]:
        """What is sensed in the state; NaN where the simulation diverged."""
        physics = state.physics.detach().cpu().contiguous().numpy()
        fit = np.isfinite(physics).all(1)
        sensed = {}
        for name, space in self.spec.obs.items():
            if name != "physics":
                blank = np.nan if space.torch_dtype.is_floating_point else 0
                sensed[name] = np.full((len(physics), *space.shape), blank, space.dtype)
        if sensed:
            self._share(np.flatnonzero(fit), _Copy.sense, physics, sensed)
        device = state.physics.device
        obs = {name: torch.from_numpy(values).to(device) for name, values in sensed.items()}
        return {**obs, "physics": state.physics}

    # ------------------------------------------------------------------ the simulators

    def close(self) -> None:
        """Free the simulators; the oracle cannot be used any more."""
        if not self._closed:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown()
            for one in self._copies:
                with one.lock:
                    one.env.close()

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def _share(self, rows: np.ndarray, work: Callable[..., None], *given: Any) -> None:
        """Carry out `work(copy, rows, *given)` with the rows split among the copies."""
        if self._closed:
            raise RuntimeError(f"The oracle of {self.config.env.name} was closed; make a new one.")
        parts = np.array_split(rows, len(self._copies))
        jobs = [
            partial(one.run, work, part.tolist(), *given)
            for one, part in zip(self._copies, parts, strict=True)
            if len(part)
        ]
        if self._pool is None or len(jobs) < 2:
            for job in jobs:
                job()
            return
        waiting = [self._pool.submit(job) for job in jobs]
        for done in waiting:
            done.result()


class _Copy:
    """One copy of the environment, and who uses it now."""

    def __init__(self, config: EnvConfig) -> None:
        env = make(config)
        assert isinstance(env, Adapter) and env.physics is not None
        self.env, self.physics = env, env.physics
        self.lock = threading.Lock()
        env.reset(0)  # What a task sets at every reset is set in every copy.

    def run(self, work: Callable[..., None], *given: Any) -> None:
        """Carry out a method of this class, alone."""
        with self.lock, np.errstate(all="ignore"):
            work(self, *given)

    def step(
        self,
        rows: list[int],
        physics: np.ndarray,
        native: np.ndarray,
        after: np.ndarray,
        reward: np.ndarray,
        continues: np.ndarray,
    ) -> None:
        """One decision from each of these rows of `physics`, as `Adapter.step` makes it."""
        inside: Physics = self.physics
        for b in rows:
            if not inside.write(physics[b]):
                continue
            total, terminated = 0.0, False
            for _ in range(self.env.repeat):
                one, terminated, cut = inside.advance(native[b])
                total += one
                if terminated or cut or math.isnan(total):
                    break
            if not math.isnan(total):
                inside.read(after[b])
                reward[b], continues[b] = total, not terminated

    def sense(self, rows: list[int], physics: np.ndarray, sensed: dict[str, np.ndarray]) -> None:
        """What is sensed in each of these rows of `physics`."""
        for b in rows:
            if self.physics.write(physics[b]):
                now = self.physics.sense()
                for name, values in sensed.items():
                    values[b] = now[name]
