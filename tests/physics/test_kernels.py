"""Calls of kernels: what is refused, what is kept, and for how long."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from reverie.physics.mpm import MPM
from tests.physics.mpm.worlds import EVERY, mixed


def test_mixed_precisions_are_refused() -> None:
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, backend="warp")
    with pytest.raises(ValueError, match="one dtype"):
        solver(state, made._replace(mass=made.mass.float()), tools, 1)


def test_no_gradient_is_kept_where_none_is_wanted() -> None:
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, backend="warp")
    after, _, force = solver(state, made, tools, 2)
    assert not after.position.requires_grad and not force.requires_grad
    held = state._replace(position=state.position.clone().requires_grad_())
    with torch.no_grad():
        assert not solver(held, made, tools, 2)[0].position.requires_grad
    assert solver(held, made, tools, 2)[0].position.requires_grad


def test_a_state_that_is_written_over_before_the_way_back_is_an_error() -> None:
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, backend="warp")
    place = state.position.clone().requires_grad_()
    moved = place * 1.0
    after, _, _ = solver(state._replace(position=moved), made, tools, 2)
    moved.detach().add_(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        after.position.sum().backward()


def test_threads_do_not_share_buffers() -> None:
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, backend="warp")
    alone = solver(state, made, tools, 40)[0]
    slower = state._replace(velocity=0.5 * state.velocity)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(solver, s, made, tools, 40) for s in (state, slower, state, slower)]
        ends = [job.result()[0] for job in jobs]
    assert all(torch.equal(x, y) for x, y in zip(ends[0], alone, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(ends[2], alone, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(ends[1], ends[3], strict=True))
    assert not torch.equal(ends[0].position, ends[1].position)


def test_a_call_holds_nothing_once_it_is_forgotten() -> None:
    """Neither in a circle, which only the garbage collector would find, nor out of sight of
    `saved_tensors_hooks`, so that `imagine(..., checkpoint=...)` can let it go."""
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, dx=0.05, dt=1e-4, backend="warp")
    seen = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.nbytes)
        return x

    gc.collect()
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            leaf = state._replace(position=state.position.clone().requires_grad_())
            out = solver(leaf, made, tools, 6)
        held = weakref.ref(out[0].position.grad_fn)
        del out
        assert held() is None
    finally:
        gc.enable()
    assert sum(seen) > 5 * sum(x.nbytes for x in state)
