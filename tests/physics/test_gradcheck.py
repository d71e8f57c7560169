"""One step of every solver in float64: its gradient to state, control and parameters, to 1e-6.

Central differences of two sizes are combined so that their error falls with h^4 (Richardson):

    D(h) = (f(x + h v) - f(x - h v)) / 2h,   J v = (4 D(h / 2) - D(h)) / 3 + O(h^4)

Each input moves in units of its own largest entry, and each pair of an input and an output is
judged on its own, so that masses of 1e-3 kg and moduli of 1e4 Pa have one tolerance. Rounding makes
eps f / h = 2e-11 f at h = 1e-5; slopes below 1e-4 f are held to 1e-6 of that instead of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.eval.gradient import finite_difference_check
from reverie.physics.cloth import Cloth, ClothParams, ClothState, Hold
from reverie.physics.mpm import MPM, Kind, MPMParams, MPMState
from reverie.physics.mpm.material import at_rest
from reverie.physics.rigid import RigidState, rigid_step
from reverie.physics.tools import Tools
from reverie.physics.world import World
from tests.models.physics.worlds import landing, model, napkin, soft
from tests.physics.cloth.worlds import EVERY as CLOTH_TOOLS
from tests.physics.cloth.worlds import crowded
from tests.physics.mpm.worlds import EVERY, mixed
from tests.physics.rigid.scenes import loaded, world

TOLERANCE, SIDES = 1e-6, (1.0, -1.0, 0.5, -0.5)
BACKENDS = pytest.mark.parametrize("backend", ["torch", "warp"])


def worst(
    step: Callable[..., Sequence[Tensor]], given: Sequence[Tensor], h: float = 1e-5, many: int = 3
) -> float:
    """The largest difference of u J v by autograd and by differences, of all outputs and inputs.

    `step` maps tensors `[R, ...]` to such, row by row; `given` has one row. All moved inputs are
    rows of one call. The unit is what u J v is typically: the root of the sum of squared terms.
    """
    draws = torch.Generator().manual_seed(0)

    def randn(x: Tensor, rows: int) -> Tensor:
        return torch.randn(rows, *x.shape[1:], generator=draws, dtype=x.dtype)

    given = [x.detach() for x in given]
    moves = [_size(x) * randn(x, many) for x in given]
    block = len(SIDES) * many
    rows = [x.repeat(len(given) * block, *[1] * (x.ndim - 1)) for x in given]
    for k, v in enumerate(moves):
        rows[k][k * block : (k + 1) * block] += torch.cat([s * h * v for s in SIDES])
    with torch.no_grad():
        sides = [y.unflatten(0, (len(given), len(SIDES), many)) for y in step(*rows)]
    leaves = [x.clone().requires_grad_() for x in given]
    found = 0.0
    for y, side in zip(step(*leaves), sides, strict=True):
        slope = (4 * (side[:, 2] - side[:, 3]) / h - (side[:, 0] - side[:, 1]) / (2 * h)) / 3
        u = randn(y, 1)
        grads = torch.autograd.grad((y * u).sum(), leaves, retain_graph=True, allow_unused=True)
        for k, g in enumerate(grads):
            terms = (slope[k] * u).reshape(many, -1)
            got = 0.0 if g is None else (g * moves[k]).reshape(many, -1).sum(1)
            unit = terms.norm(dim=1) + 1e-4 * float((y.detach() * u).norm()) + 1e-9
            found = max(found, float(((got - terms.sum(1)).abs() / unit).max()))
    return found


def _size(x: Tensor) -> Tensor:
    """What a small move of each entry is small against: itself and what is usual there; 0.01 where
    an input is zero; nothing where 1e10 says that there is no limit."""
    some = x[(x != 0) & (x.abs() < 1e9)].abs()
    usual = 0.1 * some.median() if some.numel() else torch.full_like(x, 0.01)
    return torch.where(x.abs() < 1e9, x.abs() + usual, 0.0)


# -------------------------------------------------------------------------------------------------
# Particles


def particles(kind: Kind, backend: Any) -> tuple[Callable[..., Any], list[Tensor]]:
    """A cloud of one kind that flies among tools of all shapes, a few steps on its way."""
    _, state, params, tools = mixed(batch=1, count=24)
    kinds = torch.full((24,), int(kind))
    state = at_rest(state.position, kinds)._replace(velocity=state.velocity, affine=state.affine)
    limit = 100.0 if kind == Kind.VON_MISES else params.limit[0, 3].item()
    params = params._replace(limit=torch.full_like(params.limit, limit))
    solver = MPM(kinds, EVERY, dx=0.05, dt=1e-3, backend=backend)
    state, tools, _ = solver(state, params, tools, 3)

    def step(*x: Tensor) -> tuple[Tensor, ...]:
        after, moved, force = solver(MPMState(*x[:5]), MPMParams(*x[5:12]), Tools(*x[12:]), 1)
        return (*after, moved.place, moved.turn, force)

    return step, [*state, *params, *tools]


@BACKENDS
@pytest.mark.parametrize("kind", list(Kind))
def test_particles(kind: Kind, backend: str) -> None:
    h = 1e-4 if kind == Kind.SNOW else 1e-5  # rounding of its eigenvalues is a hundred times larger
    assert worst(*particles(kind, backend), h=h) < TOLERANCE


# -------------------------------------------------------------------------------------------------
# Cloth


@BACKENDS
def test_cloth_that_bends_in_layers_is_held_and_meets_tools(backend: Any) -> None:
    mesh, state, params, tools, hold = (
        x if k == 0 else tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, x)
        for k, x in enumerate(crowded())
    )
    cloth = Cloth(mesh, CLOTH_TOOLS, dt=2e-3, layers=True, backend=backend, checked=False)
    count = len(state) + len(params)

    def step(*x: Tensor) -> tuple[Tensor, ...]:
        held = Hold(hold.tool.expand(len(x[0]), -1), x[-1])
        after, moved, force = cloth(
            ClothState(*x[:2]), ClothParams(*x[2:count]), Tools(*x[count:-1]), 1, held
        )
        return (*after, moved.place, moved.turn, force)

    assert worst(step, [*state, *params, *tools, hold.weight], h=1e-4) < TOLERANCE


# -------------------------------------------------------------------------------------------------
# Rigid bodies

SCENE = world("""<body pos="0 0 0.315"><freejoint/>
    <geom type="capsule" size="0.05" fromto="-0.2 0 0 0.2 0 0" mass="1" friction="0.6"/>
    <body pos="0.2 0 0"><joint type="ball" damping="0.1" armature="0.01"/>
    <geom type="capsule" size="0.04" fromto="0 0 0 0 0.02 -0.14" mass="0.4" contype="0"/>
    <body pos="0 0.02 -0.14"><joint name="j" axis="0 1 0" range="-20 20" stiffness="3"
    frictionloss="0.1"/><geom type="sphere" size="0.06" pos="0 0 -0.12" mass="0.3"/>
    </body></body></body>
    <body pos="0.1 0.02 0.43"><freejoint/><geom type="sphere" size="0.07" mass="0.5"/></body>""")
SCENE = SCENE.replace(
    "</worldbody>",
    '</worldbody><actuator><position joint="j" kp="8" kv="0.3"/></actuator>',
)


def bodies(height: float, backend: Any) -> tuple[Callable[..., Any], list[Tensor]]:
    """A step of arm and ball, higher by `height`, that fall a little askew."""
    found = loaded(SCENE)
    g, start = torch.Generator().manual_seed(3), found.poses["default"]
    state = RigidState(
        start.position + 0.003 * torch.randn(start.position.shape, generator=g).double(),
        start.velocity + 0.3 * torch.randn(start.velocity.shape, generator=g).double(),
    )
    state.position[:, [2, -5]] += height
    control = torch.full((1, len(found.model.actuators)), 0.3).double()
    external = torch.randn(1, len(found.model.bodies), 6, generator=g).double()

    def step(*x: Tensor) -> tuple[Tensor, ...]:
        rest = iter(x[4:])
        params = tree.map(lambda _: next(rest), found.params)
        state = RigidState(*x[:2])
        return tuple(rigid_step(found.model, state, params, x[2], 0.004, 1, x[3], backend=backend))

    return step, [*state, control, external, *tree.leaves(found.params)]


@BACKENDS
@pytest.mark.parametrize("height", [0.5, 0.0])
def test_bodies_in_the_air_and_on_the_floor(height: float, backend: Any) -> None:
    """An arm of a ball joint and a hinge, under a servo and forces, and a ball on it."""
    step, given = bodies(height, backend)
    assert worst(step, given, h=1e-4) < TOLERANCE
    landed = step(*given)[1][:, 2] > given[1][:, 2] - 9.81 * 0.004
    assert bool(landed) == (height == 0)


# -------------------------------------------------------------------------------------------------
# All together


def whole(
    made: World, knobs: tuple[str, ...], count: int
) -> tuple[Callable[..., Any], list[Tensor]]:
    """A step of a model, as a function of state, factors, goal and action, `count` steps on."""
    made_model = model(made, context=knobs).double()
    state = made_model.initial(1)
    push = torch.tensor([[[0.3, -0.2, -0.4]]]).double()
    with torch.no_grad():
        for _ in range(count):
            state = made_model.step(state, push, ()).state
    leaves = tree.named(state)

    def step(*x: Tensor) -> tuple[Tensor, ...]:
        begun = tree.from_named(dict(zip(leaves, x[:-1], strict=True)), state)
        after = made_model.step(begun, x[-1], ())
        return (*tree.leaves(after.state.world), after.reward)

    return step, [*leaves.values(), push]


def short() -> World:
    """Steps of a single substep: over twenty of them some node of the grid comes to rest, or begins
    to slide, within 1e-5 of almost any point."""
    return replace(soft(), dt=1e-3, ticks=1)


@pytest.mark.parametrize(
    ("made", "knobs", "count"),
    [
        (landing, ("matter_stiffness", "matter_mass", "robot_mass"), 12),
        (short, ("matter_stiffness", "gravity", "tool_friction"), 100),
        (napkin, ("cloth_stretch", "cloth_bend", "cloth_mass"), 3),
    ],
)
def test_a_world_of_several_materials(made: Any, knobs: tuple[str, ...], count: int) -> None:
    """To state, action and factors: a ball on a soft cube, a cube on the floor, a held cloth."""
    assert worst(*whole(made(), knobs, count)) < TOLERANCE


def test_a_corner_is_seen() -> None:
    """A cloth at rest on the floor lies exactly where the contact begins: a vertex a little higher
    falls back, a little lower it is lifted slowly, and no slope is that of both sides."""
    step, given = whole(napkin(), ("cloth_stretch",), 12)
    assert worst(step, given) > 1e3 * TOLERANCE
    made = model(napkin()).double()
    push = torch.tensor([[[0.3, -0.2, -0.4]]]).double().expand(12, -1, -1, -1)
    with torch.no_grad():
        lying = rollout.imagine(made, made.initial(1), push, (), keep="last").states
    draws = torch.Generator().manual_seed(0)
    for state, on in ((tree.select(lying, 0), True), (made.initial(1), False)):
        check = finite_difference_check(made, state, push[:1], wrt=("state",), generator=draws)
        assert (check.rows[0].corner > 1e-3) == on
        assert (check.breaks_at == 1) == on and ("corner" in check.verdict) == on
