import itertools

import mujoco
import numpy as np
import pytest
import torch

from reverie.physics.rigid import articulated, rigid_step
from reverie.physics.rigid.kinematics import expanded, frames, inertias
from reverie.physics.rigid.reference import accelerations
from tests.physics.rigid.scenes import (
    CHAIN,
    MIXED,
    QUADRUPED,
    compiled,
    loaded,
    random_state,
    state_of,
)

OFF = int(mujoco.mjtDisableBit.mjDSBL_CONTACT) | int(mujoco.mjtDisableBit.mjDSBL_LIMIT)
SCENES = {"chain": CHAIN, "mixed": MIXED, "quadruped": QUADRUPED}
TUMBLING = """<mujoco><option timestep="0.002"/><worldbody><body pos="0 0 3"><freejoint/>
<geom type="box" size="0.1 0.2 0.3" mass="2" pos="0.1 0 0.05"/></body></worldbody></mujoco>"""
PENDULUM = """<mujoco><option timestep="0.002"/><worldbody><body><joint axis="0 1 0"
armature="0.01"/><geom type="capsule" size="0.02" fromto="0 0 0 0 0 -1" mass="1"/></body>
</worldbody></mujoco>"""


def free(text):
    """A scene without contacts and limits, in both."""
    found, (model, data) = loaded(text), compiled(text)
    model.opt.disableflags |= OFF
    joints = found.params.joints
    wide = torch.full_like(joints.lower, 1e10)
    contacts = [torch.zeros_like(x) for x in found.params.contacts]
    params = found.params._replace(
        joints=joints._replace(lower=-wide, upper=wide),
        contacts=type(found.params.contacts)(*contacts),
    )
    return found._replace(params=params), model, data


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("seed", range(3))
def test_accelerations_are_those_of_mujoco(name, seed):
    found, model, data = free(SCENES[name])
    state, control = random_state(model, data, seed)
    mujoco.mj_forward(model, data)
    rates, _ = accelerations(found.model, state, expanded(found.params, 1), control, None, 0.0)
    assert np.abs(rates[0].numpy() - data.qacc).max() < 1e-9


@pytest.mark.parametrize("backend", ["torch", "warp"])
@pytest.mark.parametrize("text", [CHAIN, TUMBLING, PENDULUM])
def test_free_motion_is_that_of_mujoco(text, backend):
    if backend == "warp":
        pytest.importorskip("warp")
    found, model, data = free(text)
    state, _ = random_state(model, data, 0)
    for _ in range(30):
        state = rigid_step(
            found.model, state, found.params, None, model.opt.timestep, backend=backend
        )
        mujoco.mj_step(model, data)
    exact = state_of(data)
    assert torch.allclose(state.position, exact.position, atol=1e-10)
    assert torch.allclose(state.velocity, exact.velocity, atol=1e-9)


def test_a_quadruped_in_the_air_is_that_of_mujoco():
    """Without servos, whose stiffness MuJoCo's Euler takes explicitly."""
    found, model, data = free(QUADRUPED.partition("<actuator>")[0] + "</mujoco>")
    state, _ = random_state(model, data, 1)
    for _ in range(25):
        state = rigid_step(found.model, state, found.params, None, 0.004)
        mujoco.mj_step(model, data)
    exact = state_of(data)
    assert torch.allclose(state.position, exact.position, atol=1e-9)
    assert torch.allclose(state.velocity, exact.velocity, atol=1e-8)


@pytest.mark.parametrize("name", ["mixed", "quadruped"])
def test_responses_are_the_inverse_inertia_at_each_body(name):
    """W_bc = J_b M^-1 J_c^T, by MuJoCo's M and Jacobians."""
    found, model, data = free(SCENES[name])
    state, _ = random_state(model, data, 3)
    mujoco.mj_forward(model, data)
    frame, params = frames(found.model, state), expanded(found.params, 1)
    factor = articulated.factor(found.model, frame, inertias(frame, params), params.joints.armature)
    responses = articulated.responses(found.model, frame, factor)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    bodies = range(len(found.model.bodies))
    jacobians = [np.zeros((6, model.nv)) for _ in bodies]
    for b, j in enumerate(jacobians):
        mujoco.mj_jac(model, data, j[3:], j[:3], frame.origin[0, b].numpy(), b + 1)
    for a, b in itertools.product(bodies, bodies):
        brute = jacobians[a] @ np.linalg.solve(mass, jacobians[b].T)
        assert np.allclose(responses[0, a, b], brute, rtol=1e-8, atol=1e-8)


def test_a_body_that_is_fixed_to_the_world_answers_nothing():
    found = loaded(
        '<mujoco><worldbody><body><geom size="0.1"/><body><joint/><geom size="0.1" mass="1"/>'
        "</body></body></worldbody></mujoco>"
    )
    frame = frames(found.model, found.poses["default"])
    params = expanded(found.params, 1)
    factor = articulated.factor(found.model, frame, inertias(frame, params), params.joints.armature)
    assert not articulated.responses(found.model, frame, factor)[0, 0].any()
