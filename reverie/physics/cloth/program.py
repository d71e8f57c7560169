"""A substep of cloth and ropes as launches of kernels over flat arrays, world after world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.cloth.mesh import ClothMesh
from reverie.physics.tools import Shape


@dataclass(frozen=True)
class Sizes:
    """What a program is made for."""

    worlds: int
    mesh: ClothMesh
    pairs: int
    held: int
    shapes: tuple[Shape, ...]
    dt: float

    @property
    def tools(self) -> int:
        """K, or one that nothing meets where there is none."""
        return max(1, len(self.shapes))


def constants(t: Any, mesh: ClothMesh) -> dict[str, Any]:
    """The arrays of a mesh, on its device; `t` is the module of kernels of its precision."""
    wp = kernels.warp()

    def whole(x: Tensor, kind: Any = None) -> Any:
        return wp.from_torch(x.to(torch.int32).contiguous(), dtype=kind)

    row, column, value = mesh.bends
    count = torch.bincount(row, minlength=mesh.vertices).cumsum(0)
    made = {
        "surface": whole(mesh.surface, wp.vec3i),
        "start": whole(torch.cat([count.new_zeros(1), count])),
        "column": whole(column),
        "value": wp.from_torch(value.contiguous(), dtype=t.REAL),
        "body": whole(mesh.body),
    }
    if len(mesh.faces):
        made["faces"] = whole(mesh.faces, wp.vec3i)
        made["frame"] = wp.from_torch(mesh.frame.contiguous(), dtype=t.VEC4)
    if len(mesh.segments):
        made["segments"] = whole(mesh.segments, wp.vec2i)
        made["length"] = wp.from_torch(mesh.length.contiguous(), dtype=t.REAL)
    return made


def of_call(tool: Tensor, pairs: Tensor, tools: int) -> dict[str, Any]:
    """The arrays of whole numbers of a call: layers, and vertices that `tool` `[B, V]` holds."""
    wp = kernels.warp()
    at = (tool >= 0).nonzero()
    made = {}
    if len(at):
        world, vertex = at.unbind(1)
        held, holder = world * tool.shape[1] + vertex, world * tools + tool[world, vertex]
        made["held"] = wp.from_torch(held.to(torch.int32))
        made["holder"] = wp.from_torch(holder.to(torch.int32))
    if len(pairs):
        made["pairs"] = wp.from_torch(pairs.contiguous(), dtype=wp.vec3i)
    return made


def program(t: Any, sizes: Sizes, arrays: Mapping[str, Any]) -> kernels.Program:
    """A substep, with the arrays of `constants` and `of_call`."""
    layers = ("push", "u1") if sizes.pairs else ()
    met = (f"u{k + 2}" for k in range(len(sizes.shapes)))
    vectors = ("force", "shift", "goal", "z", "u0", *layers, *met)
    by_element = {
        **({"panel": t.VEC4} if len(sizes.mesh.faces) else {}),
        **(dict.fromkeys(("cord", "slow"), t.REAL) if len(sizes.mesh.segments) else {}),
    }
    scalars = ("mass", "bend", "bend_damping", "thickness", "friction", "drag", "weight")
    launches = _launches(t, sizes)
    shape = (sizes.worlds * sizes.mesh.vertices,)
    scratch = {**dict.fromkeys(vectors, shape), "impulse": (sizes.worlds * sizes.tools,)}
    return kernels.Program(
        state={"x": t.VEC3, "v": t.VEC3, "place": t.VEC3, "turn": t.QUAT, "total": t.VEC6},
        given={
            **by_element,
            **dict.fromkeys(scalars, t.REAL),
            "gravity": t.VEC3,
            **dict.fromkeys(("linear", "angular", "extent"), t.VEC3),
            "tool_friction": t.REAL,
        },
        scratch={**dict.fromkeys(vectors, t.VEC3), "impulse": t.VEC6},
        launches=lambda values: launches,
        prepare=lambda tensors, key: ({}, scratch),
        constants=arrays,
    )


def _launches(t: Any, sizes: Sizes) -> list[kernels.Launch]:
    dt, worlds, mesh, count = sizes.dt, sizes.worlds, sizes.mesh, sizes.mesh.vertices
    vertices, faces, segments = worlds * count, len(mesh.faces), len(mesh.segments)
    out: list[kernels.Launch] = []
    by: tuple[Any, ...]
    arguments: tuple[Any, ...]
    ends: tuple[Any, ...]
    if faces:
        arguments = ("x", "v", "faces", "frame", "panel", faces, count, "force")
        out.append(kernels.Launch(t.panels, worlds * faces, arguments))
    if segments:
        by = ("segments", "length", "cord", "slow", segments, count, "force")
        out.append(kernels.Launch(t.cords, worlds * segments, ("x", "v", *by)))
    by = ("body", "bend_damping", count, mesh.bodies, "z")
    out.append(kernels.Launch(t.ahead, vertices, ("x", "v", *by)))
    by = ("start", "column", "value", "body", "bend", count, mesh.bodies, "force")
    out.append(kernels.Launch(t.bends, vertices, ("z", *by)))
    by = ("mass", "drag", "gravity", dt, count, "u0")
    out.append(kernels.Launch(t.kick, vertices, ("v", "force", *by)))
    u = "u0"
    if sizes.pairs:
        by = ("mass", "thickness", "friction", "pairs", "surface", dt, count, "push")
        out.append(kernels.Launch(t.repel, sizes.pairs, ("x", u, *by)))
        out.append(kernels.Launch(t.apply, vertices, (u, "push", "mass", "u1")))
        u = "u1"
    moving = ("place", "turn", "linear", "angular")
    for k, shape in enumerate(sizes.shapes):
        by = (*moving, "extent", "tool_friction", dt, count, sizes.tools)
        ends = (f"u{k + 2}", "shift", "impulse")
        arguments = (int(shape), k, "x", u, "mass", "thickness", *by, *ends)
        out.append(kernels.Launch(t.meet, vertices, arguments))
        u = f"u{k + 2}"
    if sizes.held:
        by = ("mass", "weight", *moving, dt, "goal", "impulse")
        out.append(kernels.Launch(t.carry, sizes.held, ("held", "holder", "x", u, *by)))
    by = ("shift", "goal", "weight", dt, "x+", "v+")
    out.append(kernels.Launch(t.settle, vertices, ("x", u, *by), again=False))
    ends = ("total", "impulse", dt, "place+", "turn+", "total+")
    out.append(kernels.Launch(t.move, worlds * sizes.tools, (*moving, *ends), again=False))
    return out
