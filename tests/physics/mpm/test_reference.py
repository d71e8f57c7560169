"""The equations of the material point method, against closed forms and finite differences."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from reverie.physics.mpm import MPM, Kind, MPMParams, MPMState
from reverie.physics.mpm import reference as ref
from reverie.physics.mpm.material import at_rest, friction_limit, lame
from reverie.physics.tools import Shape, Tools
from tests.physics.mpm.worlds import EVERY, block, floor, mixed, no_tools, params


def spd(count: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """b `[N, 3, 3]` with its eigenvalues e^(2 e), and its eigenvectors."""
    draws = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=draws, dtype=torch.float64))
    strain = spread * (2 * torch.rand(count, 3, generator=draws, dtype=torch.float64) - 1)
    b = q @ torch.diag_embed((2 * strain).exp()) @ q.mT
    return 0.5 * (b + b.mT), strain, q  # to the last bit


def test_series_are_the_logarithm_the_exponential_and_the_root() -> None:
    b, strain, q = spd(50, 0.2)
    log = q @ torch.diag_embed(strain) @ q.mT
    torch.testing.assert_close(ref.half_log(b), log, rtol=0, atol=1e-7)
    torch.testing.assert_close(ref.exp_twice(log), b, rtol=1e-7, atol=1e-7)
    wide, strain, q = spd(50, 0.7)
    torch.testing.assert_close(
        ref.root(wide), q @ torch.diag_embed(strain.exp()) @ q.mT, rtol=1e-10, atol=1e-10
    )


def one(kind: Kind, b: Tensor, memory: Tensor | None = None, **made: float) -> tuple[Tensor, ...]:
    """b, memory and tau of particles with the elastic strain `b` `[N, 3, 3]` that do not move."""
    count = len(b)
    state = at_rest(torch.zeros(1, count, 3, dtype=b.dtype), torch.full((count,), int(kind)))
    state = state._replace(strain=b[None])
    if memory is not None:
        state = state._replace(memory=memory[None])
    kinds = torch.full((count,), int(kind))
    return tuple(x[0] for x in ref.deform(state, params(1, count, **made), kinds, 1e-4))


def test_elastic_stress_is_that_of_principal_stretches() -> None:
    b, strain, q = spd(30, 0.3)
    mu, lam = (float(x) for x in lame(torch.tensor(2e4), torch.tensor(0.3)))
    stretch, volume = strain.exp(), strain.sum(-1, keepdim=True)
    neo = mu * (stretch**2 - 1) + lam * volume
    j = volume.exp()
    corotated = 2 * mu * (stretch - 1) * stretch + lam * (j - 1) * j
    for kind, tau in ((Kind.NEO_HOOKEAN, neo), (Kind.COROTATED, corotated)):
        kept, _, found = one(kind, b)
        torch.testing.assert_close(found, q @ torch.diag_embed(tau) @ q.mT, rtol=1e-6, atol=1e-2)
        assert torch.equal(kept, b)


def test_small_strains_obey_hooke_whatever_the_elastic_law() -> None:
    b, strain, q = spd(20, 1e-5)
    mu, lam = (float(x) for x in lame(torch.tensor(2e4), torch.tensor(0.3)))
    hooke = q @ torch.diag_embed(2 * mu * strain + lam * strain.sum(-1, keepdim=True)) @ q.mT
    for kind in (Kind.NEO_HOOKEAN, Kind.COROTATED, Kind.VON_MISES):
        tau = one(kind, b, limit=1e9)[2]
        torch.testing.assert_close(tau, hooke, rtol=1e-3, atol=1e-4)


def test_von_mises_yields_at_the_yield_stress_and_keeps_volume() -> None:
    b, _, _ = spd(40, 0.1)
    limit = 800.0
    kept, _, tau = one(Kind.VON_MISES, b, limit=limit)
    deviator = tau - ref.trace(tau)[:, None, None] / 3 * torch.eye(3, dtype=b.dtype)
    size = deviator.square().sum((-2, -1)).sqrt()
    most = math.sqrt(2 / 3) * limit
    assert (size <= most * (1 + 1e-9)).all()
    flows = size > most * (1 - 1e-6)
    assert flows.any() and not flows.all()
    torch.testing.assert_close(torch.linalg.det(kept), torch.linalg.det(b), rtol=1e-6, atol=0)
    again = one(Kind.VON_MISES, kept, limit=limit)
    torch.testing.assert_close(again[2], tau, rtol=1e-5, atol=1e-3)  # what flowed stays
    assert torch.equal(kept[~flows], b[~flows])


def test_sand_stays_in_its_cone_and_does_not_pull() -> None:
    b, strain, _ = spd(60, 0.02)
    mu, lam = (float(x) for x in lame(torch.tensor(2e4), torch.tensor(0.3)))
    a = float(friction_limit(torch.tensor(0.6, dtype=torch.float64)))
    kept, memory, tau = one(Kind.SAND, b, torch.zeros(60, dtype=b.dtype), limit=a)
    deviator = tau - ref.trace(tau)[:, None, None] / 3 * torch.eye(3, dtype=b.dtype)
    size = deviator.square().sum((-2, -1)).sqrt()
    grown = strain.sum(-1)
    pressed = grown < 0
    assert (size[pressed] <= -a * (3 * lam + 2 * mu) * grown[pressed] * (1 + 1e-6)).all()
    assert (tau[~pressed] == 0).all() and pressed.any() and not pressed.all()
    torch.testing.assert_close(memory, grown.clamp_min(0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        torch.linalg.det(kept).log()[pressed] / 2, grown[pressed], rtol=1e-5, atol=1e-8
    )


def test_sand_presses_only_when_what_opened_has_closed() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    squeezed = (0.99 * eye)[None].expand(2, 3, 3)
    memory = torch.tensor([0.0, 0.2], dtype=torch.float64)
    _, after, tau = one(Kind.SAND, squeezed, memory, limit=0.3)
    shrunk = 1.5 * math.log(0.99)
    assert ref.trace(tau)[0] < 0 and (tau[1] == 0).all()
    torch.testing.assert_close(after[1].item(), 0.2 + shrunk, rtol=1e-6, atol=0)


def test_pressure_and_viscosity_of_a_liquid() -> None:
    ratio = torch.tensor([0.98, 1.0, 1.01], dtype=torch.float64)
    state = at_rest(torch.zeros(1, 3, 3, dtype=torch.float64), torch.full((3,), int(Kind.LIQUID)))
    rate = torch.zeros(3, 3, dtype=torch.float64)
    rate[0, 1] = 4.0  # shear
    state = state._replace(memory=ratio[None], affine=rate.expand(1, 3, 3, 3).clone())
    made = params(1, 3, viscosity=2.0)
    made = made._replace(lam=torch.full_like(made.lam, 1e5))
    _, after, tau = ref.deform(state, made, torch.full((3,), int(Kind.LIQUID)), 1e-4)
    assert torch.equal(after[0], ratio)
    pressure = 1e5 / 7 * (ratio**-7 - 1)
    torch.testing.assert_close(-tau[0].diagonal(dim1=-2, dim2=-1)[:, 0] / ratio, pressure)
    torch.testing.assert_close(tau[0, :, 0, 1], 2.0 * 4.0 * ratio)


def test_transfers_keep_mass_and_momentum_and_carry_affine_fields() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(1, 200, 3, generator=draws, dtype=torch.float64)
    box = ref.active_box(x, 0.05, 10**6)
    cell, weight, offset = ref.stencil(x, box, 0.05)
    torch.testing.assert_close(weight.sum(-1), torch.ones(1, 200, dtype=torch.float64))
    assert (weight >= 0).all()
    node = ref.nodes(box, 0.05, x)
    there = node[0][cell[0]]
    torch.testing.assert_close(there - x[0, :, None], offset[0])
    torch.testing.assert_close((weight[..., None] * there).sum(2), x)  # linear fields are exact
    second = (weight[..., None, None] * offset[..., :, None] * offset[..., None, :]).sum(2)
    eye = torch.eye(3, dtype=torch.float64) * 0.05**2 / 4  # D of APIC
    torch.testing.assert_close(second, eye.expand_as(second))


def drop(steps: int, dt: float) -> tuple[MPMState, MPMState]:
    x = block((3, 3, 3), 0.05)
    kind = torch.zeros(27, dtype=torch.int64)
    state = at_rest(x, kind, torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64))
    solver = MPM(kind, dx=0.1, dt=dt, backend="torch")
    after, _, _ = solver(state, params(1, 27), no_tools(1), steps)
    return state, after


def test_free_flight_is_that_of_semi_implicit_euler_exactly() -> None:
    dt, n = 1e-3, 50
    before, after = drop(n, dt)
    speed = before.velocity.clone()
    expected = before.position + n * dt * speed
    expected[..., 2] -= 9.81 * dt**2 * n * (n + 1) / 2
    torch.testing.assert_close(after.position, expected, rtol=0, atol=1e-12)
    speed[..., 2] -= 9.81 * n * dt
    torch.testing.assert_close(after.velocity, speed, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_free_body_keeps_momentum_and_angular_momentum(kind: Kind) -> None:
    draws = torch.Generator().manual_seed(1)
    x = block((4, 4, 4), 0.02)
    kinds = torch.full((64,), int(kind))
    state = at_rest(x, kinds)
    spin = torch.linalg.cross(torch.tensor([3.0, -2.0, 5.0]).double().expand_as(x), x)
    rate = 3 * torch.randn(1, 64, 3, 3, generator=draws, dtype=torch.float64)
    state = state._replace(velocity=spin, affine=rate)
    made = params(1, 64, gravity=0.0, limit=0.3, viscosity=1.0)

    def momenta(s: MPMState) -> Tensor:
        mass = made.mass[..., None]
        linear = (mass * s.velocity).sum(1)
        # of the affine velocity about each particle, whose second moment is dx^2 / 4
        c = s.affine * (0.04**2 / 4)
        own = torch.stack(
            [c[..., 2, 1] - c[..., 1, 2], c[..., 0, 2] - c[..., 2, 0], c[..., 1, 0] - c[..., 0, 1]],
            -1,
        )
        return torch.cat(
            [linear, (mass * (torch.linalg.cross(s.position, s.velocity) + own)).sum(1)]
        )

    solver = MPM(kinds, dx=0.04, dt=2e-4, backend="torch")
    after, _, _ = solver(state, made, no_tools(1), 40)
    torch.testing.assert_close(momenta(after), momenta(state), rtol=1e-9, atol=1e-12)
    assert kind in (Kind.LIQUID, Kind.SAND) or not torch.allclose(after.strain, state.strain)


def test_a_tool_gets_what_particles_lose() -> None:
    kind, state, made, tools = mixed()
    made = made._replace(gravity=torch.zeros_like(made.gravity))
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, softness=0.02, backend="torch")
    after, _, force = solver(state, made, tools, 5)
    lost = (made.mass[..., None] * (state.velocity - after.velocity)).sum(1)
    torch.testing.assert_close(force[..., :3].sum(1) * 5e-4, lost, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("friction", [0.0, 0.3])
def test_a_block_slides_down_as_coulomb_says(friction: float) -> None:
    """a = g (sin t - mu cos t) on an incline of 30 degrees, as gravity that leans."""
    kinds = torch.zeros(5 * 5 * 4, dtype=torch.int64)
    x = block((5, 5, 4), 0.02, (0.0, 0.0, 0.02))
    made = params(1, 100, young=1e5)
    tilt = math.radians(30)
    lean = 9.81 * torch.tensor([[math.sin(tilt), 0.0, -math.cos(tilt)]], dtype=torch.float64)
    made = made._replace(gravity=lean)
    solver = MPM(kinds, [Shape.PLANE], dx=0.04, dt=5e-4, backend="torch")
    tools = floor(1, 0.02, friction)
    settled, tools, _ = solver(at_rest(x, kinds), made, tools, 200)
    after, _, force = solver(settled, made, tools, 400)
    gained = (after.velocity[..., 0] - settled.velocity[..., 0]).mean().item() / 0.2
    expected = 9.81 * (math.sin(tilt) - friction * math.cos(tilt))
    assert gained == pytest.approx(expected, rel=0.02)
    weight = float(made.mass.sum()) * 9.81 * math.cos(tilt)
    assert -force[0, 0, 2].item() == pytest.approx(weight, rel=0.02)


def test_a_block_sticks_where_the_incline_is_flat_enough() -> None:
    kinds = torch.zeros(100, dtype=torch.int64)
    x = block((5, 5, 4), 0.02, (0.0, 0.0, 0.02))
    tilt = math.radians(20)
    lean = 9.81 * torch.tensor([[math.sin(tilt), 0.0, -math.cos(tilt)]], dtype=torch.float64)
    made = params(1, 100, young=1e5)._replace(gravity=lean)
    solver = MPM(kinds, [Shape.PLANE], dx=0.04, dt=5e-4, backend="torch")
    settled, tools, _ = solver(at_rest(x, kinds), made, floor(1, 0.02, 0.6), 600)
    after, _, _ = solver(settled, made, tools, 400)
    creep = (after.position[..., 0] - settled.position[..., 0]).mean().abs().item() / 0.2
    assert creep < 1e-3


def test_one_step_has_the_gradient_of_finite_differences() -> None:
    kind, state, made, tools = mixed(batch=1, count=10)
    leaves = [x.clone().requires_grad_() for x in (*state, *made, *tools)]

    def step(*given: Tensor) -> tuple[Tensor, ...]:
        after, moved, impulse = ref.substep(
            MPMState(*given[:5]),
            MPMParams(*given[5:12]),
            Tools(*given[12:]),
            kind,
            EVERY,
            dt=1e-3,
            dx=0.05,
            softness=0.02,
            most=10**6,
        )
        return (*after, moved.place, moved.turn, impulse)

    assert gradcheck(step, leaves, eps=1e-8, atol=1e-4, rtol=1e-5, fast_mode=True)


def test_what_flew_off_is_an_error() -> None:
    x = torch.zeros(1, 2, 3)
    x[0, 1] = 1e4
    with pytest.raises(FloatingPointError, match="flew off"):
        ref.active_box(x, 0.05, 10**6)
    x[0, 1] = math.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        ref.active_box(x, 0.05, 10**6)
