"""The steps of a twin against MuJoCo's own, on robots made for it.

Legend: `B` worlds, `T` time steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics.rigid import RigidState, load
from reverie.recipes.twin_steps import Stepper, limits_of

mujoco = pytest.importorskip("mujoco")

ARM = """
<mujoco>
  <option integrator="{integrator}" timestep="0.005"/>
  <worldbody>
    <body>
      <joint name="one" type="hinge" axis="0 1 0" {one} damping="0.02"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" mass=".8"/>
      <body pos="0 0 -.4">
        <joint name="two" type="hinge" axis="0 1 0" {two} stiffness="0.3" springref="0.2"/>
        <geom type="capsule" fromto="0 0 0 .3 0 0" size=".02" mass=".4"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="one" gear="4" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
LIMITED = {
    "one": 'limited="true" range="-40 20" solreflimit="0.05 0.9" solimplimit="0.1 0.9 0.01 0.4 3"',
    "two": 'limited="true" range="-30 10" solreflimit="0.06 1" margin="0.02"',
}
FREE = {"one": 'limited="false"', "two": 'limited="false"'}


def arm(integrator: str = "RK4", parts: dict[str, str] = LIMITED) -> tuple[Any, Any, Stepper]:
    text = ARM.format(integrator=integrator, **parts)
    model = mujoco.MjModel.from_xml_string(text)
    bodies = load(text, dtype=torch.float64)
    steps = Stepper(bodies.model, 0.005, integrator == "RK4", limits_of(model))
    return model, bodies.params, steps


def truth(model: Any, start: np.ndarray, control: float, ticks: int) -> np.ndarray:
    """q and v `[T, 4]` after each step."""
    data, found = mujoco.MjData(model), []
    data.qpos[:], data.qvel[:], data.ctrl[:] = start[:2], start[2:], control
    for _ in range(ticks):
        mujoco.mj_step(model, data)
        found.append([*data.qpos, *data.qvel])
    return np.array(found)


def wide(params: Any, batch: int) -> Any:
    return tree.map(lambda x: x.expand(batch, *x.shape[1:]), params)


def move(steps: Stepper, params: Any, start: Tensor, control: Tensor, ticks: int) -> Tensor:
    """q and v `[B, 4]`."""
    state = RigidState(start[:, :2], start[:, 2:])
    return torch.cat(steps(state, wide(params, len(start)), control, ticks), 1)


PRESSED = np.array([0.2, 0.1, 4.0, 2.0])
"""On its way to both limits at once."""


@pytest.mark.parametrize("control", [1.0, -0.5])
def test_both_limits_of_an_arm_push_as_in_mujoco(control: float) -> None:
    model, params, steps = arm()
    seen = truth(model, PRESSED, control, 80)
    beyond = (seen[:, 0] > np.deg2rad(20)) & (seen[:, 1] > np.deg2rad(10) - 0.02)
    assert beyond.sum() > 3
    state, u = torch.from_numpy(PRESSED)[None], torch.tensor([[control]], dtype=torch.float64)
    for row in seen:
        state = move(steps, params, state, u, 1)
        np.testing.assert_allclose(state[0], row, atol=2e-6)


def test_without_limits_the_two_ways_are_one_and_mujocos() -> None:
    model, params, steps = arm(parts=FREE)
    assert steps.limits is None
    start, u = np.array([0.3, -0.4, 2.0, -1.0]), 0.4
    seen = truth(model, start, u, 40)
    state, control = torch.from_numpy(start)[None], torch.tensor([[u]], dtype=torch.float64)
    whole = RigidState(state[:, :2], state[:, 2:])
    stages = torch.cat(steps._by_stages(whole, wide(params, 1), control, 40), 1)
    np.testing.assert_allclose(stages[0], seen[-1], atol=1e-7)
    for _ in range(10):
        state = move(steps, params, state, control, 4)
    np.testing.assert_allclose(state[0], seen[-1], atol=1e-5)


def test_euler_steps_are_mujocos() -> None:
    parts = FREE | {"two": 'limited="false" damping="0.1"'}
    text = ARM.format(integrator="Euler", **parts).replace('stiffness="0.3" springref="0.2"', "")
    model, bodies = mujoco.MjModel.from_xml_string(text), load(text, dtype=torch.float64)
    steps = Stepper(bodies.model, 0.005, False, None)
    start = np.array([0.3, -0.4, 2.0, -1.0])
    control = torch.tensor([[0.4]], dtype=torch.float64)
    end = move(steps, bodies.params, torch.from_numpy(start)[None], control, 40)
    np.testing.assert_allclose(end[0], truth(model, start, 0.4, 40)[-1], atol=1e-10)


def test_worlds_at_limits_and_others_do_not_mix() -> None:
    _, params, steps = arm()
    starts = torch.tensor(
        [[0.0, -0.1, 0.1, 0.1], [0.3, 0.1, 4.0, 2.0], [-0.1, -0.2, 0.0, 0.2], [0.4, 0.3, 0.0, 0.0]],
        dtype=torch.float64,
    )
    control = torch.tensor([[0.1], [0.5], [-0.3], [1.0]], dtype=torch.float64)
    state = RigidState(starts[:, :2], starts[:, 2:])
    assert steps._near(state, 2).tolist() == [False, True, False, True]
    together = move(steps, params, starts, control, 2)
    for b in range(4):
        alone = move(steps, params, starts[b : b + 1], control[b : b + 1], 2)
        torch.testing.assert_close(together[b : b + 1], alone, atol=1e-12, rtol=0)


def test_the_gradient_at_limits_is_that_of_differences() -> None:
    _, params, steps = arm()
    start = torch.tensor([[0.37, 0.2, 1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    control = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, u: move(steps, params, s, u, 3), (start, control), eps=1e-5, atol=1e-4
    )


def test_which_limits_there_are() -> None:
    _, _, steps = arm()
    assert steps.limits is not None
    assert steps.limits.axis == (0, 0, 1, 1)
    assert steps.limits.side.tolist() == [1, -1, 1, -1]
    bounds = [np.deg2rad(-40), np.deg2rad(20), np.deg2rad(-30) + 0.02, np.deg2rad(10) - 0.02]
    assert steps.limits.bound.tolist() == pytest.approx(bounds)
    direct = LIMITED | {"one": 'limited="true" range="-40 20" solreflimit="-100 -3"'}
    assert limits_of(mujoco.MjModel.from_xml_string(ARM.format(integrator="RK4", **direct))) is None
