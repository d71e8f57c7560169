"""The whole world model: the interface, its context, what follows an update, and that it learns."""

from __future__ import annotations

import pytest
import torch

from reverie.core.check import check_world_model
from reverie.core.model import Featured, Sequential, Trainable
from reverie.core.spec import Space
from reverie.models.tdmpc2 import TDMPC2, Task, TDMPC2Config
from tests.models.tdmpc2 import tiny

SENSORS = {
    "vector": tiny.JOINTS,
    "pixels": tiny.CAMERA,
    "mixed": {
        **tiny.CAMERA,
        "hand": Space((1, 40, 45), "uint8", 0, 255),
        **tiny.JOINTS,
        "mode": Space((3,), discrete=True),
    },
}


# -------------------------------------------------------------------------------------------------
# The interface


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("sensors", SENSORS)
def test_every_promise_is_kept(sensors: str, episodic: bool, several: bool) -> None:
    if several and sensors == "pixels":
        pytest.skip("refused, see below")
    tasks = tiny.TASKS if several else ()

    def build() -> TDMPC2:
        return tiny.model(SENSORS[sensors], tasks, episodic=episodic)

    net = build()
    assert isinstance(net, Trainable) and isinstance(net, Featured) and isinstance(net, Sequential)
    skipped = {r.name for r in check_world_model(net, build=build) if r.outcome == "skipped"}
    assert skipped == {"frames", "compile"}


@pytest.mark.slow
def test_compiled_calls_are_those_of_eager_execution() -> None:
    check_world_model(tiny.model(episodic=True), gradcheck=False, compile="aot_eager")


def test_what_it_provides() -> None:
    assert tiny.model().spec.provides == {"reward"}
    net = tiny.model(episodic=True)
    assert net.spec.provides == {"reward", "continues"}
    state = net.initial(3)
    assert net.decode(state) == {}
    step = net.step(state, torch.rand(3, 1, 2), ())
    ends = net.termination(step.state.z)[:, 0]
    torch.testing.assert_close(step.continues, 1 - torch.sigmoid(ends))


def test_untrained_rewards_and_values_are_exactly_zero() -> None:
    net = TDMPC2(tiny.JOINTS, tiny.ACTION, 0.1, TDMPC2Config(net=tiny.net_config()))
    state = net.initial(5)
    assert not net.step(state, torch.randn(5, 1, 2), ()).reward.any()
    assert not net.critic.value(net.features(state), net.critic.noise(5)).any()


def test_a_first_frame_fills_the_stack_and_the_next_moves_it() -> None:
    net = tiny.model(tiny.CAMERA)
    frames = torch.randint(256, (2, 2, 3, 39, 39), dtype=torch.uint8)
    blank, action = net.initial(2), torch.zeros(2, 1, 2)
    first = torch.tensor([True, True])
    one = net.observe(blank, action, {"camera": frames[0]}, first, ())
    two = net.observe(one, action, {"camera": frames[1].float() / 255}, ~first, ())
    assert torch.equal(one.frames["camera"], frames[0].repeat(1, 3, 1, 1))
    expected = torch.cat([frames[0], frames[0], frames[1]], 1)
    assert torch.equal(two.frames["camera"], expected)
    after = net.step(two, action, ()).state
    assert torch.equal(after.frames["camera"], expected)


