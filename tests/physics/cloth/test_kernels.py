"""The Warp kernels against the torch reference."""

import pytest
import torch

from reverie.physics.cloth import Cloth, ClothParams, ClothState, Hold
from reverie.physics.tools import Tools
from tests.physics.cloth.worlds import DOUBLE, EVERY, crowded, seeded

PARTS = (*ClothState._fields, *ClothParams._fields, *(f"tool {n}" for n in Tools._fields), "weight")


def ran(backend: str, dtype: torch.dtype, substeps: int = 8):
    """Values and gradients of a call in which everything happens."""
    mesh, state, params, some, hold = crowded(dtype)
    cloth = Cloth(mesh, EVERY, dt=2e-4, layers=True, backend=backend)
    parts = [x.clone().requires_grad_() for x in (*state, *params, *some, hold.weight)]
    after, tool, force = cloth(
        ClothState(*parts[:2]),
        ClothParams(*parts[2:13]),
        Tools(*parts[13:19]),
        substeps,
        Hold(hold.tool, parts[19]),
    )
    made, found = seeded(2), (*after, tool.place, tool.turn, force)
    loss = sum((torch.randn(y.shape, generator=made, dtype=DOUBLE) * y).sum() for y in found)
    slopes = torch.autograd.grad(loss, parts)
    return [y.detach().double() for y in found], dict(zip(PARTS, slopes, strict=True))


@pytest.fixture(scope="module")
def exact():
    return ran("torch", DOUBLE)


def off(one, two) -> float:
    return float((one - two).abs().max() / two.abs().max())


def test_kernels_find_what_the_reference_finds(exact) -> None:
    values, _ = ran("warp", DOUBLE)
    for found, wanted in zip(values, exact[0], strict=True):
        assert wanted.abs().max() > 0
        assert off(found, wanted) < 1e-12


def test_their_adjoints_find_its_gradients(exact) -> None:
    _, slopes = ran("warp", DOUBLE)
    for name, wanted in exact[1].items():
        assert wanted.abs().max() > 0, f"{name} has no gradient here: the test shows nothing"
        assert off(slopes[name], wanted) < 1e-10, name


def test_single_precision_is_near(exact) -> None:
    values, slopes = ran("warp", torch.float32)
    for found, wanted in zip(values, exact[0], strict=True):
        assert off(found, wanted) < 1e-3
    for name, wanted in exact[1].items():
        assert off(slopes[name].double(), wanted) < 3e-2, name
