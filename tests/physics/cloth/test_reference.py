"""Forces and contacts of the torch reference against energies, closed forms and brute force."""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics.cloth import ClothParams, ClothState, Hold, at_rest, fabric, grid, join
from reverie.physics.cloth.layers import near_pairs
from reverie.physics.cloth.reference import (
    bend_force,
    carried,
    kick,
    meet,
    nearest,
    repel,
    stretch_force,
    substep,
)
from reverie.physics.tools import Shape, Tools
from reverie.physics.turn import rotate_back, turned
from tests.physics.cloth.worlds import DOUBLE, EVERY, crowded, seeded, tools, uneven


def energy(position: Tensor, params: ClothParams, mesh) -> Tensor:
    """Of stretch and bending, from the definitions."""
    x, faces = position[0], mesh.faces
    edges = torch.stack([x[faces[:, k]] - x[faces[:, 0]] for k in (1, 2)], -1)
    gradient = edges @ mesh.frame.view(-1, 2, 2)
    strain = (gradient.mT @ gradient - torch.eye(2, dtype=DOUBLE)) / 2
    uu, vv, uv = strain[:, 0, 0], strain[:, 1, 1], strain[:, 0, 1]
    young, nu = params.stretch[0, : len(faces)], params.poisson[0]
    plane = young / (2 * (1 - nu**2)) * (uu**2 + vv**2 + 2 * nu * uu * vv)
    whole = (mesh.area * (plane + 2 * params.shear[0] * uv**2)).sum()
    one, two = mesh.segments.unbind(-1)
    far = (x[two] - x[one]).norm(dim=-1)
    cord = params.stretch[0, len(faces) :] / mesh.length
    whole = whole + (0.5 * cord * (far - mesh.length) ** 2).sum()
    row, column, value = mesh.bends
    apart = (x[column] - x[row]).square().sum(-1)
    return whole - 0.25 * (params.bend[0, mesh.body[row]] * value * apart).sum()


def alone(state: ClothState, params: ClothParams, world: int = 0) -> tuple[ClothState, ClothParams]:
    part = slice(world, world + 1)
    return ClothState(*(x[part] for x in state)), ClothParams(*(x[part] for x in params))


def test_forces_are_minus_the_gradient_of_the_energy() -> None:
    mesh, state, params, _, _ = crowded()
    state, params = alone(state, params)
    x = state.position.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(x, params, mesh), x)
    still = ClothState(state.position, torch.zeros_like(state.velocity))
    force = stretch_force(still, params, mesh) + bend_force(still, params, mesh)
    assert torch.allclose(force, -slope, atol=1e-12 * float(slope.abs().max()))


def test_damping_only_takes_energy_and_feels_no_rigid_motion() -> None:
    mesh, state, params, _, _ = crowded()
    still = ClothState(state.position, torch.zeros_like(state.velocity))
    viscous = stretch_force(state, params, mesh) - stretch_force(still, params, mesh)
    assert float((viscous * state.velocity).sum((1, 2)).max()) < -1e-4
    spin = torch.tensor([0.3, -0.2, 0.9], dtype=DOUBLE).expand_as(state.position)
    turning = torch.linalg.cross(spin, state.position) + 1.0
    moving = stretch_force(ClothState(state.position, turning), params, mesh)
    assert torch.allclose(moving, stretch_force(still, params, mesh), atol=1e-12)
    bent = bend_force(state, params, mesh) - bend_force(still, params, mesh)
    assert float((bent * state.velocity).sum((1, 2)).max()) < 0


