"""The kernels against the torch reference, which the other tests hold to physics."""

import dataclasses

import pytest
import torch

from reverie.core import tree
from reverie.physics.rigid import Law, RigidState, rigid_step
from tests.physics.rigid.scenes import F64, MIXED, QUADRUPED, gripper, loaded, world
from tests.physics.rigid.test_meshes import mesh_scene

pytest.importorskip("warp")

GEOMS = {
    "sphere": 'size="0.1"',
    "capsule": 'type="capsule" size="0.06 0.1"',
    "box": 'type="box" size="0.1 0.08 0.06"',
    "cylinder": 'type="cylinder" size="0.1 0.05"',
    "ellipsoid": 'type="ellipsoid" size="0.1 0.08 0.06"',
}
HULL = 'type="mesh" mesh="hull"'
"""Of `CLOUD`."""
FREE = '<body pos="{0}" euler="{1}"><freejoint/><geom {2} mass="1"/></body>'


def over_field(geom):
    """A body over hills."""
    rows = " ".join(str((7 * i % 5) / 5) for i in range(30))
    text = world(FREE.format("0.1 0.1 0.12", "20 30 10", geom)).replace(
        '<geom name="floor" type="plane" size="9 9 1"/>',
        '<geom type="hfield" hfield="h" euler="0 5 0"/>',
    )
    field = f'<hfield name="h" nrow="5" ncol="6" size="1 1 0.3 0.1" elevation="{rows}"/>'
    return text.replace("<worldbody>", f"<asset>{field}</asset><worldbody>")


def pile(one, two):
    """Three bodies on a floor."""
    bodies = FREE.format("0 0 0.1", "10 80 0", one) + FREE.format("0.05 0.03 0.25", "70 20 40", two)
    return world(bodies + FREE.format("-0.03 0.06 0.36", "20 40 10", one))


def solids(kinds):
    """Meshes and boxes on each other, or on a fixed one."""
    one, two = (HULL if kind == "mesh" else GEOMS[kind] for kind in (kinds[0], kinds[-1]))
    text = pile(one, two)
    if "fixed" in kinds:
        upper = FREE.format("0.02 0.01 0.16", "10 20 0", one)
        text = world(upper).replace('type="plane" size="9 9 1"', two)
    numbers = " ".join(str(x) for vertex in CLOUD for x in vertex)
    asset = f'<asset><mesh name="hull" vertex="{numbers}"/></asset><worldbody>'
    return text.replace("<worldbody>", asset)


def scene(name):
    """Worlds in which something touches, by name."""
    kinds = name.split("-")
    if name in SPECIAL:
        return SPECIAL[name]
    if "mesh" in kinds:
        return solids(kinds)
    if len(kinds) == 1:
        return world(FREE.format("0 0 0.05", "20 30 10", GEOMS[name]))
    if kinds[1] == "field":
        return over_field(GEOMS[kinds[0]])
    if kinds[1] == "fixed":
        height = 0.11 if name == "box-fixed-box" else 0.16
        upper = FREE.format(f"0.02 0.01 {height}", "10 20 0", GEOMS[kinds[0]])
        return world(upper).replace('type="plane" size="9 9 1"', GEOMS[kinds[2]])
    return pile(GEOMS[kinds[0]], GEOMS[kinds[1]])


CLOUD = [(x, y, z) for x in (-0.1, 0.1) for y in (-0.08, 0.1) for z in (-0.1, 0.06)]
SPECIAL = {
    "quadruped": QUADRUPED.replace('pos="0 0 0.366"', 'pos="0 0 0.352"'),
    "mixed": MIXED,
    "grasp": gripper(apart=0.0),
    "mesh": mesh_scene(CLOUD).replace('pos="0 0 0.3"', 'pos="0 0 0.06"'),
}
NAMES = [
    *("quadruped", "mixed", "mesh", *GEOMS, "sphere-field", "capsule-field", "box-field"),
    *("sphere-fixed-capsule", "box-fixed-sphere", "capsule-fixed-box", "capsule-fixed-capsule"),
    *("sphere-sphere", "sphere-box", "sphere-capsule", "capsule-capsule", "capsule-box"),
    *("box-box", "mesh-box", "mesh-mesh", "box-fixed-box", "mesh-fixed-box", "mesh-fixed-mesh"),
    *("box-fixed-mesh", "grasp"),
]


