import mujoco
import numpy as np
import pytest
import torch

from reverie.core import tree
from reverie.physics.rigid import RigidState, kinematics, rigid_step
from reverie.physics.rigid.kinematics import integrated
from tests.physics.rigid.scenes import CHAIN, MIXED, QUADRUPED, compiled, loaded, random_state

SCENES = {"chain": CHAIN, "mixed": MIXED, "quadruped": QUADRUPED}


@pytest.mark.parametrize("name", SCENES)
def test_places_and_velocities_are_those_of_mujoco(name):
    found, (model, data) = loaded(SCENES[name]), compiled(SCENES[name])
    state, _ = random_state(model, data, 1)
    mujoco.mj_forward(model, data)
    seen = kinematics(found.model, state, found.params)
    assert np.allclose(seen.bodies[0, :, :3], data.xpos[1:], atol=1e-12)
    rotation = np.abs((seen.bodies[0, :, 3:].numpy() * data.xquat[1:]).sum(1))
    assert np.allclose(rotation, 1, atol=1e-12)
    assert np.allclose(seen.geoms[0, :, :3], data.geom_xpos, atol=1e-12)
    whole = np.zeros(6)
    for kind, rows, offset in (
        (mujoco.mjtObj.mjOBJ_XBODY, seen.velocities[0], 1),
        (mujoco.mjtObj.mjOBJ_GEOM, seen.geom_velocities[0], 0),
    ):
        for b, row in enumerate(rows.numpy()):
            mujoco.mj_objectVelocity(model, data, kind, b + offset, whole, 0)
            assert np.allclose(row, [*whole[3:], *whole[:3]], atol=1e-11)


@pytest.mark.parametrize("name", SCENES)
def test_energy_and_momentum_are_those_of_mujoco(name):
    found, (model, data) = loaded(SCENES[name]), compiled(SCENES[name])
    state, _ = random_state(model, data, 2)
    mujoco.mj_forward(model, data)
    mujoco.mj_energyPos(model, data)
    mujoco.mj_energyVel(model, data)
    mujoco.mj_subtreeVel(model, data)
    seen = kinematics(found.model, state, found.params)
    assert float(seen.potential) == pytest.approx(data.energy[0], abs=1e-10)
    assert float(seen.kinetic) == pytest.approx(data.energy[1], rel=1e-11)
    linear = data.subtree_linvel[0] * model.body_subtreemass[0]
    assert np.allclose(seen.momentum[0, :3], linear, atol=1e-11)
    about = data.subtree_angmom[0] + np.cross(data.subtree_com[0], linear)
    assert np.allclose(seen.momentum[0, 3:], about, atol=1e-11)


def test_positions_advance_as_those_of_mujoco():
    found, (model, data) = loaded(MIXED), compiled(MIXED)
    state, _ = random_state(model, data, 3)
    after = integrated(found.model, *state, 0.02)
    mujoco.mj_integratePos(model, data.qpos, data.qvel, 0.02)
    assert np.allclose(after[0], data.qpos, atol=1e-14)


def test_the_gradient_is_right():
    found, (model, data) = loaded(MIXED), compiled(MIXED)
    state, _ = random_state(model, data, 4)

    def energy(q, v, mass):
        bodies = found.params.bodies._replace(mass=mass)
        params = found.params._replace(bodies=bodies)
        seen = kinematics(found.model, RigidState(q, v), params)
        return seen.kinetic + seen.potential, seen.momentum

    inputs = [x.clone().requires_grad_() for x in (*state, found.params.bodies.mass)]
    assert torch.autograd.gradcheck(energy, inputs, rtol=1e-6)


def test_far_from_the_origin_float32_moves_as_near_it():
    """The same tumbling, 1 km away: no digit of velocities is lost, for O moves with the tree."""
    found, (model, data) = loaded(MIXED), compiled(MIXED)
    params = tree.map(lambda x: x.float(), found.params)
    state = tree.map(lambda x: x.float(), random_state(model, data, 5)[0])
    at = found.model.joints[[j.kind for j in found.model.joints].index("free")].position
    far = state.position.clone()
    far[:, at] = 1000.0
    near = state.position.clone()
    near[:, at] = 0.0
    moved = [
        rigid_step(
            found.model, RigidState(q, state.velocity), params, None, 0.02, 10, backend="torch"
        )
        for q in (near, far)
    ]
    assert torch.allclose(moved[0].velocity, moved[1].velocity, atol=2e-3)
