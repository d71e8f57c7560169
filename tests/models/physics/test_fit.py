"""What one noisy recording says of a world's factors."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Batch
from reverie.models.physics import Physics, PhysicsConfig
from reverie.models.physics.fit import FitConfig, identify
from reverie.physics import rigid
from reverie.physics.mpm.material import at_rest
from reverie.physics.world import World
from tests.models.physics.worlds import BALL, FLOOR, cube, hand

ARM = """<mujoco><worldbody>
  <body pos="0 0 1"><joint name="one" axis="0 1 0" damping="0.08"/>
    <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.5"/>
    <body pos="0.3 0 0"><joint name="two" axis="0 1 0" damping="0.04"/>
      <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.02" mass="0.3"/>
    </body></body></worldbody>
<actuator><motor joint="one" ctrlrange="-3 3"/><motor joint="two" ctrlrange="-1 1"/></actuator>
</mujoco>"""

BLOCK = """<mujoco><worldbody><geom name="floor" type="plane" size="5 5 1"/>
  <body pos="0 0 0.05"><joint name="x" type="slide" axis="1 0 0"/>
    <joint type="slide" axis="0 0 1"/>
    <geom type="box" size="0.08 0.06 0.05" mass="1" friction="0.5"/></body></worldbody>
<actuator><motor joint="x" ctrlrange="-20 20"/></actuator></mujoco>"""

SLIDER = """<mujoco><worldbody>
  <body><joint name="x" type="slide" axis="1 0 0" damping="1"/>
    <geom type="sphere" size="0.05" mass="1"/></body></worldbody>
