import importlib.util

import pytest
import torch

from reverie.core import tree
from reverie.physics import loading
from reverie.physics.rigid import RigidState, load, rigid_step
from tests.physics.rigid.scenes import F64, QUADRUPED, loaded, world

BALL = '<body><freejoint/><geom size="0.1" mass="2" pos="0.1 0 0"/></body>'
WARP = importlib.util.find_spec("warp") is not None
BACKENDS = ["torch", pytest.param("warp", marks=pytest.mark.skipif(not WARP, reason="no Warp"))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_substeps_are_shorter_steps(backend):
    found = loaded(QUADRUPED)
    u = torch.full((1, 12), 0.1, dtype=F64)
    state = found.poses["default"]
    once = rigid_step(found.model, state, found.params, u, 0.012, 3, backend=backend)
    for _ in range(3):
        state = rigid_step(found.model, state, found.params, u, 0.004, backend=backend)
    assert torch.allclose(once.position, state.position, atol=1e-13)
    assert torch.allclose(once.velocity, state.velocity, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_force_from_outside_acts_at_the_origin_of_the_body(backend):
    """m a = f, and the torque about the centre of mass is t - c x f."""
    found = loaded(world(BALL, gravity="0 0 0"))
    wrench = torch.tensor([[[1.0, 2.0, 3.0, 0.1, 0.2, 0.3]]], dtype=F64)
    state = found.poses["default"]
    state.position[:, 2] = 5.0
    moved = rigid_step(found.model, state, found.params, None, 1e-3, 1, wrench, backend)
    about = wrench[0, 0, 3:] - torch.linalg.cross(
        torch.tensor([0.1, 0, 0], dtype=F64), wrench[0, 0, :3]
    )
    inertia = 0.4 * 2 * 0.01
    assert torch.allclose(moved.velocity[0, 3:], 1e-3 * about / inertia)
    centre = moved.velocity[0, :3] + torch.linalg.cross(
        moved.velocity[0, 3:], torch.tensor([0.1, 0, 0], dtype=F64)
    )
    assert torch.allclose(centre, 1e-3 * wrench[0, 0, :3] / 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_worlds_of_a_batch_are_as_if_alone(backend):
    found = loaded(QUADRUPED)
    g = torch.Generator().manual_seed(0)
    q, v = (x.repeat(3, 1) for x in found.poses["default"])
    v = v + torch.randn(v.shape, generator=g, dtype=F64)
    u = torch.randn(3, 12, generator=g, dtype=F64)
    args = 0.02, 5, None, backend
    together = rigid_step(found.model, RigidState(q, v), found.params, u, *args)
    for w in range(3):
        rows = slice(w, w + 1)
        alone = rigid_step(found.model, RigidState(q[rows], v[rows]), found.params, u[rows], *args)
        assert torch.allclose(alone.position, together.position[rows], atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_changes_nothing_that_it_is_given(backend):
    found = loaded(QUADRUPED)
    u = torch.full((1, 12), 0.1, dtype=F64)
    given = found.poses["default"], found.params, u
    before = tree.clone(given)
    rigid_step(found.model, given[0], given[1], u, 0.004, 2, backend=backend)
    for a, b in zip(tree.leaves(given), tree.leaves(before), strict=True):
        assert torch.equal(a, b)


def test_what_the_kernels_do_not_know_runs_in_torch(monkeypatch):
    still = loaded('<mujoco><worldbody><body><geom size="1"/></body></worldbody></mujoco>')
    state = still.poses["default"]
    assert rigid_step(still.model, state, still.params, None, 0.01).position.shape == (1, 0)
    with pytest.raises(ValueError, match="at least one joint"):
        rigid_step(still.model, state, still.params, None, 0.01, backend="warp")
    monkeypatch.setattr(loading, "installed", lambda: False)
    legged = loaded(QUADRUPED)
    u = torch.zeros(1, 12, dtype=F64)
    moved = [
        rigid_step(legged.model, legged.poses["default"], legged.params, u, 0.004, backend=b)
        for b in ("auto", "torch")
    ]
    assert torch.equal(moved[0].velocity, moved[1].velocity)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("yaw", [25, -40, 90])
def test_a_cylinder_that_stands_is_not_kicked_whatever_its_yaw(backend, yaw):
    body = (
        f'<body pos="0 0 0.043" euler="0 0 {yaw}"><freejoint/>'
        '<geom type="cylinder" size="0.043 0.043" mass="0.2"/></body>'
    )
    found = load(world(body))
    state, top = found.poses["default"], 0.0
    for _ in range(25):
        state = rigid_step(found.model, state, found.params, None, 0.004, 2, backend=backend)
        top = max(top, float(state.position[0, 2]))
    assert top < 0.0431 and float(state.velocity.abs().max()) < 0.01
