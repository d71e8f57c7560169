"""What cloth and ropes do, against closed forms, and what a call refuses."""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics.cloth import (
    Cloth,
    ClothParams,
    ClothState,
    Hold,
    at_rest,
    fabric,
    grid,
    join,
    rope,
)
from reverie.physics.tools import Shape, Tools, distance
from reverie.physics.turn import rotate_back
from tests.physics.cloth.test_reference import energy
from tests.physics.cloth.worlds import DOUBLE, EVERY, crowded, seeded, tools, uneven

G = 9.81


def shaken(mesh, scale: float, batch: int = 1) -> ClothState:
    rest = at_rest(mesh, batch, DOUBLE)
    noise = torch.randn(2, *rest.position.shape, generator=seeded(), dtype=DOUBLE)
    return ClothState(rest.position + 0.1 * scale * noise[0], scale * noise[1])


# -------------------------------------------------------------------------------------------------
# Laws of motion


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_free_fall_is_that_of_the_discrete_integrator(backend) -> None:
    """z_n = z_0 + n dt v_0 - g dt^2 n (n + 1) / 2."""
    mesh, dt, n = grid(1, 1, 4, 4), 1e-3, 100
    rest = at_rest(mesh, 2, DOUBLE)
    start = rest._replace(velocity=rest.velocity + torch.tensor([0.5, 0.0, 2.0]))
    params = fabric(mesh, rest.position, density=0.2, stretch=100.0, bend=1e-3, damping=1e-4)
    after, _, force = Cloth(mesh, dt=dt, backend=backend)(start, params, substeps=n)
    fallen = 2.0 * n * dt - G * dt**2 * n * (n + 1) / 2
    assert torch.allclose(after.position[..., 2], torch.tensor(fallen).double(), atol=1e-12)
    assert torch.allclose(after.velocity[..., 2], torch.tensor(2.0 - G * n * dt).double())
    assert torch.allclose(after.position[..., 0], rest.position[..., 0] + 0.5 * n * dt)
    assert force.shape == (2, 0, 6)


@pytest.mark.parametrize("layers", [False, True], ids=["through", "layers"])
def test_momentum_is_conserved_and_so_is_angular_momentum(layers) -> None:
    mesh, state, params, _, _ = crowded()
    params = params._replace(
        gravity=0 * params.gravity,
        drag=0 * params.drag,
        friction=0 * params.friction,
        bend_damping=0 * params.bend_damping,
    )
    cloth = Cloth(mesh, dt=2e-4, layers=layers)
    after, _, _ = cloth(state, params, substeps=150)
    assert (after.velocity - state.velocity).abs().max() > 0.1

    def momenta(at: ClothState) -> tuple[Tensor, Tensor]:
        each = params.mass[..., None] * at.velocity
        return each.sum(1), torch.linalg.cross(at.position, each).sum(1)

    for one, two in zip(momenta(state), momenta(after), strict=True):
        assert one.abs().max() > 1e-4
        # Layers push with the positions of a substep's start: exact but for rounding as well.
        assert (one - two).abs().max() < 1e-13


def test_energy_without_damping_neither_grows_nor_drains() -> None:
    mesh = join([uneven(6, size=0.5), rope([[0, 0, 0.1 * i] for i in range(6)])])
    start = shaken(mesh, 0.05)
    params = fabric(
        mesh, start.position, density=0.2, stretch=50.0, bend=1e-3, gravity=(0.0, 0.0, 0.0)
    )
    cloth = Cloth(mesh, dt=2e-4)
    found, state = [], start
    for _ in range(40):
        state, _, _ = cloth(state, params, substeps=100)
        kinetic = 0.5 * (params.mass[..., None] * state.velocity.square()).sum()
        found.append(float(kinetic + energy(state.position, params, mesh)))
    assert max(found) / min(found) < 1.06
    assert sum(found[-5:]) / sum(found[:5]) == pytest.approx(1.0, abs=0.02)


# -------------------------------------------------------------------------------------------------
# Statics


def settled(cloth: Cloth, state: ClothState, params: ClothParams, seconds: float) -> Tensor:
    state, _, _ = cloth(state, params, substeps=int(seconds / cloth.dt))
    assert state.velocity.abs().max() < 2e-3
    return state.position[0]


