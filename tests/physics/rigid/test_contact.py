import itertools

import pytest
import torch

from reverie.physics.rigid import Law, damping_of, kinematics, rigid_step
from reverie.physics.rigid.collide import Contacts
from reverie.physics.rigid.contact import linear, shift
from reverie.physics.rigid.model import ContactParams
from reverie.physics.rigid.spatial import apply, lever, moved
from tests.physics.rigid.scenes import F64, after, loaded, with_contacts, world

BALL = '<body pos="{0}"><freejoint/><geom size="0.1" mass="{1}" {2}/></body>'


def point(depth, *speed, mass=None, **values):
    """The law for one point above a floor."""
    full = {"friction": 0.5, "stiffness": 1e4, "damping": 20.0, **values}
    params = ContactParams(*(torch.tensor([[full[n]]], dtype=F64) for n in ContactParams._fields))
    up = torch.tensor([[[0.0, 0, 1]]], dtype=F64)
    at = Contacts((0,), (0,), (-1,), 0 * up, up, torch.tensor([[depth]], dtype=F64), up[..., 2])
    speed = torch.tensor([[speed]], dtype=F64)
    mass = None if mass is None else torch.full((1, 1), mass, dtype=F64)
    found = linear(Law(), params, at, speed, mass, 1e-3)
    return (found.push - apply(found.gain, speed))[0, 0], found


def test_a_spring_a_damper_and_coulomb():
    force, _ = point(0.002, 0.3, -0.4, -0.5)
    normal = 1e4 * (0.002 + 0.0005) + 20 * 0.5
    assert force.tolist() == pytest.approx([-0.5 * normal * 0.6, 0.5 * normal * 0.8, normal])


def test_what_sticks_creeps():
    force, _ = point(0.002, 0.0004, 0, 0)
    assert float(force[0]) == pytest.approx(-0.4 * 0.5 * 1e4 * 0.002)


def test_there_is_no_adhesion():
    for depth, speed in ((0.001, 2.0), (-0.001, 0.0), (-0.001, -0.5)):
        force, found = point(depth, 0.1, 0, speed)
        assert not found.active.any() and not force.any() and not found.gain.any()


def test_the_force_begins_continuously():
    forces = [float(point(-1e-3 + 1e-7 * i, 0.2, 0, -1.0)[0][2]) for i in range(30)]
    assert forces[0] == 0 and max(b - a for a, b in itertools.pairwise(forces)) < 0.03
    assert forces[-1] > 0


def test_friction_of_an_impact_is_that_of_what_is_stopped():
    """In the first pass: m u / dt at most, not what a stiff damper would want."""
    force, _ = point(0.0, 0.5, 0, -1.0, damping=1e5, mass=2.0)
    stops = 2.0 * 1.0 / 1e-3
    assert abs(float(force[0])) == pytest.approx(0.5 * stops, rel=0.05)


def test_shift_is_moved_and_its_transpose_moves_forces():
    m, by, f = (
        torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=F64) for n in (6, 3, 4)
    )
    assert torch.allclose(apply(shift(by), m), moved(m, by))
    force, arm = f[:3], f[1:]
    there = apply(lever(arm - by).mT, force)
    assert torch.allclose(apply(shift(by).mT, there), apply(lever(arm).mT, force))


