"""What is refused, and what is warned of, before bodies are moved.

Legend: `B` worlds, `N` bodies, `V` velocities, `Q` positions, `U` actuators.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.rigid import spatial
from reverie.physics.rigid.collide import groups, touches
from reverie.physics.rigid.kinematics import expanded, frames
from reverie.physics.rigid.model import RigidModel, RigidParams, RigidState


class Overlap(NamedTuple):
    """Two geoms that are in each other."""

    first: str
    second: str
    depth: float
    """[m], the largest over all worlds."""


def require(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor | None,
    dt: float,
    substeps: int,
    external: Tensor | None,
) -> Tensor:
    """The control, `[B, U]`; cheap, for every step.

    Raises:
        ValueError: shapes or dtypes do not fit, or state, control or external are not finite.
    """
    if not (dt > 0 and substeps >= 1):
        raise ValueError(f"A step has dt > 0 and at least one substep; got {dt} and {substeps}.")
    q, v = state
    batch = len(q)
    if control is None:
        control = v.new_zeros(batch, 0)
    wanted: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "position": (q, (batch, model.position_size)),
        "velocity": (v, (batch, model.velocity_size)),
        "control": (control, (batch, len(model.actuators))),
    }
    if external is not None:
        wanted["external"] = (external, (batch, len(model.bodies), 6))
    if any(len(leaf) not in (1, batch) for leaf in tree.leaves(params)):
        rows = sorted({len(leaf) for leaf in tree.leaves(params)})
        raise ValueError(f"Parameters have {rows} rows for {batch} worlds; give 1 or {batch}.")
    for name, (x, shape) in wanted.items():
        if tuple(x.shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(x.shape)}; this model takes {shape}.")
        if x.dtype != params.gravity.dtype:
            raise ValueError(
                f"{name} is {x.dtype} and the parameters are {params.gravity.dtype}; use one."
            )
        if not bool(torch.isfinite(x.detach().sum())) and not bool(torch.isfinite(x).all()):
            rows = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"{name} is not finite in worlds {rows[:8]}. If it became so, take more substeps, "
                "or see `check_rigid` for what is wrong with the parameters."
            )
    return control


def check_rigid(model: RigidModel, params: RigidParams, state: RigidState) -> list[Overlap]:
    """Go through parameters and a start in full, once before a run.

    Returns:
        The geoms that overlap at the start by more than 1 mm, deepest first; also warned of.

    Raises:
        ValueError: a mass is not positive, an inertia is not positive definite or is none of a
            real body, a coefficient is negative, limits cross, or something is not finite.
    """
    _finite(params, state)
    _bodies(model, params)
    _coefficients(model, params)
    overlaps = overlapping(model, params, state)
    for found in overlaps:
        warnings.warn(
            f"At the start {found.first} and {found.second} are {1e3 * found.depth:.1f} mm in each "
            "other; they will be pushed apart with all the stiffness of their contact.",
            RuntimeWarning,
            stacklevel=2,
        )
    return overlaps


def overlapping(
    model: RigidModel, params: RigidParams, state: RigidState, more_than: float = 1e-3
) -> list[Overlap]:
    """The pairs that may touch and overlap by `more_than` [m], deepest first."""
    with torch.no_grad():
        full = expanded(params, len(state.position))
        found = []
        for pairs, touch in zip(
            groups(model), touches(model, frames(model, state), full), strict=True
        ):
            counted = torch.where(touch.weight > 0.5, touch.depth, -torch.inf)
            for p, depth in zip(pairs, counted.amax((0, 2)).tolist(), strict=True):
                if depth > more_than:
                    pair = model.pairs[p]
                    one, two = (model.geoms[g].name for g in (pair.first, pair.second))
                    found.append(Overlap(one, two, depth))
    return sorted(found, key=lambda o: -o.depth)


def _finite(params: RigidParams, state: RigidState) -> None:
    for name, part in (*params._asdict().items(), *state._asdict().items()):
        if not all(bool(torch.isfinite(x).all()) for x in tree.leaves(part)):
            raise ValueError(f"{name} holds a number that is not finite.")


def _bodies(model: RigidModel, params: RigidParams) -> None:
    """Masses and inertias of what moves."""
    for b, body in enumerate(model.bodies):
        if model.last_velocity[b] < 0:
            continue
        mass = float(params.bodies.mass[:, b].min())
        if mass < 0 or (mass == 0 and not _carried(model, b)):
            raise ValueError(f"Body {body.name!r} has the mass {mass:g} kg; it must be positive.")
        moments = torch.linalg.eigvalsh(spatial.symmetric(params.bodies.inertia[:, b]))
        low = float(moments.min())
        if mass > 0 and low <= 0:
            raise ValueError(
                f"Body {body.name!r} has the inertia {moments[0].tolist()} kg m^2 along its "
                "principal axes; all must be positive."
            )
        excess = moments[:, 2] - moments[:, 0] - moments[:, 1]
        if bool((excess > 1e-4 * moments[:, 2]).any()):
            raise ValueError(
                f"Body {body.name!r} has the inertia {moments[0].tolist()} kg m^2; the largest of "
                "a real body is at most the sum of the others."
            )


def _carried(model: RigidModel, body: int) -> bool:
    """Whether something else hangs on this body, which may then have no mass."""
    return any(other.parent == body for other in model.bodies)


def _coefficients(model: RigidModel, params: RigidParams) -> None:
    joints = params.joints
    parts = {
        **{name: getattr(joints, name) for name in ("damping", "armature", "friction")},
        **{name: getattr(joints, name) for name in ("stiffness", "limit_stiffness")},
        "limit_damping": joints.limit_damping,
        **{f"contact {name}": x for name, x in params.contacts._asdict().items()},
    }
    for name, x in parts.items():
        if x.numel() and float(x.min()) < 0:
            raise ValueError(f"{name} is {float(x.min()):g} somewhere; it must not be negative.")
    if bool((joints.lower > joints.upper).any()):
        raise ValueError("A joint has its lower limit above its upper one.")
    pushing = params.actuators.bias[..., 1:].max() if model.actuators else torch.zeros(())
    if float(pushing) > 0:
        warnings.warn(
            "An actuator pushes along what it measures (its bias is positive): that part is "
            "explicit, and steps must be short against the growth that it causes.",
            RuntimeWarning,
            stacklevel=3,
        )