@pytest.mark.parametrize(
    "mesh", [grid(0.25, 1, 3, 9), grid(0.25, 1, 5, 25)], ids=["coarse", "fine"]
)
def test_a_hanging_strip_grows_by_half_rho_g_l_squared_over_e(mesh) -> None:
    rest = at_rest(mesh, 1, DOUBLE)
    state = ClothState(
        rest.position[..., [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0]), rest.velocity
    )
    params = fabric(mesh, rest.position, density=0.2, stretch=600.0, poisson=0.0, drag=80.0)
    top = mesh.rest[:, 1] < 1e-9
    end = settled(Cloth(mesh, dt=2.5e-4, pinned=top), state, params, 0.6)
    grown = -1.0 - end[mesh.rest[:, 1] > 1 - 1e-9, 2]
    assert float(grown.mean()) == pytest.approx(0.2 * G / (2 * 600.0), rel=0.005)


def test_a_hanging_rope_is_a_catenary() -> None:
    """Span 1, length 1.2: a = 0.46954, sag 0.29234."""
    s = torch.linspace(0, 1.2, 41, dtype=DOUBLE)
    line = rope(torch.stack([s, 0 * s, 0 * s], -1))
    half = (s - 0.6).abs()
    drop = (0.6**2 - 0.5**2) ** 0.5
    folded = torch.stack([0.5 + (s - 0.6) * 0.5 / 0.6, 0 * s, drop * (half / 0.6 - 1)], -1)
    start = ClothState(folded[None], torch.zeros(1, 41, 3, dtype=DOUBLE))
    params = fabric(line, start.position, density=0.1, stretch=500.0, drag=8.0)
    ends = torch.zeros(41, dtype=torch.bool)
    ends[[0, -1]] = True
    found = settled(Cloth(line, dt=2.5e-4, pinned=ends), start, params, 2.0)
    a = 0.46954
    assert float(-found[:, 2].min()) == pytest.approx(0.29234, rel=0.01)
    wanted = a * (((found[:, 0] - 0.5) / a).cosh() - math.cosh(0.5 / a))
    assert (found[:, 2] - wanted).abs().max() < 0.003


def elastica(rigidity: float, weight: float, length: float) -> tuple[float, float]:
    """Reach and drop of the end of a plate that is clamped level: D th'' = -w (L - s) cos th."""

    def bent(end: float, n: int = 400) -> tuple[float, float, float]:
        angle, rate, x, z, h = end, 0.0, 0.0, 0.0, length / n
        for k in range(n):  # from the free end, at the middle of each step
            half = angle + 0.5 * h * rate
            rate -= h * weight * (k + 0.5) * h * math.cos(half) / rigidity
            angle += h * rate if k else 0.5 * h * rate
            x, z = x + h * math.cos(half), z + h * math.sin(half)
        return angle, x, z

    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if bent(middle)[0] < 0 else (low, middle)
    return bent(low)[1:]


def overhanging(rigidity: float, n: int) -> tuple[float, float]:
    """Reach and drop of a strip of 1 m and 1 kg/m^2 after it came to rest; the clamp lies half a
    cell behind the last vertex that is pinned, since that vertex bends over both its halves."""
    h = 1.0 / (n + 0.5)
    mesh = grid((n + 1) * h, 2 * h, n + 2, 3)
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=1.0, stretch=4e3, bend=rigidity, drag=6.0)
    columns = mesh.rest[:, 0] < 1.5 * h
    dt = 0.9 * Cloth(mesh, dt=1e-9).stable_dt(params)
    end = settled(Cloth(mesh, dt=dt, pinned=columns), rest, params, 4.0)[-2]
    return float(end[0]) - 0.5 * h, float(-end[2])


def test_an_overhanging_strip_is_a_heavy_elastica_and_peirces_bending_length() -> None:
    rigidity = 0.5**3 * G  # a bending length c = (D / (rho g))^(1/3) of 0.5 m
    reach, drop = overhanging(rigidity, 16)
    exact = elastica(rigidity, G, 1.0)
    assert reach == pytest.approx(exact[0], rel=0.02)
    assert drop == pytest.approx(exact[1], rel=0.02)
    angle = math.atan2(drop, reach)
    assert angle == pytest.approx(math.radians(41.5), rel=0.05)
    peirce = (math.cos(angle / 2) / (8 * math.tan(angle))) ** (1 / 3)
    assert peirce == pytest.approx(0.5, rel=0.05)


