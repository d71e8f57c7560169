"""The law of contact: compliant, without adhesion, with Coulomb friction, implicit.

For a point of a body with velocity u, u+ = u + dt u' at the end of the step, depth d, normal n:

    f_n = max(0, k (d - dt u_n+) - c u_n+)    f_t = -gamma u_t+    gamma = mu f_n / max(|u_t|, v_s)

which is linear, f = n k d - G u+, once it is decided where f_n > 0 and what gamma is: at a guess of
u+, in the first pass u, then what the last pass found. With what never moves it therefore is only

    I_b += dt X^T G X        p_b -= X^T (n k d - G X (v + dt g))           X m = u of the point

in the articulated-body algorithm: stable at any k, exact, without iterations. The secant gamma lets
a body creep at less than v_s where it sticks, and pulls with mu f_n where it slides. c sets in over
a small depth, so the force begins continuously. With two passes friction is in its cone within 1 %
where contact lasts; in an impact its impulse is within 20 %, but single steps take more passes.

Two moving bodies a, b have one spatial force F between them, of all their points, and

    F = F_0 - K u+     u+ = u_free + dt (W_a + W_b) F + what the forces of other couples do

solved for one couple after the other in a few rounds, each but the last over-relaxed, beginning
with what the last pass found (block successive over-relaxation), which lowers an energy at each of
them, so any number of rounds is stable. F acts on a and -F on b at one point, so
momentum is kept exactly. W is how bodies answer a force on themselves and on others of their tree,
with all that hangs on them (see `articulated`): W_a + W_b is short for all of it.
Legend: `B` worlds, `N` bodies, `C` points, `E` couples of bodies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.rigid import spatial
from reverie.physics.rigid.collide import Contacts
from reverie.physics.rigid.kinematics import Frames, constant
from reverie.physics.rigid.model import ContactParams, Law

RELAXED = 1.3
"""What a couple does of its own solution in all rounds but the last, so that others need not."""


class Linear(NamedTuple):
    """f = push - G u+, at points."""

    push: Tensor
    """n k d `[B, C, 3]`."""
    gain: Tensor
    """G `[B, C, 3, 3]`."""
    active: Tensor
    """bool `[B, C]`."""


def linear(
    law: Law,
    params: ContactParams,
    contacts: Contacts,
    speed: Tensor,
    mass: Tensor | None,
    dt: float,
) -> Linear:
    """The law at a guess of u+.

    Args:
        law: Slip speed and transition.
        params: By pair.
        contacts: The points.
        speed: `[B, C, 3]`, the guess.
        mass: `[B, C]`, where the guess is the velocity before the step: what is stopped within it,
            so that friction does not take the force of an impact to be what it begins with.
        dt: [s].
    """
    pair = constant(contacts.pair, torch.long, speed.device)
    k, c = (x[:, pair] * contacts.weight for x in (params.stiffness, params.damping))
    n = contacts.normal
    along = spatial.dot(speed, n)
    u = along.squeeze(-1)
    deep = contacts.depth - dt * u
    c = c * (deep / law.transition).clamp(0, 1)
    force = k * deep - c * u
    active = (deep > 0) & (force > 0)
    stiff = torch.where(active, dt * k + c, 0.0)
    if mass is not None:
        force = (k * contacts.depth - stiff * u / (1 + dt * stiff / mass)).clamp(min=0)
    force = torch.where(active, force, 0.0)
    slip = (speed - along * n).square().sum(-1).clamp(min=law.slip**2).sqrt()
    gamma = (params.friction[:, pair] * force / slip)[..., None, None]
    eye = torch.eye(3, dtype=u.dtype, device=u.device)
    gain = gamma * eye + (stiff[..., None, None] - gamma) * spatial.outer(n, n)
    push = torch.where(active, k * contacts.depth, 0.0).unsqueeze(-1) * n
    return Linear(push, gain, active)


def _summed(rows: Tensor, to: tuple[int, ...], size: int) -> Tensor:
    """Sums of `[B, C, ...]` by index: `[B, size, ...]`."""
    out = rows.new_zeros(len(rows), size, *rows.shape[2:])
    return out.index_add(1, constant(to, torch.long, rows.device), rows)


def with_ground(
    found: Linear, contacts: Contacts, frame: Frames, coasting: Tensor, dt: float
) -> tuple[Tensor, Tensor]:
    """What contacts with the world add: inertia `[B, N, 6, 6]` and force `[B, N, 6]`.

    `coasting` `[B, N, 6]` is v + dt g, what bodies move with if nothing else acts.
    """
    body = constant(contacts.body, torch.long, coasting.device)
    x = spatial.lever(contacts.point - frame.origin[:, body])
    force = found.push - spatial.apply(found.gain, spatial.apply(x, coasting[:, body]))
    inertia = dt * (x.mT @ found.gain @ x)
    size = coasting.shape[1]
    return (
        _summed(inertia, contacts.body, size),
        _summed(spatial.apply(x.mT, force), contacts.body, size),
    )


class Couples(NamedTuple):
    """Pairs of moving bodies that may touch."""

    one: tuple[int, ...]
    two: tuple[int, ...]
    of: tuple[int, ...]
    """The couple of each point."""
    sign: tuple[float, ...]
    """1 where the normal points into `one`, else -1."""


def couples(contacts: Contacts) -> Couples:
    """The couples of bodies in some contacts, in the order of their bodies."""
    both = list(zip(contacts.body, contacts.other, strict=True))
    names = sorted({(min(pair), max(pair)) for pair in both})
    index = {name: c for c, name in enumerate(names)}
    return Couples(
        tuple(name[0] for name in names),
        tuple(name[1] for name in names),
        tuple(index[min(pair), max(pair)] for pair in both),
        tuple(1.0 if a < b else -1.0 for a, b in both),
    )


def shift(by: Tensor) -> Tensor:
    """T `[..., 6, 6]`: T m is the motion m, about O, about O + by; T^T f a force the other way."""
    eye = torch.eye(3, dtype=by.dtype, device=by.device).expand(*by.shape[:-1], 3, 3)
    top = torch.cat([eye, torch.zeros_like(eye)], -1)
    return torch.cat([top, torch.cat([-spatial.skew(by), eye], -1)], -2)


def between(
    law: Law,
    found: Linear,
    contacts: Contacts,
    frame: Frames,
    free: Tensor,
    responses: Tensor,
    before: Tensor | None,
    dt: float,
) -> tuple[Tensor, Tensor]:
    """The forces `[B, N, 6]` between moving bodies, each about its own O; and those of couples.

    Args:
        law: How many rounds.
        found: The law at the points.
        contacts: The points, normals into `contacts.body`.
        frame: For the O of each body.
        free: v+ `[B, N, 6]` without these forces.
        responses: W `[B, N, N, 6, 6]`.
        before: `[B, E, 6]`, the forces of couples with which to begin; 0 where None.
        dt: [s].
    """
    c = couples(contacts)
    one, two = (constant(x, torch.long, free.device) for x in (c.one, c.two))
    of, sign = constant(c.of, torch.long, free.device), constant(c.sign, free.dtype, free.device)
    count, size = len(c.one), free.shape[1]
    x = spatial.lever(contacts.point - frame.origin[:, one[of]])
    gain = _summed(x.mT @ found.gain @ x, c.of, count)
    push = _summed(spatial.apply(x.mT, found.push * sign[:, None]), c.of, count)
    to = shift(frame.origin[:, one] - frame.origin[:, two])
    cross = responses[:, one, two] @ to.mT
    relative = responses[:, one, one] + to @ responses[:, two, two] @ to.mT - cross - cross.mT
    eye = torch.eye(6, dtype=free.dtype, device=free.device)
    implicit = torch.linalg.inv(eye + dt * gain @ relative)
    forces = torch.zeros_like(push) if before is None else before

    def total(forces: Tensor) -> Tensor:
        back = spatial.apply(to.mT, forces)
        return _summed(forces, c.one, size) - _summed(back, c.two, size)

    def moved(forces: Tensor) -> Tensor:
        return dt * spatial.apply(responses, forces.unsqueeze(1)).sum(2)

    now = free + moved(total(forces))
    force = list(forces.unbind(1))
    for s in range(law.sweeps):
        share = RELAXED if s < law.sweeps - 1 else 1.0
        for e, (a, b) in enumerate(zip(c.one, c.two, strict=True)):
            speed = now[:, a] - spatial.apply(to[:, e], now[:, b])
            lacks = push[:, e] - spatial.apply(gain[:, e], speed) - force[e]
            more = share * spatial.apply(implicit[:, e], lacks)
            back = spatial.apply(to[:, e].mT, more)
            force[e] = force[e] + more
            pushed = spatial.apply(responses[:, :, a], more.unsqueeze(1))
            now = now + dt * (pushed - spatial.apply(responses[:, :, b], back.unsqueeze(1)))
    forces = torch.stack(force, 1)
    return total(forces), forces


def damping_of(restitution: float, stiffness: Tensor, mass: Tensor, dt: float = 0.0) -> Tensor:
    """The damping c with which a body of `mass` [kg] bounces with this coefficient of restitution.

        e = exp(-2 z / sqrt(1 - z^2) acos z)        c = 2 z sqrt(k m) - k dt / 2

    That is the bounce of a spring with a damper that never pulls (Schwager and Poeschel 2007); the
    last term takes off what an implicit step of dt damps by itself.

    Raises:
        ValueError: the coefficient is not in (0, 1].
    """
    if not 0 < restitution <= 1:
        raise ValueError(f"A coefficient of restitution lies in (0, 1]; got {restitution}.")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _bounce(middle) > restitution else (low, middle)
    return (2 * low * (stiffness * mass).sqrt() - 0.5 * dt * stiffness).clamp(min=0)


def _bounce(share: float) -> float:
    """e of a damping ratio z; above 1 by the hyperbolic functions."""
    if share < 1:
        return math.exp(-2 * share / math.sqrt(1 - share**2) * math.acos(share))
    root = math.sqrt(share**2 - 1)
    return math.exp(-2 * share / root * math.acosh(share)) if root > 0 else math.exp(-2)
