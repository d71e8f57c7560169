import math

import mujoco
import numpy as np
import pytest
import torch

from reverie.core import tree
from reverie.physics.rigid import Law, RigidState, kinematics, rigid_step
from reverie.physics.rigid.kinematics import expanded
from reverie.physics.rigid.reference import accelerations, substep
from tests.physics.rigid.scenes import (
    F64,
    QUADRUPED,
    after,
    compiled,
    loaded,
    with_gravity,
    world,
)

G = 9.81
BOX = '<body><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1" friction="{0}"/></body>'
BALL = '<body pos="0 0 0.1"><freejoint/><geom size="0.1" mass="1" friction="0.5"/></body>'
PENDULUM = """<mujoco><worldbody><body><joint axis="0 1 0"/><inertial pos="0 0 -1" mass="1"
diaginertia="1e-9 1e-9 1e-9"/></body></worldbody></mujoco>"""


def resting(scene, height, **options):
    """Bodies on a floor whose friction is theirs."""
    text = world(scene).replace('size="9 9 1"', 'size="9 9 1" friction="0"')
    found = loaded(text, **options)
    found.poses["default"].position[:, 2] = height
    return found


def inclined(found, degrees):
    angle = math.radians(degrees)
    return with_gravity(found, G * math.sin(angle), 0.0, -G * math.cos(angle)), angle


def test_a_projectile_is_exact():
    """z_n = z_0 + n dt v_0 - g dt^2 n (n + 1) / 2."""
    found = loaded(world(BALL))
    start = found.poses["default"]
    start.position[:, 2], start.velocity[:, 2] = 5.0, 2.0
    moved = after(found, start, 0.5, 0.01)
    exact = 5 + 0.5 * 2 - G * 1e-4 * 50 * 51 / 2
    assert float(moved.position[0, 2]) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("degrees", "friction"), [(35, 0.5), (20, 0.2), (45, 0.7)])
def test_a_block_slides_down_an_incline(degrees, friction):
    """a = g (sin t - mu cos t)."""
    found, angle = inclined(resting(BOX.format(friction), 0.0999), degrees)
    early = after(found, found.poses["default"], 0.3, 0.001)
    late = after(found, early, 0.3, 0.001)
    rate = float(late.velocity[0, 0] - early.velocity[0, 0]) / 0.3
    assert rate == pytest.approx(G * (math.sin(angle) - friction * math.cos(angle)), rel=0.01)


def test_a_block_sticks_to_an_incline():
    found, _ = inclined(resting(BOX.format(0.5), 0.0999), 24)
    moved = after(found, found.poses["default"], 1.0, 0.002)
    assert 0 < float(moved.velocity[0, 0]) < 1e-3
    assert float(moved.position[0, 0]) < 1e-3


def test_a_block_stops_after_v2_over_2_mu_g():
    found = resting(BOX.format(0.5), 0.0999)
    start = found.poses["default"]
    start.velocity[:, 0] = 1.0
    moved = after(found, start, 0.4, 0.0005)
    assert float(moved.position[0, 0]) == pytest.approx(1 / (2 * 0.5 * G), rel=0.02)


def test_a_ball_rolls_down_an_incline():
    """a = 5/7 g sin t."""
    found, angle = inclined(resting(BALL, 0.0997), 20)
    early = after(found, found.poses["default"], 0.3, 0.001)
    late = after(found, early, 0.5, 0.001)
    rate = float(late.velocity[0, 0] - early.velocity[0, 0]) / 0.5
    assert rate == pytest.approx(5 / 7 * G * math.sin(angle), rel=0.01)


