"""Robots stand, reach and hop, here as in MuJoCo."""

import mujoco
import numpy as np
import pytest
import torch

from reverie.core import tree
from reverie.physics import rigid
from reverie.physics.robots import arm, hopper, quadruped

FINE = 2.5e-4
ROBOTS = {"quadruped": quadruped(dt=FINE), "hopper": hopper(dt=FINE), "arm": arm(dt=FINE)}


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_is_read_by_both_and_falls_alike(name: str) -> None:
    """Until it touches the ground, the same motion; masses and sizes agree."""
    loaded = rigid.load(ROBOTS[name], dtype=torch.float64)
    compiled = mujoco.MjModel.from_xml_string(ROBOTS[name])
    assert loaded.params.bodies.mass.sum().item() == pytest.approx(compiled.body_mass.sum())
    assert (loaded.model.position_size, loaded.model.velocity_size) == (compiled.nq, compiled.nv)
    compiled.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    data = mujoco.MjData(compiled)
    state = tree.map(lambda x: x.clone(), loaded.poses["default"])
    control = torch.full((1, compiled.nu), 0.1, dtype=torch.float64)
    lifted = state.position.clone()
    if name == "quadruped":
        lifted[:, 2] += 1.0
        data.qpos[2] += 1.0
    if name == "hopper":
        lifted[:, 1] += 1.0
        data.qpos[1] += 1.0
    state = state._replace(position=lifted)
    data.ctrl[:] = 0.1
    compiled.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for _ in range(200):
        state = rigid.rigid_step(loaded.model, state, loaded.params, control, compiled.opt.timestep)
        mujoco.mj_step(compiled, data)
    np.testing.assert_allclose(state.position[0].numpy(), data.qpos, atol=1e-3)


@torch.no_grad()
def test_the_quadruped_stands() -> None:
    loaded = rigid.load(quadruped())
    state = loaded.poses["default"]
    begin = state.position[0, 2].item()
    for _ in range(750):
        state = rigid.rigid_step(loaded.model, state, loaded.params, torch.zeros(1, 12), 0.004)
    assert abs(state.position[0, 2].item() - begin) < 0.03
    assert state.velocity.abs().max() < 0.05


def test_sizes_are_those_asked_for() -> None:
    tall = rigid.load(quadruped(leg=0.5)).poses["default"].position[0, 2]
    assert tall - rigid.load(quadruped(leg=0.38)).poses["default"].position[0, 2] > 0.08
    assert rigid.load(arm(links=(0.2, 0.2))).model.velocity_size == 3
    assert rigid.load(hopper(torque=30.0)).params.actuators.highest[0, 0].item() == 30.0