def start(name, worlds=2):
    found = loaded(scene(name))
    g = torch.Generator().manual_seed(len(name))
    q, v = (x.expand(worlds, -1) for x in found.poses["default"])
    q = q + 0.02 * torch.randn(q.shape, generator=g, dtype=F64)
    v = v + 0.5 * torch.randn(v.shape, generator=g, dtype=F64)
    u = 0.3 * torch.randn(worlds, len(found.model.actuators), generator=g, dtype=F64)
    external = torch.randn(worlds, len(found.model.bodies), 6, generator=g, dtype=F64)
    return found, RigidState(q, v), u, external


def rolled(found, state, u, external, backend, substeps=4):
    """The end of a short roll, and the gradient of a random functional of it to everything."""
    leaves = [*state, u, external, *tree.leaves(found.params)]
    inputs = [x.clone().requires_grad_() for x in leaves]
    rest = iter(inputs[4:])
    params = tree.map(lambda _: next(rest), found.params)
    moved = rigid_step(
        found.model, RigidState(*inputs[:2]), params, inputs[2], 0.002 * substeps, substeps,
        inputs[3], backend,
    )  # fmt: skip
    y = torch.cat([*moved], 1)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=F64)
    slopes = torch.autograd.grad((y * weights.to(y.dtype)).sum(), inputs, allow_unused=True)
    return y.detach(), [
        torch.zeros_like(x) if s is None else s for x, s in zip(inputs, slopes, strict=True)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_kernels_and_reference_agree_in_value_and_gradient(name):
    made = start(name)
    one, two = (rolled(*made, backend) for backend in ("torch", "warp"))
    assert torch.allclose(one[0], two[0], atol=1e-9, rtol=1e-9)
    for a, b in zip(one[1], two[1], strict=True):
        if not a.numel():
            continue
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6 * float(1 + a.abs().max()))
    if name != "mixed":
        free = made[0].params.contacts
        assert len(free.friction[0]) and one[1][-8].any(), "nothing touches"


@pytest.mark.parametrize("name", ["quadruped", "capsule-box", "box-box"])
def test_in_float32_they_agree_too(name):
    found, *rest = start(name)
    found = found._replace(params=tree.map(lambda x: x.float(), found.params))
    rest = tree.map(lambda x: x.float(), tuple(rest))
    exact = rolled(*start(name), "torch")
    single = rolled(found, *rest, "warp")
    assert torch.allclose(single[0].double(), exact[0], atol=2e-3)
    for a, b in zip(exact[1][:2], single[1][:2], strict=True):
        assert torch.allclose(a, b.double(), atol=0.02 * float(1 + a.abs().max()))


@pytest.mark.parametrize("passes", [1, 3])
def test_every_number_of_passes_and_rounds_agrees(passes):
    found, *rest = start("capsule-box")
    model = dataclasses.replace(found.model, law=Law(passes=passes, sweeps=2))
    found = found._replace(model=model)
    one, two = (rolled(found, *rest, backend) for backend in ("torch", "warp"))
    assert torch.allclose(one[0], two[0], atol=1e-9)


def test_parameters_of_each_world_are_its_own():
    """Rows of parameters, against one world after the other; their gradients too."""
    found, state, u, external = start("quadruped", 3)
    scale = torch.tensor([0.8, 1.0, 1.3], dtype=F64)
    params = tree.map(lambda x: x * scale.reshape(3, *[1] * (x.ndim - 1)), found.params)
    together = rolled(found._replace(params=params), state, u, external, "warp")
    for w in range(3):
        row = [x[w : w + 1] for x in (*state, u, external)]
        single = found._replace(params=tree.map(lambda x, w=w: x[w : w + 1], params))
        alone = rolled(single, RigidState(*row[:2]), *row[2:], "warp")
        assert torch.allclose(together[0][w], alone[0][0], atol=1e-12)


def test_worlds_do_not_touch_each_other():
    """A gradient of one world is zero in the others."""
    found, state, u, external = start("capsule-capsule", 3)
    q = state.position.clone().requires_grad_()
    moved = rigid_step(
        found.model, RigidState(q, state.velocity), found.params, u, 0.01, 5, external, "warp"
    )
    (slope,) = torch.autograd.grad(moved.position[1].sum(), q)
    assert slope[1].any() and not slope[[0, 2]].any()


def test_models_without_actuators_and_geoms_run():
    text = '<mujoco><worldbody><body><joint/><inertial pos="0 0 1" mass="1" diaginertia="1 1 1"/>'
    found = loaded(text + "</body></worldbody></mujoco>")
    moved = rigid_step(found.model, found.poses["default"], found.params, None, 0.1, backend="warp")
    assert torch.isfinite(moved.position).all()
