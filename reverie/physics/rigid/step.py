"""The step of articulated rigid bodies, by kernels or by torch.

Legend: `B` worlds, `N` bodies, `U` actuators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.physics.backend import Backend, runner
from reverie.physics.rigid import program
from reverie.physics.rigid.check import require
from reverie.physics.rigid.kinematics import expanded
from reverie.physics.rigid.model import RigidModel, RigidParams, RigidState
from reverie.physics.rigid.reference import substep


def rigid_step(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor | None,
    dt: float,
    substeps: int = 1,
    external: Tensor | None = None,
    backend: Backend = "auto",
) -> RigidState:
    """The state after `substeps` of dt / substeps each; differentiable in every tensor.

    Args:
        model: What never changes.
        state: `[B, Q]`, `[B, V]`.
        params: Leaves `[B, ...]`, or `[1, ...]` where all worlds share them.
        control: `[B, U]`, held for all substeps; None where there are no actuators.
        dt: [s] of the whole step.
        substeps: How many.
        external: `[B, N, 6]`, force [N] and torque [N m] on each body about the origin of its
            frame, along the axes of the world; from other materials.
        backend: "auto" takes Warp where it is installed and can run: see what it raises.

    Raises:
        ValueError: shapes do not fit, numbers are not finite, or "warp" was asked for a dtype or a
            device that it does not know, or for a model in which nothing moves.
    """
    control = require(model, state, params, control, dt, substeps, external)
    if _by_kernels(model, state, backend):
        return program.run(model, state, params, control, external, dt / substeps, substeps)
    params = expanded(params, len(state.position))
    for _ in range(substeps):
        state = substep(model, state, params, control, external, dt / substeps)
    return state


def _by_kernels(model: RigidModel, state: RigidState, backend: Backend) -> bool:
    """Whether Warp makes the step."""
    q = state.position
    able = q.device.type != "mps" and q.dtype in (torch.float32, torch.float64)
    able = able and model.velocity_size > 0
    if backend == "warp" and not able:
        raise ValueError(
            "Warp was asked for; it moves at least one joint, in float32 or float64, not on mps; "
            f"here {model.velocity_size} velocities, {q.dtype} on {q.device}. Use backend='torch'."
        )
    return able and runner(backend) == "warp"
