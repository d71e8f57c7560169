import mujoco
import numpy as np
import pytest
import torch

from reverie.physics.rigid import Law, RigidState, rigid_step
from reverie.physics.rigid.joints import angles, joint_forces, moments
from reverie.physics.rigid.kinematics import expanded
from tests.physics.rigid.scenes import F64, MIXED, after, compiled, loaded, random_state

ACTUATED = MIXED.replace(
    "</worldbody>",
    """</worldbody><actuator><motor name="push" joint="bend" gear="2.5"/>
<position name="hold" joint="bend" kp="9" kv="0.7"/><velocity name="brake" joint="bend" kv="0.4"/>
<general name="affine" joint="bend" gainprm="3" biastype="affine" biasprm="0.5 -1 -0.2" gear="0.5"/>
</actuator>""",
)
HINGE = """<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="j" axis="0 0 1" {joint}/>
<inertial pos="0 0 0" mass="1" diaginertia="2 2 2"/></body></worldbody>{rest}</mujoco>"""
MOTOR = '<actuator><motor joint="j" {0}/></actuator>'


def hinge(joint="", rest="", **law):
    return loaded(HINGE.format(joint=joint, rest=rest), law=Law(**law))


def spun(found, q, v):
    return RigidState(torch.tensor([[q]], dtype=F64), torch.tensor([[v]], dtype=F64))


def test_springs_dampers_and_servos_are_taken_at_the_end_of_the_step():
    """(M + dt B + dt^2 K) a = f(q + dt v, v), by MuJoCo's M and bias; kp, kv through the gears."""
    found, (model, data) = loaded(ACTUATED), compiled(ACTUATED)
    state, control = random_state(model, data, 0)
    mujoco.mj_forward(model, data)
    dt, d = 0.02, model.jnt_dofadr[model.joint("bend").id]
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    q, v, u = angles(found.model, state.position)[0].numpy(), data.qvel, data.ctrl
    p = [x[0].numpy() for x in found.params.joints]
    damping, stiffness, rest = p[0].copy(), p[3].copy(), p[4]
    force = -data.qfrc_bias - damping * v + stiffness * (rest - q - dt * v)
    ahead, speed = q[d] + dt * v[d], v[d]
    force[d] += 2.5 * u[0] + 9 * (u[1] - ahead) - 0.7 * speed + 0.4 * (u[2] - speed)
    force[d] += 0.5 * (3 * u[3] + 0.5 - 0.5 * ahead - 0.2 * 0.5 * speed)
    damping[d] += 0.7 + 0.4 + 0.25 * 0.2
    stiffness[d] += 9 + 0.25
    whole = mass + np.diag(dt * damping + dt**2 * stiffness)
    moved = rigid_step(found.model, state, found.params, control, dt)
    assert np.allclose(moved.velocity[0], v + dt * np.linalg.solve(whole, force), atol=1e-10)


def test_servos_become_those_of_mujoco_in_short_steps():
    found, (model, data) = loaded(ACTUATED), compiled(ACTUATED)
    model.opt.timestep = 1e-8
    state, control = random_state(model, data, 1)
    mujoco.mj_step(model, data)
    moved = rigid_step(found.model, state, found.params, control, 1e-8)
    assert np.abs(moved.velocity[0].numpy() - data.qvel).max() < 1e-9


def test_a_stiff_servo_is_stable_in_long_steps():
    found = hinge(rest='<actuator><position joint="j" kp="1e6" kv="1e3"/></actuator>')
    state = after(found, spun(found, 1.0, 30.0), 2.0, 0.02, torch.full((1, 1), 0.3, dtype=F64))
    assert float(state.position) == pytest.approx(0.3, abs=1e-6)


def test_controls_and_forces_are_clipped():
    found = hinge(rest=MOTOR.format('ctrlrange="-1 1" gear="3" forcerange="-9 0.5"'))
    start = spun(found, 0.0, 0.0)
    for control, force in ((0.2, 0.2 * 3), (5.0, 0.5 * 3), (-5.0, -1.0 * 3)):
        u = torch.tensor([[control]], dtype=F64)
        moved = rigid_step(found.model, start, found.params, u, 0.01)
        assert float(moved.velocity) == pytest.approx(0.01 * force / 2)


def test_a_clipped_servo_pushes_with_its_strongest_force():
    found = hinge(rest='<actuator><position joint="j" kp="1e3" forcerange="-4 4"/></actuator>')
    u = torch.tensor([[9.0]], dtype=F64)
    moved = rigid_step(found.model, spun(found, 0.0, 0.0), found.params, u, 0.01)
    assert float(moved.velocity) == pytest.approx(0.01 * 4 / 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_limit_stops_and_does_not_pull(sign):
    found = hinge('range="-30 45" limited="true"')
    bound = np.radians(45 if sign > 0 else -30)
    speeds, state = [], spun(found, bound - 0.01 * sign, 5.0 * sign)
    for _ in range(400):
        state = rigid_step(found.model, state, found.params, None, 0.002, backend="torch")
        speeds.append(sign * float(state.velocity))
        assert sign * (float(state.position) - bound) < 0.1
    assert min(speeds) < 0 and np.all(np.diff(speeds[speeds.index(min(speeds)) :]) < 1e-12)


def test_dry_friction_holds_up_to_its_torque_and_brakes_with_it():
    found = hinge('frictionloss="3"', MOTOR.format(""))

    def push(torque, v=0.0):
        u = torch.full((1, 1), torque, dtype=F64)
        return after(found, spun(found, 0.0, v), 1.0, 0.002, u)

    assert abs(float(push(2.9).velocity)) < 1e-3
    assert float(push(5.0).velocity) == pytest.approx((5.0 - 3.0) / 2, rel=1e-2)
    assert float(push(0.0, 10.0).velocity) == pytest.approx(10 - 3 / 2, rel=1e-3)


def test_a_motor_on_a_ball_joint_pushes_along_its_gear():
    found = loaded(
        '<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="j" type="ball"/>'
        '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body></worldbody><actuator>'
        '<motor joint="j" gear="1 -2 0.5"/></actuator></mujoco>'
    )
    assert moments(found.model, found.params.gravity).tolist() == [[1, -2, 0.5]]
    u = torch.full((1, 1), 3.0, dtype=F64)
    moved = rigid_step(found.model, found.poses["default"], found.params, u, 0.1)
    assert moved.velocity[0].tolist() == pytest.approx([0.3, -0.6, 0.15])


def test_what_is_active_is_decided_at_the_guess():
    found = hinge('range="-57.2958 57.2958" limited="true" damping="0.5"')
    params = expanded(found.params, 1)
    u = torch.zeros(1, 0, dtype=F64)
    state = spun(found, 0.999, 0.0)
    still, into = (
        joint_forces(found.model, state, params, u, 0.01, torch.full((1, 1), g, dtype=F64))
        for g in (0.0, 1e6)
    )
    assert float(still.torque) == 0
    assert float(into.diagonal) > float(still.diagonal)