def test_a_stiff_strip_droops_by_rho_g_l_to_the_fourth_over_8_d() -> None:
    rigidity = 40.0
    _, drop = overhanging(rigidity, 12)
    assert drop == pytest.approx(G / (8 * rigidity), rel=0.02)


# -------------------------------------------------------------------------------------------------
# Contact


def test_a_cloth_drapes_over_a_ball_and_does_not_enter_it() -> None:
    mesh = grid(0.8, 0.8, 20, 20)
    rest = at_rest(mesh, 1, DOUBLE)
    start = ClothState(rest.position + torch.tensor([-0.4, -0.4, 0.21]), rest.velocity)
    params = fabric(
        mesh, rest.position, density=0.2, stretch=60.0, bend=1e-5, damping=1e-3, thickness=0.01
    )
    ball = tools([(0.0, 0.0, 0.0), (0.0, 0.0, -0.3)], [(0.2, 0.0, 0.0), (0.0, 0.0, 0.0)], 0.5)
    cloth = Cloth(mesh, (Shape.SPHERE, Shape.PLANE), dt=5e-4, layers=False)
    state, deepest = start, 1.0
    for _ in range(20):
        state, ball, force = cloth(state, params, ball, 100)
        corner = state.position[0][mesh.faces]
        middle = torch.cat([state.position[0], corner.mean(1), corner[:, :2].mean(1)])
        deepest = min(deepest, float(middle.norm(dim=-1).min()) - 0.2)
        assert state.position[..., 2].min() > -0.3 + 0.005 - 1e-9
    assert deepest > -0.01  # no further than its thickness, between vertices as well
    assert state.position[0, :, 2].max() > 0.2 and state.position[0, 0, 2] < -0.1
    assert abs(float(force[0, 0, 0])) < 0.05 * float(-force[0, 0, 2])


@pytest.mark.parametrize("shape", EVERY)
def test_what_lies_on_a_tool_weighs_on_it(shape) -> None:
    """Force and torque about the tool's place, for every shape that has a top."""
    mesh = grid(0.02, 0.02, 2, 2)
    place = (0.3, 0.2, 0.5)
    some = tools([place], [(0.4, 0.3, 0.1)], friction=0.9)
    tall = {
        Shape.PLANE: 0.0,
        Shape.SPHERE: 0.4,
        Shape.CAPSULE: 0.7,
        Shape.BOX: 0.1,
        Shape.CYLINDER: 0.3,
    }
    rest = at_rest(mesh, 1, DOUBLE)
    off = torch.tensor([0.3, 0.2, 0.5 + tall[shape] + 0.0005], dtype=DOUBLE)
    start = ClothState(rest.position + off, rest.velocity)
    params = fabric(mesh, rest.position, density=0.5, stretch=10.0, thickness=1e-3, damping=1e-3)
    cloth = Cloth(mesh, (shape,), dt=2e-4)
    state, some, _ = cloth(start, params, some, 2000)
    state, some, force = cloth(state, params, some, 50)
    weight = 0.5 * 0.02**2 * G
    assert float(force[0, 0, 2]) == pytest.approx(-weight, rel=0.02)
    arm = state.position.mean(1)[0] - torch.tensor(place, dtype=DOUBLE)
    assert force[0, 0, 3:5].tolist() == pytest.approx(
        [-weight * float(arm[1]), weight * float(arm[0])], abs=0.03 * weight * 0.02
    )
    gap = distance(shape, state.position - some.place, some.extent)[1]
    assert gap.min() > 0.0005 - 1e-6


