"""The gradient that is solved for, against that of the reference and with scratch kept or not."""

import dataclasses

import pytest
import torch

from reverie.physics.rigid import Law, program, rigid_step
from tests.physics.rigid.scenes import F64
from tests.physics.rigid.test_program import rolled, start

pytest.importorskip("warp")


@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize("name", ["quadruped", "capsule", "box-fixed-sphere"])
def test_it_is_the_gradient_of_the_reference(name, passes):
    """To state, control, forces and every parameter, through landings and several passes."""
    found, *rest = start(name)
    law = Law(passes=passes, transition=0.01, slip=0.02)
    found = found._replace(model=dataclasses.replace(found.model, law=law))
    one, two = (rolled(found, *rest, backend, substeps=3) for backend in ("torch", "warp"))
    assert sum(bool(x.any()) for x in one[1]) > 10
    for a, b in zip(one[1], two[1], strict=True):
        if a.numel():
            assert torch.allclose(a, b, rtol=1e-7, atol=1e-8 * float(1 + a.abs().max()))


@pytest.mark.parametrize("name", ["quadruped", "box-box"])
def test_it_is_bitwise_the_same_whether_scratch_is_kept_or_computed_again(name):
    found, *rest = start(name)
    kept = program.program(found.model, 0.002, F64, "cpu")
    ends = []
    for memory in (program.MEMORY, 0):
        object.__setattr__(kept, "memory", memory)
        ends.append(rolled(found, *rest, "warp"))
    object.__setattr__(kept, "memory", program.MEMORY)
    assert all(torch.equal(a, b) for a, b in zip(ends[0][1], ends[1][1], strict=True))


def test_room_is_taken_as_long_as_a_graph_lives_and_no_more_than_there_is():
    found, state, u, _ = start("quadruped")
    made = program.program(found.model, 0.002, F64, "cpu")
    made.spaces.clear()

    def taken(substeps):
        q = state.position.clone().requires_grad_()
        moved = rigid_step(
            found.model, state._replace(position=q), found.params, u, 0.002 * substeps, substeps
        )
        (space,) = made.spaces.values()
        return moved, space.kept

    graph, one = taken(1)
    more, both = taken(2)
    assert one > 0 and both == 3 * one
    del graph, more
    assert next(iter(made.spaces.values())).kept == 0
    object.__setattr__(made, "memory", 2 * one)
    try:
        assert taken(2)[1] == 2 * one and taken(3)[1] == 0
    finally:
        object.__setattr__(made, "memory", program.MEMORY)