@pytest.mark.parametrize("mesh", [grid(1, 1, 4, 4), uneven(9, 0.35)], ids=["coarse", "uneven"])
@pytest.mark.parametrize(("poisson", "along"), [(0.0, 0), (0.3, 1), (0.45, 0)])
def test_a_pulled_sheet_has_its_youngs_modulus_on_every_mesh(mesh, poisson, along) -> None:
    """Uniaxial: sides move in by sqrt(1 - 2 nu E); inner forces vanish, and a border of 1 m carries
    the stress lambda Y E of St. Venant and Kirchhoff, which is Y e for small strains e."""
    pull = 1.02
    strain = (pull**2 - 1) / 2
    scale = torch.ones(3, dtype=DOUBLE)
    scale[along], scale[1 - along] = pull, (1 - 2 * poisson * strain) ** 0.5
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=1.0, stretch=50.0, poisson=poisson)
    state = ClothState(rest.position * scale, rest.velocity)
    force = stretch_force(state, params, mesh)[0]
    x = mesh.rest[:, along]
    inner = (x > 1e-9) & (x < 1 - 1e-9)
    assert force[inner].abs().max() < 1e-12
    carried_force = float(force[x < 1e-9][:, along].sum())
    assert carried_force == pytest.approx(pull * 50.0 * strain, rel=1e-12)
    assert carried_force == pytest.approx(50.0 * 0.02, rel=0.04)


def test_a_sheared_sheet_has_its_shear_modulus() -> None:
    mesh, angle = uneven(7), 0.01
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=1.0, stretch=50.0, shear=7.0)
    moved = rest.position.clone()
    moved[..., 0] += angle * moved[..., 1]
    force = stretch_force(ClothState(moved, rest.velocity), params, mesh)[0]
    top = mesh.rest[:, 1] > 1 - 1e-9
    assert float(-force[top, 0].sum()) == pytest.approx(7.0 * angle, rel=1e-3)


def test_kick_adds_gravity_and_drag() -> None:
    mesh = grid(1, 1, 3, 3)
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=1.0, stretch=9.0, drag=2.0)
    state = ClothState(rest.position, rest.velocity + torch.tensor([1.0, 0.0, 0.0]))
    u = kick(state, params, mesh, 0.01)
    assert torch.allclose(u, torch.tensor([0.98, 0.0, -0.0981], dtype=DOUBLE), atol=1e-12)


# -------------------------------------------------------------------------------------------------
# Tools


def on_incline(angle: float, friction: float) -> tuple[ClothState, ClothParams, Tools]:
    """A small sheet on a plane turned about y."""
    mesh = grid(0.1, 0.1, 3, 3)
    half = torch.tensor(angle / 2, dtype=DOUBLE)
    plane = tools([(0.0, 0.0, 0.0)], friction=friction)
    zero = torch.zeros_like(half)
    plane = plane._replace(turn=torch.stack([half.cos(), zero, half.sin(), zero])[None, None])
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=0.2, stretch=10.0, thickness=0.002)
    lifted = rest.position + torch.tensor([0.0, 0.0, 0.001], dtype=DOUBLE)
    back = plane.turn * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=DOUBLE)
    return ClothState(rotate_back(back, lifted), rest.velocity), params, plane


@pytest.mark.parametrize("angle", [0.2, 0.5])
@pytest.mark.parametrize("friction", [0.0, 0.15, 0.4])
def test_on_an_incline_it_sticks_or_slides_by_coulombs_law(angle, friction) -> None:
    state, params, plane = on_incline(angle, friction)
    dt, n = 1e-3, 100
    none = torch.zeros(0, 3, dtype=torch.int32)
    free = Hold(torch.full((1, 9), -1), torch.zeros(1, 9, dtype=DOUBLE))
    after = state
    for _ in range(n):
        after, plane, impulse = substep(
            after, params, plane, free, none, grid(0.1, 0.1, 3, 3), (Shape.PLANE,), dt=dt
        )
    down = torch.tensor([math.cos(angle), 0.0, -math.sin(angle)], dtype=DOUBLE)
    speed = (after.velocity * down).sum(-1)
    pulled = 9.81 * max(0.0, math.sin(angle) - friction * math.cos(angle))
    assert torch.allclose(speed, torch.full_like(speed, n * dt * pulled), atol=1e-9)
    assert (after.position - state.position).norm(dim=-1).max() <= pulled * (n * dt) ** 2 + 1e-12
    weight = 0.2 * 0.01 * 9.81
    normal = torch.tensor([math.sin(angle), 0.0, math.cos(angle)], dtype=DOUBLE)
    assert float(impulse[0, 0, :3] @ normal / dt) == pytest.approx(-weight * math.cos(angle))


