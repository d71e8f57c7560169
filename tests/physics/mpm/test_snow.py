"""Snow packs and hardens, tears and softens; a snowball breaks."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from reverie.physics.mpm import MPM, Kind, MPMState
from reverie.physics.mpm import reference as ref
from reverie.physics.mpm.material import at_rest
from reverie.physics.tools import Shape
from tests.physics.mpm.worlds import block, floor, params

C = 0.025
LOW, HIGH = (1 - C) ** 2, (1 + 0.3 * C) ** 2


def strains(*stretches: tuple[float, float, float]) -> Tensor:
    """b `[N, 3, 3]` of these principal stretches along fixed skew axes."""
    draws = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=draws, dtype=torch.float64))
    return q @ torch.diag_embed(torch.tensor(stretches, dtype=torch.float64).square()) @ q.T


def law(kind: Kind, b: Tensor, memory: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """b, memory and tau of particles that do not move."""
    count = len(b)
    kinds = torch.full((count,), int(kind))
    state = at_rest(torch.zeros(1, count, 3, dtype=b.dtype), kinds)
    state = state._replace(strain=b[None], memory=state.memory + memory)
    found = ref.deform(state, params(1, count, limit=C), kinds, 1e-4)
    return found[0][0], found[1][0], found[2][0]


def test_stretches_stay_in_their_bounds_and_memory_has_the_rest() -> None:
    b = strains((0.99, 1.0, 1.005), (0.9, 1.0, 1.0), (1.2, 1.1, 0.98), (0.9, 1.1, 1.0))
    after, memory, _ = law(Kind.SNOW, b)
    values = torch.linalg.eigvalsh(after)
    assert (values > LOW - 1e-12).all() and (values < HIGH + 1e-12).all()
    torch.testing.assert_close(after[0], b[0])
    assert abs(float(memory[0])) < 1e-12
    high = 1 + 0.3 * C
    beyond = [0.9 / (1 - C), 1.2 * 1.1 / high**2, 0.9 * 1.1 / ((1 - C) * high)]
    expected = torch.tensor(beyond, dtype=torch.float64).log()
    torch.testing.assert_close(memory[1:], expected)


@pytest.mark.parametrize(
    ("volume", "harder"), [(0.9, math.exp(1)), (0.5, math.exp(2)), (1.3, math.exp(-3))]
)
def test_compaction_hardens_and_tearing_softens(volume: float, harder: float) -> None:
    """e^(10 (1 - J_P)), and not beyond J_P = 0.8."""
    b = strains((0.99, 1.0, 1.005))
    tau = law(Kind.SNOW, b, math.log(volume))[2]
    torch.testing.assert_close(tau, harder * law(Kind.COROTATED, b)[2])


def test_a_press_leaves_snow_stiffer() -> None:
    """The same small strain after a press to 0.9 of the volume and before."""
    pressed, memory, _ = law(Kind.SNOW, strains((0.9, 1.0, 1.0)))
    small = strains((0.995, 1.0, 1.0))
    ratio = law(Kind.SNOW, small, float(memory))[2].norm() / law(Kind.SNOW, small)[2].norm()
    assert float(ratio) == pytest.approx(math.exp(10 * (1 - 0.9 / (1 - C))), rel=1e-9)
    assert float(torch.linalg.eigvalsh(pressed).min()) == pytest.approx(LOW)


def test_bounds_have_a_gradient_where_stretches_coincide() -> None:
    b = strains((0.9, 1.0, 1.0), (0.9, 0.9, 1.0), (1.1, 1.1, 1.1), (0.99, 0.99, 0.99))
    low = torch.full((4,), LOW, dtype=torch.float64)
    high = torch.full((4,), HIGH, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (b, low, high)]
    assert gradcheck(ref.Clamped.apply, leaves, eps=1e-7, atol=1e-6)


def test_packed_snow_is_stable_at_the_stable_dt() -> None:
    snow, elastic = (
        MPM(torch.full((1,), int(kind)), dx=0.01, dt=1e-5) for kind in (Kind.SNOW, Kind.COROTATED)
    )
    made = params(1, 1)
    assert snow.stable_dt(made) == pytest.approx(elastic.stable_dt(made) / math.e)


def thrown(kind: Kind) -> tuple[MPMState, MPMState]:
    """A ball of 4 cells to the radius, as it is thrown at 8 m/s at a knob, and 40 ms after."""
    radius, dx = 0.05, 0.0125
    x = block((16, 16, 16), dx / 2, (-radius, -radius, 0.0), dtype=torch.float32)
    centre = torch.tensor([0.0, 0.0, radius])
    x = x[:, (x[0] - centre).norm(dim=-1) < radius]
    made = params(
        1, x.shape[1], young=1.4e5, poisson=0.2, density=400, volume=(dx / 2) ** 3, limit=C
    )
    made = made._replace(**{name: value.float() for name, value in made._asdict().items()})
    kinds = torch.full((x.shape[1],), int(kind))
    solver = MPM(kinds, [Shape.SPHERE], dx=dx, dt=8e-5, backend="warp")
    knob = floor(1, -0.02, 0.5, dtype=torch.float32)
    knob = knob._replace(extent=knob.extent + 0.02)
    solver.check(made)
    before = at_rest(x, kinds, torch.tensor([0.0, 0.0, -8.0]))
    after, _, _ = solver(before, made, knob, 500)
    return before, after


def spread(state: MPMState) -> float:
    """Root of the mean square distance from the middle [m]."""
    x = state.position[0]
    return float((x - x.mean(0)).square().sum(-1).mean().sqrt())


def test_a_snowball_breaks_where_an_elastic_ball_bounces() -> None:
    before, snow = thrown(Kind.SNOW)
    _, ball = thrown(Kind.COROTATED)
    assert spread(ball) < 1.1 * spread(before) and float(ball.velocity[..., 2].mean()) > 1
    assert spread(snow) > 2 * spread(before) and float(snow.velocity[..., 2].mean()) < 0
    assert float(snow.memory.min()) < -0.1  # packed where it hit
    assert float((snow.memory > 0.05).float().mean()) > 0.5  # and torn in most of it
