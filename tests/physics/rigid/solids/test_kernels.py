"""Points of boxes and meshes in the kernels against those of torch, near and far."""

import pytest
import torch

from reverie.physics.rigid.collide import contacts
from reverie.physics.rigid.kinematics import expanded, frames
from reverie.physics.rigid.solids.tables import solid_points, solid_tables
from reverie.physics.rigid.tables import tables
from tests.physics.rigid.scenes import F64, loaded
from tests.physics.rigid.test_program import scene

wp = pytest.importorskip("warp")


def in_kernels(found, frame):
    """Arms, normals, depths with weights of the points on what never moves."""
    from reverie.physics import kernels

    solids = kernels.load("reverie.physics.rigid.solids.kernels", F64)
    made, shapes = tables(found.model), solid_tables(found.model)

    def array(x, kind):
        return wp.from_torch(x.contiguous(), dtype=kind)

    def constant(x):
        return wp.array(x, dtype=int if x.dtype.kind == "i" else solids.REAL, device="cpu")

    def blank(count, kind):
        return wp.zeros((1, count), dtype=kind, device="cpu")

    forms = [constant(x) for x in (shapes.bounds, shapes.extents, shapes.vertices, shapes.faces)]
    frame = [
        *(constant(made.on), constant(made.geoms), array(frame.place, solids.VEC3)),
        array(frame.turn.roll(-1, -1), solids.QUAT),
        array(found.params.sizes, solids.VEC3),
    ]
    pairs, count = len(shapes.solids), len(made.points)
    way = [blank(pairs, solids.VEC3), blank(pairs, solids.VEC3)]
    ahead = [constant(shapes.solids), constant(shapes.slack)]
    wp.launch(solids.part, (1, pairs), [*ahead, *forms, *frame, *way], device="cpu")
    probes = solid_points(found.model, shapes, made.points, made.corners)
    at = [constant(x) for x in (probes, made.points, made.corners)]
    out = [blank(count, kind) for kind in (solids.VEC3, solids.VEC3, solids.VEC2)]
    wp.launch(solids.touch, (1, len(probes)), [*at, *forms, *frame, *way, *out], device="cpu")
    return [wp.to_torch(x) for x in out]


@pytest.mark.parametrize("margin", [0.0, 0.02])
@pytest.mark.parametrize("height", [-0.03, 0.0, 0.05])
@pytest.mark.parametrize(
    "name", ["box-fixed-box", "mesh-fixed-box", "box-fixed-mesh", "mesh-fixed-mesh"]
)
def test_points_normals_depths_and_weights(name, height, margin):
    text = scene(name).replace(' mass="1"', f' mass="1" margin="{margin}"')
    found = loaded(text)
    state = found.poses["default"]
    state.position[:, 2] += height
    frame = frames(found.model, state)
    ground, _ = contacts(found.model, frame, expanded(found.params, 1))
    arm, normal, depth = in_kernels(found, frame)
    some = depth[..., 1] > 0
    assert torch.equal(some, (ground.weight > 0) & some)
    missed = (ground.weight > 0) & ~some
    assert not (ground.depth[missed] > 0).any(), "what may touch is left out"
    points = ground.point - frame.origin[:, list(ground.body)]
    assert torch.allclose(depth[..., 0][some], ground.depth[some], atol=1e-12)
    assert torch.allclose(depth[..., 1][some], ground.weight[some], atol=1e-9)
    assert torch.allclose(normal[some], ground.normal[some], atol=1e-12)
    assert torch.allclose(arm[some], points[some], atol=1e-12)
    if height < 0:
        assert (depth[some][:, 0] > 0).any(), "nothing touches"


def test_of_pairs_that_are_far_apart_nothing_is_computed():
    found = loaded(scene("box-fixed-box"))
    state = found.poses["default"]
    state.position[:, 2] += 2.0
    _, _, depth = in_kernels(found, frames(found.model, state))
    assert not depth.any()
