import numpy as np

from reverie.physics.rigid.polyhedra import cube
from reverie.physics.rigid.solids.tables import is_solid, probes, solid_points, solid_tables
from reverie.physics.rigid.tables import tables
from tests.physics.rigid.scenes import QUADRUPED, loaded
from tests.physics.rigid.test_program import scene


def test_each_shape_stands_once():
    model = loaded(scene("mesh-box")).model
    made = solid_tables(model)
    kinds = [[model.geoms[g].kind for g in row[:2]] for row in made.solids]
    assert sorted(kinds) == [["mesh", "box"], ["mesh", "box"], ["mesh", "mesh"]]
    assert len(made.bounds) == 2
    (mesh,) = model.meshes
    counts = {"mesh": (len(mesh.vertices), len(mesh.normals)), "box": (8, 6)}
    for row in made.solids:
        for g, shape in zip(row[:2], row[2:], strict=True):
            v0, v1, f0, f1 = made.bounds[shape]
            assert (v1 - v0, f1 - f0) == counts[model.geoms[g].kind]
            inside = made.vertices[v0:v1] @ made.faces[f0:f1, :3].T - made.faces[f0:f1, 3]
            assert inside.max() < 1e-6
            assert np.allclose(made.extents[shape, :3], abs(made.vertices[v0:v1]).max(0))


def test_points_are_the_vertices_and_edges_of_their_geom():
    model = loaded(scene("box-box")).model
    made, all_points = solid_tables(model), tables(model)
    rows = solid_points(model, made, all_points.mates, all_points.mate_corners)
    assert len(rows) == 3 * 2 * 20 and (np.sort(rows[:, 0]) == np.arange(120)).all()
    edges = {tuple(sorted(edge)) for edge in cube().edges.tolist()}
    for c, slot, first, *_ in rows:
        assert made.solids[slot, 0 if first else 1] == all_points.mates[c, 4]
    for slot in range(3):
        own = rows[(rows[:, 1] == slot) & (rows[:, 2] == 1)]
        assert sorted(own[own[:, 6] < 0, 5]) == list(range(8))
        assert {tuple(sorted(x)) for x in own[own[:, 6] >= 0, 5:].tolist()} == edges
    assert probes(model, int(made.solids[0, 0])).shape == (20, 3)


def test_without_boxes_on_boxes_there_is_nothing():
    model = loaded(QUADRUPED).model
    assert not any(is_solid(model, p) for p in range(len(model.pairs)))
    assert not len(solid_tables(model).solids)
