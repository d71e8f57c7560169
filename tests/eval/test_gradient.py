"""The diagnostics of gradients say what is known of worlds whose gradient is known."""

from math import log, sqrt
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.model import Transition
from reverie.core.spec import Space, Spec
from reverie.eval.gradient import estimator_variance, finite_difference_check, gradient_norms
from reverie.plan.objective import Goal, Stage
from tests.toys import Latent, Pendulum

SPEC = Spec(
    obs={"x": Space((2,))},
    action=Space((1,)),
    dt=0.5,
    provides=frozenset({"obs", "reward"}),
    grad=frozenset({"state", "action"}),
)
PUSH = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
PRIZE = torch.tensor([1.0, -0.3], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class State(NamedTuple):
    x: Tensor
    age: Tensor
    """Integers."""
    mass: Tensor
    """Handed on untouched."""


class Spiral:
    """x' = x A + a G, A a rotation by 0.4 rad times `growth`; reward PRIZE . x' (and quadratic)."""

    def __init__(self, growth=1.1, curve=0.0, dtype=torch.float64):
        c, s = np.cos(0.4), np.sin(0.4)
        self.A = growth * torch.tensor([[c, s], [-s, c]], dtype=dtype)
        self.G, self.prize, self.curve, self.spec = PUSH.to(dtype), PRIZE.to(dtype), curve, SPEC

    def start(self, batch=3):
        x = torch.randn(batch, 2, generator=seeded(1), dtype=self.A.dtype)
        age = torch.zeros(batch, 1, dtype=torch.int64)
        return State(x, age, torch.ones(batch, 1, dtype=self.A.dtype))

    def noise(self, batch, generator=None):
        return ()

    def step(self, state, action, noise):
        x = self.pass_on(state) @ self.A + action[:, 0] @ self.G
        reward = x @ self.prize - self.curve * x.square().sum(-1)
        return Transition(State(x, state.age + 1, state.mass), reward)

    def pass_on(self, state):
        return state.x

    def decode(self, state):
        return {"x": state.x}

    def slopes(self, steps):
        """dJ_H/da_k `[H]` without the curve: - sum_{j=0}^{H-1-k} G A^j . prize."""
        reach = [(self.G @ torch.linalg.matrix_power(self.A, j) @ self.prize) for j in range(steps)]
        return torch.stack([-sum(reach[: steps - k]) for k in range(steps)]).squeeze(1)


class Bent(Spiral):
    """Half of the gradient is lost in the fourth step."""

    def pass_on(self, state):
        lost = (state.age == 3) * 0.5
        return lost * state.x.detach() + (1 - lost) * state.x


class Cut(Spiral):
    """The state is cut at every step."""

    def pass_on(self, state):
        return state.x.detach()


class Ball:
    """v' = v - 1 + a / 10, y' = y + v' / 10; below the ground v' turns into -v' / 2. Reward -y'.

    From rest at 1 + `above` the ball is `above` the ground after four steps, so that y jumps in the
    fifth where what is added moves it through the ground in the fourth.
    """

    spec = SPEC

    def start(self, above, batch=1):
        return torch.tensor([[1.0 + above, 0.0]], dtype=torch.float64).repeat(batch, 1)

    def noise(self, batch, generator=None):
        return ()

    def step(self, state, action, noise):
        y, v = state.unbind(-1)
        v = v - 1 + action[:, 0, 0] / 10
        y = y + v / 10
        v = torch.where(y < 0, -v / 2, v)
        return Transition(torch.stack([y, v], -1), -y)


def still(steps, batch=1, actions=1):
    return torch.zeros(steps, batch, 1, actions, dtype=torch.float64)


def wavy(steps, batch, actions=1):
    return torch.randn(steps, batch, 1, actions, generator=seeded(2)).double() * 0.3


def test_a_right_gradient_agrees_at_every_horizon():
    model = Spiral(curve=0.2)
    found = finite_difference_check(
        model, model.start(), wavy(12, 3), horizons=[12, 1, 5], wrt=("action", "state"),
        generator=seeded(),
    )  # fmt: skip
    assert [(r.horizon, r.wrt) for r in found.rows] == [
        *((h, "action") for h in (1, 5, 12)),
        *((h, "state") for h in (1, 5, 12)),
    ]
    for row in found.rows:
        assert row.error < 1e-6
        assert row.disagreement < 1e-6
        assert row.radius == pytest.approx(1e-2)
        assert row.autograd == pytest.approx(row.central)
    assert (found.breaks_at, found.jumps_at, found.precision) == (None, None, "float64")
    assert "agree (float64" in str(found)
    assert len(str(found).splitlines()) == 8


@pytest.mark.parametrize("model", [Latent(), Pendulum()], ids=["learnt", "physics"])
def test_models_in_float32_are_checked_in_float64_and_left_alone(model):
    plan = wavy(6, 2, model.spec.action.size).float()
    found = finite_difference_check(
        model, model.initial(2), plan, horizons=[1, 6], wrt=("action", "state"),
        generator=seeded(),
    )  # fmt: skip
    assert found.precision == "float64"
    assert all(row.error < 1e-5 for row in found.rows)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.grad is None for p in model.parameters())