def test_a_moving_tool_drags_what_sticks_to_it() -> None:
    mesh = grid(0.1, 0.1, 3, 3)
    rest = at_rest(mesh, 1, DOUBLE)
    start = ClothState(rest.position + torch.tensor([0.0, 0.0, 0.0005]), rest.velocity)
    params = fabric(mesh, rest.position, density=0.2, stretch=10.0, thickness=1e-3)
    belt = tools([(0.0, 0.0, 0.0)], friction=0.5)
    belt = belt._replace(linear=torch.tensor([[[0.3, 0.0, 0.1]]], dtype=DOUBLE))
    cloth = Cloth(mesh, (Shape.PLANE,), dt=5e-4)
    state, belt, _ = cloth(start, params, belt, 400)
    slip = 0.3 - 0.5 * 0.1  # after the blow of the rise, which friction is bound by as well
    slide = 0.3 * 0.2 - slip**2 / (2 * 0.5 * G)  # v t - slip^2 / (2 mu g)
    moved = state.position - start.position
    assert torch.allclose(moved[..., 0], torch.tensor(slide).double(), atol=2e-4)
    assert torch.allclose(moved[..., 2], torch.tensor(0.1 * 0.2).double(), atol=1e-9)
    assert belt.place[0, 0].tolist() == pytest.approx([0.06, 0.0, 0.02])


def folded(layers: bool) -> Tensor:
    """The upper half of a strip, folded over the lower one, after it fell: heights `[2, n]`."""
    mesh = grid(0.5, 0.15, 21, 7)
    rest = at_rest(mesh, 1, DOUBLE)
    x, bend = rest.position[..., 0], 0.02
    angle = ((x - 0.25) / bend).clamp(0, math.pi)
    over = (x - 0.25 - math.pi * bend).clamp_min(0)
    position = rest.position.clone()
    position[..., 0] = torch.where(x < 0.25, x, 0.25 + bend * angle.sin() - over)
    position[..., 2] = torch.where(x < 0.25, 0.0, bend * (1 - angle.cos())) + 0.004
    params = fabric(
        mesh, position, density=0.2, stretch=60.0, bend=1e-6, damping=5e-4, thickness=0.008
    )
    floor = tools([(0.0, 0.0, 0.0)], friction=0.5)
    cloth = Cloth(mesh, (Shape.PLANE,), dt=2.5e-4, layers=layers)
    state, _, _ = cloth(ClothState(position, rest.velocity), params, floor, 1600)
    height = state.position[0, :, 2].view(21, 7)
    lower, upper = height[7:10, 1:-1], height[17:20, 1:-1]
    return torch.stack([lower.flatten(), upper.flatten()])


def test_a_cloth_that_is_folded_onto_itself_does_not_pass_through() -> None:
    lower, upper = folded(layers=True)
    assert (lower < 0.005).all() and (lower > 0.004 - 1e-9).all()
    assert (upper > 0.004 + 0.7 * 0.008).all() and (upper < 0.02).all()
    _, through = folded(layers=False)
    assert through.min() < 0.005  # without layers it lies on the floor


def test_a_sheet_that_falls_on_another_and_a_rope_on_both_stay_apart() -> None:
    one, two = grid(0.3, 0.3, 7, 7), grid(0.2, 0.2, 5, 5)
    line = rope([[0.05 + 0.02 * i, 0.148, 0.0] for i in range(9)])
    mesh = join([one, two, line])
    rest = at_rest(mesh, 1, DOUBLE)
    lift = mesh.of_vertices(torch.tensor([0.003, 0.02, 0.035], dtype=DOUBLE))
    off = mesh.of_vertices(torch.tensor([0.0, 0.053, 0.0], dtype=DOUBLE))
    start = ClothState(rest.position + torch.stack([off, off, lift], -1), rest.velocity)
    density = mesh.of_vertices(torch.tensor([0.2, 0.2, 0.02], dtype=DOUBLE))
    stretch = mesh.of_elements(torch.tensor([50.0, 50.0, 10.0], dtype=DOUBLE))
    params = fabric(mesh, rest.position, density=density, stretch=stretch, thickness=0.006)
    floor = tools([(0.0, 0.0, 0.0)], friction=0.5)
    cloth = Cloth(mesh, (Shape.PLANE,), dt=2.5e-4, layers=True)
    state, _, force = cloth(start, params, floor, 1600)
    state, _, force = cloth(state, params, floor, 200)
    means = [float(state.position[0, mesh.body == k, 2].mean()) for k in range(3)]
    assert means == pytest.approx([0.003, 0.009, 0.015], abs=0.0008)
    whole = 0.2 * 0.09 + 0.2 * 0.04 + 0.02 * 0.16
    assert float(force[0, 0, 2]) == pytest.approx(-whole * G, rel=0.03)


