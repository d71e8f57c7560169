"""Transfers against the sums that they are, node by node in torch, and the gradients of these."""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics import kernels

wp = pytest.importorskip("warp")
transfer = kernels.load("reverie.physics.mpm.transfer.kernels", torch.float64)

COUNT, SIDE = 7, 4
SIZE = wp.vec3i(SIDE, SIDE, SIDE)


@wp.kernel(module="unique")
def give(
    first: wp.array(dtype=int),
    size: wp.vec3i,
    f: wp.array(dtype=wp.vec3d),
    momentum: wp.array(dtype=wp.vec3d),
    edge: wp.array(dtype=wp.mat33d),
    mass: wp.array(dtype=wp.float64),
    grid: wp.array2d(dtype=wp.vec4d),
):
    p = wp.tid()
    transfer.scatter(grid, 0, first[p], size, f[p], momentum[p], edge[p], mass[p])


@wp.kernel(module="unique")
def take(
    first: wp.array(dtype=int),
    size: wp.vec3i,
    f: wp.array(dtype=wp.vec3d),
    velocity: wp.array2d(dtype=wp.vec3d),
    u: wp.array(dtype=wp.vec3d),
    rate: wp.array(dtype=wp.mat33d),
):
    p = wp.tid()
    one, two = transfer.gather(velocity, 0, first[p], size, f[p])
    u[p] = one
    rate[p] = two


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places() -> tuple[Tensor, Tensor]:
    """The first cells `[N]` of particles, and where each is from there `[N, 3]`."""
    draws = torch.Generator().manual_seed(1)
    corner = torch.randint(0, SIDE - 2, (COUNT, 3), generator=draws)
    first = (corner[:, 0] * SIDE + corner[:, 1]) * SIDE + corner[:, 2]
    return first, 0.5 + torch.rand(COUNT, 3, generator=draws, dtype=torch.float64)


def nodes(first: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cells and weights `[N, 27]` and offsets in units of dx `[N, 27, 3]`."""
    steps = torch.cartesian_prod(*[torch.arange(3)] * 3)
    away = (steps - f[:, None]).abs()
    weight = torch.where(away < 0.5, 0.75 - away**2, 0.5 * (1.5 - away) ** 2).prod(-1)
    cell = first[:, None] + (steps[:, 0] * SIDE + steps[:, 1]) * SIDE + steps[:, 2]
    return cell, weight, steps - f[:, None]


def array(x: Tensor, kind: object) -> wp.array:
    """An array over the memory of a tensor."""
    return wp.from_torch(x.detach(), dtype=kind, requires_grad=False)


def launch(kernel: object, first: Tensor, parts: list[tuple[Tensor, object]]) -> None:
    index = wp.from_torch(first.int())
    wp.launch(kernel, COUNT, [index, SIZE, *(array(*x) for x in parts)], device="cpu")


def slopes(
    kernel: object, first: Tensor, parts: list[tuple[Tensor, object]], out: list[Tensor]
) -> list[Tensor]:
    """Gradients of all parts, where those of the last ones are `out`."""
    index = wp.from_torch(first.int())
    made = [torch.zeros_like(x) for x, _ in parts[: len(parts) - len(out)]] + out
    given = [array(x, kind) for x, kind in parts]
    back = [array(x, kind) for x, (_, kind) in zip(made, parts, strict=True)]
    wp.launch(
        kernel,
        COUNT,
        [index, SIZE, *given],
        adj_inputs=[None, None, *back],
        adjoint=True,
        device="cpu",
    )
    return made


def test_scatter_is_the_sum_over_nodes_and_so_is_its_gradient() -> None:
    first, f = places()
    given = [f, randn(COUNT, 3), randn(COUNT, 3, 3, seed=2), 1 + randn(COUNT, seed=3) ** 2]
    for x in given:
        x.requires_grad_()
    cell, weight, offset = nodes(first, f)
    carried = given[1][:, None] + offset @ given[2].mT
    carried = torch.cat([carried, given[3][:, None, None].expand(-1, 27, 1)], -1)
    expected = torch.zeros(SIDE**3, 4, dtype=torch.float64)
    expected = expected.index_add(0, cell.flatten(), (weight[..., None] * carried).flatten(0, 1))
    grid = torch.zeros(1, SIDE**3, 4, dtype=torch.float64)
    kinds = wp.vec3d, wp.vec3d, wp.mat33d, wp.float64, wp.vec4d
    parts = list(zip([*given, grid], kinds, strict=True))
    launch(give, first, parts)
    torch.testing.assert_close(grid[0], expected.detach())
    slope = randn(1, SIDE**3, 4, seed=4)
    wanted = torch.autograd.grad((slope[0] * expected).sum(), given)
    found = slopes(give, first, parts, [slope])[:4]
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_gather_is_the_sum_over_nodes_and_so_is_its_gradient() -> None:
    first, f = places()
    velocity = randn(1, SIDE**3, 3)
    given = [f.requires_grad_(), velocity.requires_grad_()]
    cell, weight, offset = nodes(first, f)
    carried = weight[..., None] * velocity[0][cell]
    expected = carried.sum(1), carried.mT @ offset
    u = torch.zeros(COUNT, 3, dtype=torch.float64)
    rate = torch.zeros(COUNT, 3, 3, dtype=torch.float64)
    kinds = wp.vec3d, wp.vec3d, wp.vec3d, wp.mat33d
    parts = list(zip([*given, u, rate], kinds, strict=True))
    launch(take, first, parts)
    torch.testing.assert_close(u, expected[0].detach())
    torch.testing.assert_close(rate, expected[1].detach())
    out = [randn(COUNT, 3, seed=5), randn(COUNT, 3, 3, seed=6)]
    total = (out[0] * expected[0]).sum() + (out[1] * expected[1]).sum()
    wanted = torch.autograd.grad(total, given)
    found = slopes(take, first, parts, [x.clone() for x in out])[:2]
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)


def test_a_box_begins_at_its_first_node() -> None:
    """The cell of a particle whose first node is 2, 1, 3 steps from where a box of 4^3 begins."""
    x = torch.tensor([7.6, -3.4, 0.9], dtype=torch.float64)
    low = [math.floor(v - 0.5) for v in x.tolist()]
    assert low == [7, -4, 0]
    out = wp.zeros(4, dtype=int, device="cpu")
    begin = wp.vec3i(low[0] - 2, low[1] - 1, low[2] - 3)
    wp.launch(place, 1, [wp.vec3d(*x.tolist()), begin, SIZE, out], device="cpu")
    assert out.numpy().tolist() == [*low, (2 * SIDE + 1) * SIDE + 3]


@wp.kernel(module="unique")
def place(x: wp.vec3d, origin: wp.vec3i, size: wp.vec3i, out: wp.array(dtype=int)):
    low = transfer.corner(x)
    for k in range(3):
        out[k] = low[k]
    out[3] = transfer.first_cell(low, origin, size)
