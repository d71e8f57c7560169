"""Makers of meshes, and what they refuse."""

import pytest
import torch

from reverie.physics.cloth import grid, join, rope, sheet
from reverie.physics.cloth.mesh import across
from tests.physics.cloth.worlds import uneven

SQUARE = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]


def test_a_grid_has_its_sides_and_its_order() -> None:
    mesh = grid(0.6, 0.8, 4, 5)
    assert (mesh.vertices, mesh.elements, mesh.bodies) == (20, 24, 1)
    assert mesh.rest[2 * 5 + 3].tolist() == pytest.approx([0.4, 0.6, 0.0])
    assert float(mesh.area.sum()) == pytest.approx(0.48)
    assert float(mesh.share.sum()) == pytest.approx(0.48)
    twice = torch.linalg.cross(
        *(mesh.rest[mesh.faces[:, k]] - mesh.rest[mesh.faces[:, 0]] for k in (1, 2))
    )
    assert (twice[:, 2] > 0).all()  # all seen from above


def test_the_frame_undoes_the_edges_at_rest() -> None:
    mesh = uneven(6)
    corner = mesh.rest[mesh.faces]
    edges = torch.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], -1)
    gradient = edges @ mesh.frame.view(-1, 2, 2)
    assert torch.allclose(gradient, torch.eye(3, 2, dtype=torch.float64).expand_as(gradient))


def test_neighbours_lie_across_edges() -> None:
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    assert across(faces, 4).tolist() == [[-1, 3, -1], [-1, -1, 1]]


def test_bodies_are_numbered_and_elements_and_vertices_take_their_values() -> None:
    both = join([grid(1, 1, 3, 3), rope([[0, 0, 1.0 * i] for i in range(4)]), grid(1, 1, 2, 2)])
    assert both.bodies == 3 and both.vertices == 9 + 4 + 4
    assert (len(both.faces), len(both.segments)) == (8 + 2, 3)
    values = torch.tensor([1.0, 2.0, 3.0])
    assert both.of_vertices(values).tolist() == [1.0] * 9 + [2.0] * 4 + [3.0] * 4
    assert both.of_elements(values).tolist() == [1.0] * 8 + [3.0] * 2 + [2.0] * 3
    assert (both.bends.row.diff() >= 0).all()
    assert (both.body[both.bends.row] == both.body[both.bends.column]).all()


def test_parts_of_one_sheet_that_do_not_touch_are_two_bodies() -> None:
    two = grid(1, 1, 3, 3)
    faces = torch.cat([two.faces, two.faces + 9])
    mesh = sheet(torch.cat([two.rest, two.rest + 2]), faces[torch.randperm(16)])
    assert mesh.body.tolist() == [0] * 9 + [1] * 9


def test_a_mesh_goes_to_a_dtype() -> None:
    mesh = join([grid(1, 1, 3, 3), rope([[0, 0, 0.0], [0, 0, 1.0], [0, 0, 2.0]])]).to(
        torch.zeros(1)
    )
    assert {x.dtype for x in (mesh.rest, mesh.frame, mesh.area, mesh.length, mesh.bends.value)} == {
        torch.float32
    }
    assert mesh.faces.dtype == torch.int64


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (SQUARE, [[0, 1, 1], [0, 2, 3]], "degenerate"),
        ([[0, 0, 0.0], [1, 0, 0], [2, 1e-6, 0]], [[0, 1, 2]], "degenerate"),
        ([*SQUARE, [0, 0, 1.0]], [[0, 2, 1], [0, 2, 3], [0, 2, 4]], "has 3 triangles"),
        (SQUARE[:3], [[0, 1, 2], [1, 0, 2]], "same corners"),
        ([*SQUARE, [0, 0, 1.0]], [[0, 1, 2], [0, 2, 3]], "1 vertices belong to no element"),
        (SQUARE, [[0, 1, 4], [0, 2, 3]], "there are 4"),
        (SQUARE, [[0, 1, -1], [0, 2, 3]], "name vertices -1"),
        (SQUARE, torch.zeros(0, 3), "at least one row"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 1, 2]], "finite positions"),
        ([*SQUARE[:3], [0, float("nan"), 0]], [[0, 1, 2], [0, 2, 3]], "finite positions"),
    ],
)
def test_bad_triangles_are_refused(vertices, faces, words) -> None:
    with pytest.raises(ValueError, match=words):
        sheet(vertices, faces)


def test_bad_ropes_grids_and_joins_are_refused() -> None:
    with pytest.raises(ValueError, match="0 and 1 of a rope coincide"):
        rope([[0, 0, 0.0], [0, 0, 0.0], [1, 0, 0]])
    with pytest.raises(ValueError, match="at least one row"):
        rope([[0, 0, 0.0]])
    with pytest.raises(ValueError, match="two vertices"):
        grid(1, 1, 1, 5)
    with pytest.raises(ValueError, match="positive sides"):
        grid(0, 1, 5, 5)
    with pytest.raises(ValueError, match="one mesh"):
        join([])