# -------------------------------------------------------------------------------------------------
# Holding


def test_pinned_corners_stay() -> None:
    mesh = grid(1, 1, 6, 6)
    rest = at_rest(mesh, 2)
    corners = torch.zeros(36, dtype=torch.bool)
    corners[[0, 5]] = True
    params = fabric(mesh, rest.position, density=0.2, stretch=50.0)
    state, _, _ = Cloth(mesh, dt=1e-3, pinned=corners)(rest, params, substeps=200)
    assert torch.equal(state.position[:, corners], rest.position[:, corners])
    assert not state.velocity[:, corners].any()
    assert state.position[:, -1, 2].max() < -0.1


def lifted(seconds: float, weight: float = 1.0) -> tuple[ClothState, ClothState, Tools, Tensor]:
    """A small cloth, held at a corner by a tool that rises and turns."""
    mesh = grid(0.2, 0.2, 4, 4)
    rest = at_rest(mesh, 1, DOUBLE)
    hand = tools([(0.02, 0.01, 0.05)])
    hand = hand._replace(
        linear=torch.tensor([[[0.1, 0.0, 0.4]]], dtype=DOUBLE),
        angular=torch.tensor([[[0.0, 0.5, 2.0]]], dtype=DOUBLE),
    )
    held = Hold(torch.full((1, 16), -1), torch.zeros(1, 16, dtype=DOUBLE))
    held.tool[0, 0], held.weight[0, 0] = 0, weight
    params = fabric(mesh, rest.position, density=0.2, stretch=20.0, damping=1e-3, drag=2.0)
    cloth = Cloth(mesh, (Shape.SPHERE,), dt=5e-4)  # of radius 0: it meets nothing
    after, moved, force = cloth(rest, params, hand, int(seconds / 5e-4), held)
    return rest, after, moved, force


def test_a_grasped_corner_follows_its_tool() -> None:
    rest, after, moved, _ = lifted(0.5)
    arm = rotate_back(moved.turn[0, 0], after.position[0, 0] - moved.place[0, 0])
    start = rest.position[0, 0] - torch.tensor([0.02, 0.01, 0.05], dtype=DOUBLE)
    assert torch.allclose(arm, start, atol=1e-12)
    assert after.position[0, 1:, 2].max() > 0.05  # the rest comes after
    lags = []
    for weight in (0.5, 0.9):
        _, behind, _, _ = lifted(0.5, weight)
        lags.append(float((behind.position[0, 0] - after.position[0, 0]).norm()))
    assert 0.1 > lags[0] > 2 * lags[1] > 0


def test_who_holds_feels_the_weight_and_lets_go_when_told() -> None:
    mesh = grid(0.2, 0.2, 4, 4)
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=0.2, stretch=20.0, damping=5e-3, drag=10.0)
    hand = tools([(0.0, 0.0, 0.0)])
    tool, weight = torch.full((1, 16), -1), torch.zeros(1, 16, dtype=DOUBLE)
    tool[0, 0] = 0
    weight[0, 0] = 1
    cloth = Cloth(mesh, (Shape.SPHERE,), dt=5e-4)
    state, _, _ = cloth(rest, params, hand, 5000, Hold(tool, weight))
    state, _, force = cloth(state, params, hand, 200, Hold(tool, weight))
    assert float(force[0, 0, 2]) == pytest.approx(-0.2 * 0.04 * G, rel=0.02)
    gone, _, force = cloth(state, params, hand, 200, Hold(torch.full_like(tool, -1), 0 * weight))
    assert gone.position[0, 0, 2] < -0.02 and not force.any()


# -------------------------------------------------------------------------------------------------
# Gradients


