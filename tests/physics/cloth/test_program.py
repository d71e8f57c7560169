"""Programs of meshes that lack a kind of element, a tool or a layer."""

import pytest
import torch

from reverie.physics import kernels
from reverie.physics.cloth import Cloth, ClothState, at_rest, fabric, grid, join, rope
from reverie.physics.cloth.program import Sizes, program
from reverie.physics.tools import Shape
from tests.physics.cloth.worlds import DOUBLE, seeded, tools

SHEET, ROPE = grid(0.5, 0.5, 4, 4), rope([[0, 0.1, 0.1 * i] for i in range(5)])
MESHES = {"sheet": SHEET, "rope": ROPE, "both": join([SHEET, ROPE])}


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("shapes", [(), (Shape.SPHERE,)], ids=["alone", "tool"])
@pytest.mark.parametrize("layers", [False, True], ids=["through", "layers"])
def test_every_combination_runs_as_the_reference_does(name, shapes, layers) -> None:
    mesh = MESHES[name]
    rest = at_rest(mesh, 2, DOUBLE)
    params = fabric(mesh, rest.position, density=0.2, stretch=50.0, bend=1e-4, thickness=0.01)
    start = ClothState(rest.position, torch.randn(rest.position.shape, generator=seeded()).double())
    ball = tools([(0.1, 0.1, -0.05)], [(0.1, 0.0, 0.0)], batch=2) if shapes else None
    found = []
    for backend in ("torch", "warp"):
        cloth = Cloth(mesh, shapes, dt=2e-4, layers=layers, backend=backend)
        found.append(cloth(start, params, ball, 5))
    (one, tools_one, force_one), (two, tools_two, force_two) = found
    assert torch.allclose(one.position, two.position, atol=1e-13)
    assert torch.allclose(one.velocity, two.velocity, atol=1e-10)
    assert force_one.shape == force_two.shape == (2, len(shapes), 6)
    assert torch.allclose(force_one, force_two, atol=1e-9)
    assert tools_one.place.shape == tools_two.place.shape == (2, len(shapes), 3)


@pytest.mark.parametrize(
    ("shapes", "pairs", "held"), [((), 0, 0), ((Shape.PLANE, Shape.BOX), 7, 2)]
)
def test_only_what_is_needed_is_launched(shapes, pairs, held) -> None:
    t = kernels.load("reverie.physics.cloth.kernels", DOUBLE)
    made = program(t, Sizes(3, ROPE, pairs, held, shapes, 1e-3), {})
    launches = made.launches({})
    names = [launch.kernel.key.rpartition(".")[2] for launch in launches]
    layers = ["repel", "apply"] if pairs else []
    carry = ["carry"] if held else []
    met = ["meet"] * len(shapes)
    assert names == ["cords", "ahead", "bends", "kick", *layers, *met, *carry, "settle", "move"]
    assert "panel" not in made.given and "cord" in made.given
    _, scratch = made.prepare({}, None)
    wanted = {x for launch in launches for x in launch.arguments if x in made.scratch}
    assert set(scratch) == wanted == set(made.scratch)
