import numpy as np
import pytest
import torch

from reverie.physics import drawing
from reverie.physics.drawing import gather, look
from reverie.physics.raster import Lens
from reverie.physics.shapes import Balls, Ground, Mesh, box, place, sphere

LENS = Lens(60.0, (32.0, 24.0), 64, 48)
DOWN = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
"""A camera that looks down, the picture's top towards y."""
ABOVE = np.array([0.0, 0, 4])
RIGHT = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def seen(items, rotation=DOWN, position=ABOVE):
    return look(gather(items), rotation, position, LENS)


def picture(field):
    return field.reshape(48, 64)


def test_items_keep_their_numbers():
    items = [
        place(box((0.4, 0.4, 0.4)), (-1, 0, 0)),
        Ground(-1.0),
        Balls([[0.0, 0, 0]], 0.2),
        place(box((0.4, 0.4, 0.4)), (1, 0, 0)),
    ]
    row = picture(seen(items).item)[24]
    at = [round(32 + 60 * x / 4) for x in (-1, -0.5, 0, 1)]
    assert row[at].tolist() == [0, 1, 2, 3]
    assert set(picture(seen([items[0]]).item).ravel()) == {-1, 0}
    assert set(seen([]).item) == {-1}


def test_the_ground_is_met_where_the_ray_says():
    """z = height - h; a camera tilted by a 45 degree rotation about x sees a horizon."""
    flat = seen([Ground(1.5)])
    assert np.allclose(flat.depth, 2.5)
    c = np.sqrt(0.5)
    tilted = np.array([[1, 0, 0], [0, -c, -c], [0, c, -c]])
    lens = Lens(20.0, (32.0, 24.0), 64, 48)
    depth = look(gather([Ground(1.0)]), tilted, ABOVE, lens).depth.reshape(48, 64)
    slope = (np.arange(48) + 0.5 - 24) / 20
    drop = c + c * slope  # of the ray for each metre along the axis
    right = np.where(drop > 1e-9, 3 / np.where(drop > 1e-9, drop, 1), np.inf)
    assert np.allclose(depth, right[:, None])
    assert 3 < np.isinf(right).sum() < 10


def test_normals_look_at_the_camera_however_the_mesh_winds():
    cube = box()
    for faces in (cube.faces, cube.faces[:, ::-1]):
        found = seen([cube._replace(faces=faces)])
        there = found.item == 0
        assert np.allclose(found.normal[:, there], [[0], [0], [-1]])
    ball = sphere(1.0, sectors=48, rings=24)
    one, two = (seen([ball._replace(faces=f)]) for f in (ball.faces, ball.faces[:, ::-1]))
    assert np.allclose(one.normal, two.normal)
    assert np.allclose(one.depth, two.depth)