def swung(x: dict[str, Tensor], backend: str, keep: bool = True, n: int = 100) -> Tensor:
    """A number that hangs on everything, after a cloth with a pinned edge fell against a ball."""
    mesh = grid(0.3, 0.3, 5, 5)
    rest = at_rest(mesh, 1, DOUBLE)
    start = ClothState(rest.position, rest.velocity + x["velocity"])
    params = fabric(
        mesh,
        rest.position,
        density=x["density"],
        stretch=x["stretch"],
        poisson=x["poisson"],
        damping=x["damping"],
        bend=x["bend"],
        bend_damping=0.01,
        thickness=0.01,
        drag=x["drag"],
    )
    ball = tools([(0.2, 0.15, -0.105)], [(0.1, 0.0, 0.0)])
    ball = ball._replace(
        place=ball.place + x["place"],
        friction=ball.friction + x["friction"],
        linear=ball.linear + x["linear"],
    )
    cloth = Cloth(
        mesh, (Shape.SPHERE,), dt=1e-3, pinned=mesh.rest[:, 0] < 1e-9, backend=backend, keep=keep
    )
    state, _, force = cloth(start, params, ball, n)
    made = seeded(5)
    one = torch.randn(state.position.shape, generator=made, dtype=DOUBLE)
    return (one * state.position).sum() + 0.1 * (one * state.velocity).sum() + force.sum()


BASE = {
    "velocity": (0.0, 0.0, -0.5),
    "density": 0.2,
    "stretch": 30.0,
    "poisson": 0.2,
    "damping": 2e-3,
    "bend": 1e-3,
    "drag": 0.5,
    "place": (0.0, 0.0, 0.0),
    "friction": 0.2,
    "linear": (0.0, 0.0, 0.1),
}


def leaves() -> dict[str, Tensor]:
    return {k: torch.tensor(v, dtype=DOUBLE, requires_grad=True) for k, v in BASE.items()}


def test_the_gradient_over_100_steps_is_that_of_finite_differences() -> None:
    """With contact, to material, motion and tool."""
    x = leaves()
    slopes = dict(zip(x, torch.autograd.grad(swung(x, "warp"), list(x.values())), strict=True))
    for name, value in leaves().items():
        along = torch.ones_like(value)
        h = 1e-6 * max(1e-2, float(value.detach().abs().max()))
        moved = [{**x, name: value + s * h * along} for s in (1, -1)]
        ends = [float(swung(at, "warp").detach()) for at in moved]
        difference = (ends[0] - ends[1]) / (2 * h)
        assert difference != 0
        assert float(slopes[name].sum()) == pytest.approx(difference, rel=2e-4), name


def test_states_that_are_computed_again_give_the_same_gradient_as_those_that_are_kept() -> None:
    x = leaves()
    one, two = (
        torch.autograd.grad(swung(x, "warp", keep), list(x.values())) for keep in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_gradcheck_of_a_step(backend) -> None:
    """Every entry of state, tool and world's parameters of a small cloth that touches a ball."""
    mesh = grid(0.1, 0.1, 2, 2)
    start = shaken(mesh, 0.05)
    params = fabric(mesh, start.position, density=0.2, stretch=10.0, thickness=0.01)
    ball = tools([(0.05, 0.04, -0.1)], [(0.1, 0.0, 0.0)], 0.3)
    ball = ball._replace(linear=ball.linear + 0.2, angular=ball.angular + 0.5)
    fixed = [start.position, start.velocity, params.mass, params.stretch, params.thickness]
    parts = [*fixed, ball.place, ball.turn, ball.linear, ball.angular, ball.friction]

    def step(x, v, mass, stretch, thickness, place, turn, linear, angular, friction):
        cloth = Cloth(mesh, (Shape.SPHERE,), dt=1e-2, backend=backend, checked=False)
        after, tool, force = cloth(
            ClothState(x, v),
            params._replace(mass=mass, stretch=stretch, thickness=thickness),
            Tools(place, turn, linear, angular, ball.extent, friction),
        )
        return after.position, after.velocity, tool.turn, force

    leaves = [x.detach().clone().requires_grad_() for x in parts]
    assert torch.autograd.gradcheck(step, leaves, eps=1e-7, atol=1e-6, rtol=1e-5)


# -------------------------------------------------------------------------------------------------
# What is refused


def test_a_dt_that_is_too_large_is_refused_with_the_number() -> None:
    mesh = grid(1, 1, 5, 5)
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=0.2, stretch=100.0)
    most = Cloth(mesh, dt=1.0).stable_dt(params)
    Cloth(mesh, dt=most)(rest, params)
    with pytest.raises(ValueError, match=f"at most {most:.3g} s"):
        Cloth(mesh, dt=1.01 * most)(rest, params)


