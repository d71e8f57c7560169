"""The conformance suite passes sound models, and each seeded fault fails the right check."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.check import Result, WorldModelError, check_world_model
from reverie.core.model import Transition, sample_rows
from reverie.core.spec import Space, Spec
from tests.toys import Chunked, ChunkState, Late, Latent, LatentState, Pendulum, PendulumState

ALWAYS = {"interface", "shapes", "finite", "deterministic", "pure", "batch", "reset", "heads"}
ALWAYS |= {"decode", "gradient", "gradcheck", "causality", "checkpoint"}
LEARNT = {"sequence", "features", "losses"}


def names(results: list[Result], outcome: str) -> set[str]:
    return {result.name for result in results if result.outcome == outcome}


@pytest.mark.parametrize(
    ("family", "extra"),
    [(Latent, LEARNT), (Late, LEARNT), (Chunked, {"frames"}), (Pendulum, set())],
)
def test_sound_models_pass(family: Callable[[], nn.Module], extra: set[str]) -> None:
    results = check_world_model(family(), build=family)
    assert names(results, "passed") == ALWAYS | extra
    assert names(results, "skipped") == {r.name for r in results} - ALWAYS - extra
    assert all(result.note for result in results if result.outcome == "skipped")


def test_float64_models_pass() -> None:
    assert "gradcheck" in names(check_world_model(Pendulum().double()), "passed")


def test_compiled_methods_are_held_to_eager_ones() -> None:
    results = check_world_model(Pendulum(), compile="eager", gradcheck=False)
    assert "compile" in names(results, "passed")


def test_the_check_leaves_the_model_and_the_random_state_alone() -> None:
    model = Latent()
    before, state = tree.clone(dict(model.state_dict())), torch.get_rng_state()
    check_world_model(model)
    assert not tree.differ(before, dict(model.state_dict()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(weight.grad is None for weight in model.parameters())


# -------------------------------------------------------------------------------------------------
# Models of other kinds


class Shift:
    """No nn.Module: a counter of metres in float32, that moves with the action."""

    spec = Spec({"x": Space((1,))}, Space((1,)), dt=1.0, provides=frozenset({"obs"}))

    def initial(self, batch: int, context: Any = None) -> dict[str, Tensor]:
        return {"x": torch.zeros(batch, 1)}

    def noise(self, batch: int, generator: Any = None) -> tuple[()]:
        return ()

    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        return {"x": obs["x"].clone()}

    def step(self, state: Any, action: Tensor, noise: Any) -> Transition[Any]:
        return Transition({"x": (state["x"] + action[:, 0]).detach()})

    def decode(self, state: Any) -> dict[str, Tensor]:
        return dict(state)


def test_a_model_need_not_be_a_module() -> None:
    results = check_world_model(Shift())
    assert {"gradcheck", "checkpoint", "losses"} <= names(results, "skipped")
    assert not names(results, "failed")


class Single(Pendulum):
    """A model whose kernel knows float32 alone."""

    def step(self, state: PendulumState, action: Tensor, noise: Any) -> Any:
        return tree.map(lambda x: x if x is None else x.float(), super().step(state, action, noise))


def test_what_does_not_run_in_float64_is_skipped_with_the_reason() -> None:
    (result,) = [r for r in check_world_model(Single()) if r.name == "gradcheck"]
    assert result.outcome == "skipped"
    assert "float32" in result.note


class Walls(Shift):
    """Reads no values but those of its own recordings: x in {3, 4}."""

    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        if not ((obs["x"] == 3) | (obs["x"] == 4)).all():
            raise ValueError("x is outside of the walls")
        return super().observe(state, action, obs, first, noise)


def test_recorded_rows_take_the_place_of_random_ones() -> None:
    with pytest.raises(WorldModelError, match="interface: ValueError: x is outside of the walls"):
        check_world_model(Walls())
    rows = sample_rows(Walls.spec, 2, 6)
    x = torch.full((2, 6, 1), 3.0)
    x[:, ::2] = 4
    check_world_model(Walls(), rows=rows._replace(obs={"x": x}))
    with pytest.raises(WorldModelError, match="too few"):
        check_world_model(Walls(), rows=tree.map(lambda x: x[:1], rows))


class Heavy(Pendulum):
    """Refuses a context outside of what it was made for."""

    def initial(self, batch: int, context: Any = None) -> PendulumState:
        if context is not None and not (context["mass"] == 1.25).all():
            raise ValueError("mass must be 1.25")
        return super().initial(batch, context)


def test_a_given_context_is_used() -> None:
    with pytest.raises(WorldModelError, match=r"mass must be 1\.25"):
        check_world_model(Heavy())
    context = {"mass": torch.full((3,), 1.25), "length": torch.tensor([0.6, 0.8, 1.0])}
    check_world_model(Heavy(), context=context, gradcheck=False)


def test_estimated_gradients_pass_when_gradcheck_is_off() -> None:
    class StraightThrough(Latent):
        def step(self, state: LatentState, action: Tensor, noise: Tensor) -> Any:
            result = super().step(state, action, noise)
            x = result.state.stoch
            hard = (x > 0).to(x.dtype)
            return result._replace(state=result.state._replace(stoch=x + (hard - x).detach()))

    assert "gradcheck" in names(check_world_model(StraightThrough(), gradcheck=False), "skipped")
    with pytest.raises(WorldModelError) as error:
        check_world_model(StraightThrough())
    assert names(error.value.results, "failed") == {"gradcheck"}


# -------------------------------------------------------------------------------------------------
# Seeded faults


def spec_with(model: Any, **changes: Any) -> Spec:
    return dataclasses.replace(model.spec, **changes)


class WritesState(Latent):
    def step(self, state: LatentState, action: Tensor, noise: Tensor) -> Any:
        state.deter.mul_(0.5)
        return super().step(state, action, noise)


class WritesWithoutEffect(Pendulum):
    def decode(self, state: PendulumState) -> Any:
        state.speed.clamp_(-1e6, 1e6)
        return super().decode(state)


class LeaksAcrossBatch(Latent):
    def step(self, state: LatentState, action: Tensor, noise: Tensor) -> Any:
        result = super().step(state, action, noise)
        return result._replace(reward=result.reward - result.reward.mean())


class DrawsItsOwnNoise(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward + 0.01 * torch.randn(()))


class IgnoresTheGenerator(Latent):
    def noise(self, batch: int, generator: Any = None) -> Tensor:
        return torch.randn(batch, self.stoch_size)


class Counts(Pendulum):
    calls = 0

    def step(self, *given: Any) -> Any:
        self.calls += 1
        result = super().step(*given)
        return result._replace(reward=result.reward + 0.01 * self.calls)


class TiresOfActing(Pendulum):
    calls = 0

    def step(self, state: PendulumState, action: Tensor, noise: Any) -> Any:
        self.calls += 1
        return super().step(state, action * 0.9**self.calls, noise)


class RemembersTheLastObservation(Pendulum):
    def observe(self, *given: Any) -> Any:
        state = super().observe(*given)
        self.last = state.angle[:1]
        return state

    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward + self.last)


class UpdatesStatistics(Pendulum):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def observe(self, *given: Any) -> Any:
        self.seen += 1
        return super().observe(*given)


class IgnoresReset(Chunked):
    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        return super().observe(state, action, obs, torch.zeros_like(first), noise)


class ResetsAllOrNone(Chunked):
    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        return super().observe(state, action, obs, first.all().expand_as(first), noise)


class KeepsActionOnReset(Chunked):
    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        state = tree.where(first, self.initial(first.shape[0]), state)
        return super().observe(state, action, obs, torch.zeros_like(first), noise)


class ForgetsContextOnReset(Pendulum):
    def observe(self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Any:
        state = tree.where(first, self.initial(first.shape[0]), state)
        return super().observe(state, action, obs, first, noise)


class DetachesState(Pendulum):
    def step(self, state: PendulumState, action: Tensor, noise: Any) -> Any:
        return super().step(state._replace(speed=state.speed.detach()), action, noise)


class DetachesOneHead(Latent):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward.detach())


class DetachesParameters(Pendulum):
    def step(self, *given: Any) -> Any:
        return tree.map(lambda x: x if x is None else x.detach(), super().step(*given))


class HidesItsGradient(Pendulum):
    def __init__(self) -> None:
        super().__init__()
        self.spec = spec_with(self, grad=frozenset({"params", "action"}))


class Doubles(torch.autograd.Function):
    """The identity, with twice its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope


