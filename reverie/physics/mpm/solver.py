"""The material point method: n substeps of particles and tools, by kernels or by torch.

Legend: `B` worlds, `N` particles, `K` tools.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.backend import Backend, runner
from reverie.physics.mpm.material import HARDENING, PACKED, Kind, MPMParams, MPMState
from reverie.physics.mpm.reference import active_box, substep
from reverie.physics.tools import Shape, Tools, require_finite

NODES = 2**22
"""The most grid nodes of a world."""


class _Boxes(threading.local):
    """Of each thread: where the box of so many worlds begins, and its size."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, torch.device], tuple[Tensor, tuple[int, int, int]]] = {}


class MPM:
    """Particles of given kinds and tools of given shapes, on a grid of spacing `dx`."""

    def __init__(
        self,
        kind: Tensor,
        shapes: Sequence[Shape] = (),
        *,
        dx: float,
        dt: float,
        softness: float | None = None,
        backend: Backend = "auto",
        keep: bool = True,
    ) -> None:
        """`kind` int `[N]`; dt [s] of a substep, dx [m]; `softness` [m] is by default dx / 2.

        `keep` says whether each substep's particles are kept for the gradient (100 bytes a particle
        in float32), or computed again.

        Raises:
            ValueError: dt or dx is not positive, or a kind is unknown.
            ModuleNotFoundError: `backend="warp"`, and Warp is not installed.
        """
        if not (dt > 0 and dx > 0):
            raise ValueError(f"MPM got dt={dt} and dx={dx}; both must be positive.")
        known = {int(k) for k in Kind}
        if kind.ndim != 1 or not set(kind.unique().tolist()) <= known:
            raise ValueError(f"MPM kinds are a vector of {sorted(known)}; got {kind.unique()}.")
        self.kind, self.shapes = kind.to(torch.int32), tuple(Shape(s) for s in shapes)
        self.dx, self.dt, self.keep = dx, dt, keep
        self.softness = dx / 2 if softness is None else softness
        self.backend = runner(backend)
        self._programs: dict[torch.dtype, kernels.Program] = {}
        self._boxes = _Boxes()

    def __call__(
        self, state: MPMState, params: MPMParams, tools: Tools, substeps: int = 1
    ) -> tuple[MPMState, Tools, Tensor]:
        """The state after `substeps`, the tools where they are then, and the mean force and torque
        `[B, K, 6]` [N, N m] on each, about its place.

        Raises:
            FloatingPointError: a tool or a particle is NaN or infinite, or particles flew off.
        """
        require_finite(tools)
        run = self._warp if self.backend == "warp" else self._torch
        state, tools, impulse = run(state, params, tools, substeps)
        return state, tools, impulse / (substeps * self.dt)

    def stable_dt(self, params: MPMParams) -> float:
        """The largest stable dt [s]: a sound wave crosses half a cell, 0.5 dx / sqrt(P / rho).

        P = lam + 2 mu (K for a liquid; of snow, when packed) is the stiffness of a plane wave.
        """
        density = params.mass / params.volume
        packed = torch.where(self.kind == Kind.SNOW, math.exp(HARDENING * PACKED), 1.0)
        wave = (packed * (params.lam + 2 * params.mu) / density).sqrt().max()
        return float(0.5 * self.dx / wave)

    def check(self, params: MPMParams) -> None:
        """Whether these parameters can be simulated.

        Raises:
            ValueError: a mass, volume or modulus is not positive (a shear modulus or viscosity is
                negative), or dt is above the stable one; the message says which, and the limit.
        """
        for name, least in (("mass", True), ("volume", True), ("lam", True), ("mu", False)):
            value = getattr(params, name)
            if not bool(((value > 0) | (value == 0) & (not least)).all()):
                raise ValueError(
                    f"MPM {name} spans {float(value.min())} to {float(value.max())}; it must be "
                    f"{'positive' if least else 'at least 0'}."
                )
        most = self.stable_dt(params)
        if self.dt > most:
            raise ValueError(
                f"MPM dt is {self.dt:.3g} s, and sound crosses half a cell of {self.dx:.3g} m in "
                f"{most:.3g} s: take at most that, a larger dx, or a softer or heavier material."
            )

    def _torch(
        self, state: MPMState, params: MPMParams, tools: Tools, substeps: int
    ) -> tuple[MPMState, Tools, Tensor]:
        total = torch.zeros_like(tools.place).repeat(1, 1, 2)
        for _ in range(substeps):
            state, tools, impulse = substep(
                state,
                params,
                tools,
                self.kind,
                self.shapes,
                dt=self.dt,
                dx=self.dx,
                softness=self.softness,
                most=NODES,
            )
            total = total + impulse
        return state, tools, total

    def _warp(
        self, state: MPMState, params: MPMParams, tools: Tools, substeps: int
    ) -> tuple[MPMState, Tools, Tensor]:
        dtype = state.position.dtype
        if dtype not in self._programs:
            self._programs[dtype] = self._program(dtype)
        total = torch.zeros_like(tools.place).repeat(1, 1, 2)
        given = [*state], [*params]
        if self.shapes:
            given[0].extend((tools.place, tools.turn.roll(-1, -1), total))
            given[1].extend(tools[2:])
        out = kernels.run(self._programs[dtype], *given, substeps, self.keep)
        if self.shapes:
            place, turn, total = out[5:]
            tools = tools._replace(place=place, turn=turn.roll(1, -1))
        return MPMState(*out[:5]), tools, total

    def _program(self, dtype: torch.dtype) -> kernels.Program:
        made = kernels.load("reverie.physics.mpm.kernels", dtype)
        t, wp = made, kernels.warp()
        device = str(self.kind.device)
        tool_state = {"place": t.VEC3, "turn": t.QUAT, "total": t.VEC6}
        tool_given = {
            "linear": t.VEC3,
            "angular": t.VEC3,
            "extent": t.VEC3,
            "tool_friction": t.REAL,
        }
        speeds = [f"velocity{k}" for k in range(len(self.shapes) + 1)]
        particles = {"x": t.VEC3, "v": t.VEC3, "c": t.MAT33, "b": t.MAT33, "q": t.REAL}
        names = ("mass", "volume", "mu", "lam", "limit", "viscosity")
        some = bool(self.shapes)
        return kernels.Program(
            state={**particles, **(tool_state if some else {})},
            given={
                **dict.fromkeys(names, t.REAL),
                "gravity": t.VEC3,
                **(tool_given if some else {}),
            },
            scratch={
                "grid": t.VEC4,
                **dict.fromkeys(speeds, t.VEC3),
                **({"impulse": t.VEC6} if some else {}),
            },
            launches=lambda values: self._launches(made, values),
            prepare=self._prepare,
            key=self._box,
            constants={
                "kind": wp.from_torch(self.kind),
                "shape": wp.array([int(s) for s in self.shapes], dtype=int, device=device),
            },
        )

    def _box(self, tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
        """The size of a box around the particles; where it begins is written for the kernels.

        The box of the call before stays as long as it holds them, so that launches stay too.
        """
        x = tensors["x"]
        box = active_box(x, self.dx, NODES)
        boxes = self._boxes.found
        key = (len(x), x.device)
        if key in boxes:
            origin, size = boxes[key]
            inside = bool((box.origin >= origin).all())
            ends = box.origin + torch.tensor(box.size, dtype=torch.int32, device=x.device)
            most = origin + torch.tensor(size, dtype=torch.int32, device=x.device)
            if inside and bool((ends <= most).all()) and math.prod(size) < 4 * box.nodes + 4096:
                return size
        wide = (box.size[0] + 2, box.size[1] + 2, box.size[2] + 2)
        if key not in boxes:
            boxes[key] = torch.empty_like(box.origin), wide
        origin = boxes[key][0]
        origin.copy_(box.origin - 1)
        boxes[key] = origin, wide
        return wide

    def _prepare(
        self, tensors: Mapping[str, Tensor], size: tuple[int, int, int]
    ) -> kernels.Prepared:
        wp, x = kernels.warp(), tensors["x"]
        nodes = math.prod(size)
        shapes: dict[str, tuple[int, ...]] = {"grid": (len(x), nodes)}
        for k in range(len(self.shapes) + 1):
            shapes[f"velocity{k}"] = (len(x), nodes)
        if self.shapes:
            shapes["impulse"] = (len(x), len(self.shapes))
        values: dict[str, Any] = {
            "origin": wp.from_torch(self._boxes.found[len(x), x.device][0], dtype=wp.vec3i),
            "size": wp.vec3i(*size),
            "worlds": len(x),
            "particles": x.shape[1],
            "nodes": nodes,
        }
        return values, shapes

    def _launches(self, t: Any, values: Mapping[str, Any]) -> list[kernels.Launch]:
        dt, dx, some = self.dt, self.dx, bool(self.shapes)
        origin, size = values["origin"], values["size"]
        all_particles = (values["worlds"], values["particles"])
        all_nodes = (values["worlds"], values["nodes"])
        made = (
            "kind",
            "x",
            "v",
            "c",
            "b",
            "q",
            "mass",
            "volume",
            "mu",
            "lam",
            "limit",
            "viscosity",
        )
        out = [
            kernels.Launch(t.p2g, all_particles, (*made, dt, dx, origin, size, "b+", "q+", "grid")),
            kernels.Launch(t.accelerate, all_nodes, ("grid", "gravity", dt, "velocity0")),
        ]
        ends: tuple[Any, ...]
        moving: tuple[str, ...]
        for k in range(len(self.shapes)):
            moving = ("place", "turn", "linear", "angular", "extent", "tool_friction")
            ends = (dx, self.softness, origin, size, f"velocity{k + 1}", "impulse")
            arguments = ("shape", k, "grid", f"velocity{k}", *moving, *ends)
            out.append(kernels.Launch(t.collide, all_nodes, arguments))
        if some:
            moving = ("place", "turn", "linear", "angular", "total", "impulse")
            ends = (dt, "place+", "turn+", "total+")
            dim = (values["worlds"], len(self.shapes))
            out.append(kernels.Launch(t.move, dim, (*moving, *ends), again=False))
        last = f"velocity{len(self.shapes)}"
        ends = (dt, dx, origin, size, "x+", "v+", "c+")
        out.append(kernels.Launch(t.g2p, all_particles, ("x", last, *ends), again=False))
        return out
