"""The whole world model: the interface, its memory, guidance, averaging, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.core.check import check_world_model
from reverie.core.model import Batch, Featured, Sequential, Trainable
from reverie.core.spec import Space
from reverie.models.unisim import FlowConfig, HeadsConfig, UNetConfig, UniSim, UniSimState
from reverie.models.unisim.config import TransformerConfig
from reverie.nn.conditions import Part
from reverie.nn.spacetime import SpaceTimeConfig
from reverie.nn.text import encode_text
from tests.models.unisim import tiny

PARTS = (Part("arm", 0, 1), Part("hand", 1, 2))
SILENT = HeadsConfig(features=16, hidden=16, members=0, reward=False, continues=False)
CHOICE = Space((3,), discrete=True)
ROBOTS = {"embodiment": Space((), "int64", 0, 1)}
GUIDED = FlowConfig(steps=2, guidance=1.5, settle=0)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "vectors and text": {"obs": {**tiny.CAMERA, **tiny.POSE, **tiny.TEXT}},
    "two cameras, a choice, no heads": {
        "obs": tiny.CAMERAS, "action": CHOICE, "heads": SILENT,
    },
    "two steps, guided": {"flow": GUIDED, "parts": PARTS},
    "two robots, odd size": {"obs": {"eye": Space((1, 13, 18), "uint8"), **tiny.POSE, **ROBOTS}},
    "transformer": {
        "obs": {**tiny.CAMERA, **tiny.POSE},
        "backbone": "transformer",
        "transformer": TransformerConfig(4, SpaceTimeConfig(16, 2, 2, window=3)),
    },
}  # fmt: skip


# -------------------------------------------------------------------------------------------------
# The interface


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_promise_is_kept(variant: str) -> None:
    def build() -> UniSim:
        return tiny.model(**VARIANTS[variant])

    net = build()
    for kind in (Trainable, Featured, Sequential):
        assert isinstance(net, kind)
    slopes = variant in ("plain", "transformer")  # the most expensive check
    results = check_world_model(net, build=build, gradcheck=slopes)
    skipped = {r.name for r in results if r.outcome == "skipped"}
    assert skipped - {"gradcheck"} == {"frames", "compile"}
    assert ("gradcheck" in skipped) != slopes


@pytest.mark.slow
def test_compiled_calls_are_those_of_eager_execution() -> None:
    check_world_model(tiny.model(), gradcheck=False, compile="aot_eager")


def test_what_it_provides() -> None:
    assert tiny.model().spec.provides == {"obs", "reward", "continues", "uncertainty"}
    net = tiny.model(heads=SILENT)
    assert net.spec.provides == {"obs"}
    assert net.spec.grad == {"state", "action"}
    assert not any(p.requires_grad for p in net.features_of.parameters())
    step = net.step(net.initial(2), torch.rand(2, 1, 2), net.noise(2))
    assert step[1:] == (None, None, None, None)
    net = tiny.model({**tiny.CAMERA, **tiny.POSE, **tiny.TEXT})
    assert net.spec.context.keys() == {"text"}
    assert net.spec.obs.keys() == {"image", "pose"}
    assert net.spec.grad == {"params", "state", "action"}


def test_what_it_says_of_a_step() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE})
    state, action, noise = seen(net), torch.rand(3, 1, 2), net.noise(3)
    step = net.step(state, action, noise)
    condition = net.condition(net.averaged, state, action[:, 0])
    read = net.heads(net.look(step.state.frames), condition, state.vectors)
    torch.testing.assert_close(step.reward, read.reward)
    torch.testing.assert_close(step.continues, 1 - torch.sigmoid(read.ends))
    assert net.ensemble is not None
    doubt = net.ensemble.uncertainty(net.look(state.frames), condition)
    torch.testing.assert_close(step.uncertainty, doubt)
    shown = net.decode(step.state)
    torch.testing.assert_close(shown["image"], (step.state.frames[:, -1] + 1) / 2)
    torch.testing.assert_close(shown["pose"], 3 * read.sensors["pose"] + 1)  # of -2..4
    assert step.state.frames.abs().max() <= 1
    assert torch.equal(step.state.frames[:, :-1], state.frames[:, 1:])


def seen(net: UniSim, batch: int = 3, rows: int = 4, **context: Tensor) -> UniSimState:
    """A state after some rows."""
    given, state = tiny.rows(net, batch, rows), net.initial(batch, context or None)
    states = net.observe_all(state, given.action[:, :, None], given.obs, given.first, net.noise(1))
    found: UniSimState = tree.select(states, (slice(None), rows - 1))
    return found


# -------------------------------------------------------------------------------------------------
# What it remembers


def test_before_anything_was_sensed_all_is_grey() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE})
    state = net.initial(2)
    assert state.frames.shape == (2, 3, 3, 16, 16)
    assert not state.frames.any()
    assert state.age.tolist() == [0, 0]
    shown = net.decode(state)
    assert (shown["image"] == 0.5).all()
    assert (shown["pose"] == 1).all()  # the middle of -2..4
    step = net.step(state, torch.zeros(2, 1, 2), net.noise(2))
    assert torch.equal(step.state.frames[:, 0], step.state.frames[:, 2])  # the first of its episode
    assert step.state.age.tolist() == [1, 1]


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("goes_on", [False, True])
def test_histories_hold_the_last_frames_of_the_episode(frames: int, goes_on: bool) -> None:
    net = tiny.model(frames=frames)
    first = torch.rand(5, 9) < 0.25
    video = torch.rand(5, 9, 3, 16, 16)
    state = seen(net, 5, 2) if goes_on else net.initial(5)
    found, ages = net.histories(state, video, first)
    for b in range(5):
        memory = list(state.frames[b, frames - int(state.age[b]) :])
        for t in range(9):
            memory = [] if first[b, t] else memory
            memory = [*memory, video[b, t]][-frames:]
            expected = torch.stack([memory[0]] * (frames - len(memory)) + memory)
            assert torch.equal(found[b, t], expected)
            assert ages[b, t] == len(memory)


def test_missing_pictures_and_vectors_are_held_within_the_episode_alone() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE})
    batch = tiny.rows(net, 4, 8, whole=False)
    gappy = {f"{name}.present": torch.rand(4, 8) < 0.5 for name in ("image", "pose")}
    for here in gappy.values():
        here[0, 4] = False  # where the second episode of the first row begins
    assert batch.first[0, 4]
    obs, state, noise = {**batch.obs, **gappy}, net.initial(4), net.noise(4)
    states = net.observe_all(state, batch.action[:, :, None], obs, batch.first, noise)
    for t in range(8):
        now = {name: x[:, t] for name, x in obs.items()}
        state = net.observe(state, batch.action[:, t, None], now, batch.first[:, t], noise)
        assert not tree.differ(state, tree.select(states, (slice(None), t)), 1e-6)
        if t == 4:
            blank = net.initial(4)
            assert torch.equal(state.frames[0], blank.frames[0])
            assert torch.equal(state.vectors["pose"][0], blank.vectors["pose"][0])


def test_a_picture_of_another_size_is_refused() -> None:
    net = tiny.model()
    wrong = {"image": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}
    first = torch.ones(1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(3, 32, 32\); this model sees pictures of \(3, 16"):
        net.observe(net.initial(1), torch.zeros(1, 1, 2), wrong, first, net.noise(1))
    with pytest.raises(ValueError, match="add an image"):
        UniSim(tiny.POSE, tiny.ACTION, 0.1, tiny.config())


# -------------------------------------------------------------------------------------------------
# Steps


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_step_depends_on_its_arguments_alone(steps: int) -> None:
    net = tiny.model(flow=FlowConfig(steps=steps))
    state, action = seen(net), torch.rand(3, 1, 2)
    noise, other = net.noise(3), net.noise(3)
    one, two = (net.step(state, action, noise) for _ in range(2))
    assert not tree.differ(one, two)
    assert tree.differ(one.state.frames, net.step(state, action, other).state.frames, 1e-4)
    assert tree.differ(one.state.frames, net.step(state, -action, noise).state.frames, 1e-4)


@pytest.mark.parametrize(
    ("steps", "told"),
    [(1, [(0.0, 0.0)]), (2, [(0, 0.5), (0.5, 0.5)]), (4, [(k / 4, 0.25) for k in range(4)])],
)
def test_the_denoiser_is_told_level_and_length_of_its_steps(
    steps: int, told: list[tuple[float, float]]
) -> None:
    net = tiny.model(flow=FlowConfig(steps=steps))
    calls = tiny.replaced(net, lambda z, before, condition, level: before[:, :, -1])
    net.averaged.forward = net.denoiser.forward  # type: ignore[method-assign]
    state = seen(net)
    step = net.step(state, torch.rand(3, 1, 2), net.noise(3))
    found = [(c["level"].flatten().tolist(), c["step"].flatten().tolist()) for c in calls]
    assert found == [([level] * 3, [length] * 3) for level, length in told]
    assert all((c["clean"] == 1).all() for c in calls)
    torch.testing.assert_close(step.state.frames[:, -1], state.frames[:, -1])


def test_half_precision_is_close() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE})
    state, action, noise = seen(net), torch.rand(3, 1, 2), net.noise(3)
    whole = net.step(state, action, noise)
    with torch.autocast("cpu", torch.bfloat16):
        half = net.step(state, action, noise)
        losses = net.loss(tiny.rows(net), net.initial(3), net.training_noise(3, 6)).losses
    assert half.state.frames.dtype == half.reward.dtype == torch.float32
    torch.testing.assert_close(half.state.frames, whole.state.frames, atol=0.05, rtol=0)
    torch.testing.assert_close(half.reward, whole.reward, atol=0.05, rtol=0)
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in losses.values())


def test_two_cameras_are_predicted_together() -> None:
    net = tiny.model(tiny.CAMERAS)
    state = seen(net)
    shown = net.decode(net.step(state, torch.rand(3, 1, 2), net.noise(3)).state)
    assert {name: x.shape[1:] for name, x in shown.items()} == {
        "left": (3, 16, 16),
        "right": (1, 16, 16),
    }
    dark = state._replace(frames=torch.cat([state.frames[:, :, :3], -state.frames[:, :, 3:]], 2))
    other = net.decode(net.step(dark, torch.rand(3, 1, 2), net.noise(3)).state)
    assert tree.differ(shown["left"], other["left"], 1e-3)  # each sees what the other saw


# -------------------------------------------------------------------------------------------------
# What it is told


def frame(net: UniSim, state: UniSimState, action: Tensor) -> Tensor:
    with torch.no_grad():
        return net.step(state, action, torch.ones(len(action), *net.cameras.shape)).state.frames


def test_in_how_many_steps_a_frame_is_made_can_be_changed_afterwards() -> None:
    asked = tiny.model()
    flow = asked.config.flow
    made = tiny.model(flow=replace(flow, steps=4))
    made.load_state_dict(asked.state_dict())
    state, action, noise = seen(asked), torch.rand(3, 1, 2), asked.noise(3)
    usual = asked.step(state, action, noise).state.frames
    asked.denoise_in(4)
    changed = asked.step(state, action, noise).state.frames
    torch.testing.assert_close(changed, made.step(state, action, noise).state.frames)
    assert not torch.equal(changed, usual)
    asked.denoise_in(1)
    torch.testing.assert_close(asked.step(state, action, noise).state.frames, usual)
    for wrong in (0, 3, 2 * flow.finest):
        with pytest.raises(ValueError, match=f"{wrong} denoising steps were asked for"):
            asked.denoise_in(wrong)


def test_without_guidance_nothing_is_paid_for_it_and_with_none_conditions_do_not_matter() -> None:
    net = tiny.model(parts=PARTS)
    calls, own = list[int](), net.averaged.forward

    def counted(z: Tensor, *given: Any, **more: Any) -> Any:
        calls.append(len(z))
        return own(z, *given, **more)

    net.averaged.forward = counted  # type: ignore[method-assign]
    state, action = seen(net), torch.rand(3, 1, 2)

    def guided(weight: float, action: Tensor = action) -> Tensor:
        net.config = replace(net.config, flow=replace(net.config.flow, guidance=weight))
        calls.clear()
        noise = torch.ones(3, 3, 16, 16)
        condition = net.condition(net.averaged, state, action[:, 0])
        with torch.no_grad():
            return net.denoised(net.averaged, state, condition, action[:, 0], noise)

    full = guided(1.0)
    assert len(calls) == 1
    nothing = guided(0.0)
    assert len(calls) == 2
    torch.testing.assert_close(nothing, guided(0.0, -action))
    unknown = torch.full_like(action, math.nan)
    torch.testing.assert_close(nothing, guided(1.0, unknown))  # what is not said is not known
    torch.testing.assert_close(guided(2.5), nothing + 2.5 * (full - nothing))
    assert tree.differ(full, nothing, 1e-3)


def test_a_part_that_is_not_said_is_not_read() -> None:
    net = tiny.model(parts=PARTS)
    state, action = seen(net), torch.rand(3, 1, 2)
    blank = action.clone()
    blank[..., 1] = math.nan
    partly = frame(net, state, blank)
    assert partly.isfinite().all()
    assert tree.differ(partly, frame(net, state, action), 1e-4)
    other = -blank
    assert tree.differ(partly, frame(net, state, other), 1e-4)
    assert not tree.differ(partly, frame(net, state, blank.clone()))


def words(*texts: str) -> Tensor:
    nothing = torch.zeros(12, dtype=torch.uint8)
    return torch.stack([encode_text(text, 12) if text else nothing for text in texts])


def test_a_new_instruction_changes_the_text_and_nothing_else() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE, **tiny.TEXT, **ROBOTS})
    robot = torch.tensor([0, 1, 1])
    state = seen(net, text=words("go left", "go left", "go left"), embodiment=robot)
    told = net.told(state, {"text": words("go left", "go right", "")})
    assert torch.equal(told.given["text"], words("go left", "go right", ""))
    assert torch.equal(told.context.embodiment, robot)
    for name in ("frames", "age", "vectors"):
        assert not tree.differ(getattr(told, name), getattr(state, name))
    action = torch.rand(3, 1, 2)
    one, two = frame(net, state, action), frame(net, told, action)
    torch.testing.assert_close(one[0], two[0])
    for row in (1, 2):
        assert tree.differ(one[row], two[row], 1e-5)
    nothing = net.told(net.initial(3, {"embodiment": robot}), {})
    silent = net.initial(3, {"text": words("", "", ""), "embodiment": robot})
    assert not tree.differ(nothing.context, silent.context)


def test_a_policy_is_told_what_the_model_is_told() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE, **tiny.TEXT, **ROBOTS})
    robot = torch.tensor([0, 1, 1])
    state = seen(net, text=words("go left", "go left", "go left"), embodiment=robot)
    same = tree.map(lambda x: x[1:2].expand(3, *x.shape[1:]), state)
    told = net.told(same, {"text": words("go left", "go right", "")})
    far = {n: v + torch.arange(3)[:, None] for n, v in same.vectors.items()}
    moved = same._replace(vectors=far)
    other = net.told(same, {"embodiment": torch.tensor([1, 0, 1])})
    for changed, alike in ((told, 0), (moved, 0), (other, 2)):
        found, usual = net.features(changed), net.features(same)
        assert found.shape == (3, net.feature_size)
        assert torch.equal(found[alike], usual[alike])
        assert not torch.equal(found[1], usual[1])


def test_embeddings_of_text_are_read_and_may_be_missing() -> None:
    net = tiny.model({**tiny.CAMERA, "text_embedding": Space((4,))})
    told = torch.randn(3, 4)
    told[1] = math.nan
    state = seen(net, text_embedding=told)
    without = seen(net)
    action = torch.rand(3, 1, 2)
    one, two = frame(net, state, action), frame(net, without, action)
    assert one.isfinite().all()
    torch.testing.assert_close(one[1], two[1])
    assert tree.differ(one[0], two[0], 1e-5)


def test_each_robot_reads_actions_by_its_own_map() -> None:
    net = tiny.model({**tiny.CAMERA, **ROBOTS})
    state, action = seen(net, embodiment=torch.tensor([0, 0, 1])), torch.rand(1, 1, 2)
    same = state._replace(frames=state.frames[:1].expand(3, -1, -1, -1, -1))
    one = frame(net, same, action.expand(3, -1, -1))
    torch.testing.assert_close(one[0], one[1])
    assert tree.differ(one[0], one[2], 1e-4)


def test_each_choice_leads_elsewhere() -> None:
    net = tiny.model(action=CHOICE)
    state = seen(net)
    same = state._replace(frames=state.frames[:1].expand(3, -1, -1, -1, -1))
    one = frame(net, same, torch.eye(3)[:, None])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert tree.differ(one[a], one[b], 1e-4)


# -------------------------------------------------------------------------------------------------
# Averaged weights


def test_averaged_weights_follow_and_it_is_they_that_predict() -> None:
    net = tiny.model(average=0.9)
    state, action = seen(net), torch.rand(3, 1, 2)
    slow = {name: x.clone() for name, x in net.averaged.named_parameters()}
    fast = dict(net.denoiser.named_parameters())
    before = frame(net, state, action)
    with torch.no_grad():
        for p in net.denoiser.parameters():
            p.add_(torch.randn_like(p))
    assert torch.equal(frame(net, state, action), before)
    for count in range(1, 80):
        net.after_update()
        decay = min(0.9, (1 + count) / (10 + count))
        slow = {name: decay * x + (1 - decay) * fast[name] for name, x in slow.items()}
        if count in (1, 2, 79):
            for name, x in net.averaged.named_parameters():
                torch.testing.assert_close(x, slow[name], atol=1e-5, rtol=1e-4)
    assert int(net.updates) == 79
    assert tree.differ(frame(net, state, action), before, 1e-3)
    for name, x in net.denoiser.named_parameters():
        assert torch.equal(x, fast[name])


def test_averaged_weights_do_not_learn_by_themselves() -> None:
    net = tiny.model()
    assert not any(p.requires_grad for p in net.averaged.parameters())
    assert all(p.requires_grad for p in net.denoiser.parameters())
    fresh = UniSim(tiny.CAMERA, tiny.ACTION, 0.1, tiny.config())
    assert not tree.differ(fresh.averaged.state_dict(), fresh.denoiser.state_dict())


# -------------------------------------------------------------------------------------------------
# It learns: a square on a table, moved by one pixel for each unit of the action


def squares(batch: int, length: int, generator: torch.Generator) -> Batch:
    """A white square of 5 x 5 on grey; actions move it by -2..2 pixels, and the border stops it."""

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    action = whole(-2, 2, batch, length, 2) * ~first[..., None]
    place = whole(0, 11, batch, 2)
    image = torch.full((batch, length, 1, 16, 16), 80, dtype=torch.uint8)
    for t in range(length):
        place = (place + action[:, t]).clamp(0, 11)
        for b in range(batch):
            row, column = place[b].tolist()
            image[b, t, :, row : row + 5, column : column + 5] = 255
    none, zero = torch.zeros_like(first), torch.zeros(batch, length)
    return Batch({"image": image}, action / 2, zero, first, none, none)


def learnt(updates: int, told: str = "truth") -> UniSim:
    """A small model after some updates; `told` shuffled, its actions were those of other rows."""
    torch.manual_seed(1)
    dice = torch.Generator().manual_seed(1)
    settings = FlowConfig(settle=updates // 2, drop=0.0, start=0.7)
    net = UniSim(
        {"image": Space((1, 16, 16), "uint8", 0, 255)},
        tiny.ACTION,
        0.1,
        tiny.config(
            frames=2, width=32, unet=UNetConfig((16, 32)), heads=SILENT, flow=settings, average=0.97
        ),
    )
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 3e-3)
    for _ in range(updates):
        batch = squares(8, 5, dice)
        if told == "shuffled":
            batch = batch._replace(action=batch.action.roll(1, 0))
        found = net.loss(batch, net.initial(8), net.training_noise(8, 5, dice)).losses
        optimiser.zero_grad()
        sum(x.mean() for x in found.values()).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        net.after_update()
    return net


@torch.no_grad()
def errors(net: UniSim) -> tuple[float, float, float]:
    """Mean squared error two steps ahead in new episodes: under the true actions, under those of
    other rows, and of who says that nothing changes."""
    batch = squares(64, 5, torch.Generator().manual_seed(99))
    states = net.observe_all(
        net.initial(64), batch.action[:, :, None], batch.obs, batch.first, net.noise(1)
    )
    state, aim = tree.select(states, (slice(None), 2)), batch.obs["image"][:, 4] / 255
    plan = batch.action[:, 3:].transpose(0, 1)[:, :, None]
    noise = torch.randn(2, 64, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    found = []
    for actions in (plan, plan.roll(1, 1)):
        future = rollout.imagine(net, state, actions, noise).states
        end = net.decode(tree.select(future, -1))["image"]
        found.append((end - aim).square().mean().item())
    still = (batch.obs["image"][:, 2] / 255 - aim).square().mean().item()
    return found[0], found[1], still


def test_it_learns_what_actions_do_and_learns_nothing_of_them_where_they_do_nothing() -> None:
    true, shuffled, still = errors(learnt(120))
    assert true < 0.5 * still
    assert true < 0.4 * shuffled
    true, shuffled, still = errors(learnt(80, "shuffled"))
    assert true > 0.8 * shuffled