@pytest.mark.parametrize(
    ("obs", "action", "tasks", "message"),
    [
        ({}, tiny.ACTION, (), "at least one observation"),
        ({"a.b": Space((2,))}, tiny.ACTION, (), "cannot be called 'a.b'"),
        (tiny.JOINTS, Space((3,), discrete=True), (), "continuous actions"),
        (tiny.JOINTS, tiny.ACTION, tiny.TASKS[:1], "One task, 'both', needs no list"),
        (tiny.JOINTS, tiny.ACTION, (*tiny.TASKS, Task("big", 3)), r"\['big'\] use .* 1 to 2"),
        (tiny.CAMERA, tiny.ACTION, tiny.TASKS, "beside a vector; add one"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    obs: dict, action: Space, tasks: tuple, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TDMPC2(obs, action, 0.1, TDMPC2Config(net=tiny.net_config()), tasks)


# -------------------------------------------------------------------------------------------------
# Several tasks


def test_the_task_is_context_and_an_unknown_one_is_refused() -> None:
    net = tiny.model(tasks=tiny.TASKS)
    assert net.spec.context == {"task": Space((), "int64", 0, 1)}
    assert net.initial(3).task.tolist() == [0, 0, 0]
    state = net.initial(3, {"task": torch.tensor([1, 0, 1])})
    assert state.task.tolist() == [1, 0, 1]
    assert net.discount(state).tolist() == pytest.approx([0.5, 0.9, 0.5])
    assert tiny.model().discount(tiny.model().initial(2)).tolist() == pytest.approx([0.99] * 2)
    with pytest.raises(ValueError, match=r"Tasks are 0 to 1 in this model; got \[0, 2\]"):
        net.initial(2, {"task": torch.tensor([0, 2])})


def test_features_carry_embedding_and_mask_and_unused_entries_are_not_read() -> None:
    net = tiny.model(tasks=tiny.TASKS)
    state = net.initial(2, {"task": torch.tensor([0, 1])})
    features = net.features(state)
    assert features.shape == (2, net.feature_size) and net.feature_size == 16 + 5 + 2
    assert features[:, -2:].tolist() == [[1, 1], [1, 0]]
    action = torch.rand(2, 1, 2)
    other = action.clone()
    other[:, :, 1] = -0.5
    one, two = (net.step(state, a, ()) for a in (action, other))
    assert torch.equal(one.reward[1], two.reward[1]) and one.reward[0] != two.reward[0]
    assert net.policy.mode(features)[1, 1] == 0


def test_embeddings_are_read_and_kept_within_length_one() -> None:
    net = tiny.model(tasks=tiny.TASKS)
    with torch.no_grad():
        net.embeddings.copy_(torch.tensor([[3.0, 4, 0, 0, 0], [0.3, 0.4, 0, 0, 0]]))
    state = net.initial(2, {"task": torch.tensor([0, 1])})
    expected = torch.tensor([[0.6, 0.8, 0, 0, 0], [0.3, 0.4, 0, 0, 0]])
    torch.testing.assert_close(net.features(state)[:, 16:21], expected)
    net.after_update()
    torch.testing.assert_close(net.embeddings.detach(), expected)
    kept = net.embeddings.detach().clone()
    net.after_update()
    assert torch.equal(net.embeddings, kept)


# -------------------------------------------------------------------------------------------------
# After an update


def test_slow_values_follow_by_a_hundredth() -> None:
    net = tiny.model()
    pairs = list(zip(net.target.parameters(), net.q.parameters(), strict=True))
    expected = [0.99 * slow + 0.01 * fast for slow, fast in pairs]
    net.after_update()
    for (slow, _), value in zip(pairs, expected, strict=True):
        torch.testing.assert_close(slow, value)
        assert not slow.requires_grad


def test_the_range_is_kept_after_an_update_and_not_before() -> None:
    net = tiny.model()
    batch = tiny.rows(net, batch=64)
    with torch.no_grad():
        net.q.layers[2].bias.normal_(0, 3.0)
        net.q.layers[2].weight.normal_(0, 3.0)
    before = net.range.clone()
    noise = net.training_noise(64, 4, torch.Generator().manual_seed(0))
    one = net.loss(batch, net.initial(64), noise).losses["policy"]
    assert torch.equal(net.range, before)
    assert torch.equal(net.loss(batch, net.initial(64), noise).losses["policy"], one)
    net.after_update()
    assert net.range > before and torch.equal(net.metrics["value_range"], net.range)
    after = net.range.clone()
    net.after_update()
    assert torch.equal(net.range, after)


def test_groups_name_every_parameter_by_prefix() -> None:
    net = tiny.model(tasks=tiny.TASKS, episodic=True)
    groups = net.optimiser_groups
    assert groups["encoder."].lr == pytest.approx(9e-5)
    assert groups["policy."].eps == 1e-5 and groups[""].eps == 1e-8
    assert groups["policy."].clipped != groups[""].clipped == groups["encoder."].clipped
    names = [name for name, _ in net.named_parameters()]
    for prefix in groups:
        assert any(name.startswith(prefix) for name in names)


# -------------------------------------------------------------------------------------------------
# Learning


def test_it_learns_what_it_is_shown() -> None:
    torch.manual_seed(0)
    net = TDMPC2(tiny.JOINTS, tiny.ACTION, 0.1, TDMPC2Config(net=tiny.net_config(width=32)))
    generator = torch.Generator().manual_seed(0)
    batch = tiny.rows(net, batch=32, length=4)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    seen = [torch.randn(32, 5, generator=generator)]
    for t in range(1, 4):
        push = torch.nn.functional.pad(batch.action[:, t], (0, 3))
        seen.append(0.9 * seen[-1] @ turn + push)
    obs = torch.stack(seen, 1)
    batch = batch._replace(obs={"joints": obs}, reward=obs[..., 0].abs())
    weights = [p for p in net.parameters() if p.requires_grad]
    adam = torch.optim.Adam(weights, lr=3e-3)
    history = []
    for _ in range(150):
        noise = net.training_noise(32, 4, generator)
        losses = net.loss(batch, net.initial(32), noise).losses
        adam.zero_grad()
        sum(net.scales[name] * x.mean() for name, x in losses.items()).backward()
        adam.step()
        net.after_update()
        history.append({name: x.mean().item() for name, x in losses.items()})
    assert history[-1]["reward"] < 0.6 * history[0]["reward"]
    assert history[-1]["value"] < 0.9 * history[0]["value"]
    assert torch.tensor(history[-1]["consistency"]).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_keeps_latents_and_heads_exact(dtype: torch.dtype) -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.JOINTS}, episodic=True)
    batch = tiny.rows(net, length=6)
    with torch.autocast("cpu", dtype):
        losses, states = net.loss(batch, net.initial(4), net.training_noise(4, 6))
        step = net.step(net.initial(4), batch.action[:, :1], ())
    assert states.z.dtype == step.reward.dtype == step.state.z.dtype == torch.float32
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in losses.values())
    sum(x.mean() for x in losses.values()).backward()
