"""Points of contact in the kernels against those of torch, where nothing touches yet."""

import pytest
import torch

from reverie.physics.rigid.collide import contacts
from reverie.physics.rigid.kinematics import expanded, frames
from reverie.physics.rigid.tables import tables
from tests.physics.rigid.scenes import F64, loaded
from tests.physics.rigid.test_program import scene

wp = pytest.importorskip("warp")


@pytest.mark.parametrize("height", [0.0, 0.3])
@pytest.mark.parametrize(
    "name",
    [
        *("sphere", "capsule", "box", "cylinder", "ellipsoid", "mesh", "box-field"),
        *("capsule-fixed-box", "capsule-fixed-capsule", "box-fixed-sphere"),
    ],
)
def test_points_normals_and_depths(name, height):
    from reverie.physics import kernels

    found = loaded(scene(name))
    state = found.poses["default"]
    state.position[:, 2] += height
    frame = frames(found.model, state)
    ground, _ = contacts(found.model, frame, expanded(found.params, 1))
    touch = kernels.load("reverie.physics.rigid.ground.kernels", F64)
    made = tables(found.model)

    def array(x, kind):
        return wp.from_torch(x.contiguous(), dtype=kind)

    reals = {"corners", "geoms", "heights"}
    table = [
        wp.array(getattr(made, n), dtype=touch.REAL if n in reals else int, device="cpu")
        for n in ("points", "corners", "on", "geoms", "heights")
    ]
    count = len(made.points)
    arm, normal = (wp.zeros((1, count), dtype=touch.VEC3, device="cpu") for _ in range(2))
    depth = wp.zeros((1, count), dtype=touch.VEC2, device="cpu")
    places = array(frame.place, touch.VEC3), array(frame.turn.roll(-1, -1), touch.QUAT)
    sizes = array(found.params.sizes, touch.VEC3)
    gain = wp.zeros((1, count), dtype=touch.VEC3, device="cpu")
    given = [*table, *places, sizes, arm, normal, depth, gain, 0]
    wp.launch(touch.touch, (1, count), given, device="cpu")
    points = ground.point - frame.origin[:, list(ground.body)]
    assert torch.allclose(wp.to_torch(depth)[..., 0], ground.depth, atol=1e-12)
    assert torch.equal(wp.to_torch(depth)[..., 1], ground.weight)
    assert torch.allclose(wp.to_torch(normal), ground.normal, atol=1e-12)
    assert torch.allclose(wp.to_torch(arm), points, atol=1e-12)
