"""Pairs of layers against brute force."""

import pytest
import torch

from reverie.physics.cloth import at_rest, grid, join, rope
from reverie.physics.cloth.layers import near_pairs
from reverie.physics.cloth.reference import nearest
from tests.physics.cloth.worlds import DOUBLE, crowded, seeded


def far(mesh, space) -> torch.Tensor:
    """From every vertex to every triangle `[V, C]`."""
    count = len(mesh.surface)
    corner = space[mesh.surface].repeat(mesh.vertices, 1, 1)
    point = space.repeat_interleave(count, 0)
    share = nearest(point, *corner.unbind(1))
    return (point - (share[..., None] * corner).sum(1)).norm(dim=-1).view(-1, count)


def brute(mesh, position, thickness, reach) -> set[tuple[int, int, int]]:
    """All pairs, one by one."""
    found = set()
    vertex = torch.arange(mesh.vertices)[:, None]
    other_body = mesh.body[:, None] != mesh.body[mesh.surface[:, 0]]
    apart = (mesh.surface[None] != vertex[..., None]).all(-1)
    for world in range(len(position)):
        layers = other_body | (far(mesh, mesh.rest) >= 2 * thickness[world])
        near = layers & apart & (far(mesh, position[world]) < reach)
        found |= {(world, int(v), int(f)) for v, f in near.nonzero()}
    return found


@pytest.mark.parametrize("reach", [0.012, 0.04, 0.3])
def test_the_grid_finds_what_brute_force_finds(reach) -> None:
    mesh, state, params, _, _ = crowded()
    position = (
        state.position + 0.05 * torch.randn(state.position.shape, generator=seeded()).double()
    )
    found = near_pairs(mesh, position, params.thickness, reach)
    listed = [tuple(row) for row in found.tolist()]
    assert len(listed) == len(set(listed))
    assert set(listed) == brute(mesh, position, params.thickness, reach)
    assert reach < 0.02 or len(listed) > 20


def test_a_flat_sheet_does_not_meet_itself_and_a_folded_one_does() -> None:
    mesh = grid(1, 0.2, 11, 3)
    flat = at_rest(mesh, 1, DOUBLE).position
    thickness = torch.full((1,), 0.02, dtype=DOUBLE)
    assert not len(near_pairs(mesh, flat, thickness, 0.04))
    folded = flat.clone()
    over = folded[..., 0] > 0.5
    folded[..., 0] = torch.where(over, 1 - folded[..., 0], folded[..., 0])
    folded[..., 2] = torch.where(over, 0.03, 0.0)
    pairs = near_pairs(mesh, folded, thickness, 0.04)
    assert {3 * 10, 3 * 9 + 1} <= set(pairs[:, 1].tolist())  # the far end lies on the near one


def test_ropes_meet_ropes_and_sheets() -> None:
    sheet = grid(1, 1, 3, 3)
    one = rope([[0.1 * i, 0.3, 0.01] for i in range(5)])
    two = rope([[0.2, 0.1 * i, 0.02] for i in range(5)])
    mesh = join([sheet, one, two])
    position = at_rest(mesh, 1, DOUBLE).position
    pairs = near_pairs(mesh, position, torch.full((1,), 0.001, dtype=DOUBLE), 0.015)
    met = {(int(mesh.body[v]), int(mesh.body[mesh.surface[f, 0]])) for _, v, f in pairs.tolist()}
    assert met == {(1, 0), (1, 2), (2, 1)}


def test_positions_that_are_not_finite_are_refused() -> None:
    mesh = grid(1, 1, 2, 2)
    bad = at_rest(mesh, 1).position * float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        near_pairs(mesh, bad, torch.ones(1), 0.1)
