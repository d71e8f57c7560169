import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from reverie.physics.rigid.meshes import hull_of
from tests.physics.rigid.scenes import after, loaded, world

TETRAHEDRON = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], float)
SIDES = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])


def test_a_tetrahedron():
    hull = hull_of(TETRAHEDRON, SIDES)
    assert (len(hull.normals), len(hull.edges)) == (4, 6)
    inside = TETRAHEDRON.mean(0)
    assert (hull.normals @ inside < hull.offsets).all()
    assert np.allclose(np.linalg.norm(hull.normals, axis=1), 1)


def test_an_open_mesh_is_refused():
    with pytest.raises(ValueError, match="not closed: 3 edges"):
        hull_of(TETRAHEDRON, SIDES[:3])


def test_triangles_must_wind_one_way():
    with pytest.raises(ValueError, match="twice in one direction"):
        hull_of(TETRAHEDRON, np.array([*SIDES[:3], SIDES[3][::-1]]))
    with pytest.raises(ValueError, match="outward"):
        hull_of(TETRAHEDRON, SIDES[:, ::-1])


def mesh_scene(vertices):
    numbers = " ".join(f"{x:.6f}" for x in np.ravel(vertices))
    body = '<body pos="0 0 0.3"><freejoint/><geom type="mesh" mesh="m" mass="1"/></body>'
    return world(body).replace(
        "<worldbody>", f'<asset><mesh name="m" vertex="{numbers}"/></asset><worldbody>'
    )


def test_the_hull_of_a_cloud_of_points_is_read():
    cloud = np.random.default_rng(0).normal(size=(60, 3)) * 0.1
    found = loaded(mesh_scene(cloud))
    (mesh,) = found.model.meshes
    brute = ConvexHull(cloud)
    assert len(mesh.vertices) == len(brute.vertices)
    assert len(mesh.normals) == len(brute.simplices)
    reach = (mesh.vertices @ mesh.normals.T).max(0)
    assert np.allclose(reach, mesh.offsets, atol=1e-6)


def test_large_hulls_are_thinned():
    cloud = np.random.default_rng(0).normal(size=(500, 3))
    cloud *= 0.1 / np.linalg.norm(cloud, axis=1, keepdims=True)
    (mesh,) = loaded(mesh_scene(cloud), vertices=30).model.meshes
    assert 20 <= len(mesh.vertices) <= 30


def test_a_mesh_comes_to_rest_on_a_face():
    cube = np.array(list(itertools.product((-0.1, 0.1), repeat=3))) * [1, 1, 0.5]
    found = loaded(mesh_scene(cube))
    moved = after(found, found.poses["default"], 1.0, 0.002)
    assert float(moved.position[0, 2]) == pytest.approx(0.05, abs=1e-3)
    assert float(moved.velocity.abs().max()) < 1e-3


def test_meshes_that_touch_nothing_are_kept_to_be_drawn():
    scene = mesh_scene(TETRAHEDRON * 0.1).replace(
        'mesh="m"', 'mesh="m" contype="0" conaffinity="0"'
    )
    found = loaded(scene)
    assert found.model.pairs == () and found.model.meshes[0].triangles.shape == (4, 3)


def test_height_fields_are_read_and_carry():
    body = '<body pos="0.3 -0.5 0.6"><freejoint/><geom size="0.1" mass="1"/></body>'
    scene = world(body).replace(
        '<geom name="floor" type="plane" size="9 9 1"/>',
        '<geom type="hfield" hfield="h" pos="0 0 0.1"/>',
    )
    heights = " ".join(["0 0 0 0", "0 0 0 0", "1 1 1 1"])
    scene = scene.replace(
        "<worldbody>",
        '<asset><hfield name="h" nrow="3" ncol="4" size="1 2 0.5 0.1" '
        f'elevation="{heights}"/></asset><worldbody>',
    )
    found = loaded(scene)
    assert found.model.fields[0].heights.shape == (3, 4)
    assert found.params.sizes[0, 0].tolist() == pytest.approx([1, 2, 0.5])
    state = after(found, found.poses["default"], 0.3, 0.001)
    state = after(found, state._replace(velocity=torch.zeros_like(state.velocity)), 0.05, 0.001)
    # MuJoCo's first row of a file is the last of y: from y = -2 to 0 it goes down.
    assert float(state.velocity[0, 1]) > 0.05