class WrongGradient(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=Doubles.apply(result.reward))


class LacksAHead(Latent):
    def step(self, *given: Any) -> Any:
        return super().step(*given)._replace(reward=None)


class UndeclaredHead(Pendulum):
    def __init__(self) -> None:
        super().__init__()
        self.spec = spec_with(self, provides=frozenset({"obs", "reward"}))


class HeadOfWrongShape(Latent):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward[:, None])


class OtherHeadsLater(Late):
    def heads(self, state: Any) -> Any:
        return super().heads(state)._replace(reward=state.stoch.sum(-1))

    def step(self, *given: Any) -> Any:
        return super().heads(self.advance(*given))


class LogitAsProbability(Latent):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(continues=torch.logit(result.continues))


class NegativeCost(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(cost=result.cost - 1e6)


class DecodesBytes(Chunked):
    def decode(self, state: ChunkState) -> Any:
        return {"camera": (255 * super().decode(state)["camera"]).to(torch.uint8)}


class DecodesUnscaled(Latent):
    def decode(self, state: LatentState) -> Any:
        shown = super().decode(state)
        return {**shown, "camera": 255 * shown["camera"]}


class DecodesMore(Pendulum):
    def decode(self, state: PendulumState) -> Any:
        return {**super().decode(state), "speed": state.speed[:, None]}


class DecodesFlat(Chunked):
    def decode(self, state: ChunkState) -> Any:
        return {"camera": super().decode(state)["camera"].flatten(1)}


class SeesTheFuture(Latent):
    def observe_all(
        self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Tensor
    ) -> Any:
        position = obs["position"] + obs["position"].mean(1, keepdim=True)
        obs = {**obs, "position": position}
        return super().observe_all(state, action, obs, first, noise)


class OneRowLate(Latent):
    def observe_all(
        self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Tensor
    ) -> Any:
        obs = {name: torch.cat([x[:, :1], x[:, :-1]], 1) for name, x in obs.items()}
        return super().observe_all(state, action, obs, first, noise)


class IgnoresTheStateBefore(Latent):
    def observe_all(
        self, state: Any, action: Tensor, obs: Any, first: Tensor, noise: Tensor
    ) -> Any:
        start = self.initial(first.shape[0], {"task": state.task})
        return super().observe_all(start, action, obs, first, noise)


class NamesDiffer(Latent):
    def __init__(self) -> None:
        super().__init__()
        self.scales = {**self.scales, "kl": self.scales.pop("prior")}


class ReducesALoss(Latent):
    def loss(self, *given: Any) -> Any:
        result = super().loss(*given)
        return result._replace(losses={**result.losses, "prior": result.losses["prior"].mean()})


class LeavesAParameterOut(Latent):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class DetachesALoss(Latent):
    def loss(self, *given: Any) -> Any:
        result = super().loss(*given)
        losses = {**result.losses, "continues": result.losses["continues"].detach()}
        return result._replace(losses=losses)


class TrainsOnOtherStates(Latent):
    def loss(self, batch: Any, state: Any, noise: Tensor) -> Any:
        return super().loss(batch, state, 0 * noise)


class LossSeesTheFuture(Latent):
    def loss(self, batch: Any, state: Any, noise: Tensor) -> Any:
        result = super().loss(batch, state, noise)
        deter = result.states.deter + result.states.deter.mean(1, keepdim=True)
        return result._replace(states=result.states._replace(deter=deter))


class RewardIsNotANumber(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward + (result.state.speed * 0).log() * 0)


class Diverges(Pendulum):
    """Finite at first, infinite after a few steps."""

    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        speed = result.state.speed * 1e15
        return result._replace(state=result.state._replace(speed=speed))


class LastFrameIsAnother(Chunked):
    def frames(self, before: ChunkState, transition: Any) -> Any:
        return {"camera": super().frames(before, transition)["camera"].flip(1)}


class TooFewFrames(Chunked):
    def frames(self, before: ChunkState, transition: Any) -> Any:
        return {"camera": super().frames(before, transition)["camera"][:, 1:]}


class WrongFeatureSize(Latent):
    def __init__(self) -> None:
        super().__init__()
        self.feature_size += 1


class PlainTensorIsLearned(Pendulum):
    """Its friction is no parameter and no buffer, so no checkpoint has it."""

    def __init__(self) -> None:
        super().__init__()
        self.friction = torch.rand(())

    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward - self.friction)