def test_a_model_that_knows_only_float32_is_checked_in_float32():
    model = Spiral(curve=0.2, dtype=torch.float32)
    found = finite_difference_check(model, model.start(), wavy(8, 3).float(), generator=seeded())
    assert found.precision == "float32"
    assert (found.breaks_at, found.jumps_at) == (None, None)
    bent = Bent(curve=0.2, dtype=torch.float32)
    found = finite_difference_check(bent, bent.start(), wavy(8, 3).float(), generator=seeded())
    assert found.breaks_at == 4


def test_a_wrong_gradient_is_caught_at_the_horizon_where_it_is_wrong():
    model = Bent()
    found = finite_difference_check(model, model.start(), wavy(6, 3), generator=seeded())
    assert (found.breaks_at, found.jumps_at) == (4, None)
    assert all(row.error < 1e-6 for row in found.rows[:3])
    assert all(row.error > 0.05 for row in found.rows[3:])
    assert "disagree from horizon 4 on" in found.verdict


def test_a_state_that_is_cut_is_caught():
    model = Cut()
    check = [model, model.start(), wavy(4, 3)]
    found = finite_difference_check(*check, generator=seeded())
    assert found.breaks_at == 2
    to_state = finite_difference_check(*check, wrt=("state",), generator=seeded())
    assert to_state.breaks_at == 1
    assert to_state.rows[0].autograd == 0.0
    assert to_state.rows[0].error == pytest.approx(1.0)


def test_an_objective_at_its_optimum_is_no_error():
    """At the goal the slope is zero, and rounding is all that differences see."""
    model, target = Spiral(), torch.tensor([0.1, -0.7], dtype=torch.float64)
    back = target @ torch.linalg.matrix_power(model.A, 5).inverse()
    there = model.start()._replace(x=back.expand(3, 2))
    flat = Stage(lambda m, f: 1e4 * (f.states.x.sin() ** 2 + f.states.x.cos() ** 2).sum(-1))
    for goal in (Goal({"x": target}, at="last"), flat):
        found = finite_difference_check(
            model, there, still(5, 3), goal, [5], directions=32, generator=seeded()
        )
        assert abs(found.rows[0].autograd) < 1e-10
        assert (found.breaks_at, found.jumps_at) == (None, None)


def test_a_jump_at_the_very_point_is_found_at_its_horizon():
    found = finite_difference_check(Ball(), Ball().start(1e-12), still(8), generator=seeded())
    assert found.jumps_at == 5
    assert all(row.radius == pytest.approx(1e-2) for row in found.rows[:4])
    assert all(row.radius == 0 for row in found.rows[4:])
    assert "From horizon 5 on differences of two sizes disagree" in str(found)


def test_a_jump_nearby_limits_how_far_the_gradient_holds():
    """The fourth height moves by at most sqrt(30) / 100 of the step: no jump before 1.8e-5."""
    found = finite_difference_check(Ball(), Ball().start(1e-6), still(8), generator=seeded())
    assert (found.breaks_at, found.jumps_at) == (None, None)
    assert all(row.radius == pytest.approx(1e-2) for row in found.rows[:4])
    for row in found.rows[4:]:
        assert 1e-5 * 0.99 < row.radius < 1e-3
        assert row.step < 1e-3


@pytest.mark.parametrize("growth", [0.8, 1.0, 1.25])
def test_the_gradient_of_a_linear_system_grows_by_its_lyapunov_exponent(growth):
    model = Spiral(growth)
    found = gradient_norms(
        model, model.start(), wavy(10, 3), of="state", probes=400, generator=seeded()
    )
    assert found.rate == pytest.approx(log(growth), abs=1e-9)
    assert found.low == pytest.approx(log(growth), abs=1e-9)
    assert found.norms.shape == (3, 10)
    exact = [sqrt(2) * growth**h for h in found.horizons]  # |A^H|, without the mass
    np.testing.assert_allclose(found.norms, np.tile(exact, (3, 1)), rtol=0.1)
    assert found.seconds == 0.5


def test_the_norm_of_an_objective_is_its_closed_form():
    model = Spiral(1.3)
    found = gradient_norms(model, model.start(), wavy(9, 3), horizons=[3, 9])
    for column, steps in enumerate((3, 9)):
        np.testing.assert_allclose(found.norms[:, column], abs(model.slopes(steps)[0].item()))
    rise = log(abs(model.slopes(9)[0] / model.slopes(3)[0])) / 6
    assert found.rate == pytest.approx(rise)
    assert f"exp({rise:.3g}" in str(found)


