"""Robots stand, reach and hop, here as in MuJoCo."""

import mujoco
import numpy as np
import pytest
import torch

from reverie.core import tree
from reverie.physics import rigid
from reverie.physics.robots import arm, fixed, gripper, hopper, quadruped, thing

FINE = 2.5e-4
ROBOTS = {"quadruped": quadruped(dt=FINE), "hopper": hopper(dt=FINE), "arm": arm(dt=FINE)}
ROBOTS["gripper"] = gripper(dt=FINE)


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
    assert (
        rigid.load(gripper(opening=0.04)).poses["default"].position[0, 4:].tolist()
        == [pytest.approx(0.04)] * 2
    )
    assert rigid.load(hopper(torque=30.0)).params.actuators.highest[0, 0].item() == 30.0


THINGS = {"ball": (0.03,), "can": (0.03, 0.04), "block": (0.03, 0.02, 0.025)}


def place(loaded: rigid.Loaded, state: rigid.RigidState, name: str) -> torch.Tensor:
    (first,) = (j.position for j in loaded.model.joints if j.name == name)
    return state.position[0, first : first + 3]


@torch.no_grad()
@pytest.mark.parametrize("shape", THINGS)
@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_things_weigh_what_was_asked_and_stay_where_they_stand(shape: str, backend: str) -> None:
    """Turned about z too, where rounding tilts the axis of a can by 1e-7."""
    high = THINGS[shape][-1]
    more = thing("it", shape, THINGS[shape], (0.4, 0.1, high), turn=-0.439, mass=0.13)
    loaded = rigid.load(arm(more=more))
    body = loaded.model.body("it")
    assert loaded.params.bodies.mass[0, body].item() == pytest.approx(0.13)
    state = loaded.poses["default"]
    for _ in range(5):
        control = torch.zeros(1, 4)
        state = rigid.rigid_step(
            loaded.model, state, loaded.params, control, 0.04, 10, backend=backend
        )
    found = place(loaded, state, "it")
    torch.testing.assert_close(found, torch.tensor([0.4, 0.1, high]), atol=1e-3, rtol=0)


@torch.no_grad()
def test_a_ball_stops_rolling() -> None:
    loaded = rigid.load(arm(more=thing("it", "ball", (0.03,), (0.4, 0.0, 0.03))))
    state = loaded.poses["default"]
    (first,) = (j.velocity for j in loaded.model.joints if j.name == "it")
    state.velocity[0, first] = 0.5
    for _ in range(25):
        state = rigid.rigid_step(loaded.model, state, loaded.params, torch.zeros(1, 4), 0.04, 10)
    assert 0.42 < place(loaded, state, "it")[0] < 0.6
    assert state.velocity[0, first].abs() < 0.01


@torch.no_grad()
@pytest.mark.parametrize("shape", THINGS)
def test_the_gripper_holds_things(shape: str) -> None:
    """Closed on it, then raised by 0.15 m; without pressing it stays where it was."""
    size = THINGS[shape]
    half = size[1] if shape == "block" else size[0]
    more = thing("it", shape, size, (0.0, 0.0, size[-1]), friction=0.8)
    loaded = rigid.load(gripper(more=more))
    state = loaded.poses["default"]
    heights = []
    for tight in (half - 0.008, half + 0.01):
        state = loaded.poses["default"]
        for z, fingers, count in ((0.0, 0.06, 20), (0.0, tight, 10), (0.15, tight, 20)):
            told = torch.tensor([[0.0, 0.0, size[-1] - 0.29 + z, 0.0, fingers, fingers]])
            for _ in range(count):
                state = rigid.rigid_step(loaded.model, state, loaded.params, told, 0.04, 10)
        heights.append(place(loaded, state, "it")[2].item() - size[-1])
    assert heights[0] == pytest.approx(0.15, abs=0.02)
    assert heights[1] == pytest.approx(0.0, abs=0.005)


@torch.no_grad()
def test_what_is_fixed_stops_the_arm() -> None:
    """A post in the way of the turn; without it the arm goes on."""
    ends = []
    for more in ("", fixed("post", "capsule", (0.03, 0.2), (0.3, 0.3, 0.2))):
        loaded = rigid.load(arm(more=more))
        state = loaded.poses["default"]
        told = torch.tensor([[1.5, 0.0, 0.0, 0.0]])
        for _ in range(40):
            state = rigid.rigid_step(loaded.model, state, loaded.params, told, 0.04, 10)
        ends.append(state.position[0, 0].item())
    assert ends[0] == pytest.approx(1.5, abs=0.02)
    assert ends[1] < 0.8


@pytest.mark.parametrize(("shape", "size"), [("egg", (0.1,)), ("can", (0.05, 0.03)), ("ball", ())])
def test_no_other_things_are_known(shape: str, size: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"ball, can, block|size of a"):
        thing("it", shape, size, (0.0, 0.0, 0.1))