class SavesAnObject(Pendulum):
    def get_extra_state(self) -> Any:
        return {"steps": 3}

    def set_extra_state(self, state: Any) -> None:
        pass


class LoadsHalf(Pendulum):
    def load_state_dict(self, state_dict: Any, *given: Any, **named: Any) -> Any:
        return super().load_state_dict({"damping": state_dict["damping"]}, strict=False)


class CompilesDifferently(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        return result._replace(reward=result.reward + float(torch.compiler.is_compiling()))


class GrowsItsState(Pendulum):
    def step(self, *given: Any) -> Any:
        result = super().step(*given)
        speed = torch.stack([result.state.speed] * 2, 1)
        return result._replace(state=result.state._replace(speed=speed))


class ChangesPrecision(Pendulum):
    def observe(self, *given: Any) -> Any:
        return tree.map(lambda x: x.double(), super().observe(*given))


class NoiseWithoutBatch(Chunked):
    def noise(self, batch: int, generator: Any = None) -> Any:
        return {**super().noise(batch, generator), "start": torch.zeros(12)}


class LacksAMethod:
    spec = Pendulum().spec


class Fault(NamedTuple):
    model: Callable[[], Any]
    check: str
    words: str
    also: frozenset[str] = frozenset()
    """Further checks that cannot but fail with it."""


def fault(model: Callable[[], Any], check: str, words: str, *also: str) -> Fault:
    return Fault(model, check, words, frozenset(also))


FAULTS = [
    fault(LacksAMethod, "interface", "'step'"),
    fault(GrowsItsState, "shapes", "step returns the state leaves", "finite"),
    fault(ChangesPrecision, "shapes", "observe returns the state leaves"),
    fault(NoiseWithoutBatch, "shapes", "noise leaf 'start'"),
    fault(RewardIsNotANumber, "finite", "step returns NaN or infinity in ['reward']"),
    fault(Diverges, "finite", "step returns NaN or infinity"),
    fault(DrawsItsOwnNoise, "deterministic", "step draws"),
    fault(IgnoresTheGenerator, "deterministic", "noise draws"),
    fault(WritesState, "pure", "step writes into its arguments"),
    fault(WritesWithoutEffect, "pure", "decode writes into its arguments"),
    fault(Counts, "pure", "step gives another result when called again", "batch", "checkpoint"),
    fault(
        TiresOfActing, "pure", "step gives another result when called again", "batch", "checkpoint"
    ),
    fault(RemembersTheLastObservation, "pure", "a state is hidden"),
    fault(UpdatesStatistics, "pure", "changes the parameters or buffers ('seen'"),
    fault(LeaksAcrossBatch, "batch", "step of one row"),
    fault(IgnoresReset, "reset", "depends on what was before"),
    fault(ResetsAllOrNone, "reset", "mixes up the rows", "batch"),
    fault(KeepsActionOnReset, "reset", "depends on what was before"),
    fault(ForgetsContextOnReset, "reset", "drops the context"),
    fault(LacksAHead, "heads", "step lacks reward"),
    fault(UndeclaredHead, "heads", "step returns cost"),
    fault(HeadOfWrongShape, "heads", "reward is [3, 1]"),
    fault(OtherHeadsLater, "heads", "step is not the heads of advance"),
    fault(LogitAsProbability, "heads", "<= 1"),
    fault(NegativeCost, "heads", "cost spans -1e+06"),
    fault(DecodesBytes, "decode", "torch.uint8", "frames"),
    fault(DecodesUnscaled, "decode", "must be in 0..1"),
    fault(DecodesMore, "decode", "promise ['angle']"),
    fault(DecodesFlat, "decode", "[3, 48]", "frames"),
    fault(DetachesState, "gradient", "('speed', "),
    fault(DetachesOneHead, "gradient", "('action', 'reward')] gets no gradient"),
    fault(DetachesParameters, "gradient", "spec.grad declares action"),
    fault(HidesItsGradient, "gradient", "does not declare it"),
    fault(WrongGradient, "gradcheck", "finite differences"),
    fault(OneRowLate, "sequence", "loop of observe", "losses"),
    fault(IgnoresTheStateBefore, "sequence", "loop of observe"),
    fault(SeesTheFuture, "causality", "changes a state before it", "sequence", "losses"),
    fault(LastFrameIsAnother, "frames", "last frame"),
    fault(TooFewFrames, "frames", "[3, 2, 3, 4, 4]"),
    fault(WrongFeatureSize, "features", "[3, 13]"),
    fault(NamesDiffer, "losses", "'prior'"),
    fault(ReducesALoss, "losses", "'prior' is []"),
    fault(LeavesAParameterOut, "losses", "No loss reaches the parameters ['spare.weight'"),
    fault(DetachesALoss, "losses", "'continues' is without gradient"),
    fault(TrainsOnOtherStates, "losses", "states of loss differ from a loop"),
    fault(LossSeesTheFuture, "losses", "Later rows change"),
    fault(PlainTensorIsLearned, "checkpoint", "step differs after"),
    fault(SavesAnObject, "checkpoint", "_extra_state"),
    fault(LoadsHalf, "checkpoint", "differs after"),
    fault(CompilesDifferently, "compile", "Compiled step differs"),
]


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.model.__name__)
def test_a_seeded_fault_fails_the_right_check(case: Fault) -> None:
    with pytest.raises(WorldModelError) as error:
        check_world_model(
            case.model(),
            build=case.model,
            gradcheck=case.check == "gradcheck",
            compile="eager" if case.check == "compile" else None,
        )
    results = {result.name: result for result in error.value.results}
    assert names(error.value.results, "failed") == {case.check, *case.also}
    assert case.words in results[case.check].note
    assert f"{case.check}: {results[case.check].note}" in str(error.value)
    assert case.model.__name__ in str(error.value)


def test_one_error_lists_every_failed_check() -> None:
    class Hopeless(LeaksAcrossBatch, NamesDiffer):
        pass

    with pytest.raises(WorldModelError) as error:
        check_world_model(Hopeless(), gradcheck=False)
    assert names(error.value.results, "failed") == {"batch", "losses"}
    assert "fails 2 of 18 checks" in str(error.value)