def test_a_landing_vertex_stops_on_the_surface_within_the_substep() -> None:
    state, params, plane = on_incline(0.0, 0.0)
    up = torch.tensor([0.0, 0.0, 0.004], dtype=DOUBLE)
    fast = torch.tensor([0.0, 0.0, -5.0], dtype=DOUBLE)
    met = meet(state.position + up, state.velocity + fast, params, plane, 0, Shape.PLANE, 1e-3)
    assert torch.allclose(met.velocity[..., 2], torch.tensor(-4.0, dtype=DOUBLE))
    assert not met.shift.any()
    far = meet(
        state.position + up, state.velocity + 0.5 * fast, params, plane, 0, Shape.PLANE, 1e-3
    )
    assert torch.allclose(far.velocity, state.velocity + 0.5 * fast)
    assert not far.impulse.any()


def test_what_is_inside_is_lifted_without_speed() -> None:
    state, params, plane = on_incline(0.0, 0.0)
    deep = state.position - torch.tensor([0.0, 0.0, 0.01], dtype=DOUBLE)
    for dt, lift in ((0.1, 0.002), (1e-3, 0.001)):  # a fifth of the depth, at most 1 m/s
        met = meet(deep, state.velocity - 0.1, params, plane, 0, Shape.PLANE, dt)
        assert torch.allclose(met.shift[..., 2], torch.tensor(lift, dtype=DOUBLE))
        assert met.velocity[..., 2].abs().max() < 1e-15


@pytest.mark.parametrize("shape", EVERY)
def test_a_tool_gets_back_what_it_gives_about_its_place(shape) -> None:
    _, state, params, some, _ = crowded()
    k = EVERY.index(shape)
    met = meet(state.position, state.velocity, params, some, k, shape, 1e-3)
    lost = params.mass[..., None] * (state.velocity - met.velocity)
    assert lost.abs().max() > 0
    assert torch.allclose(met.impulse[:, :3], lost.sum(1))
    arm = state.position - some.place[:, k : k + 1]
    assert torch.allclose(met.impulse[:, 3:], torch.linalg.cross(arm, lost).sum(1))


def test_a_carried_vertex_keeps_its_place_in_the_frame_of_a_turning_tool() -> None:
    _, state, _, some, _ = crowded()
    dt, before = 1e-3, some
    after = some._replace(
        place=some.place + dt * some.linear, turn=turned(some.turn, some.angular, dt)
    )
    moved = state.position + dt * carried(state, before, after, 1, dt)
    one = rotate_back(before.turn[:, 1:2], state.position - before.place[:, 1:2])
    two = rotate_back(after.turn[:, 1:2], moved - after.place[:, 1:2])
    assert torch.allclose(one, two, atol=1e-13)


# -------------------------------------------------------------------------------------------------
# Layers


def test_the_nearest_point_of_a_triangle_is_that_of_brute_force() -> None:
    made = seeded()
    corner = torch.randn(300, 3, 3, generator=made, dtype=DOUBLE)
    corner[::7, 2] = corner[::7, 1]  # segments
    point = 1.5 * torch.randn(300, 3, generator=made, dtype=DOUBLE)
    share = nearest(point, *corner.unbind(1))
    assert (share > -1e-12).all() and torch.allclose(share.sum(-1), torch.ones(300).double())
    far = (point - (share[..., None] * corner).sum(1)).norm(dim=-1)
    steps = torch.arange(61, dtype=DOUBLE) / 60
    a, b = (x.flatten() for x in torch.meshgrid(steps, steps, indexing="ij"))
    tries = torch.stack([a, b, 1 - a - b], -1)[a + b <= 1 + 1e-9]
    least = (point[:, None] - tries @ corner).norm(dim=-1).amin(1)
    assert (far <= least + 1e-12).all() and (least - far).max() < 0.15
    inside = ((share > 0.02) & (share < 0.98)).all(1)
    assert inside.sum() > 20  # every region is met
    assert {int(k) for k in (share > 1e-12).sum(1)} == {1, 2, 3}


