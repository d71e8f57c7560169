"""The substep of articulated bodies as a program of kernels: which run, in which order, on what.

Legend: `B` worlds, `L` links, `N` bodies, `V` velocities, `U` actuators, `C` points.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.rigid import tables
from reverie.physics.rigid.model import RigidModel, RigidParams, RigidState
from reverie.physics.rigid.solids.tables import SolidTables, solid_points, solid_tables

MEMORY = 2**28
"""Of scratch [bytes], see `kernels.Program`: some 8 KB for each substep of a quadruped."""


def run(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor,
    external: Tensor | None,
    dt: float,
    substeps: int,
) -> RigidState:
    """The state after `substeps` of dt each; leaves of params have B rows, or one."""
    made = program(model, dt, state.position.dtype, str(state.position.device))
    if external is None:
        external = control.new_zeros(1, len(model.bodies), 6)
    given = (
        *(params.gravity, *params.bodies),
        *(_stacked([*params.joints]), params.sizes, _stacked([*params.contacts])),
        *(_servos(params), control, external),
    )
    filled = [x if x.shape[1] else x.new_zeros(1, 1, *x.shape[2:]) for x in given]
    return RigidState(*kernels.run(made, [*state], filled, substeps))


def _stacked(leaves: list[Tensor]) -> Tensor:
    """Leaves with one row or B, side by side in a last axis."""
    rows = max(len(x) for x in leaves)
    return torch.stack([x.expand(rows, *x.shape[1:]) for x in leaves], -1)


def _servos(params: RigidParams) -> Tensor:
    """`[., U, 8]`: gain, bias, bounds of control and force."""
    p = params.actuators
    bounds = (p.lowest, p.highest, p.weakest, p.strongest)
    return _stacked([p.gain, *p.bias.unbind(-1), *bounds])


class Modules(NamedTuple):
    """The kernels, in one precision."""

    tree: Any
    contact: Any
    back: Any
    mutual: Any
    solids: Any
    """None where no boxes and meshes touch each other."""


@functools.lru_cache(maxsize=64)
def program(model: RigidModel, dt: float, dtype: torch.dtype, device: str) -> kernels.Program:
    """The launches of one substep."""
    solid, made = solid_tables(model), tables.tables(model)
    names = ["kernels", "ground.kernels", "back.kernels", "mutual.kernels"]
    names += ["solids.kernels"] if len(solid.solids) else []
    loaded = [kernels.load(f"reverie.physics.rigid.{name}", dtype) for name in names]
    modules = Modules(*loaded, *([] if len(solid.solids) else [None]))
    t, wp = modules.tree, kernels.warp()
    constants = {
        name: wp.array(x, dtype=int if x.dtype == np.int32 else t.REAL, device=device)
        for name, x in {**made._asdict(), **_solid_constants(model, solid, made)}.items()
    }
    once, by_pass = _scratch(t, model, made)
    if modules.solids:
        pairs = len(solid.solids)
        once |= {"along": (t.VEC3, pairs), "apart": (t.VEC3, pairs)}
    every = [(f"{n}{k}", x) for n, x in by_pass.items() for k in range(model.law.passes)]
    scratch = {**once, **dict(every)}
    shapes = {name: count for name, (_, count) in scratch.items()}
    return kernels.Program(
        state={"q": t.REAL, "v": t.REAL},
        given={
            **{"gravity": t.VEC3, "mass": t.REAL, "centre": t.VEC3, "moments": t.VEC6},
            **{"joints": t.REAL, "sizes": t.VEC3, "contacts": t.VEC3, "servos": t.REAL},
            **{"u": t.REAL, "external": t.VEC6},
        },
        scratch={name: kind for name, (kind, _) in scratch.items()},
        launches=lambda values: _launches(modules, model, made, constants, dt, values["worlds"]),
        prepare=lambda arrays, key: (
            {"worlds": len(arrays["q"])},
            {name: (len(arrays["q"]), count) for name, count in shapes.items()},
        ),
        constants=constants,
        memory=MEMORY,
    )


Scratch = dict[str, tuple[Any, int]]


def _scratch(t: Any, model: RigidModel, made: tables.Tables) -> tuple[Scratch, Scratch]:
    """Types and lengths of what lies between, and of what each pass has of its own."""
    links, bodies, axes = len(made.links), len(made.bodies), len(made.axes)
    points, mates, couples = (max(1, len(x)) for x in (made.points, made.mates, made.couples))
    once: Scratch = {
        **{"place": (t.VEC3, links), "turn": (t.QUAT, links), "motion": (t.VEC6, links)},
        **{"drift": (t.VEC6, links), "subspace": (t.VEC6, axes)},
        **{"inertia": (t.MAT66, bodies), "bias": (t.VEC6, bodies)},
        **{"arm": (t.VEC3, points), "normal": (t.VEC3, points), "depth": (t.VEC2, points)},
    }
    by_pass: Scratch = {
        **{"left": (t.MAT66, axes), "reach": (t.VEC6, axes), "passed": (t.VEC6, axes)},
        **{"pivot": (t.VEC2, axes), "acceleration": (t.VEC6, axes), "drives": (t.VEC2, axes)},
        **{"gain": (t.VEC3, points), "fast": (t.REAL, axes)},
    }
    if len(made.mates):
        once |= {"mate_arm": (t.VEC3, mates), "mate_normal": (t.VEC3, mates)}
        once |= {"mate_depth": (t.VEC2, mates)}
        by_pass |= {
            **{"mate_gain": (t.VEC3, mates), "responses": (t.MAT66, axes)},
            **{"crosses": (t.MAT66, max(1, len(made.answers)))},
            **{"stiff": (t.MAT66, couples), "push": (t.VEC6, couples)},
            **{"implicit": (t.MAT66, couples)},
            **{"force": (t.VEC6, couples * (model.law.sweeps + 1))},
            **{"free": (t.VEC6, axes), "coast": (t.REAL, axes), "back": (t.VEC6, axes)},
            **{"rest": (t.REAL, axes), "change": (t.VEC6, axes)},
        }
    return once, by_pass


def _solid_constants(
    model: RigidModel, solid: SolidTables, made: tables.Tables
) -> dict[str, np.ndarray]:
    """The arrays of polyhedra; none where there are none."""
    if not len(solid.solids):
        return {}
    return {
        **solid._asdict(),
        "probes": solid_points(model, solid, made.points, made.corners),
        "mate_probes": solid_points(model, solid, made.mates, made.mate_corners),
    }


def _solids(t: Any, constants: Mapping[str, Any], worlds: int) -> list[kernels.Launch]:
    """Where boxes and meshes touch each other."""
    launch, shapes = kernels.Launch, ("bounds", "extents", "vertices", "faces")
    frame, way = ("on", "geoms", "place", "turn", "sizes"), ("along", "apart")
    pairs = (worlds, len(constants["solids"]))
    found = [launch(t.part, pairs, ("solids", "slack", *shapes, *frame, *way))]
    for mate, points in (("", "points"), ("mate_", "mates")):
        count = len(constants[f"{mate}probes"])
        to = (f"{mate}arm", f"{mate}normal", f"{mate}depth")
        at = (f"{mate}probes", points, f"{mate}corners")
        if count:
            found.append(launch(t.touch, (worlds, count), (*at, *shapes, *frame, *way, *to)))
    return found


def _launches(
    modules: Modules,
    model: RigidModel,
    made: tables.Tables,
    constants: Mapping[str, Any],
    dt: float,
    worlds: int,
) -> list[kernels.Launch]:
    tree, contact, launch = modules.tree, modules.contact, kernels.Launch
    frame = ("place", "turn")
    moved = ("motion", "subspace", "drift")
    weighed = ("mass", "centre", "moments", "external", "inertia", "bias")
    found = [
        launch(tree.move, worlds, ("q", "links", "forms", *frame)),
        launch(tree.carry, worlds, ("v", "links", "forms", *frame, *moved)),
        launch(tree.weigh, (worlds, len(made.bodies)), ("bodies", *frame, "motion", *weighed)),
    ]
    shapes = ("on", "geoms", "heights", *frame, "sizes")
    if len(made.points):
        names = ("points", "corners", *shapes, "arm", "normal", "depth", "gain0")
        dim, back = (worlds, len(made.points)), None
        if model.law.passes == 1:  # else a point may press in one pass and not in another
            back = (launch(contact.touch, dim, (*names, 1)),)
        found.append(launch(contact.touch, dim, (*names, 0), back=back))
    if len(made.mates):
        at = ("mates", "mate_corners", *shapes, "mate_arm", "mate_normal", "mate_depth")
        found.append(launch(contact.touch, (worlds, len(made.mates)), (*at, "mate_gain0", 0)))
    if modules.solids:
        found.extend(_solids(modules.solids, constants, worlds))
    for k in range(model.law.passes):
        found.extend(_solve(modules, model, made, dt, worlds, k))
    links = (worlds, len(made.links))
    end = ("q", "v+", "links", tree.REAL(dt), "q+")
    return [*found, launch(tree.advance, links, end, again=False)]


def _solve(
    modules: Modules, model: RigidModel, made: tables.Tables, dt: float, worlds: int, k: int
) -> list[kernels.Launch]:
    """One pass."""
    tree, contact, launch = modules.tree, modules.contact, kernels.Launch
    law, step = tree.VEC3(dt, model.law.slip, model.law.transition), tree.REAL(dt)
    before = f"acceleration{max(k - 1, 0)}"
    guess = "v" if k == 0 else f"fast{k - 1}"
    servos = (guess, "u", "axes", "lists", "gears", "joints", "servos", law, f"drives{k}")
    found = [launch(tree.drive, (worlds, len(made.axes)), ("q", "v", *servos))]
    if len(made.points):
        speeds = ("motion", before, "gravity", "mass", "contacts", law)
        press = (int(k == 0), "points", "arm", "normal", "depth", *speeds, f"gain{k}")
        found.append(launch(contact.press, (worlds, len(made.points)), press))
    alone = not len(made.mates)
    moving = ("axes", "lists", "subspace", "drift", "motion", "inertia", "bias")
    touch = ("arm", "normal", f"gain{k}")
    forces = ("gravity", *touch, f"drives{k}", step)
    factor = (f"left{k}", f"reach{k}", f"passed{k}", f"pivot{k}")
    by_hand = () if alone else None  # `_back` adds it
    found.append(launch(tree.inward, worlds, (*moving, *forces, *factor), back=by_hand))
    fast = "v+" if k == model.law.passes - 1 else f"fast{k}"
    solved = ("axes", "v", "gravity", "subspace", "drift", f"reach{k}", f"pivot{k}", step)
    if not alone:
        found.append(launch(tree.outward, worlds, (*solved, f"free{k}", f"coast{k}")))
        return [*found, *_mutual(modules, model, made, dt, worlds, k, fast)]
    to = (f"acceleration{k}", fast)
    back = _back(modules.back, made, worlds, k, fast, step)
    return [*found, launch(tree.outward, worlds, (*solved, *to), back=tuple(back))]


def _back(
    t: Any, made: tables.Tables, worlds: int, k: int, fast: str, step: Any
) -> list[kernels.Launch]:
    """The gradient of a pass: gradients of what is in between and not asked for are its room."""
    launch = kernels.Launch
    factor = reach, _, pivot = (f"reach{k}", f"passed{k}", f"pivot{k}")
    w, onward, rests = (f"~{x}" for x in factor)
    a, touch = f"acceleration{k}", ("arm", "normal", f"gain{k}")
    ends = ("axes", "lists", "subspace", reach, pivot, step, f"~{a}", f"~{fast}")
    read = ("axes", "subspace", "drift", "gravity", f"left{k}", *factor, a, onward, rests, w)
    found = [
        launch(t.gather, worlds, (*ends, onward, rests, "~v")),
        launch(t.spread, worlds, (*read, "~subspace", "~drift", f"~drives{k}", "~gravity")),
        launch(t.weigh, (worlds, len(made.axes)), ("axes", "lists", a, w, "~inertia", "~bias")),
    ]
    if len(made.points):
        at = ("points", "motion", "gravity", *touch, a, w, step)
        to = ("~motion", *(f"~{x}" for x in touch), "~gravity")
        found.append(launch(t.press, (worlds, len(made.points)), (*at, *to)))
    return found


def _mutual(
    modules: Modules,
    model: RigidModel,
    made: tables.Tables,
    dt: float,
    worlds: int,
    k: int,
    fast: str,
) -> list[kernels.Launch]:
    """What is between moving bodies, in one pass."""
    t, launch = modules.mutual, kernels.Launch
    law, step, rounds = (
        t.VEC3(dt, model.law.slip, model.law.transition),
        t.REAL(dt),
        model.law.sweeps,
    )
    gain, force = f"mate_gain{k}", f"force{k}"
    responses = (f"responses{k}", f"crosses{k}")
    at = ("mate_arm", "mate_normal")
    guess = ("motion", f"acceleration{max(k - 1, 0)}", "gravity", "mass", "contacts", law)
    factor = ("subspace", f"reach{k}", f"pivot{k}")
    start = (int(k == 0), f"force{max(k - 1, 0)}")
    of = ("couples", "shared", "bonds", "relatives", "kin", "place", gain)
    pair = ("couples", "place", *at, gain, *responses, step)
    bound = (f"stiff{k}", f"push{k}", f"implicit{k}")
    tree = ("axes", "lists", "shared", "bonds", "couples", "place", gain, force)
    change = (f"back{k}", f"rest{k}", f"change{k}", f"acceleration{k}", fast)
    return [
        launch(
            t.press_between,
            (worlds, len(made.mates)),
            (int(k == 0), "mates", "place", *at, "mate_depth", *guess, gain),
        ),
        launch(t.answer, worlds, ("axes", "answers", gain, *factor, *responses)),
        launch(t.bind, (worlds, len(made.couples)), (*pair, *bound)),
        launch(
            t.between,
            worlds,
            (rounds, *of, "motion", f"free{k}", *responses, *bound, step, *start, force),
        ),
        launch(
            t.deflect,
            worlds,
            (rounds, *tree, *factor, f"free{k}", f"coast{k}", step, *change),
        ),
    ]