<actuator><motor joint="x" ctrlrange="-20 20"/></actuator></mujoco>"""

QUICK, WHOLE = FitConfig(stages=(0.4, 1.0), tolerance=1e-3), FitConfig(stages=(1.0,))


def arm() -> tuple[World, Tensor]:
    """Two links, and torques that swing them."""
    t = torch.arange(40) * 0.02
    plan = torch.stack([0.9 * torch.sin(5 * t), 0.8 * torch.cos(8 * t)], 1)
    return World(dt=0.02, robot=rigid.load(ARM), substeps=5), plan


def push() -> tuple[World, Tensor]:
    """A block on the floor, pushed and pulled by a known force."""
    plan = torch.zeros(36, 1)
    plan[:14], plan[22:34] = 0.8, -0.7
    return World(dt=0.02, robot=rigid.load(BLOCK), substeps=5), plan


def press() -> tuple[World, Tensor]:
    """A soft cube that falls on the floor and is pressed by a ball."""
    soft = cube(3, young=2e4)
    place = soft.start.position + torch.tensor([0.0, 0.0, 0.02])
    soft = soft._replace(start=at_rest(place, soft.kind))
    ball = hand(0.14)
    plan = torch.zeros(16, 3)
    plan[:9, 2] = -0.6
    return World(dt=0.02, matter=soft, hands=ball, obstacles=FLOOR), plan


@torch.no_grad()
def recorded(
    made: tuple[World, Tensor],
    truth: dict[str, float],
    sensor: str,
    share: float = 0.01,
    seed: int = 0,
    moved: Sequence[str] = (),
) -> tuple[Physics, Batch, dict[str, Any]]:
    """A model with factors of 1, a recording of the world with others and noise, and that noise.

    Its standard deviation is a share of that of the motion over time: of each number of a state
    that moves by more than 1e-3, of all keypoints together.
    """
    world, plan = made[0], made[1].double()
    model = Physics(world, config=PhysicsConfig(learn=tuple(truth))).double()
    for name, value in truth.items():
        model.factors[name].fill_(math.log(value))
    start, draws = model.initial(1), Generator().manual_seed(seed)
    leaves = tree.named(start)
    start = tree.from_named(leaves | {name: leaves[name] + 0.3 for name in moved}, start)
    states = rollout.imagine(model, start, plan[:, None, None], ()).states
    states = tree.map(lambda s, x: torch.cat([s[None], x]), start, states)
    clean = model.decode(tree.flatten_time(states))[sensor]
    spread = clean.std(0)
    if sensor == "keypoints":
        spread = clean.var(0).mean().sqrt().expand(spread.shape)
    sigma = share * torch.where(spread > 1e-3, spread, 0.0)
    seen = clean + sigma * torch.randn(clean.shape, generator=draws, dtype=clean.dtype)
    first = torch.zeros(1, len(clean), dtype=torch.bool)
    first[:, 0] = True
    never, done = torch.zeros_like(first), torch.cat([torch.zeros_like(plan[:1]), plan])
    batch = Batch({sensor: seen[None]}, done[None], never.double(), first, never, never)
    for name in truth:
        model.factors[name].zero_()
    return model, batch, {sensor: sigma}


@pytest.mark.parametrize(
    ("made", "truth", "sensor"),
    [
        (press, {"matter_stiffness": 1.8}, "keypoints"),
        (push, {"robot_mass": 1.5, "robot_friction": 0.6}, "state"),
        (arm, {"robot_mass": 0.7, "robot_damping": 2.0}, "state"),
    ],
)
def test_one_recording_with_one_percent_of_noise_gives_factors_within_a_percent(
    made: Any, truth: dict[str, float], sensor: str
) -> None:
    model, batch, noise = recorded(made(), truth, sensor)
    fit = identify(model, batch, noise, config=QUICK)
    for name, true in truth.items():
        assert fit.factors[name] == pytest.approx(true, rel=0.01)
        assert abs(fit.factors[name] - true) < 4 * fit.errors[name]
        assert fit.errors[name] < 0.01 * true
        assert model.factors[name].exp().item() == pytest.approx(fit.factors[name])
    assert fit.misfit == pytest.approx(1, abs=0.15)
    assert fit.costs[-1] < fit.costs[0]


def test_a_start_that_is_not_known_is_found_too() -> None:
    free = ("world.robot.position", "world.robot.velocity")
    truth = {"robot_mass": 0.7, "robot_damping": 2.0}
    model, batch, noise = recorded(arm(), truth, "state", moved=free)
    fit = identify(model, batch, noise, model.initial(1), free, QUICK)
    for name, true in truth.items():
        assert fit.factors[name] == pytest.approx(true, rel=0.01)
    torch.testing.assert_close(
        fit.start.world.robot.position, torch.full((1, 2), 0.3).double(), rtol=0, atol=0.01
    )
    known = identify(model, batch, noise, config=WHOLE)
    assert known.misfit > 3 * fit.misfit  # a wrong start that is believed explains less


def test_noise_biases_one_step_and_not_the_whole() -> None:
    """Where a step is short, most of what changes in it is noise.

    Of v' = phi v + push, 1 - phi = 0.01 here, least squares over steps find phi E[v^2] / (E[v^2] +
    sigma^2): with 10 % of noise, 1 - phi comes out more than a tenth too large.
    """
    t = torch.arange(80)
    world = World(dt=0.005, robot=rigid.load(SLIDER), substeps=1)
    plan = torch.sin(0.15 * t)[:, None] + 0.1
    model, batch, noise = recorded((world, plan), {"robot_damping": 2.0}, "state", 0.1)
    theta, losses = torch.linspace(0.5, 1.25, 16), []
    with torch.no_grad():
        for value in theta:
            model.factors["robot_damping"].fill_(float(value))
            losses.append(model.loss(batch, model.initial(1), ()).losses["state"].mean())
        model.factors["robot_damping"].zero_()
    stepped = float(theta[torch.stack(losses).argmin()].exp())
    fitted = identify(model, batch, noise, config=WHOLE).factors["robot_damping"]
    assert stepped > 1.1 * 2.0
    assert fitted == pytest.approx(2.0, rel=0.04)


def test_factor_and_error_are_those_of_linear_least_squares() -> None:
    """A fall is linear in gravity: z_n = z_0 - c g n (n + 1) / 2, so both are known in closed form,
    of two rows together."""
    ball = BALL.replace("0 0 0.17", "0 0 9")
    world = World(dt=0.01, robot=rigid.load(ball), hands=hand(1.0))
    plan = torch.zeros(12, 3)
    model, one, noise = recorded((world, plan), {"gravity": 1.3}, "state", 0.05)
    _, two, _ = recorded((world, plan), {"gravity": 1.3}, "state", 0.05, seed=1)
    batch = tree.map(lambda x, y: torch.cat([x, y]), one, two)
    sigma = torch.zeros_like(noise["state"])
    sigma[2] = noise["state"][2]
    fit = identify(model, batch, {"state": sigma}, config=WHOLE)
    n = torch.arange(13).double()
    slope = (-9.81 * 0.01**2 * n * (n + 1) / 2).repeat(2)
    fell = batch.obs["state"][..., 2].flatten() - 9
    best = (slope * fell).sum() / slope.square().sum()
    left = (fell - best * slope) / sigma[2]
    spread = (left.square().sum() / 25).sqrt()
    error = spread * sigma[2] / slope.norm()
    assert fit.factors["gravity"] == pytest.approx(best.item(), rel=1e-6)
    assert fit.errors["gravity"] == pytest.approx(error.item(), rel=1e-4)
    assert fit.misfit == pytest.approx(spread.item(), rel=1e-4)
    torch.testing.assert_close(
        fit.residuals["state"][..., 2].flatten(), -left, rtol=1e-4, atol=1e-4
    )
    assert not fit.residuals["state"][..., 3:].any()


def test_factors_that_cannot_be_told_apart_are_named_by_their_correlation() -> None:
    """Of a block that only slides, friction and gravity make one number."""
    world, plan = push()
    truth = {"robot_friction": 0.8, "gravity": 1.1}
    model, batch, noise = recorded((world, plan[:16]), truth, "state")
    still = noise["state"].clone()
    fit = identify(model, batch, {"state": still}, config=WHOLE)
    assert abs(fit.correlation[0, 1]) > 0.99
    assert fit.factors["robot_friction"] * fit.factors["gravity"] == pytest.approx(0.88, rel=0.02)


def test_what_is_refused() -> None:
    model, batch, noise = recorded(push(), {"robot_mass": 1.0}, "state")
    with pytest.raises(ValueError, match="learns nothing"):
        identify(Physics(push()[0]).double(), batch, noise)
    with pytest.raises(ValueError, match=r"the model's, \['state'\]"):
        identify(model, batch, {"camera": 1.0})
    with pytest.raises(ValueError, match="one episode"):
        identify(model, batch._replace(first=torch.ones_like(batch.first)), noise)
    with pytest.raises(ValueError, match="The state has the leaves"):
        identify(model, batch, noise, free=("robot",))
    with pytest.raises(ValueError, match="shares in"):
        FitConfig(stages=(2.0,))
    flying = World(dt=0.01, robot=rigid.load(BALL.replace("0 0 0.17", "0 0 9")), hands=hand(1.0))
    model, batch, noise = recorded((flying, torch.zeros(4, 3)), {"robot_friction": 1.0}, "state")
    with pytest.raises(ValueError, match="depends on"):
        identify(model, batch, noise)
