"""Bodies from a file in MJCF or URDF: MuJoCo reads it, this converts.

Stiffness and damping of contacts and limits come from MuJoCo's solref (t, z) and solimp (d_0, d_1):

    k = d^2 / (1 - d) / (d_1^2 t^2 z^2) / w       c = 2 z sqrt(k / w)       d = (d_0 + d_1) / 2

with w the inverse mass that MuJoCo has for the bodies (invweight0): about the same depth at rest,
and the damping ratio z. Friction of a pair is the larger of its geoms', or that of the geom with
priority; torsional and rolling friction are left out.
Legend: `N` bodies, `V` velocities, `G` geoms, `P` pairs, `U` actuators.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.rigid import support
from reverie.physics.rigid.meshes import field_of, mesh_of
from reverie.physics.rigid.model import (
    VELOCITIES,
    Actuator,
    ActuatorParams,
    Body,
    BodyParams,
    ContactParams,
    Geom,
    GeomKind,
    Joint,
    JointKind,
    JointParams,
    Law,
    Pair,
    RigidModel,
    RigidParams,
    RigidState,
)

ENDLESS = 1e10
"""A limit that is none."""
JOINTS: tuple[JointKind, ...] = ("free", "ball", "slide", "hinge")
WORLD = 0


class Loaded(NamedTuple):
    """What a file holds."""

    model: RigidModel
    params: RigidParams
    """Leaves `[1, ...]`: every world has them."""
    poses: Mapping[str, RigidState]
    """`[1, ...]`: "default", and the keyframes by name."""


def load(
    source: str | Path,
    *,
    ignore: Collection[str] = (),
    law: Law | None = None,
    vertices: int = 64,
    dtype: torch.dtype = torch.float32,
) -> Loaded:
    """Bodies from a file, or from a text that begins with `<`.

    Args:
        source: MJCF or URDF.
        ignore: What to leave out, by the name that the error has for it; actuators, tendons and
            contacts that are left out are simply not there.
        law: Of contact.
        vertices: The most that the hull of a mesh keeps.
        dtype: Of the parameters.

    Raises:
        ValueError: the file cannot be read, a mesh is not closed, or the file has something that is
            not known here and not in `ignore`; all of it is named.
    """
    compiled = _compile(source, vertices)
    touching = _touching(compiled)
    labels = support.names("geom", compiled.ngeom, compiled)
    kinds = [support.kind_of(compiled, g) for g in range(compiled.ngeom)]
    found = support.unsupported(
        compiled, [(kinds[a], kinds[b], f"{labels[a]}-{labels[b]}") for a, b, _ in touching]
    )
    refused = {feature: which for feature, which in found.items() if feature not in ignore}
    if refused:
        listed = "; ".join(_listed(feature, which) for feature, which in refused.items())
        raise ValueError(
            f"The file has what rigid bodies do not know here: {listed}. Take it out, or leave it "
            f"out with ignore={tuple(refused)}."
        )
    model, pairs = _model(compiled, kinds, touching, law or Law())
    params = _params(compiled, model, pairs)
    params = tree.map(lambda x: x.to(dtype), params)
    return Loaded(model, params, _poses(compiled, dtype))


def _listed(feature: str, which: list[str]) -> str:
    more = ", ..." if len(which) > 6 else ""
    return f"{feature} ({', '.join(which[:6])}{more})"


def _compile(source: str | Path, vertices: int) -> Any:
    """MuJoCo's model of the file."""
    try:
        import mujoco
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Files of bodies are read by MuJoCo: pip install 'reverie[physics]'."
        ) from None
    text = str(source)
    try:
        if text.lstrip().startswith("<"):
            spec = mujoco.MjSpec.from_string(text)
        else:
            spec = mujoco.MjSpec.from_file(text)
        for mesh in spec.meshes:
            if mesh.maxhullvert < 0:
                mesh.maxhullvert = vertices
        return spec.compile()
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"MuJoCo cannot read {text[:80]!r}: {error}") from error


