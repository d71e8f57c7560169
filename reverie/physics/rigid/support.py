"""What a file may hold that rigid bodies do not know here: found by name, so that it is refused.

Sites, cameras, lights, sensors, textures, skins and all else that pushes nothing are no trouble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reverie.physics.rigid.model import GeomKind
from reverie.physics.rigid.surfaces import TOUCHES

KINDS: dict[str, GeomKind] = {
    "PLANE": "plane",
    "HFIELD": "field",
    "SPHERE": "sphere",
    "CAPSULE": "capsule",
    "ELLIPSOID": "ellipsoid",
    "CYLINDER": "cylinder",
    "BOX": "box",
    "MESH": "mesh",
}
HARMLESS = ("WARMSTART", "EULERDAMP", "REFSAFE", "SENSOR", "MIDPHASE", "NATIVECCD", "AUTORESET")
CONSTRAINTS = ("CONTACT", "LIMIT", "FRICTIONLOSS")
KNOWN_FLAGS = (*CONSTRAINTS, "CONSTRAINT", "GRAVITY", "FILTERPARENT", "EQUALITY")


def names(kind: str, count: int, compiled: Any) -> list[str]:
    """The names of the parts of a compiled model; unnamed ones by their number."""
    import mujoco

    kinds = mujoco.mjtObj
    which = {"body": kinds.mjOBJ_BODY, "joint": kinds.mjOBJ_JOINT, "geom": kinds.mjOBJ_GEOM}
    which |= {"actuator": kinds.mjOBJ_ACTUATOR, "tendon": kinds.mjOBJ_TENDON}
    which |= {"equality": kinds.mjOBJ_EQUALITY, "flex": kinds.mjOBJ_FLEX, "key": kinds.mjOBJ_KEY}
    found = (mujoco.mj_id2name(compiled, which[kind], i) for i in range(count))
    return [name or f"{kind}{i}" for i, name in enumerate(found)]


def kind_of(compiled: Any, geom: int) -> GeomKind:
    """The kind of a geom; "nothing" for one that is not known here."""
    import mujoco

    label = mujoco.mjtGeom(int(compiled.geom_type[geom])).name.removeprefix("mjGEOM_")
    return KINDS.get(label, "nothing")


def disabled(compiled: Any, flag: str) -> bool:
    """Whether an option is switched off in the file."""
    import mujoco

    flags = (flag, "CONSTRAINT") if flag in CONSTRAINTS else (flag,)
    bits = (int(getattr(mujoco.mjtDisableBit, f"mjDSBL_{name}")) for name in flags)
    return any(int(compiled.opt.disableflags) & bit for bit in bits)


def order(one: GeomKind, two: GeomKind) -> bool | None:
    """Whether two kinds are to be exchanged to be in the order of `TOUCHES`; None: not there."""
    if (one, two) in TOUCHES:
        return False
    return True if (two, one) in TOUCHES else None


def _set(compiled: Any, field: str) -> np.ndarray:
    """Which rows of a field, if this MuJoCo has it, are not zero."""
    values = getattr(compiled, field, None)
    if values is None or not len(values):
        return np.zeros(0, bool)
    return np.asarray(np.asarray(values != 0).reshape(len(values), -1).any(1))


def _these(labels: Sequence[str], which: np.ndarray) -> list[str]:
    return [label for label, yes in zip(labels, which, strict=False) if yes]


def actuators(compiled: Any) -> np.ndarray:
    """Which actuators are known: a force, affine in joint and velocity, along one joint."""
    import mujoco

    fine = np.ones(int(compiled.actuator_trntype.shape[0]), bool)
    fine &= compiled.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    fine &= compiled.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_NONE)
    fine &= np.isin(compiled.actuator_gaintype, [int(mujoco.mjtGain.mjGAIN_FIXED)])
    bias = mujoco.mjtBias
    fine &= np.isin(compiled.actuator_biastype, [int(bias.mjBIAS_NONE), int(bias.mjBIAS_AFFINE)])
    for field in ("armature", "damping", "dampingpoly", "delay"):
        spoilt = _set(compiled, f"actuator_{field}")
        fine &= ~spoilt if len(spoilt) else True
    if hasattr(compiled, "actuator_ctrlnum"):
        fine &= compiled.actuator_ctrlnum == 1
    many = _axes(compiled)[compiled.actuator_trnid[:, 0]] > 1
    affine = compiled.actuator_biastype == int(bias.mjBIAS_AFFINE)
    return np.asarray(fine & ~(many & affine))


def _pulling(compiled: Any) -> np.ndarray:
    """Which tendons pull by themselves; those that only carry an actuator are found there."""
    fields = ("stiffness", "damping", "limited", "frictionloss", "armature", "actfrclimited")
    found = np.zeros(compiled.ntendon, bool)
    for field in (*fields, "stiffnesspoly", "dampingpoly"):
        pulls = _set(compiled, f"tendon_{field}")
        found |= pulls if len(pulls) else False
    return found


def _axes(compiled: Any) -> np.ndarray:
    """How many entries of v each joint has."""
    return np.array([6, 3, 1, 1])[compiled.jnt_type]


def _joints(compiled: Any) -> Iterator[tuple[str, list[str]]]:
    labels = names("joint", compiled.njnt, compiled)
    many = _axes(compiled) > 1
    yield "springs of ball and free joints", _these(labels, many & (compiled.jnt_stiffness != 0))
    limited = many & (compiled.jnt_limited != 0)
    yield "limits of ball joints", _these(labels, limited)
    yield "nonlinear springs", _these(labels, _set(compiled, "jnt_stiffnesspoly"))
    bent = np.zeros(compiled.njnt, bool)
    bent[compiled.dof_jntid[: compiled.nv]] |= _set(compiled, "dof_dampingpoly")[: compiled.nv]
    yield "nonlinear damping", _these(labels, bent)
    pushed = np.bincount(compiled.actuator_trnid[:, 0].clip(0), minlength=compiled.njnt) > 1
    clipped = (compiled.jnt_actfrclimited != 0) & (pushed | many)
    yield "force limits of joints with several actuators", _these(labels, clipped)


def _bodies(compiled: Any) -> Iterator[tuple[str, list[str]]]:
    labels = names("body", compiled.nbody, compiled)
    yield "gravity compensation", _these(labels, _set(compiled, "body_gravcomp"))
    yield "mocap bodies", _these(labels, compiled.body_mocapid >= 0)
    geoms = names("geom", compiled.ngeom, compiled)
    yield "moving surfaces", _these(geoms, _set(compiled, "geom_surfacevel"))
    yield "adhesion", _these(geoms, _set(compiled, "geom_adhesion"))
    fluid = [n for n in ("density", "viscosity", "wind") if np.any(getattr(compiled.opt, n) != 0)]
    yield "forces of a fluid", fluid


def unsupported(
    compiled: Any, pairs: Sequence[tuple[GeomKind, GeomKind, str]]
) -> dict[str, list[str]]:
    """What is in a compiled model and not known here: names by feature.

    `pairs`: kinds and names of all geoms that may touch.
    """
    import mujoco

    found: dict[str, list[str]] = {}
    found["tendons"] = _these(names("tendon", compiled.ntendon, compiled), _pulling(compiled))
    found["equality constraints"] = names("equality", compiled.neq, compiled)
    found["flexible bodies"] = names("flex", compiled.nflex, compiled)
    found["plugins"] = [f"plugin{i}" for i in range(compiled.nplugin)]
    kinds = names("actuator", len(compiled.actuator_trntype), compiled)
    found["actuators that are no affine force on one joint"] = _these(kinds, ~actuators(compiled))
    for part in (_joints(compiled), _bodies(compiled)):
        found.update(part)
    for bit in mujoco.mjtDisableBit.__members__:
        label = bit.removeprefix("mjDSBL_")
        known = label in (*HARMLESS, *KNOWN_FLAGS, "MULTICCD", "ISLAND")
        if label.isupper() and not known and disabled(compiled, label):
            found.setdefault("options switched off", []).append(label.lower())
    for one, two, label in pairs:
        if order(one, two) is None:
            found.setdefault(f"contacts of {one} and {two}", []).append(label)
    return {feature: labels for feature, labels in found.items() if labels}
