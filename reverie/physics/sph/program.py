"""A substep of smoothed particles as launches of kernels, over lists of neighbours kept a while.

A list is made for a reach a little beyond the kernel's, and serves until a particle has gone half
of what is beyond. It is ascending, and pairs out of reach add nothing, so results are the same to
the bit whenever it was made (but for thin periodic boxes, where pairs of images may change places).

Legend: `B` worlds, `N` particles, `P` pairs, `K` tools.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.sph.neighbours import cells
from reverie.physics.sph.reference import Law
from reverie.physics.tools import Shape

BEYOND = 0.2
"""Of h: how much farther than the kernel lists reach."""
ROOM = 1.25
"""Of the pairs there are: how many a list has room for."""


class NearList:
    """Of one set of particles: who is near whom, in buffers that stay where they are."""

    def __init__(self, law: Law, t: Any) -> None:
        """`t`: the kernels of lists, in the precision of the particles."""
        self.law, self.t = law, t
        self.reach = (2 + BEYOND) * law.h
        self.made: Tensor | None = None
        self.version = 0
        self.first = self.other = self.apart = torch.zeros(0)

    @torch.no_grad()
    def renew(self, position: Tensor) -> int:
        """A number that changes when the buffers do; lists are made anew where they must be.

        Raises:
            FloatingPointError: A position is not finite, or particles flew off.
        """
        if self.made is not None:
            gone = (position - self.made).square().sum(-1).max()
            if bool(gone < (0.5 * BEYOND * self.law.h) ** 2):
                return self.version
        self._make(position)
        self.made = position.clone()
        return self.version

    def _make(self, position: Tensor) -> None:
        wp, t = kernels.warp(), self.t
        found = cells(position, self.reach, self.law.period)
        rows, device = len(found.own), str(position.device)
        if self.made is None:
            self.first = torch.zeros(rows + 1, dtype=torch.int32, device=position.device)

        def vectors(x: Tensor) -> Any:
            return wp.from_torch(x, dtype=wp.vec3i if x.dtype == torch.int32 else t.VEC3)

        place, own = vectors(found.place), vectors(found.own)
        start, cell = wp.from_torch(found.start), wp.from_torch(found.cell)
        many = torch.empty_like(found.cell)
        by = (*found.stride, self.reach**2)
        wp.launch(
            t.count_near,
            rows,
            [place, start, own, cell, *by, wp.from_torch(many)],
            device=device,
            record_tape=False,
        )
        torch.cumsum(many, 0, dtype=torch.int32, out=self.first[1:])
        self._grow(int(self.first[-1]), position.device)
        periodic = int(any(self.law.period))
        particle, turns, laps = found.particle, vectors(found.turns), vectors(found.laps)
        arrays = [place, wp.from_torch(particle), turns, start, own, laps, cell]
        out = [wp.from_torch(self.first), wp.from_torch(self.other), vectors(self.apart)]
        wp.launch(
            t.list_near,
            rows,
            [*arrays, *by, position.shape[1], periodic, *out],
            device=device,
            record_tape=False,
        )

    def _grow(self, count: int, device: torch.device) -> None:
        if count > len(self.other) or not self.version:
            room = int(ROOM * count) + 64
            self.other = torch.zeros(room, dtype=torch.int32, device=device)
            images = room if any(self.law.period) else 1
            self.apart = torch.zeros(images, 3, dtype=torch.int32, device=device)
            self.version += 1


class _Lists(threading.local):
    """Of each thread, by worlds and particles."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, ...], NearList] = {}