def test_bad_input_is_refused() -> None:
    mesh = grid(1, 1, 3, 3)
    rest = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, rest.position, density=0.2, stretch=10.0)
    cloth = Cloth(mesh, dt=1e-3)
    nan = float("nan")
    with pytest.raises(ValueError, match="positive mass"):
        cloth(rest, params._replace(mass=params.mass * torch.tensor([0.0, *[1.0] * 8])))
    with pytest.raises(FloatingPointError, match="of the call is not finite"):
        cloth(rest._replace(velocity=rest.velocity + nan), params)
    with pytest.raises(FloatingPointError, match="after the call is not finite"):
        cloth(rest, params._replace(gravity=params.gravity + nan))
    with pytest.raises(ValueError, match="not finite"):
        cloth(rest, params._replace(stretch=params.stretch + nan))
    with pytest.raises(ValueError, match="lies in"):
        cloth(rest, params._replace(poisson=params.poisson + 1))
    with pytest.raises(ValueError, match=r"ClothParams.poisson is \[1, 8\] here; got \[1, 1\]"):
        cloth(rest, params._replace(poisson=params.poisson[:, :1]))
    with pytest.raises(ValueError, match="at least one substep"):
        cloth(rest, params, substeps=0)
    with pytest.raises(ValueError, match="names tool 0; there are 0"):
        cloth(
            rest, params, hold=Hold(torch.zeros(1, 9, dtype=torch.int64), torch.ones(1, 9).double())
        )
    with pytest.raises(ValueError, match="thickness"):
        Cloth(mesh, dt=1e-3, layers=True)(rest, params._replace(thickness=0 * params.thickness))
    with pytest.raises(ValueError, match="must be positive"):
        Cloth(mesh, dt=0.0)
    with pytest.raises(ValueError, match="bool"):
        Cloth(mesh, dt=1e-3, pinned=torch.zeros(4, dtype=torch.bool))


def test_layers_that_move_too_far_in_a_substep_are_refused() -> None:
    mesh = join([grid(0.1, 0.1, 3, 3), grid(0.1, 0.1, 3, 3)])
    rest = at_rest(mesh, 1, DOUBLE)
    fast = mesh.of_vertices(torch.tensor([0.0, 8.0], dtype=DOUBLE))[None, :, None] * torch.ones(3)
    params = fabric(mesh, rest.position, density=0.2, stretch=1.0, thickness=1e-3)
    with pytest.raises(FloatingPointError, match="half the thickness"):
        Cloth(mesh, dt=1e-3, layers=True)(rest._replace(velocity=fast.double()), params)


def test_worlds_do_not_know_each_other() -> None:
    mesh, state, params, some, hold = crowded()
    cloth = Cloth(mesh, EVERY, dt=2e-4, layers=True)
    both = cloth(state, params, some, 20, hold)
    for world in range(2):
        part = slice(world, world + 1)
        one = cloth(
            ClothState(*(x[part] for x in state)),
            ClothParams(*(x[part] for x in params)),
            Tools(*(x[part] for x in some)),
            20,
            Hold(*(x[part] for x in hold)),
        )
        assert torch.allclose(one[0].position, both[0].position[part], atol=1e-12)
        assert torch.allclose(one[2], both[2][part], atol=1e-9)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_cloth_that_lies_exactly_on_the_floor_stays_there_whatever_its_height(backend) -> None:
    """Of the slopes on both sides of the surface, 0 where it is free and 1 - lift where it is in,
    neither is 1, which would be the slope of no floor at all."""
    mesh = grid(0.1, 0.1, 2, 2)
    start = at_rest(mesh, 1, DOUBLE)
    params = fabric(mesh, start.position, density=0.2, stretch=10.0, thickness=0.01)
    x = start.position.clone()
    x[..., 2] = 0.005
    x.requires_grad_()
    cloth = Cloth(mesh, (Shape.PLANE,), dt=1e-3, backend=backend, checked=False)
    after, _, _ = cloth(ClothState(x, start.velocity), params, tools([(0.0, 0.0, 0.0)]), 1)
    (slope,) = torch.autograd.grad(after.position[..., 2].sum(), x)
    assert (slope[..., 2] < 0.99).all()