def _touching(compiled: Any) -> list[tuple[int, int, int]]:
    """The geoms that may touch by MuJoCo's rules, and the explicit pair (or -1) of each."""
    if support.disabled(compiled, "CONTACT"):
        return []
    pairs = zip(compiled.pair_geom1, compiled.pair_geom2, strict=True)
    explicit = [(int(a), int(b), p) for p, (a, b) in enumerate(pairs)]
    known = {frozenset(pair[:2]) for pair in explicit}
    excluded = {int(x) for x in compiled.exclude_signature}
    parents = not support.disabled(compiled, "FILTERPARENT")
    weld = compiled.body_weldid
    found = list(explicit)
    for b in range(compiled.ngeom):
        for a in range(b):
            one, two = (int(compiled.geom_bodyid[g]) for g in (a, b))
            low, high = min(one, two), max(one, two)
            if frozenset((a, b)) in known or (low << 16) + high in excluded:
                continue
            masks = (compiled.geom_contype[a] & compiled.geom_conaffinity[b]) | (
                compiled.geom_contype[b] & compiled.geom_conaffinity[a]
            )
            if masks and not _kin(compiled, int(weld[one]), int(weld[two]), parents):
                found.append((a, b, -1))
    return found


def _kin(compiled: Any, one: int, two: int, parents: bool) -> bool:
    """Whether two bodies are one, or parent and child, so that they do not touch."""
    if one == two:
        return True
    if not parents or WORLD in (one, two):
        return False
    above = [int(compiled.body_weldid[compiled.body_parentid[b]]) for b in (one, two)]
    return one == above[1] or two == above[0]


def _floats(values: Any) -> Any:
    return tuple(float(x) for x in values)


def _model(
    compiled: Any, kinds: list[GeomKind], touching: list[tuple[int, int, int]], law: Law
) -> tuple[RigidModel, list[tuple[int, int, int]]]:
    """What never changes, and the pairs that are in it."""
    c = compiled
    bodies, joints, geoms = _parts(c, kinds)
    pairs, kept = [], []
    for a, b, explicit in touching:
        swap = support.order(kinds[a], kinds[b])
        if swap is not None:
            first, second = (b, a) if swap else (a, b)
            pairs.append(Pair(first, second, _margin(c, a, b, explicit)))
            kept.append((a, b, explicit))
    actuators, labels = [], support.names("actuator", len(c.actuator_trntype), c)
    for u in np.flatnonzero(support.actuators(c)):
        j = int(c.actuator_trnid[u, 0])
        gear = _floats(c.actuator_gear[u, : VELOCITIES[joints[j].kind]])
        actuators.append(Actuator(labels[u], j, gear))
    hulls = {g.shape for p in pairs for g in (geoms[p.first], geoms[p.second]) if g.kind == "mesh"}
    model = RigidModel(
        *(bodies, joints, geoms, tuple(pairs), tuple(actuators)),
        tuple(mesh_of(c, m, m in hulls) for m in range(c.nmesh)),
        tuple(field_of(c, f) for f in range(c.nhfield)),
        float(c.opt.timestep),
        law,
    )
    return model, kept


