"""How fast a world model imagines and an agent decides, and what a model takes.

Every call is timed alone, by the monotonic clock, after a warm-up, on inputs that are ready: its
noise is drawn before. A device that works asynchronously is waited for before and after.

Legend: `B` rows at once, `n` actions of a model step, `A` action.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
import torch.utils._pytree as pytree
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from reverie.core import rollout, tree
from reverie.core.model import Agent, Obs, WorldModel
from reverie.core.spec import Space
from reverie.eval.nulls import from_null, to_null
from reverie.plan.clock import percentile

Model = WorldModel[Any, Any]
What = Literal["observe", "step", "step and decode", "decode", "decision"]

LEAST = 20
"""Calls that are timed however long they take."""
NOTES = (
    "FLOPs are those of matrix products, convolutions and attention, a multiplication and an "
    "addition being two; element-wise functions, norms, look-ups and kernels outside of torch are "
    "not counted.",
    "Peak bytes are those of the tensors that one call makes and that live at once; parameters, "
    "inputs, and what a kernel takes for itself and gives back are not counted.",
    "The interval of a median takes the calls as independent; other work on the machine is not.",
)


@dataclass(frozen=True)
class Latency:
    """How long one kind of call takes [ms]."""

    what: What
    batch: int
    """B."""
    calls: int
    """Timed; below 100 of them, `p99` is the slowest."""
    p50: float
    low: float
    """Ends of the 95 % interval of the median, by ranks of the sorted times."""
    high: float
    p95: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Speed:
    """The result of `speed`; `NOTES` say what is not counted."""

    latencies: tuple[Latency, ...]
    in_time: float
    """Share of the decisions that took no longer than the robot's clock allows, `dt`; NaN without
    an agent."""
    parameters: int
    parameter_bytes: int
    state_bytes: int
    """Of one state."""
    observation_bytes: int
    """Of one observation, all sensors."""
    peak_bytes: int
    """Of one step at the largest batch."""
    flops_step: int
    """Of one step of one row."""
    flops_decode: int
    """Of one decoded observation; 0 where the model decodes none."""
    dt: float
    """World time per decision [s]."""
    chunk: int
    """n."""
    threads: int
    """Of torch on the CPU."""
    device: str

    def latency(self, what: What, batch: int = 1) -> Latency:
        """One of the latencies.

        Raises:
            KeyError: it was not measured; the message lists what was.
        """
        for found in self.latencies:
            if (found.what, found.batch) == (what, batch):
                return found
        known = ", ".join(f"{x.what} at {x.batch}" for x in self.latencies)
        raise KeyError(f"{what!r} at batch {batch} was not measured; there are: {known}.")

    @property
    def compression(self) -> float:
        """Bytes of an observation by bytes of a state."""
        return self.observation_bytes / self.state_bytes if self.state_bytes else math.inf

    @property
    def control_rate(self) -> float:
        """Decisions per second that all but one in a hundred keep [Hz]; NaN without an agent."""
        found = [x.p99 for x in self.latencies if x.what == "decision"]
        return 1e3 / found[0] if found else math.nan

    @property
    def keeps_up(self) -> bool | None:
        """Whether that is as often as the world needs, 1 / dt; None without an agent."""
        return None if math.isnan(self.control_rate) else self.control_rate * self.dt >= 1

    def steps_per_second(self, batch: int) -> float:
        """Decisions imagined per second of the median step, all rows together [Hz]."""
        return batch * self.chunk * 1e3 / self.latency("step", batch).p50

    def frames_per_second(self, batch: int) -> float:
        """Observations decoded per second of the median call [Hz]."""
        return batch * 1e3 / self.latency("decode", batch).p50

    def real_time(self, batch: int) -> float:
        """Seconds of the world imagined per second; 1 is as fast as the world itself."""
        return self.steps_per_second(batch) * self.dt

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        batches = {x.batch for x in self.latencies if x.what == "step"}
        decoded = {x.batch for x in self.latencies if x.what == "decode"}
        derived = {
            "compression": self.compression,
            "control_rate": self.control_rate,
            "keeps_up": self.keeps_up,
            "steps_per_second": {str(b): self.steps_per_second(b) for b in sorted(batches)},
            "frames_per_second": {str(b): self.frames_per_second(b) for b in sorted(decoded)},
            "real_time": {str(b): self.real_time(b) for b in sorted(batches)},
            "notes": list(NOTES),
        }
        result: dict[str, Any] = to_null({**asdict(self), **derived})
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Speed:
        """The inverse of `to_json`."""
        plain = {f.name: value[f.name] for f in fields(Speed)}
        latencies = tuple(Latency(**x) for x in value["latencies"])
        return Speed(**{**plain, "latencies": latencies, "in_time": from_null(value["in_time"])})


@torch.no_grad()
def speed(
    model: Model,
    agent: Agent | None = None,
    *,
    batches: Sequence[int] = (1, 64),
    decisions: int = 200,
    warmup: int = 20,
    limit: float = 20.0,
    obs: Obs | None = None,
    context: Obs | None = None,
    synchronise: Callable[[], None] | None = None,
    seed: int = 0,
) -> Speed:
    """Time a model, and an agent that decides one row at a time (sensing included).

    Args:
        model: any world model, on its device; precision is that of the caller's context.
        agent: who decides; None: nobody.
        batches: rows at once, B.
        decisions: calls of each kind that are timed.
        warmup: calls before, not timed; compilation happens there.
        limit: seconds after which the calls of one kind stop, though not before 20.
        obs: one sensed row, `[1, ...]`; by default drawn from the spaces, which the times of a
            simulator may depend on.
        context: what is constant in an episode, `[1, ...]`; likewise.
        synchronise: waits for the device, for example `torch.cuda.synchronize`.
        seed: of the inputs and the noise.

    Raises:
        ValueError: counts below 1, or a device other than the CPU without `synchronise`.
    """
    if not batches or min(*batches, decisions) < 1 or warmup < 0 or not limit > 0:
        raise ValueError(
            "speed needs batches, decisions and a limit above 0, and a warm-up; got "
            f"{tuple(batches)}, {decisions}, {limit} and {warmup}."
        )
    inputs = {b: _Inputs(model, b, obs, context, seed) for b in (1, *batches)}
    device = inputs[1].device
    wait = _waiting(device, synchronise)
    times = {
        (what, b): _times(call, decisions, warmup, limit, wait)
        for b in dict.fromkeys(batches)
        for what, call in inputs[b].calls().items()
    }
    if agent is not None:
        call = inputs[1].decision(agent)
        times["decision", 1] = _times(call, decisions, warmup, limit, wait)
    taken = times.get(("decision", 1), [])
    parameters = _parameters(model)
    single, widest = inputs[1].calls(), inputs[max(batches)].calls()
    return Speed(
        latencies=tuple(_latency(*key, values) for key, values in times.items()),
        in_time=sum(t <= model.spec.dt for t in taken) / len(taken) if taken else math.nan,
        parameters=sum(p.numel() for p in parameters),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        state_bytes=sum(x.numel() * x.element_size() for x in tree.leaves(inputs[1].state)),
        observation_bytes=sum(_bytes(space) for space in model.spec.obs.values()),
        peak_bytes=_peak(widest["step"]),
        flops_step=_flops(single["step"]),
        flops_decode=_flops(single["decode"]) if "decode" in single else 0,
        dt=model.spec.dt,
        chunk=model.spec.chunk,
        threads=torch.get_num_threads(),
        device=str(device),
    )


class _Inputs:
    """A state, what is sensed next, actions and noise, of B rows."""

    def __init__(
        self, model: Model, batch: int, obs: Obs | None, context: Obs | None, seed: int
    ) -> None:
        spec, generator = model.spec, Generator().manual_seed(seed)

        def drawn(spaces: Mapping[str, Space], given: Obs | None) -> dict[str, Tensor]:
            free = {n: s.sample(batch, generator=generator) for n, s in spaces.items()}
            return {**free, **tree.repeat(dict(given or {}), batch)}

        sensed, constant = drawn(spec.obs, obs), drawn(spec.context, context)
        self.device = tree.leaves(model.initial(batch, constant or None))[0].device
        self.model = model
        self.obs: Obs = tree.to(sensed, self.device)
        self.context: Obs = tree.to(constant, self.device)
        actions = spec.action.sample(batch, spec.chunk, generator=generator)
        self.action = actions.to(self.device)
        self.first = torch.zeros(batch, dtype=torch.bool, device=self.device)
        self.noise = model.noise(batch, generator)
        self.state = rollout.encode(model, self.obs, self.context or None, generator)

    def calls(self) -> dict[What, Callable[[], Any]]:
        """What is timed. All steps begin in one state: an untrained model may wander off to
        infinity, where numbers take other times."""
        model, state, action, noise = self.model, self.state, self.action, self.noise
        found: dict[What, Callable[[], Any]] = {
            "observe": lambda: model.observe(state, action, self.obs, self.first, noise),
            "step": lambda: model.step(state, action, noise),
        }
        if "obs" in model.spec.provides:
            found["step and decode"] = lambda: model.decode(model.step(state, action, noise).state)
            found["decode"] = lambda: model.decode(state)
        return found

    def decision(self, agent: Agent) -> Callable[[], Any]:
        """Decisions one after the other, in an episode that has begun."""
        seen = {**self.context, **self.obs}
        _, memory = agent.act(agent.begin(len(self.first), seen), seen, ~self.first)

        def decide() -> None:
            nonlocal memory
            _, memory = agent.act(memory, seen, self.first)

        return decide


def _times(
    call: Callable[[], Any], calls: int, warmup: int, limit: float, wait: Callable[[], None]
) -> list[float]:
    """Seconds of each call, sorted."""
    begun = time.perf_counter()
    for _ in range(warmup):
        call()
        if time.perf_counter() - begun > limit:
            break
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < calls and (len(times) < LEAST or time.perf_counter() - begun < limit):
        wait()
        mark = time.perf_counter_ns()
        call()
        wait()
        times.append((time.perf_counter_ns() - mark) / 1e9)
    return sorted(times)


def _latency(what: What, batch: int, times: list[float]) -> Latency:
    """Percentiles [ms] of sorted times; the median's interval is between the order statistics
    whose ranks are n / 2 -+ 1.96 sqrt(n) / 2."""
    count, half = len(times), 0.98 * math.sqrt(len(times))
    ends = math.floor(count / 2 - half), math.ceil(count / 2 + half)
    low, high = times[max(ends[0] - 1, 0)], times[min(ends[1], count - 1)]
    p50, p95, p99 = (percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Latency(what, batch, count, *(1e3 * t for t in (p50, low, high, p95, p99, times[-1])))


def _waiting(device: torch.device, synchronise: Callable[[], None] | None) -> Callable[[], None]:
    """What waits for the device; the CPU needs no waiting for."""
    if synchronise is not None:
        return synchronise
    if device.type != "cpu":
        raise ValueError(
            f"The model is on {device}, which works while the clock runs on; pass synchronise, a "
            "function that waits for it."
        )
    return lambda: None


def _parameters(model: Any) -> list[nn.Parameter]:
    """Each once; of the modules that a model keeps where it is none itself."""
    parts = [model] if isinstance(model, nn.Module) else getattr(model, "__dict__", {}).values()
    modules = [part for part in parts if isinstance(part, nn.Module)]
    return list({id(p): p for module in modules for p in module.parameters()}.values())


def _bytes(space: Space) -> int:
    return space.size * torch.empty(0, dtype=space.torch_dtype).element_size()


def _eager() -> AbstractContextManager[Any]:
    """Compiled parts run as they were written, so that what they do can be counted."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _flops(call: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    with _eager(), counter:
        call()
    return int(counter.get_total_flops())


def _peak(call: Callable[[], Any]) -> int:
    made = _Made()
    with _eager(), made:
        call()
    return made.peak


class _Made(TorchDispatchMode):
    """Bytes of the storages that torch's functions make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._own: dict[int, int] = {}
        self._others: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and look at what went in and what came out."""
        for x in pytree.tree_leaves((args, kwargs)):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in self._own:
                self._others.add(x.untyped_storage()._cdata)
        result = function(*args, **(kwargs or {}))
        for x in pytree.tree_leaves(result):
            if isinstance(x, Tensor):
                self._hold(x.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._own or key in self._others:
            return
        self._own[key] = storage.nbytes()
        weakref.finalize(storage, self._drop, key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _drop(self, key: int) -> None:
        self.live -= self._own.pop(key, 0)
