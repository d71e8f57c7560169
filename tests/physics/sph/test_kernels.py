"""The kernels are the reference, and their gradients are its gradients."""

import pytest
import torch
from torch import Tensor

from reverie.physics.sph import SPH, SPHParams, SPHState
from reverie.physics.sph.neighbours import Period
from reverie.physics.tools import Tools
from tests.physics.sph.worlds import EVERY, mixed

WORLD = {"h": 0.06, "dt": 1e-4, "alpha": 0.1}
NAMES = (*SPHState._fields, *SPHParams._fields, *Tools._fields)
PERIODS: list[Period] = [(0.0, 0.0, 0.0), (0.3, 0.0, 0.05)]


def outcome(solver: SPH, leaves: list[Tensor], steps: int) -> list[Tensor]:
    state, tools, force = solver(
        SPHState(*leaves[:3]), SPHParams(*leaves[3:9]), Tools(*leaves[9:]), steps
    )
    return [*state, tools.place, tools.turn, force]


def gradient(solver: SPH, leaves: list[Tensor], steps: int) -> tuple[Tensor, ...]:
    """Of a fixed random projection of all that comes out, each in its own size."""
    leaves = [x.clone().requires_grad_() for x in leaves]
    draws = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for x in outcome(solver, leaves, steps):
        weight = torch.randn(x.shape, generator=draws, dtype=torch.float64)
        total = total + (weight * x).sum() / x.detach().abs().max()
    return torch.autograd.grad(total, leaves)


@pytest.fixture(scope="module", params=PERIODS, ids=["open", "periodic"])
def pair(request: pytest.FixtureRequest) -> tuple[SPH, SPH, list[Tensor]]:
    state, made, tools = mixed()
    solvers = (SPH(EVERY, backend=b, period=request.param, **WORLD) for b in ("warp", "torch"))
    return (*solvers, [*state, *made, *tools])


def test_kernels_are_the_reference(pair: tuple[SPH, SPH, list[Tensor]]) -> None:
    kernel, plain, leaves = pair
    for one, two in zip(outcome(kernel, leaves, 5), outcome(plain, leaves, 5), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_kernels_have_the_gradient_of_the_reference(pair: tuple[SPH, SPH, list[Tensor]]) -> None:
    kernel, plain, leaves = pair
    found, expected = gradient(kernel, leaves, 5), gradient(plain, leaves, 5)
    for name, one, two in zip(NAMES, found, expected, strict=True):
        scale = float(two.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10 * scale, msg=name)


def test_a_liquid_without_tools_is_the_reference_too() -> None:
    state, made, tools = mixed()
    none = Tools(*(x[:, :0] for x in tools))
    ends = [SPH(backend=b, **WORLD)(state, made, none, 4) for b in ("warp", "torch")]
    for one, two in zip(ends[0][0], ends[1][0], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)
    assert ends[0][2].shape == (2, 0, 6)


def test_lists_of_neighbours_serve_a_while_and_change_nothing() -> None:
    """To the bit: whether a list is fresh, old, or made for another state in between."""
    state, made, tools = mixed()
    kernel = SPH(EVERY, backend="warp", **WORLD)
    once = kernel(state, made, tools, 12)[0]
    fast = state._replace(velocity=4 * state.velocity)
    kernel(fast, made, tools, 12)
    half, moved, _ = kernel(state, made, tools, 6)
    kernel(fast, made, tools, 3)
    again = kernel(half, made, moved, 6)[0]
    for one, two in zip(once, again, strict=True):
        assert torch.equal(one, two)
    near = next(iter(kernel._programs.values()))._list(state.position)
    held = near.made
    assert held is not None
    kernel(half, made, tools, 1)
    assert near.made is held  # nothing has moved far
    far = state._replace(position=state.position + 0.5)
    kernel(far, made, tools, 1)
    assert near.made is not held


def test_states_that_are_computed_again_give_the_same_gradient(
    pair: tuple[SPH, SPH, list[Tensor]],
) -> None:
    kernel, _, leaves = pair
    lean = SPH(EVERY, backend="warp", keep=False, period=kernel.law.period, **WORLD)
    for one, two in zip(gradient(kernel, leaves, 7), gradient(lean, leaves, 7), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12 * float(two.abs().max()))


def test_single_precision_follows_double(pair: tuple[SPH, SPH, list[Tensor]]) -> None:
    kernel, _, leaves = pair
    single = outcome(kernel, [x.float() for x in leaves], 5)
    for one, two in zip(single, outcome(kernel, leaves, 5), strict=True):
        scale = float(two.abs().max())
        torch.testing.assert_close(one.double(), two, rtol=1e-3, atol=5e-5 * scale)