def _parts(
    c: Any, kinds: list[GeomKind]
) -> tuple[tuple[Body, ...], tuple[Joint, ...], tuple[Geom, ...]]:
    """Bodies, joints and geoms; the world is no body."""
    counts = {"body": c.nbody, "joint": c.njnt, "geom": c.ngeom}
    label = {kind: support.names(kind, count, c) for kind, count in counts.items()}
    bodies = tuple(
        Body(
            *(label["body"][b], int(c.body_parentid[b]) - 1),
            *(_floats(c.body_pos[b]), _floats(c.body_quat[b])),
        )
        for b in range(1, c.nbody)
    )
    joints = tuple(
        Joint(
            *(label["joint"][j], JOINTS[c.jnt_type[j]], int(c.jnt_bodyid[j]) - 1),
            *(int(c.jnt_qposadr[j]), int(c.jnt_dofadr[j])),
            *(_floats(c.jnt_pos[j]), _floats(c.jnt_axis[j])),
            float(c.qpos0[c.jnt_qposadr[j]]),
        )
        for j in range(c.njnt)
    )
    geoms = tuple(
        Geom(
            *(label["geom"][g], kinds[g], int(c.geom_bodyid[g]) - 1),
            *(_floats(c.geom_pos[g]), _floats(c.geom_quat[g]), int(c.geom_dataid[g])),
        )
        for g in range(c.ngeom)
    )
    return bodies, joints, geoms


def _margin(c: Any, a: int, b: int, explicit: int) -> float:
    """The distance at which two geoms push each other."""
    if explicit >= 0:
        return float(c.pair_margin[explicit] - c.pair_gap[explicit])
    return float(max(c.geom_margin[a], c.geom_margin[b]) - max(c.geom_gap[a], c.geom_gap[b]))


def _row(values: Any) -> Tensor:
    """`[1, ...]`."""
    return torch.as_tensor(np.array(values, dtype=np.float64)).unsqueeze(0)


def _params(c: Any, model: RigidModel, pairs: list[tuple[int, int, int]]) -> RigidParams:
    """The numbers, float64."""
    gravity = c.opt.gravity * (not support.disabled(c, "GRAVITY"))
    sizes = np.array(c.geom_size)
    for g, geom in enumerate(model.geoms):
        if geom.kind == "mesh":
            sizes[g] = 1.0
        elif geom.kind == "field":
            sizes[g] = c.hfield_size[geom.shape][:3]
    rows = [_compliance(c, a, b, e) for a, b, e in pairs]
    contacts = np.array(rows, dtype=np.float64).reshape(len(rows), 3).T
    return RigidParams(
        _row(gravity),
        BodyParams(_row(c.body_mass[1:]), _row(c.body_ipos[1:]), _row(_inertias(c))),
        _joint_params(c),
        _row(sizes),
        ContactParams(*(_row(x) for x in contacts)),
        _actuator_params(c),
    )