def test_layers_push_apart_with_no_net_momentum_and_friction_brakes() -> None:
    mesh, state, params, _, _ = crowded()
    pairs = near_pairs(mesh, state.position, params.thickness, 0.03)
    assert len(pairs) > 10
    u = repel(state.position, state.velocity, params, pairs, mesh.surface, 1e-3)
    change = params.mass[..., None] * (u - state.velocity)
    assert change.abs().max() > 1e-4
    assert change.sum(1).abs().max() < 1e-15
    smooth = params._replace(friction=0 * params.friction)
    straight = repel(state.position, state.velocity, smooth, pairs, mesh.surface, 1e-3)
    pushed = params.mass[..., None] * (straight - state.velocity)
    turning = torch.linalg.cross(state.position, pushed).sum(1)
    assert turning.abs().max() < 1e-15  # along the line between both points
    energy = [(params.mass[..., None] * v.square()).sum() for v in (u, straight)]
    assert energy[0] < energy[1]


def test_the_push_is_linear_in_the_gap_and_ends_at_the_thickness() -> None:
    mesh = grid(1, 1, 2, 2)
    both = join([mesh, mesh])  # a corner of the second above the middle of a triangle
    x = at_rest(both, 1, DOUBLE).position.clone()
    x[:, 4:] += torch.tensor([0.5, 0.25, 0.0], dtype=DOUBLE)
    params = fabric(both, x, density=1.0, stretch=1.0, thickness=0.01)
    pairs = torch.tensor([[0, 4, 0]], dtype=torch.int32)
    speeds = []
    for height in (0.011, 0.008, 0.006):
        x[:, 4:, 2] = height
        u = repel(x, torch.zeros_like(x), params, pairs, both.surface, 1e-3)
        speeds.append(float(u[0, 4, 2]))
    assert speeds[0] == 0
    assert speeds[2] / speeds[1] == pytest.approx(2.0) and speeds[1] > 0


# -------------------------------------------------------------------------------------------------
# The whole substep


PARTS = (*ClothState._fields, *ClothParams._fields, *(f"tool {n}" for n in Tools._fields), "weight")


@pytest.mark.parametrize("name", PARTS)
def test_a_substep_has_the_gradient_of_central_differences(name) -> None:
    """Along a random direction of one input, with tools of every shape, layers, held vertices."""
    mesh, state, params, some, hold = crowded()
    pairs = near_pairs(mesh, state.position, params.thickness, 0.03)
    parts, k = [*state, *params, *some, hold.weight], PARTS.index(name)
    direction = torch.randn(parts[k].shape, generator=seeded(), dtype=DOUBLE)
    direction = direction * (parts[k].abs().mean() if parts[k].abs().max() > 0 else 1.0)

    def after(size: Tensor) -> list[Tensor]:
        moved = [x + size * direction if n == k else x for n, x in enumerate(parts)]
        vertices, tool, impulse = substep(
            ClothState(*moved[:2]),
            ClothParams(*moved[2:13]),
            Tools(*moved[13:19]),
            Hold(hold.tool, moved[19]),
            pairs,
            mesh,
            EVERY,
            dt=4e-4,
        )
        made = seeded(1)
        found = (*vertices, tool.place, tool.turn, impulse)
        return [(torch.randn(y.shape, generator=made, dtype=DOUBLE) * y).sum() for y in found]

    zero = torch.zeros((), dtype=DOUBLE, requires_grad=True)
    h, slopes = torch.tensor(1e-6, dtype=DOUBLE), []
    for value, up, down in zip(after(zero), after(h), after(-h), strict=True):
        wanted = float(up - down) / 2e-6
        if value.requires_grad:
            slopes.append(float(torch.autograd.grad(value, zero, retain_graph=True)[0]))
        else:
            slopes.append(0.0)
        assert slopes[-1] == pytest.approx(wanted, rel=3e-6, abs=1e-7)
    assert any(slopes)
