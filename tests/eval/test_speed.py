"""Timing against calls of known length; sizes, FLOPs and live bytes against known numbers."""

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.eval.returns import RandomAgent
from reverie.eval.speed import NOTES, Latency, Speed, speed
from reverie.plan.cem import CEM
from reverie.plan.mpc import MPC, MPCConfig
from tests.toys import Chunked, Latent, Pendulum

D = 8


class Slow(nn.Module):
    """Sleeps `pause` s in a step, and multiplies `[B, D]` by `[D, D]` there; 3 x that to decode."""

    def __init__(self, pause: float = 0.0, provides: Any = ("obs", "reward")) -> None:
        super().__init__()
        self.spec = Spec(
            obs={"camera": Space((3, 16, 16), "uint8"), "position": Space((3,))},
            action=Space((2,), low=-1.0, high=1.0),
            dt=0.005,
            provides=frozenset(provides),
        )
        self.pause, self.calls = pause, 0
        self.weight = nn.Linear(D, D, bias=False)
        self.out = nn.Linear(D, 3 * D, bias=False)

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, D)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        return ()

    def observe(self, state: Tensor, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Tensor:
        return state

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        self.calls += 1
        if self.pause:
            time.sleep(self.pause)
        return Transition(self.weight(state), reward=state[:, 0])

    def decode(self, state: Tensor) -> Obs:
        return {"position": self.out(state)}


class Sleeper:
    """Decides in 2 ms."""

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        return torch.zeros(batch)

    def act(self, memory: Tensor, obs: Obs, first: Tensor, generator: Any = None) -> Any:
        time.sleep(0.002)
        return torch.zeros(len(first), 2), memory + 1


def test_a_step_of_two_milliseconds_is_measured_as_such() -> None:
    found = speed(Slow(0.002), batches=(1, 4), decisions=40, warmup=2)
    for batch in (1, 4):
        step = found.latency("step", batch)
        assert 2 <= step.low <= step.p50 <= step.high < 4
        assert step.p50 <= step.p95 <= step.p99 <= step.worst
        assert step.calls == 40
        assert found.latency("step and decode", batch).p50 >= 2
        assert found.latency("observe", batch).p50 < 1
    assert 250 < found.steps_per_second(1) <= 500
    assert found.steps_per_second(4) == pytest.approx(4e3 / found.latency("step", 4).p50)
    assert found.real_time(1) == pytest.approx(found.steps_per_second(1) * 0.005)
    assert found.frames_per_second(4) == pytest.approx(4e3 / found.latency("decode", 4).p50)


def test_decisions_against_the_clock_of_the_world() -> None:
    model = Slow()
    found = speed(model, Sleeper(), batches=(2,), decisions=40, warmup=2)
    decision = found.latency("decision")
    assert 2 <= decision.p50 < 4
    assert found.control_rate == pytest.approx(1e3 / decision.p99)
    assert found.in_time > 0.5  # 5 ms are allowed
    assert replace(found, dt=2 * decision.p99 / 1e3).keeps_up is True
    model.spec = Spec(obs=model.spec.obs, action=model.spec.action, dt=0.0015)
    late = speed(model, Sleeper(), batches=(1,), decisions=25, warmup=0)
    assert late.keeps_up is False
    assert late.in_time == 0
    alone = speed(Slow(), batches=(1,), decisions=5)
    assert alone.keeps_up is None
    assert math.isnan(alone.control_rate)
    assert math.isnan(alone.in_time)


def test_sizes_are_counted() -> None:
    found = speed(Slow(), batches=(1, 16), decisions=5, warmup=0)
    assert found.parameters == D * D + 3 * D * D
    assert found.parameter_bytes == 4 * found.parameters
    assert found.state_bytes == 4 * D
    assert found.observation_bytes == 3 * 16 * 16 + 4 * 3
    assert found.compression == pytest.approx(780 / 32)
    assert (found.threads, found.device) == (torch.get_num_threads(), "cpu")


def test_flops_are_those_of_the_products() -> None:
    found = speed(Slow(), batches=(64,), decisions=2, warmup=0)
    assert found.flops_step == 2 * D * D  # of one row, whatever the batches
    assert found.flops_decode == 2 * D * 3 * D


def test_a_compiled_model_is_counted_as_it_was_written() -> None:
    ran: list[int] = []

    def opaque(graph: Any, inputs: Any) -> Any:
        """A compiler whose code makes no product that torch would see."""

        def run(*given: Tensor) -> tuple[Tensor]:
            ran.append(1)
            return (torch.zeros(1, D),)

        return run

    model = Slow(provides=("reward",))
    model.weight.forward = torch.compile(model.weight.forward, backend=opaque, fullgraph=True)
    found = speed(model, batches=(1,), decisions=20, warmup=1)
    assert found.flops_step == 2 * D * D
    assert len(ran) == 21  # what is timed is the compiled code


class Heavy(Slow):
    """Makes two tensors of 4,000 bytes a row and frees them, one after the other or not."""

    def __init__(self, together: bool) -> None:
        super().__init__()
        self.together = together

    def step(self, state: Tensor, action: Tensor, noise: Any) -> Transition[Tensor]:
        one = state.new_zeros(len(state), 1000)
        if not self.together:
            del one
        two = state.new_zeros(len(state), 1000)
        after = state.view(-1, D).t().t()  # views take nothing
        del two
        return Transition(after, reward=state[:, 0])


def test_peak_bytes_are_those_that_live_at_once() -> None:
    apart, together = (
        speed(Heavy(t), batches=(1, 10), decisions=2, warmup=0).peak_bytes for t in (False, True)
    )
    assert (apart, together) == (10 * 4000, 10 * 8000)


def test_the_warm_up_and_the_limit() -> None:
    model = Slow(0.002, provides=("reward",))
    found = speed(model, batches=(1,), decisions=10_000, warmup=7, limit=0.1)
    calls = found.latency("step").calls
    assert 20 <= calls <= 50  # 0.1 s of 2 ms
    assert model.calls == calls + 7 + 2  # and one each for FLOPs and bytes
    never = speed(model, batches=(1,), decisions=10_000, warmup=0, limit=1e-9)
    assert never.latency("step").calls == 20
    assert {x.what for x in found.latencies} == {"observe", "step"}
    assert found.flops_decode == 0
    with pytest.raises(KeyError, match="'decode' at batch 1 was not measured; there are: observe"):
        found.latency("decode")


def test_the_device_is_waited_for_around_every_call() -> None:
    waits: list[int] = []
    model = Slow(provides=("reward",))
    speed(model, batches=(1,), decisions=30, warmup=3, synchronise=lambda: waits.append(1))
    assert len(waits) == 2 * 2 * 30  # observe and step


class Elsewhere(Slow):
    """On a device that computes nothing."""

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.zeros(batch, D, device="meta")


def test_a_device_that_runs_on_needs_a_wait() -> None:
    with pytest.raises(ValueError, match=r"The model is on meta.*pass synchronise"):
        speed(Elsewhere(), batches=(1,))


@pytest.mark.parametrize("model", [Latent(), Chunked(), Pendulum()])
def test_models_of_every_kind_are_measured(model: Any) -> None:
    found = speed(model, RandomAgent(model.spec.action), batches=(1, 3), decisions=4, warmup=1)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.steps_per_second(3) == pytest.approx(
        3e3 * model.spec.chunk / found.latency("step", 3).p50
    )


def test_a_planner_decides_within_the_context_it_is_told() -> None:
    model = Pendulum()
    planner = MPC(model, CEM(samples=16, elites=4, iterations=2), MPCConfig(horizon=3))
    context = {"mass": torch.tensor([0.7]), "length": torch.tensor([1.2])}
    found = speed(model, planner, batches=(2,), decisions=6, warmup=1, context=context)
    assert found.latency("decision").p50 > found.latency("step", 2).p50


def test_results_survive_json() -> None:
    for agent in (None, RandomAgent(Slow().spec.action)):
        found = speed(Slow(), agent, batches=(1, 2), decisions=3, warmup=0)
        value = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert Speed.from_json(value).to_json() == found.to_json()
        assert value["steps_per_second"]["2"] == found.steps_per_second(2)
        assert value["notes"] == list(NOTES)
        assert isinstance(Speed.from_json(value).latencies[0], Latency)


def test_what_cannot_be_measured_is_refused() -> None:
    for wrong in ({"batches": ()}, {"batches": (0,)}, {"decisions": 0}, {"limit": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            speed(Slow(), **wrong)