def test_smooth_normals_are_those_of_the_sphere():
    ball = sphere(1.0, sectors=48, rings=24)
    found = seen([ball])
    there = np.flatnonzero(found.item == 0)
    x, y = LENS.slopes()
    ray = np.stack([x[there % 64], y[there // 64], np.ones(there.size)])
    radial = ray * found.depth[there] - np.array([[0], [0], [4.0]])
    radial /= np.linalg.norm(radial, axis=0)
    cosine = (radial * found.normal[:, there]).sum(0)
    assert np.degrees(np.arccos(cosine.min())) < 2
    flat = seen([ball._replace(smooth=False)])
    cosine = (radial * flat.normal[:, there]).sum(0)
    assert np.degrees(np.arccos(cosine.min())) > 3


def test_colours_of_vertices_are_interpolated_in_perspective():
    """A tilted triangle whose colour is its own coordinates."""
    corners = np.array([[-1.5, -1, 0], [1.5, -1, 2], [0, 1.2, -3]])
    colour = (corners - corners.min(0)) / np.ptp(corners, axis=0)
    found = seen([Mesh(corners, [[0, 1, 2]], colour), Mesh(corners + 9, [[0, 1, 2]], RIGHT[1])])
    there = np.flatnonzero(found.item == 0)
    x, y = LENS.slopes()
    ray = np.stack([x[there % 64], y[there // 64], np.ones(there.size)])
    world = DOWN.T @ (ray * found.depth[there]) + ABOVE[:, None]
    right = (world - corners.min(0)[:, None]) / np.ptp(corners, axis=0)[:, None]
    assert there.size > 200
    assert np.allclose(found.colour[:, there], right, atol=1e-5)


def test_balls_have_a_colour_each():
    colours = [(1.0, 0, 0), (0, 1, 0.5)]
    found = seen([Balls([[-1.0, 0, 0], [1, 0, 0]], [0.3, 0.2], colours)])
    at = [24 * 64 + 32 - 15, 24 * 64 + 32 + 15]
    assert np.allclose(found.colour[:, at].T, colours)


def test_tensors_and_sequences_are_arrays_too():
    cube = box()
    as_tensors = Mesh(
        torch.tensor(cube.vertices, dtype=torch.float32, requires_grad=True),
        torch.tensor(cube.faces, dtype=torch.int32),
        torch.tensor([0.5, 0.25, 0.75], dtype=torch.bfloat16),
    )
    as_lists = Mesh(cube.vertices.tolist(), cube.faces.tolist(), [0.5, 0.25, 0.75])
    one, two = seen([as_tensors]), seen([as_lists])
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_bounds_hold_balls_with_their_radius():
    low, high = gather([box((1, 2, 3)), Balls([[5.0, 0, 0]], 0.25), Ground(-9)]).bounds()
    assert low.tolist() == [-0.5, -1, -1.5]
    assert high.tolist() == [5.25, 1, 1.5]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Mesh([[0.0, 0]], [[0, 0, 0]]), r"Item 1 needs vertices \[., 3\]; got \[1, 2\]"),
        (Mesh([[0, 0, 0], [0, 0, np.nan]], [[0, 0, 0]]), "1 vertices that are not finite, .* 1: "),
        (Mesh(RIGHT, [[0, 1, 3]]), "corners 0 to 3, and vertices 0 to 2 only"),
        (Mesh(RIGHT, [[-1, 1, 2]]), "corners -1 to 2"),
        (Mesh(RIGHT, [[0.0, 1, 2]]), "of integers; got .* float64"),
        (Mesh(RIGHT, [[0, 1]]), r"faces \[F, 3\] of integers; got \[1, 2\]"),
        (Mesh(RIGHT, [[0, 1, 2]], (255, 0, 0)), "divide bytes by 255"),
        (Mesh(RIGHT, [[0, 1, 2]], np.zeros((2, 3))), r"each point \[3, 3\]; got \[2, 3\]"),
        (Balls([[0.0, 0, 0]], 0.0), "radius above 0"),
        (Balls(RIGHT, [0.1, 0.2]), r"each of its 3 balls; got \[2\]"),
        (Balls([[0.0, np.inf, 0]], 0.1), "centres that are not finite"),
        (Ground(np.nan), "a Ground, has a finite height"),
        (Ground(0.0, ((2, 0, 0), (0, 0, 0))), "colours from 0 to 2"),
    ],
)
def test_errors_name_the_item(item, message):
    with pytest.raises(ValueError, match=message):
        gather([box(), item])


def test_other_things_are_not_drawn():
    with pytest.raises(TypeError, match="Item 0 is a str"):
        gather(["box"])
    with pytest.raises(ValueError, match=r"one Ground; items \[0, 2\]"):
        gather([Ground(), box(), Ground()])


def test_vectors_of_no_length_stay():
    assert drawing.unit(np.array([[0.0, 3], [0, 0], [0, 4]])).T.tolist() == [
        [0, 0, 0],
        [0.6, 0, 0.8],
    ]
