"""Warp, wrapped: a substep of a solver as kernel launches over named arrays, with its adjoint.

    s_{t+1} = f(s_t, g)        s: state, g: what is given (parameters, controls), constant in a call

A `Program` says which launches make f; `run` makes n of them as one `torch.autograd.Function`. The
gradient comes from Warp's adjoint kernels, launched one by one in reverse order over buffers that
belong to the call: nothing is recorded on a tape, so nothing overwritten later can make it wrong.
Of a substep only its state is kept, and what lies between is computed again on the way back, except
where a program has `memory` for it.

Warp is imported by `loading` and by the `kernels.py` of each solver, when first used. On a CPU a
launch uses one core, and its atomic additions are plain ones.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reverie.physics.launches import Launch, record
from reverie.physics.loading import beside, chosen, load, warp

__all__ = ["Launch", "Program", "beside", "chosen", "load", "run", "warp"]

SPACES = 4
"""The most sets of buffers that a program keeps, for different shapes and threads."""
RECORDED = 64
"""The most keys whose launches are kept."""
ALIGNED = 16
"""Numbers to a multiple of which scratch arrays begin."""

Shapes = Mapping[str, tuple[int, ...]]
Prepared = tuple[Mapping[str, Any], Shapes]


@dataclass(frozen=True, eq=False)
class Program:
    """One substep. Arrays of the next state have the names of the state with a `+`."""

    state: Mapping[str, Any]
    """Element type by name; float leaves, shape `[...]`, `[..., 3]`, `[..., 3, 3]` by type."""
    given: Mapping[str, Any]
    """Element types of parameters and controls."""
    scratch: Mapping[str, Any]
    """Element types of what lies between; zero at the start of a substep."""
    launches: Callable[[Mapping[str, Any]], Sequence[Launch]]
    """From the values and shapes that `prepare` made."""
    prepare: Callable[[Mapping[str, Tensor], Any], Prepared]
    """From the tensors' shapes and the key: plain values, and the shape of each scratch array."""
    key: Callable[[Mapping[str, Tensor]], Any] = lambda tensors: None
    """From the state, what the launches depend on beside shapes; hashable. With the same key the
    launches of a substep are recorded once and made again."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Arrays without a gradient (topology), by name."""
    memory: int = 0
    """Scratch that calls may keep for the way back [bytes], all together, instead of computing it
    again; for programs whose scratch is small against their work."""
    spaces: dict[Any, Any] = field(default_factory=dict)
    """Buffers of calls, by shapes; made as needed."""


def run(
    program: Program,
    state: Sequence[Tensor],
    given: Sequence[Tensor],
    substeps: int,
    keep: bool = True,
) -> tuple[Tensor, ...]:
    """The state after `substeps`; with a gradient to `state` and `given`.

    With `keep` each substep's state is kept for the way back; without, only the first is, and they
    are computed again, which costs about a fifth of the time.

    Raises:
        ValueError: dtypes or devices differ.
    """
    tensors = [*state, *given]
    kinds = {(x.dtype, x.device) for x in tensors}
    if len(kinds) != 1:
        raise ValueError(f"State and parameters are of one dtype on one device; got {kinds}.")
    out = _Run.apply(program, substeps, keep, *tensors)
    return tuple(out)


State = dict[str, Tensor]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, program: Program, substeps: int, keep: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        first, given = _named(program, tensors)
        keep = keep and any(ctx.needs_input_grad)
        space = _workspace(program, first, given)
        between: list[Tensor] = []
        trail = space.roll(first, given, substeps, keep, between)
        kept = [x for state in trail[1:-1] for x in state.values()] if keep else []
        # says so where one is written over; checkpoints see
        ctx.save_for_backward(*tensors, *kept, *between)
        ctx.call = program, substeps, keep, len(tensors)
        ctx.room = _Room(space, between)
        return tuple(trail[-1].values())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        program, substeps, keep, count = ctx.call
        saved = ctx.saved_tensors
        first, given = _named(program, saved[:count])
        space = _workspace(program, first, given)
        between: Sequence[Tensor | None] = [None] * substeps
        if keep:
            size, states = len(first), count + len(first) * (substeps - 1)
            between = saved[states:] or between
            rows = (saved[i : i + size] for i in range(count, states, size))
            trail = [first, *(dict(zip(first, row, strict=True)) for row in rows), {}]
        else:
            trail = space.roll(first, given, substeps, True)
        needs = dict(zip((*first, *given), ctx.needs_input_grad[3:], strict=True))
        asked = frozenset(x for x in given if needs[x])
        back = space.back(trail, given, grads, asked, between)
        return (None, None, None, *(back.get(name) if n else None for name, n in needs.items()))


