"""What is measured of one candidate: errors, gradients, returns, speed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.envs import EnvConfig
from reverie.eval.returns import Returns
from reverie.eval.sidebyside import deviations
from reverie.learn.device import DeviceConfig, settle
from reverie.recipes.comparison_measure import (
    acting,
    errors_on,
    gradient,
    known_physics,
    planned,
    timed,
)
from reverie.recipes.comparison_subjects import Candidate, Ground
from tests.eval.worlds import POINT, Point, record
from tests.recipes.compared import FEW

CPU = settle(DeviceConfig(device="cpu"))


class Slope(Point):
    """The point, whose gradient is named and, where `wrong`, cut."""

    def __init__(self, cut: bool = False, shows: bool = True) -> None:
        provides = POINT.provides if shows else frozenset({"reward"})
        grad = frozenset({"state", "action"})
        super().__init__(spec=replace(POINT, provides=provides, grad=grad))  # type: ignore[arg-type]
        self.cut = cut

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        given = action.detach() if self.cut else action
        return super().step(state, given, noise)

    def decode(self, state: Tensor) -> Obs:
        seen = super().decode(state)
        return {**seen, "still": seen["still"].to(state)}


def ground(**changes: Any) -> Ground:
    windows = record(8, 20)
    sensors = {"position": POINT.obs["position"]}
    made = Ground(
        EnvConfig("toy:pendulum"),
        sensors,
        deviations(windows, sensors),
        windows,
        windows,
        {},
        {},
        observed=4,
        horizon=12,
        seed=0,
    )
    return made._replace(**changes)


def candidate(model: Any, **changes: Any) -> Candidate:
    return Candidate("point", "latent", model, CPU)._replace(**changes)


@pytest.mark.parametrize("shows", [True, False])
def test_a_right_gradient_is_found_right(shows: bool) -> None:
    check, took = gradient(candidate(Slope(shows=shows)), ground())
    assert not isinstance(check, str)
    assert check.breaks_at is None and [row.horizon for row in check.rows] == [1, 10]
    assert 0 < took.low <= took.mean <= took.high


def test_a_gradient_that_is_cut_is_found_out() -> None:
    check, _ = gradient(candidate(Slope(cut=True)), ground())
    assert not isinstance(check, str) and check.breaks_at == 10
    assert check.rows[1].error == pytest.approx(1.0, abs=1e-6)


def test_the_slope_is_that_of_the_sensors_in_deviations() -> None:
    """sum over k of x_k, of which an action at j moves x by k - j - 1 at each later k."""
    here = ground()
    check, _ = gradient(candidate(Slope()), here)
    assert not isinstance(check, str)
    unit = float(here.deviation["position"][0])
    moved = [sum(max(k - j - 1, 0) for k in range(1, 11)) / unit for j in range(10)]
    assert abs(check.rows[1].autograd) <= math.sqrt(sum(m**2 for m in moved)) * 1.0001
    assert check.rows[0].autograd == 0, "an action moves the place one step late"


def test_what_names_no_gradient_is_not_asked_for_one() -> None:
    check, took = gradient(candidate(Point()), ground())
    assert check == "no gradient" and math.isnan(took.mean)


def test_the_silent_model_stands_in_for_gradients() -> None:
    class Loud(Slope):
        def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
            raise AssertionError("this one has a price")

    check, _ = gradient(candidate(Loud(), silent=Slope()), ground())
    assert not isinstance(check, str) and check.breaks_at is None


def test_errors_have_the_same_noise_each_time() -> None:
    one = candidate(Point(jitter=1.0))
    first, second = (errors_on(one, one.model, ground(), ground().windows) for _ in range(2))
    assert (first.sensors["reward"].square == second.sensors["reward"].square).all()
    other = errors_on(one, one.model, ground(seed=1), ground().windows)
    assert (first.sensors["reward"].square != other.sensors["reward"].square).any()


def test_speed_is_of_what_the_model_reads() -> None:
    found = timed(candidate(Point()), ground())
    assert {x.batch for x in found.latencies} == {1, 64}
    assert found.state_bytes == 8 and found.parameters == 0


def test_why_nothing_was_planned_is_said() -> None:
    asked, choices = replace(FEW, planned=1), Space((3,), discrete=True)
    spec = Spec(POINT.obs, choices, 0.1, provides=frozenset({"obs", "reward"}))
    assert planned(candidate(Point()), ground(), replace(FEW, planned=0)) == "not asked for"
    assert planned(candidate(Point(spec=spec)), ground(), asked) == "actions are discrete"
    blind = replace(POINT, provides=frozenset({"obs"}))
    assert planned(candidate(Point(spec=blind)), ground(), asked) == "predicts no reward"
    assert acting(candidate(Point()), ground(), asked) is None


def test_the_same_planner_earns_in_the_real_environment() -> None:
    """In the pendulum's own equations it keeps upright what is upright no worse than at random."""
    from reverie.envs import make
    from tests.viz.worlds import TruePendulum

    env = EnvConfig("toy:pendulum", max_decisions=30)
    model = TruePendulum(make(env))
    config = replace(FEW, planned=2, decisions=0)
    found = planned(candidate(model), ground(env=env), config)
    assert isinstance(found, Returns) and found.n == 2
    short = planned(candidate(model), ground(env=env), replace(config, decisions=5))
    assert isinstance(short, Returns) and short.mean < found.mean


def test_physics_is_known_on_scenes_alone() -> None:
    assert known_physics(candidate(Point()), Point(), ground()) == "no scene"
    scene = ground(env=EnvConfig("scene:projectile"))
    assert known_physics(candidate(Point()), Point(), scene) == "shows no scene"
    assert torch.is_grad_enabled()