class SPHProgram:
    """The substep in one precision, on one device."""

    def __init__(
        self, shapes: tuple[Shape, ...], law: Law, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shapes, self.law = shapes, law
        self.t = t = kernels.load("reverie.physics.sph.kernels", dtype)
        self.near = kernels.load("reverie.physics.sph.near.kernels", dtype)
        self.lists = _Lists()
        wp = kernels.warp()
        tool_state = {"place": t.VEC3, "turn": t.QUAT, "total": t.VEC6}
        tool_given = {"linear": t.VEC3, "angular": t.VEC3, "extent": t.VEC3, "friction": t.REAL}
        numbers = ("mass", "rest", "sound", "viscosity", "background")
        self.program = kernels.Program(
            state={"x": t.VEC3, "v": t.VEC3, "density": t.REAL, **tool_state},
            given={**dict.fromkeys(numbers, t.REAL), "gravity": t.VEC3, **tool_given},
            scratch={
                **dict.fromkeys(("inner", "sums", "kick", "speed", "rates"), t.VEC3),
                "pressure": t.REAL,
                "impulse": t.VEC6,
            },
            launches=self._launches,
            prepare=self._prepare,
            key=self._key,
            constants={
                "shape": wp.array([int(s) for s in shapes] or [0], dtype=int, device=str(device))
            },
        )

    def _list(self, x: Tensor) -> NearList:
        found, key = self.lists.found, (len(x), x.shape[1])
        if key not in found:
            while len(found) >= kernels.SPACES:
                found.pop(next(iter(found)))
            found[key] = NearList(self.law, self.near)
        return found[key]

    def _key(self, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
        near = self._list(tensors["x"])
        return near.renew(tensors["x"]), id(near)

    def _prepare(self, tensors: Mapping[str, Tensor], key: Any) -> kernels.Prepared:
        wp, x = kernels.warp(), tensors["x"]
        near, all_particles = self._list(x), (len(x), x.shape[1])
        between = ("inner", "sums", "kick", "speed", "rates", "pressure")
        shapes: dict[str, Any] = dict.fromkeys(between, all_particles)
        shapes["impulse"] = tensors["place"].shape[:2]
        apart = wp.from_torch(near.apart, dtype=wp.vec3i)
        return {
            "near": (wp.from_torch(near.first), wp.from_torch(near.other), apart),
            "dim": all_particles,
            "tools": shapes["impulse"],
        }, shapes

    def _launches(self, values: Mapping[str, Any]) -> list[kernels.Launch]:
        t, law, dim, tools = self.t, self.law, values["dim"], ("shape", len(self.shapes))
        near = (*values["near"], int(any(law.period)), t.VEC3(*law.period))
        moving = ("place", "turn", "linear", "angular", "extent")
        whole, state = (*moving, "friction", law.h), ("x", "speed", "density")
        by: tuple[Any, ...] = ("density", "rest", "sound", "background", "pressure")
        out = [kernels.Launch(t.pressures, dim, by)]
        by = ("x", "v", "density", "pressure", "mass", "rest", "sound", "viscosity")
        out.append(kernels.Launch(t.push, dim, (*near, *by, law.h, law.alpha, "inner")))
        by = ("x", "density", "pressure", "viscosity", "gravity", *whole, "sums", "kick")
        out.append(kernels.Launch(t.walls, dim, (*tools, *by)))
        by = ("v", "inner", "sums", "kick", "gravity", law.dt, "speed")
        out.append(kernels.Launch(t.hold, dim, by))
        if self.shapes:
            by = ("pressure", "inner", "sums", "mass", "viscosity", "gravity", *whole, law.dt)
            each = (*dim, len(self.shapes))
            out.append(kernels.Launch(t.lose, each, ("shape", *state, *by, "impulse")))
        by = ("mass", "rest", "sound", "gravity", *tools, *moving, law.h, "rates")
        out.append(kernels.Launch(t.compress, dim, (*near, *state, *by)))
        by = ("sums", "rates", "sound", law.h, law.delta, law.dt, "x+", "v+", "density+")
        out.append(kernels.Launch(t.settle, dim, (*state, *by), again=False))
        by = ("linear", "angular", "total", "impulse", law.dt, "place+", "turn+", "total+")
        out.append(kernels.Launch(t.move, values["tools"], ("place", "turn", *by), again=False))
        return out