def test_a_sliding_ball_comes_to_roll():
    """v = 5/7 v_0, from t = 2 v_0 / (7 mu g) on."""
    found = resting(BALL, 0.0997)
    start = found.poses["default"]
    start.velocity[:, 0] = 2.0
    ends = 2 * 2 / (7 * 0.5 * G)
    slides, rolls = (after(found, start, t, 0.0005).velocity[0] for t in (0.8 * ends, 1.3 * ends))
    assert float(slides[0]) == pytest.approx(2 - 0.5 * G * 0.8 * ends, rel=0.02)
    assert float(rolls[0]) == pytest.approx(10 / 7, rel=0.02)
    assert float(rolls[4]) * 0.1 == pytest.approx(float(rolls[0]), rel=0.02)


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_a_pendulum_keeps_its_energy(backend):
    """1e4 steps without friction: the energy swings by O(dt) and does not drift."""
    if backend == "warp":
        pytest.importorskip("warp")
    found, steps = loaded(PENDULUM), 10_000 if backend == "warp" else 500
    state, energies = RigidState(*(torch.tensor([[x]], dtype=F64) for x in (1.5, 0.0))), []
    for _ in range(10):
        state = after(found, state, steps // 10 * 0.002, 0.002, backend=backend)
        seen = kinematics(found.model, state, found.params)
        energies.append(float(seen.kinetic + seen.potential))
    start = -G * math.cos(1.5)
    assert np.abs(np.array(energies) - start).max() < 0.04


def test_a_pendulum_has_its_period():
    """2.36785 s for a length of 1 m and an amplitude of 90 degrees."""
    found, dt = loaded(PENDULUM), 5e-4
    state = RigidState(*(torch.tensor([[x]], dtype=F64) for x in (math.pi / 2, 0.0)))
    half = after(found, state, 1.15, dt)
    before = half
    while float(half.velocity) < 0:
        before, half = half, after(found, half, dt, dt)
    v = [float(x.velocity) for x in (before, half)]
    steps = round(1.15 / dt)
    state = after(found, state, 1.15, dt)
    while float(state.velocity) < 0:
        state, steps = after(found, state, dt, dt), steps + 1
    turn = (steps - v[1] / (v[1] - v[0])) * dt
    assert 2 * turn == pytest.approx(2.36785, rel=1e-3)


def test_a_racket_flips_and_keeps_its_momentum():
    """Dzhanibekov: about the middle axis rotation turns over, and L stays along the world."""
    scene = (
        '<mujoco><option gravity="0 0 0"/><worldbody><body><freejoint/><inertial pos="0 0 0" '
        'mass="1" diaginertia="1 2 3"/></body></worldbody></mujoco>'
    )
    found = loaded(scene)
    state = found.poses["default"]
    state.velocity[:, 3:] = torch.tensor([1e-2, 5.0, 1e-2], dtype=F64)
    first = kinematics(found.model, state, found.params)
    spins = []
    for _ in range(40):
        state = after(found, state, 0.1, 4e-4)
        seen = kinematics(found.model, state, found.params)
        assert torch.allclose(seen.momentum, first.momentum, atol=0.02)
        assert float(seen.kinetic) == pytest.approx(float(first.kinetic), rel=5e-3)
        spins.append(float(state.velocity[0, 4]))
    assert min(spins) < -4.9 and max(spins) > 4.9


def test_a_stack_of_boxes_stays():
    scene = "".join(
        f'<body pos="0.0{i % 2} 0 {0.0999 + 0.1997 * i}"><freejoint/>'
        '<geom type="box" size="0.1 0.1 0.1" mass="1"/></body>'
        for i in range(3)
    )
    found = loaded(world(scene))
    start = found.poses["default"]
    moved = after(found, start, 0.6, 0.004, backend="torch")
    assert torch.allclose(moved.position, start.position, atol=3e-3)
    assert float(moved.velocity.abs().max()) < 0.01


def test_a_quadruped_stands_as_in_mujoco():
    """Height within 2 mm; the floor carries its weight."""
    found, (model, data) = loaded(QUADRUPED), compiled(QUADRUPED)
    control = torch.zeros(1, 12, dtype=F64)
    state = after(found, found.poses["default"], 1.5, 0.004, control)
    for _ in range(375):
        mujoco.mj_step(model, data)
    assert float(state.position[0, 2]) == pytest.approx(data.qpos[2], abs=2e-3)
    _, force = accelerations(found.model, state, expanded(found.params, 1), control, None, 0.004)
    weight = float(found.params.bodies.mass.sum()) * G
    assert float(force[0, :, 5].sum()) == pytest.approx(weight, rel=0.01)


@pytest.mark.parametrize(("passes", "peak", "impulse"), [(2, 9.0, 1.2), (6, 1.05, 1.0)])
def test_friction_of_an_impact_is_in_its_cone(passes, peak, impulse):
    """A spinning box that lands in a slide; with two passes only the impulse is."""
    found, _ = inclined(resting(BOX.format(0.4), 0.099, law=Law(passes=passes)), 40)
    state = found.poses["default"]
    state.velocity[:] = torch.tensor([[0.5, 0.3, -1.0, 1, 2, 3]], dtype=F64)
    nothing, total, most = torch.zeros(1, 0, dtype=F64), torch.zeros(2, dtype=F64), 0.0
    for _ in range(60):
        _, force = accelerations(
            found.model, state, expanded(found.params, 1), nothing, None, 0.002
        )
        push = force[0, 0, 3:]
        assert float(push[2]) > -1.0
        total += torch.stack([push[:2].norm(), push[2]])
        most = max(most, float(push[:2].norm() / (push[2].clamp(min=0) + 1)))
        state = after(found, state, 0.002, 0.002, backend="torch")
    assert most < 0.4 * peak
    assert total[0] / total[1] < 0.4 * impulse


def small(contact):
    """An arm with a ball joint and a hinge, in the air or on the floor."""
    scene = f"""<body pos="0 0 {0.31 if contact else 0.8}"><freejoint/>
    <geom type="capsule" size="0.05" fromto="-0.2 0 0 0.2 0 0" mass="1" friction="0.6"/>
    <body pos="0.2 0 0"><joint type="ball" damping="0.1" armature="0.01"/>
    <geom type="capsule" size="0.04" fromto="0 0 0 0 0.02 -0.14" mass="0.4" contype="0"/>
    <body pos="0 0.02 -0.14"><joint name="j" axis="0 1 0" range="-20 20" stiffness="3"
    frictionloss="0.1"/><geom type="sphere" size="0.06" pos="0 0 -0.12" mass="0.3"/>
    </body></body></body>"""
    scene = world(scene).replace(
        "</worldbody>",
        '</worldbody><actuator><position joint="j" kp="8" kv="0.3"/></actuator>',
    )
    found = loaded(scene)
    g = torch.Generator().manual_seed(3)
    start = found.poses["default"]
    state = RigidState(
        start.position + 0.05 * torch.randn(start.position.shape, generator=g, dtype=F64),
        start.velocity + 0.5 * torch.randn(start.velocity.shape, generator=g, dtype=F64),
    )
    if contact:
        state.position[:, 2] = 0.28
        state.velocity[:, 2] = -0.4
    return found, state


@pytest.mark.parametrize("contact", [False, True])
def test_one_step_has_its_gradient(contact):
    """To state, control, forces from outside and every parameter, against finite differences."""
    found, state = small(contact)
    g = torch.Generator().manual_seed(0)
    control = torch.full((1, 1), 0.3, dtype=F64)
    external = torch.randn(1, 3, 6, generator=g, dtype=F64)
    leaves = [*state, control, external, *tree.leaves(found.params)]
    inputs = [x.clone().requires_grad_() for x in leaves]

    def step(*x):
        rest = iter(x[4:])
        params = tree.map(lambda _: next(rest), found.params)
        return tuple(substep(found.model, RigidState(*x[:2]), params, x[2], x[3], 0.004))

    assert torch.autograd.gradcheck(step, inputs, eps=1e-7, atol=1e-4, rtol=1e-4, fast_mode=True)
    if contact:
        slope = torch.autograd.grad(step(*inputs)[1].sum(), inputs[-9])
        assert slope[0].any()


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_a_landing_has_its_gradient(backend):
    """30 steps through a landing, against central differences along random directions."""
    if backend == "warp":
        pytest.importorskip("warp")
    found, state = small(True)
    state.position[:, 2] += 0.02
    g = torch.Generator().manual_seed(1)
    control = torch.full((1, 1), 0.3, dtype=F64)
    directions = [torch.randn(x.shape, generator=g, dtype=F64) for x in (*state, control)]
    weights = torch.randn(state.velocity.shape, generator=g, dtype=F64)

    def outcome(q, v, u):
        moved = rigid_step(
            found.model, RigidState(q, v), found.params, u, 0.06, 30, backend=backend
        )
        return (moved.velocity * weights).sum()

    inputs = [x.clone().requires_grad_() for x in (*state, control)]
    slopes = torch.autograd.grad(outcome(*inputs), inputs)
    exact = sum(float((s * d).sum()) for s, d in zip(slopes, directions, strict=True))
    h = 1e-7
    with torch.no_grad():
        ends = [
            outcome(*(x + sign * h * d for x, d in zip(inputs, directions, strict=True)))
            for sign in (1, -1)
        ]
    assert exact == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-4)