def _inertias(c: Any) -> np.ndarray:
    """`[N, 6]` along the axes of each body."""
    import mujoco

    rows, turned = np.zeros((c.nbody - 1, 6)), np.zeros(9)
    for b in range(1, c.nbody):
        mujoco.mju_quat2Mat(turned, c.body_iquat[b])
        r = turned.reshape(3, 3)
        full = r @ np.diag(c.body_inertia[b]) @ r.T
        rows[b - 1] = full[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    return rows


def _spring(solref: Any, solimp: Any, inverse_mass: float) -> tuple[float, float]:
    """Stiffness and damping of MuJoCo's soft constraint; see the top."""
    high = min(float(solimp[1]), 0.9999)
    middle = 0.5 * (min(float(solimp[0]), 0.9999) + high)
    share = middle / (1 - middle) / max(inverse_mass, 1e-9)
    if solref[0] > 0:
        stiffness = middle * share / (high * solref[0] * solref[1]) ** 2
        return stiffness, 2 * float(solref[1]) * math.sqrt(stiffness / max(inverse_mass, 1e-9))
    return -float(solref[0]) * middle * share / high**2, -float(solref[1]) * share / high


def _compliance(c: Any, a: int, b: int, explicit: int) -> tuple[float, float, float]:
    """Friction, stiffness and damping of two geoms."""
    weight = sum(float(c.body_invweight0[c.geom_bodyid[g], 0]) for g in (a, b))
    if explicit >= 0:
        friction, condim = c.pair_friction[explicit][0], c.pair_dim[explicit]
        return (
            float(friction) * (condim > 1),
            *_spring(c.pair_solref[explicit], c.pair_solimp[explicit], weight),
        )
    ranks = c.geom_priority[a], c.geom_priority[b]
    if ranks[0] != ranks[1]:
        g = a if ranks[0] > ranks[1] else b
        friction, condim = c.geom_friction[g, 0], c.geom_condim[g]
        solref, solimp = c.geom_solref[g], c.geom_solimp[g]
    else:
        friction = max(c.geom_friction[a, 0], c.geom_friction[b, 0])
        condim = max(c.geom_condim[a], c.geom_condim[b])
        whole = c.geom_solmix[a] + c.geom_solmix[b]
        mix = c.geom_solmix[a] / whole if whole > 0 else 0.5
        refs, imps = (x[[a, b]] for x in (c.geom_solref, c.geom_solimp))
        both = min(refs[:, 0]) > 0
        solref = mix * refs[0] + (1 - mix) * refs[1] if both else refs.min(0)
        solimp = mix * imps[0] + (1 - mix) * imps[1]
    return float(friction) * (condim > 1), *_spring(solref, solimp, weight)


def _joint_params(c: Any) -> JointParams:
    joint = c.dof_jntid[: c.nv]
    single = np.array([JOINTS[t] in ("hinge", "slide") for t in c.jnt_type[joint]], bool)
    q = c.jnt_qposadr[joint]
    limited = single & (c.jnt_limited[joint] != 0) & (not support.disabled(c, "LIMIT"))
    lower = np.where(limited, c.jnt_range[joint, 0] + c.jnt_margin[joint], -ENDLESS)
    upper = np.where(limited, c.jnt_range[joint, 1] - c.jnt_margin[joint], ENDLESS)
    springs = np.array(
        [
            _spring(c.jnt_solref[j], c.jnt_solimp[j], float(c.dof_invweight0[d]))
            for d, j in enumerate(joint)
        ]
    ).reshape(c.nv, 2)
    dry = c.dof_frictionloss * (not support.disabled(c, "FRICTIONLOSS"))
    stiffness = np.where(single, c.jnt_stiffness[joint], 0.0)
    rest = np.where(single, c.qpos_spring[q], 0.0)
    rows = [c.dof_damping, c.dof_armature, dry, stiffness, rest, lower, upper]
    return JointParams(*(_row(x) for x in (*rows, springs[:, 0], springs[:, 1])))


def _actuator_params(c: Any) -> ActuatorParams:
    import mujoco

    which = np.flatnonzero(support.actuators(c))
    affine = c.actuator_biastype[which] == int(mujoco.mjtBias.mjBIAS_AFFINE)
    bias = c.actuator_biasprm[which, :3] * affine[:, None]
    control = np.where(
        c.actuator_ctrllimited[which, None] != 0, c.actuator_ctrlrange[which], [-ENDLESS, ENDLESS]
    )
    force = np.where(
        c.actuator_forcelimited[which, None] != 0, c.actuator_forcerange[which], [-ENDLESS, ENDLESS]
    )
    for row, u in enumerate(which):
        j = c.actuator_trnid[u, 0]
        if c.jnt_actfrclimited[j]:
            bounds = np.sort(c.jnt_actfrcrange[j] / c.actuator_gear[u, 0])
            force[row] = max(force[row, 0], bounds[0]), min(force[row, 1], bounds[1])
    rows = (c.actuator_gainprm[which, 0], bias, *control.T, *force.T)
    return ActuatorParams(*(_row(x) for x in rows))


def _poses(c: Any, dtype: torch.dtype) -> dict[str, RigidState]:
    poses = {"default": RigidState(_row(c.qpos0).to(dtype), torch.zeros(1, c.nv, dtype=dtype))}
    for k, name in enumerate(support.names("key", c.nkey, c)):
        poses[name] = RigidState(_row(c.key_qpos[k]).to(dtype), _row(c.key_qvel[k]).to(dtype))
    return poses
