"""Does a model keep the promises of the interface? `check_world_model`, for every family.

A check is a generator of problems, one sentence each; one that does not apply raises `_SkipError`.
Legend: `B` batch, `T` time, `n` actions in a chunk.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call

from reverie.core import rollout, tree
from reverie.core.model import (
    Batch,
    Clip,
    Deferred,
    Featured,
    Obs,
    Sequential,
    Trainable,
    sample_rows,
)
from reverie.core.spec import Space, Spec


class Result(NamedTuple):
    """The outcome of one check."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    note: str = ""
    """What is wrong, or why the check was skipped."""


class WorldModelError(AssertionError):
    """A model breaks promises of the interface; `results` holds the outcome of every check."""

    def __init__(self, model: str, results: list[Result]) -> None:
        self.results = results
        failed = [result for result in results if result.outcome == "failed"]
        lines = "".join(f"\n  {result.name}: {result.note}" for result in failed)
        super().__init__(
            f"{model} fails {len(failed)} of {len(results)} checks of the interface:{lines}"
        )


def check_world_model(
    model: Any,
    *,
    rows: Batch | None = None,
    context: Obs | None = None,
    build: Callable[[], Any] | None = None,
    gradcheck: bool = True,
    compile: str | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> list[Result]:
    """Hold a world model to the interface of `reverie.core.model`, and name every broken promise.

    Use a tiny configuration: every method runs some tens of times, on the model's own device, in
    its own precision and training mode. Neither the model nor torch's random state is changed.

    Args:
        model: the world model; an `nn.Module` or any other object.
        rows: recorded rows `[B, R]`, B >= 2 and R >= 2 n, for models that cannot read arbitrary
            values. By default 3 x 4n rows are drawn from the spaces of `model.spec`.
        context: what is constant in an episode, `[B, ...]`; by default drawn from `spec.context`.
        build: makes the model anew, as a program that loads a checkpoint would. With it the
            checkpoint check also finds what `state_dict` leaves out, such as a plain tensor that
            training changes; without it a scrambled deep copy is loaded.
        gradcheck: whether the gradients of `step` are held to finite differences in float64, on a
            copy of the model. Switch it off for estimated gradients (straight-through samples).
            Where `step` does not run in float64, the check is skipped and its note says why.
        compile: the `torch.compile` backend that is held to eager execution, such as "inductor"
            (which takes seconds to minutes); by default none.
        tolerance: absolute and relative, where two ways to compute one thing are compared.
            Repetitions of one call must agree bitwise.
        seed: of the drawn inputs.

    Returns:
        One `Result` per check.

    Raises:
        WorldModelError: lists every failed check, with a sentence for each problem.
    """
    options = _Options(build, gradcheck, compile, tolerance, seed)
    cases: list[_Case] = []
    with torch.random.fork_rng(), torch.no_grad():
        results = [_run("interface", partial(_interface, model, options, rows, context, cases))]
        for case in cases:
            for check in _CHECKS:
                torch.manual_seed(seed)
                fresh = replace(case, data=tree.clone(case.data))
                results.append(_run(check.__name__[1:], partial(check, fresh)))
    if any(result.outcome == "failed" for result in results):
        raise WorldModelError(type(model).__name__, results)
    return results


def _run(name: str, check: Callable[[], Iterable[str]]) -> Result:
    problems = []
    try:
        for problem in check():
            problems.append(problem)
    except _SkipError as reason:
        return Result(name, "skipped", str(reason))
    except Exception as error:  # Whatever the model raises is a finding.
        problems.append(f"{type(error).__name__}: {error}")
    return Result(name, "failed" if problems else "passed", " ".join(problems))


# ---------------------------------------------------------------------------------------------
# The material: inputs and calls
# ---------------------------------------------------------------------------------------------


class _SkipError(Exception):
    """This check does not apply, because."""


class _Options(NamedTuple):
    build: Callable[[], Any] | None
    gradcheck: bool
    compile: str | None
    tolerance: float
    seed: int


class _Data(NamedTuple):
    """Every tensor that a model is given; `state` is the one after T observations."""

    context: Any
    initial: Any
    state: Any
    action: Tensor  # [B, T, n, A]
    obs: dict[str, Tensor]  # [B, T, ...]
    first: Tensor  # [B, T]
    some: Tensor  # [B], true in every second row
    noise: Any  # [T, B, ...]
    rows: Batch  # [B, T * n]


@dataclass(frozen=True)
class _Case:
    model: Any
    options: _Options
    data: _Data
    seed: int = 1
    """Of torch's global generator before each call, which should not matter."""

    @property
    def lead(self) -> tuple[int, int]:
        """B and T."""
        batch, steps = self.data.first.shape
        return batch, steps

    def arguments(self) -> dict[str, tuple[Any, ...]]:
        """Arguments for every method that the model has; to be cloned, but for the generator."""
        d = self.data
        now, noise = {name: x[:, 0] for name, x in d.obs.items()}, tree.select(d.noise, 0)
        calls: dict[str, tuple[Any, ...]] = {
            "noise": (self.lead[0], Generator(d.first.device).manual_seed(7)),
            "initial": (self.lead[0], d.context),
            "observe": (d.state, d.action[:, -1], now, d.some, noise),
            "step": (d.state, d.action[:, -1], noise),
            "decode": (d.state,),
        }
        if isinstance(self.model, Sequential):
            calls["observe_all"] = (d.state, d.action, d.obs, d.first, d.noise)
        if isinstance(self.model, Featured):
            calls["features"] = (d.state,)
        if isinstance(self.model, Deferred):
            calls |= {"advance": calls["step"], "heads": (d.state,)}
        if isinstance(self.model, Clip):
            calls["frames"] = (d.state, self.ask("step", *calls["step"]))
        if isinstance(self.model, Trainable):
            calls["loss"] = (d.rows, d.initial, d.noise)
        return calls

    def ask(self, method: str, *given: Any) -> Any:
        """What a method returns for copies of what is given, by default of `arguments()`."""
        return self.call(method, tree.clone(given or self.arguments()[method]))

    def call(self, method: str, given: tuple[Any, ...]) -> Any:
        """What a method returns, with the global generator seeded."""
        on_cpu = self.data.first.device.type == "cpu"  # manual_seed asks every kind of device.
        (torch.default_generator.manual_seed if on_cpu else torch.manual_seed)(self.seed)
        return tree.clone(getattr(self.model, method)(*given))

    def loop(self, state: Any, first: Tensor) -> Any:
        """States `[B, T, ...]` by `observe`, one after the other."""
        d, states = self.data, []
        for t in range(self.lead[1]):
            now, noise = {name: x[:, t] for name, x in d.obs.items()}, tree.select(d.noise, t)
            state = self.ask("observe", state, d.action[:, t], now, first[:, t], noise)
            states.append(state)
        return tree.stack(states, 1)

    def alone(self, row: int) -> _Case:
        """The same case with one row of the batch."""
        part = slice(row, row + 1)
        data = tree.map(lambda x: None if x is None else x[part], self.data._replace(noise=()))
        noise = tree.map(lambda x: x[:, part], self.data.noise)
        return replace(self, data=data._replace(noise=noise))

    def same(self, one: Any, two: Any, problem: str) -> list[str]:
        """The problem, with the place, where two trees differ by more than the tolerance."""
        where = tree.differ(one, two, self.options.tolerance)
        return [f"{problem} ({where})."] if where else []


def _interface(
    model: Any, options: _Options, rows: Batch | None, context: Obs | None, cases: list[_Case]
) -> Iterator[str]:
    """The methods are there and read rows once, which makes the case of all further checks."""
    names = ("initial", "noise", "observe", "step", "decode")
    missing = [name for name in names if not callable(getattr(model, name, None))]
    spec = getattr(model, "spec", None)
    if missing or not isinstance(spec, Spec):
        yield f"It needs a Spec as its spec (found {spec!r}) and has no methods {missing}."
        return
    weights = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    device = weights[0].device if weights else torch.device("cpu")
    generator, n = Generator().manual_seed(options.seed), spec.chunk
    rows = tree.to(rows or sample_rows(spec, 3, 4 * n, generator), device)
    batch, steps = rows.first.shape[0], rows.first.shape[1] // n
    if batch < 2 or steps < 2:
        yield f"Rows {[*rows.first.shape]} are too few; give at least 2 sequences of {2 * n}."
        return
    if context is None and spec.context:
        context = {k: x.sample(batch, generator=generator) for k, x in spec.context.items()}
    context = context and tree.to(dict(context), device)
    rows = tree.map(lambda x: x[:, : steps * n], rows)
    obs = {name: x[:, n - 1 :: n] for name, x in rows.obs.items()}
    first = rows.first[:, n - 1 :: n].index_fill(1, torch.tensor([0], device=device), True)
    some = torch.arange(batch, device=device) % 2 == 1
    action = rows.action.reshape(batch, steps, n, -1)
    noise = rollout.draw(model, steps, batch, Generator(device).manual_seed(options.seed))
    initial = model.initial(batch, tree.clone(context))
    data = _Data(context, initial, (), action, obs, first, some, noise, rows)
    states = _Case(model, options, data).loop(initial, first)
    state = tree.map(lambda x: x[:, -1], states)
    cases.append(_Case(model, options, data._replace(state=state)))


def _needs(model: Any, kind: type, what: str) -> None:
    if not isinstance(model, kind):
        raise _SkipError(f"The model has no {what}.")


def _copied(model: Any) -> Any:
    return copy.deepcopy(model) if isinstance(model, nn.Module) else model


def _tensors(value: Any) -> dict[str, Any]:
    """The leaves by name; a head that is None is no leaf."""
    return {name: x for name, x in tree.named(value).items() if x is not None}


def _floats(value: Any) -> dict[str, Tensor]:
    return {name: x for name, x in _tensors(value).items() if x.is_floating_point()}


def _learned(model: Any) -> dict[str, Tensor]:
    named = model.named_parameters() if hasattr(model, "named_parameters") else ()
    return {name: x for name, x in named if x.requires_grad}


# ---------------------------------------------------------------------------------------------
# The checks
# ---------------------------------------------------------------------------------------------


def _shapes(c: _Case) -> Iterator[str]:
    for source, value in (("initial", c.data.initial), ("noise", c.ask("noise"))):
        for name, x in _tensors(value).items():
            if not isinstance(x, Tensor) or x.shape[:1] != c.lead[:1]:
                what = [*x.shape] if isinstance(x, Tensor) else type(x).__name__
                yield f"{source} leaf {name!r} is {what}, not a tensor [B={c.lead[0]}, ...]."
    like = {name: (*x.shape, x.dtype) for name, x in _tensors(c.data.initial).items()}
    for source, state in (("observe", c.data.state), ("step", c.ask("step").state)):
        found = {name: (*x.shape, x.dtype) for name, x in _tensors(state).items()}
        if found != like:
            yield f"{source} returns the state leaves {found}, but initial {like}."


def _finite(c: _Case) -> Iterator[str]:
    d = tree.clone(c.data)
    future = rollout.imagine(c.model, d.state, d.action.transpose(0, 1), d.noise)
    seen = {"observe": c.data.state, "step": future.transition, "decode": c.ask("decode")}
    for source, value in seen.items():
        bad = [name for name, x in _tensors(value).items() if not torch.isfinite(x).all()]
        if bad:
            yield f"{source} returns NaN or infinity in {bad}."


def _deterministic(c: _Case) -> Iterator[str]:
    for name in c.arguments():
        one, two = c.ask(name), replace(c, seed=2).ask(name)
        if tree.differ(one, two) and not tree.differ(one, c.ask(name)):
            yield f"{name} draws from torch's global generator; use its noise (or generator)."


def _pure(c: _Case) -> Iterator[str]:
    module = c.model if isinstance(c.model, nn.Module) else nn.Module()
    weights = {k: x.clone() for k, x in module.state_dict().items() if isinstance(x, Tensor)}
    before = {}
    for name, given in c.arguments().items():
        used = tree.clone(given)
        before[name] = c.call(name, used)
        written = [k for k, x in _tensors(used).items() if isinstance(x, Tensor) and x._version]
        if written:
            yield f"{name} writes into its arguments {written}."
    for name in before:
        c.alone(1).ask(name)
    for name in reversed(before):
        if where := tree.differ(before[name], c.ask(name)):
            yield f"{name} gives another result when called again ({where}): a state is hidden."
    now = {k: x for k, x in module.state_dict().items() if isinstance(x, Tensor)}
    if where := tree.differ(weights, now):
        yield f"A call changes the parameters or buffers ({where})."


def _batch(c: _Case) -> Iterator[str]:
    for name in [name for name in c.arguments() if name not in ("noise", "loss")]:
        alone = [c.alone(row).ask(name) for row in range(c.lead[0])]
        joined = tree.map(lambda *xs: None if xs[0] is None else torch.cat(xs), *alone)
        yield from c.same(c.ask(name), joined, f"{name} of one row depends on the rest of a batch")


def _reset(c: _Case) -> Iterator[str]:
    _, action, obs, some, noise = c.arguments()["observe"]
    every, never = torch.ones_like(some), torch.zeros_like(some)
    begun = c.ask("observe", c.data.initial, torch.zeros_like(action), obs, every, noise)
    forgot = c.ask("observe", c.data.state, action, obs, every, noise)
    yield from c.same(begun, forgot, "observe with first=True depends on what was before it")
    context = c.data.context and tree.map(lambda x: x.flip(0), c.data.context)
    other = c.ask("initial", c.lead[0], context)
    elsewhere = c.ask("observe", other, action, obs, every, noise)
    if tree.differ(other, c.data.initial) and not tree.differ(begun, elsewhere):
        yield "observe with first=True drops the context."
    went_on = c.ask("observe", c.data.state, action, obs, never, noise)
    mixed = c.ask("observe", c.data.state, action, obs, some, noise)
    expected = tree.where(some, forgot, went_on)
    yield from c.same(mixed, expected, "observe with first=True in some rows mixes up the rows")


def _heads(c: _Case) -> Iterator[str]:
    step, top = c.ask("step"), {"continues": 1.0}
    for name in ("reward", "continues", "cost", "uncertainty"):
        x, declared = getattr(step, name), name in c.model.spec.provides
        if (x is not None) != declared:
            yield f"step {'lacks' if declared else 'returns'} {name}; spec.provides says otherwise."
        elif x is not None and (x.shape != c.lead[:1] or not x.is_floating_point()):
            yield f"{name} is {[*x.shape]} {x.dtype}; it must be floats of shape [B={c.lead[0]}]."
        elif x is not None and name != "reward" and ((x < 0) | (x > top.get(name, x))).any():
            yield f"{name} spans {x.min():.3g} to {x.max():.3g}; it must be >= 0" + (
                " and <= 1." if name in top else "."
            )
    if isinstance(c.model, Deferred):
        split = c.ask("heads", c.ask("advance"))
        yield from c.same(step, split, "step is not the heads of advance")


def _decode(c: _Case) -> Iterator[str]:
    yield from _observed(c, c.ask("decode"), c.lead[:1])


def _observed(c: _Case, obs: Obs, lead: tuple[int, ...]) -> Iterator[str]:
    """Predicted observations `[*lead, ...]` are those that the spec promises."""
    wanted: Mapping[str, Space] = c.model.spec.obs if "obs" in c.model.spec.provides else {}
    if obs.keys() != wanted.keys():
        yield f"Found {sorted(obs)}; spec.obs and spec.provides promise {sorted(wanted)}."
        return
    for name, space in wanted.items():
        x, shape = obs[name], (*lead, *space.shape)
        same = x.is_floating_point() or (x.dtype == space.torch_dtype and not space.is_image)
        if x.shape != shape or not same:
            yield f"{name!r} is {[*x.shape]} {x.dtype}; it must be {[*shape]}, as floats."
        elif space.is_image and ((x < 0) | (x > 1)).any():
            yield f"Image {name!r} spans {x.min():.3g} to {x.max():.3g}; it must be in 0..1."


def _gradient(c: _Case) -> Iterator[str]:
    case = replace(c, model=_copied(c.model))
    state, action, noise = tree.clone(c.arguments()["step"])
    inputs = {("params", k): x for k, x in _learned(case.model).items()}
    inputs |= {("state", k): x for k, x in _floats(state).items()} | {("action", "action"): action}
    flows, moves = set(), set()
    with torch.enable_grad():
        for x in inputs.values():
            x.requires_grad_()
        outputs = _floats(case.ask("step", state, action, noise))
    for end, y in outputs.items():
        if not y.requires_grad:
            continue
        weight = torch.randn_like(y)
        slopes = torch.autograd.grad(
            y, list(inputs.values()), weight, retain_graph=True, materialize_grads=True
        )
        flows |= {(*start, end) for start, dx in zip(inputs, slopes, strict=True) if dx.any()}
    for start, x in inputs.items():
        kept = x.detach().clone()
        x.copy_(kept + 1e-3 * torch.randn_like(x))
        moved = _floats(case.ask("step", state, action, noise))
        moves |= {(*start, end) for end, y in moved.items() if tree.differ(y, outputs[end])}
        x.copy_(kept)
    for kind in ("params", "state", "action"):
        reached = sorted(flow[1:] for flow in flows if flow[0] == kind)
        broken = sorted(move[1:] for move in moves - flows if move[0] == kind)
        if kind not in c.model.spec.grad and reached:
            yield f"Gradient reaches the {kind} {reached[:3]}, but spec.grad does not declare it."
        elif kind in c.model.spec.grad and (broken or not reached):
            yield f"spec.grad declares {kind}, but {broken[:3] or 'anything'} gets no gradient."


class _Step(nn.Module):
    """`step` as a forward, for `functional_call`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Any) -> Any:
        return self.model.step(*given)


def _gradcheck(c: _Case) -> Iterator[str]:
    declared = c.model.spec.grad
    if not c.options.gradcheck or not declared:
        raise _SkipError("Not asked for." if declared else "spec.grad is empty.")
    model = _copied(c.model)
    model = model.double() if isinstance(model, nn.Module) else model
    state, action, noise = tree.map(
        lambda x: x.double() if x.is_floating_point() else x, tree.clone(c.arguments()["step"])
    )
    inputs = {("params", f"model.{k}"): x for k, x in _learned(model).items()}
    inputs |= {("state", k): x for k, x in _floats(state).items()} | {("action", ""): action}
    inputs = {key: x.detach() for key, x in inputs.items() if key[0] in declared}

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(inputs, values, strict=True))
        weights = {k: x for (kind, k), x in given.items() if kind == "params"}
        leaves = tree.named(state) | {k: x for (kind, k), x in given.items() if kind == "state"}
        start = tree.from_named(leaves, state), given.get(("action", ""), action), noise
        return tuple(_floats(functional_call(_Step(model), weights, start)).values())

    try:
        kinds = {y.dtype for y in run(*inputs.values())}
    except Exception as error:
        raise _SkipError(f"step does not run in float64: {error}") from error
    if kinds != {torch.float64}:
        raise _SkipError(f"step does not run in float64: it returns {kinds}.")
    with torch.enable_grad():
        values = tuple(x.requires_grad_() for x in inputs.values())
        try:
            gradcheck(run, values, fast_mode=True, check_undefined_grad=False)
        except GradcheckError as error:
            yield f"The gradient of step is not that of finite differences: {error}"


def _sequence(c: _Case) -> Iterator[str]:
    _needs(c.model, Sequential, "observe_all")
    d = c.data
    for state, first in ((d.initial, d.first), (d.state, d.first & ~d.first.all(0))):
        whole = c.ask("observe_all", state, d.action, d.obs, first, d.noise)
        yield from c.same(whole, c.loop(state, first), "observe_all differs from a loop of observe")


def _altered(d: _Data, cut: int) -> _Data:
    """Other observations, actions, rewards, flags and noise from time `cut` on."""

    def other(x: Tensor, time: int = 1) -> Tensor:
        past, future = x.tensor_split([cut], time)
        new = ~future if x.dtype == torch.bool else future.roll(1, 1 - time)
        return torch.cat([past, new], time)

    action, obs, first, rows = tree.map(other, (d.action, d.obs, d.first, d.rows))
    noise = tree.map(lambda x: other(x, 0), d.noise)
    return d._replace(action=action, obs=obs, first=first, noise=noise, rows=rows)


def _causality(c: _Case) -> Iterator[str]:
    cut = c.lead[1] // 2
    now, then = (
        rollout.filter(c.model, *tree.clone((d.state, d.action, d.obs, d.first, d.noise)))
        for d in (c.data, _altered(c.data, cut))
    )
    past = partial(tree.map, lambda x: x[:, :cut])
    yield from c.same(past(now), past(then), "What arrives later changes a state before it")


def _frames(c: _Case) -> Iterator[str]:
    _needs(c.model, Clip, "frames")
    frames, shown = c.ask("frames"), c.ask("decode", c.ask("step").state)
    yield from _observed(c, frames, (c.lead[0], c.model.spec.chunk))
    last = {name: x[:, -1] for name, x in frames.items()}
    yield from c.same(last, dict(shown), "The last frame is not what decode shows after the step")


def _features(c: _Case) -> Iterator[str]:
    _needs(c.model, Featured, "features")
    x, shape = c.ask("features"), (c.lead[0], c.model.feature_size)
    if x.shape != shape or not x.is_floating_point():
        yield f"features are {[*x.shape]} {x.dtype}; they must be floats {[*shape]}."


def _losses(c: _Case) -> Iterator[str]:
    _needs(c.model, Trainable, "loss")
    rows, scales, learned = c.data.rows, c.model.scales, _learned(c.model)
    with torch.enable_grad():
        losses, states = c.ask("loss")
        total = sum((x * scales.get(k, 1.0)).mean() for k, x in losses.items())
    if losses.keys() != scales.keys():
        yield f"The losses {sorted(losses)} are not those of scales, {sorted(scales)}."
    for name, x in losses.items():
        if x.shape not in (c.lead, rows.first.shape):
            yield f"Loss {name!r} is {[*x.shape]}; it must be unreduced, {[*rows.first.shape]}."
        if not torch.isfinite(x).all() or not x.requires_grad:
            yield f"Loss {name!r} is {'not finite' if x.requires_grad else 'without gradient'}."
    slopes = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
    unused = [k for k, dx in zip(learned, slopes, strict=True) if dx is None]
    if unused or not all(torch.isfinite(dx).all() for dx in slopes):
        yield f"No loss reaches the parameters {unused}." if unused else "A gradient is not finite."
    if c.model.spec.chunk > 1:
        return
    loop = c.loop(c.data.initial, rows.first)
    yield from c.same(states, loop, "The states of loss differ from a loop of observe")
    cut = c.lead[1] // 2
    d = _altered(c.data, cut)
    then = c.ask("loss", d.rows, d.initial, d.noise).states
    past = partial(tree.map, lambda x: x[:, :cut])
    yield from c.same(past(states), past(then), "Later rows change the states of loss before them")


def _checkpoint(c: _Case) -> Iterator[str]:
    _needs(c.model, nn.Module, "state_dict, being no nn.Module")
    saved = c.model.state_dict()
    other = [name for name, x in saved.items() if not isinstance(x, Tensor)]
    if other:
        yield f"state_dict holds {other}, which are no tensors; a checkpoint holds tensors alone."
        return
    torch.manual_seed(2**31 + c.options.seed)  # Not the seed with which the model was made.
    fresh = c.options.build() if c.options.build else copy.deepcopy(c.model)
    for x in fresh.state_dict().values():
        x.copy_(torch.rand_like(x) if x.is_floating_point() else torch.zeros_like(x))
    fresh.load_state_dict(tree.clone(dict(saved)))
    loaded = replace(c, model=fresh.train(c.model.training))
    for name in c.arguments():
        if where := tree.differ(c.ask(name), loaded.ask(name)):
            yield f"{name} differs after state_dict was loaded into a new model ({where})."


def _compile(c: _Case) -> Iterator[str]:
    if c.options.compile is None:
        raise _SkipError("Not asked for.")
    for name in ("observe", "step"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled: Any = torch.compile(getattr(c.model, name), backend=c.options.compile)
            result = compiled(*tree.clone(c.arguments()[name]))
        yield from c.same(c.ask(name), result, f"Compiled {name} differs from eager {name}")


_CHECKS: tuple[Callable[[_Case], Iterator[str]], ...] = (
    *(_shapes, _finite, _deterministic, _pure, _batch, _reset, _heads, _decode),
    *(_gradient, _gradcheck, _sequence, _causality, _frames, _features, _losses),
    *(_checkpoint, _compile),
)
