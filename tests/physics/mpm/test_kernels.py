"""The kernels are the reference, and their gradients are its gradients."""

import pytest
import torch
from torch import Tensor

from reverie.physics.mpm import MPM, MPMParams, MPMState
from reverie.physics.tools import Tools
from tests.physics.mpm.worlds import EVERY, mixed

WORLD = {"dx": 0.05, "dt": 1e-4, "softness": 0.02}
NAMES = (*MPMState._fields, *MPMParams._fields, *Tools._fields)


def outcome(solver: MPM, leaves: list[Tensor], steps: int) -> list[Tensor]:
    state, tools, force = solver(
        MPMState(*leaves[:5]), MPMParams(*leaves[5:12]), Tools(*leaves[12:]), steps
    )
    return [*state, tools.place, tools.turn, force]


def gradient(solver: MPM, leaves: list[Tensor], steps: int) -> tuple[Tensor, ...]:
    """Of a fixed random projection of all that comes out."""
    leaves = [x.clone().requires_grad_() for x in leaves]
    draws = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=leaves[0].dtype)
    for x in outcome(solver, leaves, steps):
        total = total + (torch.randn(x.shape, generator=draws, dtype=torch.float64) * x).sum()
    return torch.autograd.grad(total, leaves)


@pytest.fixture(scope="module")
def pair() -> tuple[MPM, MPM, list[Tensor]]:
    kind, state, made, tools = mixed()
    solvers = (MPM(kind, EVERY, backend=b, **WORLD) for b in ("warp", "torch"))
    return (*solvers, [*state, *made, *tools])


def test_kernels_are_the_reference(pair: tuple[MPM, MPM, list[Tensor]]) -> None:
    kernel, plain, leaves = pair
    for one, two in zip(outcome(kernel, leaves, 5), outcome(plain, leaves, 5), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)


def test_kernels_have_the_gradient_of_the_reference(pair: tuple[MPM, MPM, list[Tensor]]) -> None:
    kernel, plain, leaves = pair
    found, expected = gradient(kernel, leaves, 5), gradient(plain, leaves, 5)
    for name, one, two in zip(NAMES, found, expected, strict=True):
        assert two.abs().max() > 0, name
        scale = float(two.abs().max())
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-9 * scale, msg=name)


def test_states_that_are_computed_again_give_the_same_gradient(
    pair: tuple[MPM, MPM, list[Tensor]],
) -> None:
    kernel, _, leaves = pair
    lean = MPM(kernel.kind, EVERY, backend="warp", keep=False, **WORLD)
    for one, two in zip(gradient(kernel, leaves, 7), gradient(lean, leaves, 7), strict=True):
        assert torch.equal(one, two)


def test_single_precision_follows_double(pair: tuple[MPM, MPM, list[Tensor]]) -> None:
    kernel, _, leaves = pair
    single = outcome(kernel, [x.float() for x in leaves], 5)
    for one, two in zip(single, outcome(kernel, leaves, 5), strict=True):
        scale = float(two.abs().max())
        torch.testing.assert_close(one.double(), two, rtol=1e-3, atol=2e-5 * scale)


def test_the_caller_s_tensors_are_not_written(pair: tuple[MPM, MPM, list[Tensor]]) -> None:
    kernel, _, leaves = pair
    before = [x.clone() for x in leaves]
    first = gradient(kernel, leaves, 3)
    again = gradient(kernel, leaves, 3)
    assert all(torch.equal(x, y) for x, y in zip(before, leaves, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_later_calls_leave_the_gradient_of_earlier_ones_alone(
    pair: tuple[MPM, MPM, list[Tensor]],
) -> None:
    """Two calls are open at once, and go back in the order in which they were made."""
    kernel, _, leaves = pair
    alone = gradient(kernel, leaves, 2)
    held = [x.clone().requires_grad_() for x in leaves]
    draws = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for x in outcome(kernel, held, 2):
        total = total + (torch.randn(x.shape, generator=draws, dtype=torch.float64) * x).sum()
    outcome(kernel, [2 * x for x in leaves[:1]] + leaves[1:], 4)
    gradient(kernel, leaves, 3)
    found = torch.autograd.grad(total, held)
    assert all(torch.equal(x, y) for x, y in zip(found, alone, strict=True))