class Logistic(Spiral):
    """x' = 4 x (1 - x), twice: its Lyapunov exponent is log 2, from starts sin(pi u / 2)^2."""

    def step(self, state, action, noise):
        x = 4 * state.x * (1 - state.x) + 0 * action[:, 0]
        return Transition(State(x, state.age, state.mass), x[:, 0])


def test_chaos_has_its_rate_within_the_interval():
    model = Logistic()
    u = torch.rand(300, 1, generator=seeded(3), dtype=torch.float64).expand(-1, 2)
    start = model.start(300)._replace(x=(torch.pi * u / 2).sin().square())
    found = gradient_norms(
        model, start, still(8, 300), Stage(lambda m, f: f.states.x[..., 0]), of="state",
        generator=seeded(),
    )  # fmt: skip
    assert found.low < log(2) < found.high
    assert found.high - found.low < 0.15


def test_what_vanishes_or_does_not_change_is_said():
    cut = Cut()
    found = gradient_norms(cut, cut.start(), wavy(4, 3), of="state", generator=seeded())
    assert (found.norms == 0).all()
    assert np.isnan(found.rate)
    assert "nan" in str(found)

    class Frozen(Spiral):
        def step(self, state, action, noise):
            return Transition(state, state.x[:, 0])

    with pytest.raises(ValueError, match=r"step changes \[\]"):
        gradient_norms(Frozen(), Frozen().start(), wavy(4, 3), of="state")


def test_both_estimators_of_a_linear_objective_have_their_variances():
    """J is linear in the plan: v1 = 0 and v0 = (d + 1) |g|^2."""
    model, steps = Spiral(), 6
    found = estimator_variance(
        model, model.start(), wavy(steps, 3), 0.4, 4000, horizons=[2, steps], at_once=1000,
        generator=seeded(),
    )  # fmt: skip
    for horizon, e in zip(found.horizons, found.estimates, strict=True):
        g = model.slopes(horizon)
        assert torch.allclose(e.first.flatten(1), g.expand(3, -1))
        assert (e.first_variance < 1e-20).all()
        wanted = (horizon + 1) * g.square().sum()
        assert torch.allclose(e.zeroth_variance, wanted.expand(3), rtol=0.15)
        assert (e.free_alpha > 1 - 1e-9).all()
    assert found.biased_at is None
    assert len(str(found).splitlines()) == 3


def test_under_a_policy_the_gradient_goes_through_its_answers():
    model, steps = Spiral(), 5
    gain = torch.tensor([[0.3], [-0.2]], dtype=torch.float64)
    found = estimator_variance(
        model, model.start(), lambda s, k: (s.x @ gain).unsqueeze(1), 0.4, 10, horizons=[steps],
        generator=seeded(),
    )  # fmt: skip
    model.A = model.A + gain @ model.G
    assert torch.allclose(found.estimates[0].first.flatten(1), model.slopes(steps).expand(3, -1))


def test_the_bias_of_the_first_order_at_a_jump_is_found_at_its_horizon():
    found = estimator_variance(
        Ball(), Ball().start(0.0, batch=4), still(6, 4), 1.0, 2000, horizons=range(1, 7),
        at_once=500, generator=seeded(),
    )  # fmt: skip
    assert found.biased_at == 5
    for e in found.estimates[4:]:
        assert (e.gap > 4 * e.gap_error).all()


def test_bad_input_is_refused():
    model, plan = Spiral(), wavy(4, 3)
    blind = Spiral()
    blind.spec = Spec(obs=SPEC.obs, action=SPEC.action, dt=1.0, provides=SPEC.provides)
    with pytest.raises(ValueError, match="lacks action, state"):
        finite_difference_check(blind, model.start(), plan)
    with pytest.raises(ValueError, match="give 1 to that"):
        gradient_norms(model, model.start(), plan, horizons=[5])
    with pytest.raises(ValueError, match=r"it must be \[H, B, n, A\]"):
        finite_difference_check(model, model.start(2), plan)
    with pytest.raises(ValueError, match="two positive sizes"):
        finite_difference_check(model, model.start(), plan, steps=[1e-3])
    with pytest.raises(ValueError, match="Pass horizons"):
        estimator_variance(model, model.start(), lambda s, k: plan[0], 1.0, 10)
    with pytest.raises(ValueError, match="predicts reward"):
        blind.spec = Spec(obs=SPEC.obs, action=SPEC.action, dt=1.0, grad=SPEC.grad)
        finite_difference_check(blind, model.start(), plan)