@pytest.mark.parametrize("e", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_the_coefficient_of_restitution(e):
    found = loaded(world(BALL.format("0 0 0.1005", 1, ""), gravity="0 0 0"))
    k = torch.full((1, 1), 1e4, dtype=F64)
    c = damping_of(e, k, torch.ones(1, 1, dtype=F64), 5e-5)
    found = with_contacts(found, stiffness=1e4, damping=float(c))
    start = found.poses["default"]
    start.velocity[:, 2] = -2.0
    assert float(after(found, start, 0.1, 5e-5).velocity[0, 2]) / 2 == pytest.approx(e, rel=0.02)


def test_restitution_in_successive_bounces():
    """h_n = e^(2 n) h_0; flights are left out, what rises falls again."""
    e, found = 0.8, loaded(world(BALL.format("0 0 0.1005", 1, "")))
    c = float(damping_of(e, torch.tensor(1e5), torch.tensor(1.0), 1e-5))
    found = with_contacts(found, stiffness=1e5, damping=c)

    def height(state):
        return float(state.position[0, 2] - 0.1 + state.velocity[0, 2] ** 2 / (2 * 9.81))

    state = found.poses["default"]
    state.velocity[:, 2] = -2.4
    for _ in range(2):
        before = height(state)
        state = after(found, state, 0.02, 1e-5)
        assert height(state) / before == pytest.approx(e**2, rel=0.02)
        state.velocity.neg_()


def test_restitution_must_be_possible():
    for e in (0.0, 1.2, -1.0):
        with pytest.raises(ValueError, match=r"restitution lies in \(0, 1\]"):
            damping_of(e, torch.ones(1), torch.ones(1))


def two(one=1.0, other=1.0):
    scene = BALL.format("0 0 1", one, "") + BALL.format("0.201 0 1", other, "")
    found = loaded(world(scene, gravity="0 0 0"))
    return with_contacts(found, stiffness=1e5, damping=0.0)


def test_equal_masses_exchange_their_velocities():
    found = two()
    start = found.poses["default"]
    start.velocity[:, 0] = 1.0
    moved = after(found, start, 0.02, 2e-5).velocity[0]
    assert float(moved[0]) == pytest.approx(0, abs=0.02)
    assert float(moved[6]) == pytest.approx(1, rel=0.02)


def test_unequal_masses_bounce_as_newton_says():
    found = two(1.0, 3.0)
    start = found.poses["default"]
    start.velocity[:, 0] = 1.0
    moved = after(found, start, 0.02, 2e-5).velocity[0]
    assert moved[[0, 6]].tolist() == pytest.approx([-0.5, 0.5], rel=0.02)


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_momentum_is_kept_between_bodies(backend):
    """Linear and angular, in an oblique impact with friction."""
    if backend == "warp":
        pytest.importorskip("warp")
    found = two(1.0, 0.4)
    start = found.poses["default"]
    start.position[:, 2] += 0.04  # of the first
    start.velocity[:] = torch.randn(1, 12, generator=torch.Generator().manual_seed(2), dtype=F64)
    start.velocity[:, 0], start.velocity[:, 6] = 2.0, -1.0
    state, spins = start, []
    for _ in range(120):
        state = rigid_step(found.model, state, found.params, None, 1e-3, backend=backend)
        spins.append(state.velocity[0, 3:6].norm())
    before, now = (kinematics(found.model, s, found.params).momentum[0] for s in (start, state))
    assert torch.allclose(now[:3], before[:3], atol=1e-12)
    assert torch.allclose(now[3:], before[3:], atol=1e-3)
    assert max(spins) - min(spins) > 0.1
    assert not torch.allclose(state.velocity[:, :3], start.velocity[:, :3], atol=0.1)


GRASP = """<mujoco><worldbody>
<body pos="-0.12 0 1"><joint name="l" type="slide" axis="1 0 0" armature="0.1" damping="1"/>
<geom type="box" size="0.02 0.05 0.05" mass="0.05"/></body>
<body pos="0.12 0 1"><joint name="r" type="slide" axis="-1 0 0" armature="0.1" damping="1"/>
<geom type="box" size="0.02 0.05 0.05" mass="0.05"/></body>
<body pos="0 0 1"><freejoint/><geom size="0.1" mass="1"/></body></worldbody>
<actuator><motor joint="l"/><motor joint="r"/></actuator></mujoco>"""


@pytest.mark.parametrize("dt", [0.001, 0.004])
def test_a_grasp_holds(dt):
    """20 N on each side of 1 kg: friction 1 holds it, to less than the slip speed; 4 N do not."""
    found = with_contacts(loaded(GRASP), stiffness=2e4, damping=100.0)
    for push, holds in ((20.0, True), (4.0, False)):
        control = torch.full((1, 2), push, dtype=F64)
        state = after(found, found.poses["default"], 0.25, dt, control)
        speed = abs(float(state.velocity[0, 4]))
        assert speed < 1e-3 if holds else speed > 0.3


@pytest.mark.parametrize("dt", [1e-3, 5e-3, 2e-2])
def test_what_rests_in_a_contact_forgets_every_push(dt):
    """The slope of a step from height and speed to themselves, of a point of mass m, has

        x^2 - (2 + q) / (1 + p + q) x + 1 / (1 + p + q) = 0,   p = dt^2 k / m,   q = dt c / m

    whose roots are within the unit circle and not below 0, whatever dt, k and c."""
    found = loaded(world(BALL.format("0 0 0.098", 1, "")))
    found = with_contacts(found, stiffness=8000.0, damping=178.0)
    start = found.poses["default"]
    x = torch.tensor([0.098, -0.01], dtype=F64)

    def step(x):
        place = torch.cat([start.position[0, :2], x[:1], start.position[0, 3:]])
        pace = torch.cat([start.velocity[0, :2], x[1:], start.velocity[0, 3:]])
        end = rigid_step(found.model, type(start)(place[None], pace[None]), found.params, None, dt)
        return torch.stack([end.position[0, 2], end.velocity[0, 2]])

    slope = torch.autograd.functional.jacobian(step, x)
    p, q = dt**2 * 8000, dt * 178
    assert float(slope.trace()) == pytest.approx((2 + q) / (1 + p + q))
    assert float(slope.det()) == pytest.approx(1 / (1 + p + q))
    roots = torch.linalg.eigvals(slope)
    assert bool((roots.abs() < 1).all()) and bool((roots.real > 0).all())


def landings(transition, dt=0.01, heights=4000):
    """Velocities [m/s] of balls that fell at 1 m/s, after 2 steps in the first or second of which
    they landed; with their heights before [m], and the slope to these [1/s]."""
    found = loaded(world(BALL.format("0 0 0.1", 1, "")), law=Law(transition=transition))
    found = with_contacts(found, stiffness=8000.0, damping=178.0)
    z = torch.linspace(0.1005, 0.1195, heights, dtype=F64, requires_grad=True)
    start = found.poses["default"]
    place, pace = (x.repeat(heights, 1) for x in start)
    pace[:, 2] = -1.0
    place = torch.cat([place[:, :2], z.unsqueeze(1), place[:, 3:]], 1)
    end = rigid_step(found.model, type(start)(place, pace), found.params, None, 2 * dt, 2)
    speed = end.velocity[:, 2]
    (slope,) = torch.autograd.grad(speed.sum(), z)
    return z.detach(), speed.detach(), slope


def test_a_landing_teaches_what_it_does_where_damping_sets_in_slowly():
    """An onset longer than u dt: no jump, no slope far from the mean, which is the true one."""
    z, speed, slope = landings(transition=0.02)
    truth = float((speed[-1] - speed[0]) / (z[-1] - z[0]))
    assert float(speed.diff().abs().max()) < 0.01
    assert float(slope.mean()) == pytest.approx(truth, rel=0.02)
    assert float(slope.abs().max()) < 2 * abs(truth)


def test_a_landing_teaches_a_hundredfold_or_nothing_where_damping_sets_in_at_once():
    """What `Law.transition` warns of; a jump has no slope."""
    z, speed, slope = landings(transition=1e-4)
    truth = float((speed[-1] - speed[0]) / (z[-1] - z[0]))
    assert float(slope.abs().max()) > 50 * abs(truth)
    assert float(speed.diff().abs().max()) > 0.2
