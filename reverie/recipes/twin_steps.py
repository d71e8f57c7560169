"""How a twin moves: Reverie's rigid bodies, stepped as MuJoCo's two integrators do.

Euler's method takes the same steps as `rigid_step`. Where MuJoCo integrates by Runge and Kutta's of
order 4, there are two ways to the same end. Far from the limits of joints, the end of a span is
extrapolated from 1, 2, 3 and 4 times as many steps (Hairer, Norsett and Wanner 1993, II.9):

    y = -1/6 y_1 + 4 y_2 - 27/2 y_3 + 32/3 y_4

Where a joint may come to its limit within the span, the method itself is carried out, with MuJoCo's
law of limits (its documentation, "Computation: constraint model"):

    a = a_0 + sum_j M^-1 e_j s_j f_j          f = max(0, (a_ref - s a_0) / (A + R))
    a_ref = -2 v / (d_1 t) - d(r) r / (d_1 t z)^2      A = e^T M^-1 e      R = (1 - d) w / d

with solref (t, z), solimp (d_0, d_1, ...), d(r) the impedance at the depth r < 0, w = invweight0,
v = s q' and s = 1 at a lower limit, -1 at an upper one. a_0 and M^-1 e are what `rigid_step` makes
of a very short step, alone and with 1 N more along a joint.

Legend: `B` worlds, `V` velocities, `L` limits.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.backend import Backend
from reverie.physics.rigid import RigidModel, RigidParams, RigidState, rigid_step
from reverie.physics.rigid.joints import angles
from reverie.physics.rigid.kinematics import integrated

EXTRAPOLATION = ((1, -1 / 6), (2, 4.0), (3, -27 / 2), (4, 32 / 3))
"""(n, c): a step is the sum of c times the end of n steps."""
SHORT = 1e-5
"""[s] of the step that tells accelerations."""
ENDLESS = 1e10
REACH = 30.0
"""[m/s^2] or [rad/s^2], an acceleration with which a joint may come to its limit."""
SWEEPS = 30
"""Rounds in which several limits of one robot learn of each other."""
TABLEAU = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


class Limits(NamedTuple):
    """Of the joints that have any, `L` in all, each with its numbers of MuJoCo."""

    axis: tuple[int, ...]
    """Which entry of the velocities."""
    side: Tensor
    """s `[L]`."""
    bound: Tensor
    """`[L]`, at which it begins to push."""
    damping: Tensor
    """2 / (d_1 t)."""
    stiffness: Tensor
    """1 / (d_1 t z)^2."""
    impedance: Tensor
    """`[5, L]`: d_0, d_1, width, midpoint, power."""
    weight: Tensor
    """w."""


def limits_of(model: Any) -> Limits | None:
    """The limits of hinges and slides of a MuJoCo model; None where there are none, or where they
    are given by stiffness and damping (a negative solref), which is another law."""
    import mujoco

    kinds = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
    rows = []
    for j in range(model.njnt):
        if not model.jnt_limited[j] or int(model.jnt_type[j]) not in kinds:
            continue
        (t, z), d, imp = model.jnt_solref[j], int(model.jnt_dofadr[j]), model.jnt_solimp[j].copy()
        if t <= 0:
            return None
        imp[[0, 1, 3]] = imp[[0, 1, 3]].clip(1e-4, 0.9999)
        imp[2], imp[4] = max(imp[2], 1e-15), max(imp[4], 1.0)
        t = max(t, 2 * model.opt.timestep)
        laws = (2 / (imp[1] * t), 1 / (imp[1] * t * z) ** 2, *imp, model.dof_invweight0[d])
        margin = model.jnt_margin[j]
        low, high = model.jnt_range[j]
        rows += [(d, 1.0, low + margin, *laws), (d, -1.0, high - margin, *laws)]
    if not rows:
        return None
    columns = torch.from_numpy(np.array(rows, np.float64)).T
    axis = tuple(int(row[0]) for row in rows)
    side, bound, damping, stiffness = columns[1:5].unbind(0)
    return Limits(axis, side, bound, damping, stiffness, columns[5:10], columns[10])


class Stepper(NamedTuple):
    """What moves a robot."""

    model: RigidModel
    timestep: float
    """h [s], MuJoCo's."""
    fourth_order: bool
    limits: Limits | None
    substeps: int = 1
    """Of each of Euler's steps."""
    backend: Backend = "auto"

    def __call__(
        self, state: RigidState, params: RigidParams, control: Tensor, ticks: int
    ) -> RigidState:
        """The state `[B, ...]` after so many time steps of MuJoCo."""
        if not self.fourth_order:
            return self._steps(state, params, control, ticks, 1)
        near = self._near(state, ticks)
        if not bool(near.any()):
            return self._extrapolated(state, params, control, ticks)
        if bool(near.all()):
            return self._by_stages(state, params, control, ticks)
        ends = []
        for which, way in ((near, self._by_stages), (~near, self._extrapolated)):
            some: tuple[RigidState, RigidParams, Tensor] = tree.map(
                lambda x, w=which: x[w], (state, params, control)
            )
            ends.append(way(some[0], some[1], some[2], ticks))
        order = torch.cat([near.nonzero(), (~near).nonzero()])[:, 0].argsort()
        return cast(RigidState, tree.map(lambda x, y: torch.cat([x, y])[order], *ends))

    def _steps(
        self, state: RigidState, params: RigidParams, control: Tensor, ticks: int, n: int
    ) -> RigidState:
        return rigid_step(
            self.model,
            state,
            params,
            control,
            self.timestep * ticks,
            substeps=n * ticks * self.substeps,
            backend=self.backend,
        )

    def _extrapolated(
        self, state: RigidState, params: RigidParams, control: Tensor, ticks: int
    ) -> RigidState:
        ends = [(c, self._steps(state, params, control, ticks, n)) for n, c in EXTRAPOLATION]
        return RigidState(
            cast(Tensor, sum(c * end.position for c, end in ends)),
            cast(Tensor, sum(c * end.velocity for c, end in ends)),
        )

    # ------------------------------------------------------------------ at limits

    def _near(self, state: RigidState, ticks: int) -> Tensor:
        """Which worlds `[B]` may come to a limit: those in one, or as close as a joint goes in the
        span at its speed, and a bit."""
        q, v = state.position.detach(), state.velocity.detach()
        none = torch.zeros(len(q), dtype=torch.bool, device=q.device)
        if self.limits is None:
            return none
        at = list(self.limits.axis)
        span = ticks * self.timestep
        depth = self.limits.side.to(q) * (angles(self.model, q)[:, at] - self.limits.bound.to(q))
        return (depth < 2 * span * v[:, at].abs() + REACH * span**2).any(1)

    def _by_stages(
        self, state: RigidState, params: RigidParams, control: Tensor, ticks: int
    ) -> RigidState:
        """Runge and Kutta's method of order 4."""
        h = self.timestep
        open_joints = params.joints._replace(
            lower=torch.full_like(params.joints.lower, -ENDLESS),
            upper=torch.full_like(params.joints.upper, ENDLESS),
        )
        params = params._replace(joints=open_joints)
        for _ in range(ticks):
            speeds: list[Tensor] = []
            pushes: list[Tensor] = []
            for row in TABLEAU:
                q = self._along(state.position, row, speeds)
                v = state.velocity + h * _sum(row, pushes, state.velocity)
                speeds.append(v)
                pushes.append(self._acceleration(RigidState(q, v), params, control))
            state = RigidState(
                self._along(state.position, WEIGHTS, speeds),
                state.velocity + h * _sum(WEIGHTS, pushes, state.velocity),
            )
        return state

    def _along(self, position: Tensor, row: tuple[float, ...], speeds: list[Tensor]) -> Tensor:
        """q moved by a mean of speeds for a time step."""
        if not row:
            return position
        return integrated(self.model, position, _sum(row, speeds, speeds[0]), self.timestep)

    def _acceleration(self, state: RigidState, params: RigidParams, control: Tensor) -> Tensor:
        """a `[B, V]`."""
        free = self._pushed(state, params, control, torch.zeros_like(state.velocity))
        law = self.limits
        if law is None:
            return free
        at, side = list(law.axis), law.side.to(free)
        depth = side * (angles(self.model, state.position)[:, at] - law.bound.to(free))
        if not bool((depth < 0).any()):
            return free
        d = _impedance(law, depth)
        wanted = -law.damping.to(free) * side * state.velocity[:, at]
        wanted = wanted - d * law.stiffness.to(free) * depth
        answers = []
        for axis, s in zip(at, side, strict=True):
            more = torch.zeros_like(free)
            more[:, axis] = s
            answers.append(self._pushed(state, params, control, more) - free)
        answer = torch.stack(answers, 1)  # [B, L, V]
        between = answer[:, :, at] * side  # [B, L, L]
        own = between.diagonal(dim1=1, dim2=2)
        soft = own + (1 - d) / d * law.weight.to(free)
        lack = wanted - side * free[:, at]
        force = torch.zeros_like(lack)
        for _ in range(SWEEPS if len(set(at)) > 1 else 1):
            others = (between * force[:, :, None]).sum(1) - own * force
            force = ((lack - others) / soft).clamp(min=0) * (depth < 0)
        return free + (answer * force[:, :, None]).sum(1)

    def _pushed(
        self, state: RigidState, params: RigidParams, control: Tensor, more: Tensor
    ) -> Tensor:
        """The acceleration `[B, V]` with `more` along the joints, explicit in damping: it enters as
        a spring that is bent so far."""
        joints, q, v = params.joints, angles(self.model, state.position), state.velocity
        push = more - joints.damping * v
        stiff = joints.stiffness + 1
        rest = (joints.stiffness * joints.rest + q + push) / stiff + SHORT * v
        bent = joints._replace(damping=0 * joints.damping, stiffness=stiff, rest=rest)
        params = params._replace(joints=bent)
        end = rigid_step(self.model, state, params, control, SHORT, backend=self.backend)
        return (end.velocity - v) / SHORT


def _sum(row: tuple[float, ...], terms: list[Tensor], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for weight, term in zip(row, terms, strict=False):
        total = total + weight * term
    return total


def _impedance(law: Limits, depth: Tensor) -> Tensor:
    """d(r) `[B, L]` of depths r."""
    low, high, width, middle, power = law.impedance.to(depth)
    x = (depth.abs() / width).clamp(max=1)
    rise = x**power / middle ** (power - 1)
    fall = 1 - (1 - x).clamp(min=1e-12) ** power / (1 - middle) ** (power - 1)
    return low + (high - low) * torch.where(x <= middle, rise, fall)