def _named(program: Program, tensors: Sequence[Tensor]) -> tuple[State, State]:
    """State and what is given, by name, without a graph."""
    whole = [x.detach().contiguous() for x in tensors]
    first = dict(zip(program.state, whole, strict=False))
    return first, dict(zip(program.given, whole[len(first) :], strict=True))


def _workspace(program: Program, first: State, given: State) -> _Workspace:
    """The buffers for tensors of these shapes, of this thread: no other call uses them now."""
    like = next(iter(first.values()))
    shapes = tuple(x.shape for x in (*first.values(), *given.values()))
    key = (threading.get_ident(), like.dtype, like.device, shapes)
    spaces = program.spaces
    if key not in spaces:
        while len(spaces) >= SPACES:
            spaces.pop(next(iter(spaces)))
        spaces[key] = _Workspace(program, first, given)
    return spaces[key]


class _Workspace:
    """Buffers that calls use one after the other: two states that take turns, what is given,
    scratch, their gradients, the arrays over all these, and recorded launches."""

    def __init__(self, program: Program, first: State, given: State) -> None:
        self.program = program
        self.like = next(iter(first.values()))
        self.device = str(self.like.device)
        self.types = {**program.state, **program.given, **program.scratch}
        self.given = _blank(given)
        self.fixed = {**self.bound(self.given), **program.constants}
        self.slots = [_blank(first), _blank(first)]
        self.bounds = [self.bound(slot) for slot in self.slots]
        self.slopes: list[tuple[State, dict[str, Any]]] = []
        self.blocks: dict[str, Tensor] = {}
        self.kept = 0
        self.recorded: dict[Any, tuple[list[Any], list[Tensor]]] = {}

    def array(self, name: str, x: Tensor) -> Any:
        """A Warp array over the memory of a tensor."""
        return warp().from_torch(x, dtype=self.types[name], requires_grad=False)

    def bound(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Arrays by name."""
        return {name: self.array(name, x) for name, x in tensors.items()}

    def roll(
        self,
        first: State,
        given: State,
        substeps: int,
        keep: bool,
        between: list[Tensor] | None = None,
    ) -> list[State]:
        """All states, the first included, or the first and the last. What lies between, with the
        state after it, is added to a list, of all substeps or, where there is no room, of none."""
        _copy(given, self.given)
        _copy(first, self.slots[0])
        trail, room = [first], self.program.memory - self.kept
        for s in range(substeps):
            here = s % 2
            block, after = self.forward(here), self.slots[1 - here]
            if keep or s == substeps - 1:
                trail.append({name: x.clone() for name, x in after.items()})
            room -= block.nbytes
            if keep and between is not None and room >= 0:
                between.append(torch.cat([block, *(x.flatten() for x in after.values())]))
        if between and len(between) < substeps:
            between.clear()
        return trail

    def scratch(self, shapes: Shapes, kind: str) -> tuple[dict[str, Any], Tensor]:
        """Arrays of these shapes, and all their memory, to be zeroed; it grows as needed."""
        sizes = []
        for name, shape in shapes.items():
            whole = (*shape, *getattr(self.types[name], "_shape_", ()))
            sizes.append((name, whole, -(-math.prod(whole) // ALIGNED) * ALIGNED))
        total = sum(size for _, _, size in sizes)
        block = self.blocks.get(kind)
        if block is None or block.numel() < total:
            block = self.blocks[kind] = self.like.new_empty(total)
            self.recorded.clear()  # what is recorded writes to the old memory
        parts = block[:total].split([size for _, _, size in sizes])
        found = {
            name: self.array(name, part[: math.prod(whole)].view(whole))
            for (name, whole, _), part in zip(sizes, parts, strict=True)
        }
        return found, block[:total]

    def forward(self, here: int) -> Tensor:
        """One substep, from one slot to the other; its scratch."""
        tensors = {**self.slots[here], **self.given}
        key = ("forward", here, self.program.key(tensors))
        if key not in self.recorded:
            values, shapes = self.program.prepare(tensors, key[2])
            between, block = self.scratch(shapes, "")
            arrays = self.arrays(here, between)
            made = [(launch, arrays, None) for launch in self.program.launches(values)]
            self.record(key, made, [block])
        self.play(key)
        return self.recorded[key][1][0]

    def arrays(self, here: int, between: Mapping[str, Any]) -> dict[str, Any]:
        """All arrays of a substep from a slot, by name."""
        after = {f"{name}+": x for name, x in self.bounds[1 - here].items()}
        return {**self.fixed, **self.bounds[here], **after, **between}

    def record(self, key: Any, made: list[tuple[Launch, Any, Any]], blocks: list[Tensor]) -> None:
        """Keep the launches of a key, and the memory that is zero before them."""
        if len(self.recorded) >= RECORDED:
            self.recorded.clear()
        at = warp().launch, self.device
        self.recorded[key] = [record(*at, launch, *x) for launch, *x in made], blocks

    def play(self, key: Any) -> None:
        """Make the launches of a key."""
        commands, blocks = self.recorded[key]
        for block in blocks:
            block.zero_()
        for launch in commands:
            launch()

    def back(
        self,
        trail: list[State],
        given: State,
        grads: Sequence[Tensor | None],
        asked: frozenset[str],
        between: Sequence[Tensor | None],
    ) -> State:
        """The gradients of the first state and of what is asked for of what is given."""
        if not self.slopes:
            made = [_blank(self.slots[0]), _blank(self.slots[0]), _blank(self.given)]
            self.slopes = [(x, self.bound(x)) for x in made]
        _copy(given, self.given)
        (one, _), (two, _), (of_given, given_bound) = self.slopes
        for x, g in zip(one.values(), grads, strict=True):
            x.zero_() if g is None else x.copy_(g)
        for name in asked:
            of_given[name].zero_()
        turns, wanted = [one, two], {name: given_bound[name] for name in asked}
        steps = zip(reversed(trail[:-1]), reversed(between), strict=True)
        for s, (state, known) in enumerate(steps):
            now = s % 2
            for x in turns[1 - now].values():
                x.zero_()
            after = {f"{name}+": x for name, x in self.slopes[now][1].items()}
            slopes = {**wanted, **self.slopes[1 - now][1], **after}
            self.adjoint(state, slopes, (now, asked), known)
        found = {**turns[(len(trail) - 1) % 2], **{name: of_given[name] for name in asked}}
        return {name: x.clone() for name, x in found.items()}

    def adjoint(
        self, state: State, slopes: Mapping[str, Any], turn: Any, known: Tensor | None
    ) -> None:
        """Add to the gradients of a state what those of the next one make of them, with what lies
        between, or computing it again."""
        _copy(state, self.slots[0])
        tensors = {**self.slots[0], **self.given}
        key = ("back", (*turn, known is None), self.program.key(tensors))
        if key not in self.recorded:
            values, shapes = self.program.prepare(tensors, key[2])
            between, block = self.scratch(shapes, "")
            of_between, slope_block = self.scratch(shapes, "slope of ")
            arrays, every = self.arrays(0, between), {**slopes, **of_between}
            both = {f"~{name}": every.get(name) for name in arrays} | arrays
            launches = self.program.launches(values)
            again = [launch for launch in launches if launch.again and known is None]
            made: list[Any] = [(launch, arrays, None) for launch in again]
            for launch in reversed(launches):
                for x in (launch,) if launch.back is None else launch.back:
                    made.append((x, both, None) if x.by_hand() else (x, arrays, every))
            self.record(key, made, [slope_block, block] if known is None else [slope_block])
        if known is not None:
            after = self.slots[1].values()
            block, *pieces = known.split(
                [known.numel() - sum(x.numel() for x in after), *(x.numel() for x in after)]
            )
            self.blocks[""][: len(block)].copy_(block)
            for x, piece in zip(after, pieces, strict=True):
                x.copy_(piece.view_as(x))
        self.play(key)


class _Room:
    """What is kept of a workspace's scratch, as long as a graph needs it."""

    def __init__(self, space: _Workspace, between: list[Tensor]) -> None:
        self.space, self.size = space, sum(x.nbytes for x in between)
        space.kept += self.size

    def __del__(self) -> None:
        self.space.kept -= self.size


def _blank(state: State) -> State:
    return {name: torch.empty_like(x) for name, x in state.items()}


def _copy(source: State, target: State) -> None:
    for name, x in source.items():
        target[name].copy_(x)
