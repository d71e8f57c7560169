"""Cloth and ropes: n substeps of vertices and tools, by kernels or by torch.

Legend: `B` worlds, `V` vertices, `F` triangles, `S` segments, `P` bodies, `K` tools.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.backend import Backend, runner
from reverie.physics.cloth import stability
from reverie.physics.cloth.layers import near_pairs
from reverie.physics.cloth.material import ClothParams, ClothState, Hold, web
from reverie.physics.cloth.mesh import ClothMesh
from reverie.physics.cloth.program import Sizes, constants, of_call, program
from reverie.physics.cloth.reference import substep
from reverie.physics.tools import Shape, Tools

Ran = tuple[ClothState, Tools, Tensor]
LONGEST = 64
"""Substeps between searches for near layers, at most."""
_BY_WORLD = ("thickness", "friction", "drag", "gravity")


class Cloth:
    """The bodies of a mesh and tools of given shapes."""

    def __init__(
        self,
        mesh: ClothMesh,
        shapes: Sequence[Shape] = (),
        *,
        dt: float,
        pinned: Tensor | None = None,
        layers: bool = False,
        backend: Backend = "auto",
        keep: bool = True,
        checked: bool = True,
    ) -> None:
        """dt [s] of a substep; `pinned` bool `[V]`, vertices that stay where they are.

        `layers` says whether cloth meets itself and other bodies of the mesh. `keep`: whether each
        substep's vertices are kept for the gradient (24 bytes a vertex in float32), or computed
        again. `checked`: whether each call tests its input, and dt against `stable_dt`.

        Raises:
            ValueError: dt is not positive, or `pinned` does not have V entries.
        """
        if not dt > 0:
            raise ValueError(f"Cloth got dt={dt}; it must be positive.")
        pins = torch.zeros(mesh.vertices, dtype=torch.bool) if pinned is None else pinned
        if pins.shape != (mesh.vertices,) or pins.dtype != torch.bool:
            raise ValueError(
                f"`pinned` is bool [{mesh.vertices}], one for each vertex; got {pins.dtype} "
                f"{tuple(pins.shape)}."
            )
        self.mesh, self.shapes, self.dt = mesh, tuple(Shape(s) for s in shapes), dt
        self.pinned, self.layers, self.keep, self.checked = pins, layers, keep, checked
        self.backend = runner(backend)
        self._meshes: dict[tuple[torch.dtype, torch.device], ClothMesh] = {}
        self._constants: dict[tuple[torch.dtype, torch.device], dict[str, Any]] = {}

    def __call__(
        self,
        state: ClothState,
        params: ClothParams,
        tools: Tools | None = None,
        substeps: int = 1,
        hold: Hold | None = None,
    ) -> Ran:
        """The state after `substeps`, the tools where they are then, and the mean force and torque
        `[B, K, 6]` [N, N m] on each, about its place.

        Raises:
            ValueError: `substeps` is below 1, a shape is wrong, a mass is not positive, or dt is
                above `stable_dt`.
            FloatingPointError: The state given, or the one found, is not finite; or a layer moves
                further than half the thickness within a substep.
        """
        if substeps < 1:
            raise ValueError(f"Cloth runs at least one substep; got substeps={substeps}.")
        tools = nobody(state.position) if tools is None else tools
        hold = self._held(state, hold)
        self._check_shapes(state, params, tools, hold)
        if self.checked:
            self._check(state, params, hold)
        mesh = self._mesh(state.position)
        if self.layers:
            state, tools, impulse = self._by_pieces(state, params, tools, hold, mesh, substeps)
        else:
            none = torch.zeros(0, 3, dtype=torch.int32, device=state.position.device)
            state, tools, impulse = self._run(state, params, tools, hold, mesh, none, substeps)
        if self.checked:
            _finite(state, "after the call")
        return state, tools, impulse / (substeps * self.dt)

    def stable_dt(self, params: ClothParams, strain: float = 0.1) -> float:
        """The largest dt [s] that all worlds bear at strains up to `strain`, see `stability.py`."""
        with torch.no_grad():
            return float(stability.stable_dt(self._mesh(params.mass), params, strain).min())

    def _mesh(self, like: Tensor) -> ClothMesh:
        key = (like.dtype, like.device)
        if key not in self._meshes:
            self._meshes[key] = self.mesh.to(like)
        return self._meshes[key]

    def _held(self, state: ClothState, hold: Hold | None) -> Hold:
        """The hold with pinned vertices in it."""
        pins = self.pinned.to(state.position.device)
        if hold is None:
            tool = pins.new_full(state.position.shape[:2], -1, dtype=torch.int32)
            return Hold(tool, pins.to(state.position).expand(len(tool), -1))
        tool = torch.where(pins, -1, hold.tool).to(torch.int32)
        return Hold(tool, torch.where(pins, 1.0, hold.weight))

    def _check_shapes(
        self, state: ClothState, params: ClothParams, tools: Tools, hold: Hold
    ) -> None:
        """Kernels trust shapes."""
        b, k, mesh = len(state.position), len(self.shapes), self.mesh
        v, e, f, p = mesh.vertices, mesh.elements, len(mesh.faces), mesh.bodies
        shapes: list[tuple[int, ...]] = [(b, v, 3)] * 2  # state
        shapes += [(b, v), (b, e), (b, f), (b, f), (b, e), (b, p), (b, p), (b,), (b,), (b,), (b, 3)]
        shapes += [(b, k, 3), (b, k, 4), *[(b, k, 3)] * 3, (b, k)]  # tools
        shapes += [(b, v)] * 2  # hold
        parts = (state, params, tools, hold)
        names = [f"{type(part).__name__}.{name}" for part in parts for name in part._fields]
        given = [x for part in parts for x in part]
        for name, x, shape in zip(names, given, shapes, strict=True):
            if x.shape != shape:
                raise ValueError(f"{name} is {list(shape)} here; got {list(x.shape)}.")

    def _check(self, state: ClothState, params: ClothParams, hold: Hold) -> None:
        _finite(state, "of the call")
        if int(hold.tool.max()) >= len(self.shapes):
            raise ValueError(
                f"`hold` names tool {int(hold.tool.max())}; there are {len(self.shapes)}."
            )
        if not bool((params.mass > 0).all()):
            raise ValueError(
                f"Every vertex needs a positive mass; the least is {float(params.mass.min())} kg. "
                f"Pin vertices that shall not move (`pinned`)."
            )
        if self.layers and not bool((params.thickness > 0).all()):
            raise ValueError(
                "Layers meet where they are nearer than `thickness`; it must be positive."
            )
        if not bool((params.poisson.abs() < 1).all()):
            raise ValueError("`poisson` lies in (-1, 1) everywhere, and is finite.")
        most = self.stable_dt(params)
        if math.isnan(most):
            raise ValueError("A stiffness, a damping or a mass is not finite.")
        if self.dt > most:
            raise ValueError(
                f"dt={self.dt} s is unstable: this cloth bears at most {most:.3g} s. Take more and "
                f"shorter substeps, a coarser mesh, or less stiffness or damping."
            )

    def _by_pieces(
        self,
        state: ClothState,
        params: ClothParams,
        tools: Tools,
        hold: Hold,
        mesh: ClothMesh,
        substeps: int,
    ) -> Ran:
        """As many substeps at a time as the list of near layers stays true: until a vertex has
        moved half a thickness against the others."""
        impulse, done = torch.zeros_like(tools.place).repeat(1, 1, 2), 0
        thin, thick = (float(x) for x in params.thickness.detach().aminmax())
        margin = thin / 2
        while done < substeps:
            pairs = near_pairs(mesh, state.position, params.thickness, thick + 2 * margin)
            speed = float(_spread(state.velocity))
            n = max(1, min(substeps - done, LONGEST, int(margin / (2 * speed * self.dt + 1e-30))))
            while True:
                after = self._run(state, params, tools, hold, mesh, pairs, n)
                moved = float(_spread(after[0].position - state.position))
                if moved <= margin:
                    break
                _finite(after[0], "after the call")
                if n == 1:
                    raise FloatingPointError(
                        f"A vertex moved {moved:.3g} m in a substep, more than half the thickness "
                        f"of {thin} m: layers may pass. Take a smaller dt, or thicker cloth."
                    )
                n = max(1, n // 2)
            state, tools, done = after[0], after[1], done + n
            impulse = impulse + after[2]
        return state, tools, impulse

    def _run(
        self,
        state: ClothState,
        params: ClothParams,
        tools: Tools,
        hold: Hold,
        mesh: ClothMesh,
        pairs: Tensor,
        substeps: int,
    ) -> Ran:
        """State, tools, and the sum of impulses."""
        if self.backend == "warp":
            return self._warp(state, params, tools, hold, mesh, pairs, substeps)
        total = torch.zeros_like(tools.place).repeat(1, 1, 2)
        for _ in range(substeps):
            state, tools, impulse = substep(
                state, params, tools, hold, pairs, mesh, self.shapes, dt=self.dt
            )
            total = total + impulse
        return state, tools, total

    def _warp(
        self,
        state: ClothState,
        params: ClothParams,
        tools: Tools,
        hold: Hold,
        mesh: ClothMesh,
        pairs: Tensor,
        substeps: int,
    ) -> Ran:
        made = kernels.load("reverie.physics.cloth.kernels", state.position.dtype)
        key = (state.position.dtype, state.position.device)
        if key not in self._constants:
            self._constants[key] = constants(made, mesh)
        arrays = of_call(hold.tool, pairs, len(self.shapes))
        held = len(arrays["held"]) if "held" in arrays else 0
        sizes = Sizes(len(hold.tool), mesh, len(pairs), held, self.shapes, self.dt)
        substep_of = program(made, sizes, {**self._constants[key], **arrays})
        some = tools if self.shapes else nobody(state.position, 1)
        total = torch.zeros_like(some.place).repeat(1, 1, 2)
        panel, cord, slow = web(params, mesh)
        given = {
            **{"panel": panel, "cord": cord, "slow": slow, "weight": hold.weight},
            **params._asdict(),
            **{"linear": some.linear, "angular": some.angular, "extent": some.extent},
            "tool_friction": some.friction,
        }
        start = (*state, some.place, some.turn.roll(-1, -1), total)
        out = kernels.run(
            substep_of,
            [x.flatten(0, 1) for x in start],
            [given[k] if k in _BY_WORLD else given[k].flatten(0, 1) for k in substep_of.given],
            substeps,
            self.keep,
        )
        x, v, place, turn, total = (a.view_as(b) for a, b in zip(out, start, strict=True))
        if not self.shapes:
            return ClothState(x, v), tools, torch.zeros_like(tools.place).repeat(1, 1, 2)
        return ClothState(x, v), tools._replace(place=place, turn=turn.roll(1, -1)), total


def nobody(position: Tensor, count: int = 0) -> Tools:
    """Tools `[B, count]` at the origin, at rest: none at all by default."""
    zero = position.new_zeros(len(position), count, 3)
    turn = position.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(position), count, 4)
    return Tools(zero, turn, zero, zero, zero, zero[..., 0])


def _finite(state: ClothState, when: str) -> None:
    if not all(bool(torch.isfinite(x).all()) for x in state):
        raise FloatingPointError(
            f"The state {when} is not finite: a control or a parameter was NaN, or the simulation "
            f"blew up; take a smaller dt (see `stable_dt`)."
        )


@torch.no_grad()
def _spread(x: Tensor) -> Tensor:
    """How far vectors `[B, V, 3]` are from their mean at most."""
    return (x - x.mean(1, keepdim=True)).norm(dim=-1).max()
