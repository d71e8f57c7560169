"""Conditions: closed forms, what is missing or dropped, whose map an embodiment uses, messages."""

import math

import pytest
import torch
import torch.nn.functional as F

from reverie.core import tree
from reverie.core.spec import Space
from reverie.nn.conditions import (
    Conditions,
    ConditionsConfig,
    EmbodiedLinear,
    LevelEmbedding,
    Part,
    Reader,
    cleaned,
    fourier,
    rotation,
    whole,
)
from reverie.nn.text import TextConfig, encode_text

B, T, ROBOTS = 3, 4, 2
NAN = math.nan
CONFIG = ConditionsConfig(width=8, hidden=16, fourier=2, text=TextConfig(16, 1, 2))
PARTS = (Part("arm", 0, 3), Part("key", 3, 7, "discrete"), Part("eye", 7, 13, "camera"))
SENSORS = {"joints": Space((5,)), "mode": Space((2,), discrete=True)}
CONTEXT = {
    "text": Space((12,), "uint8"),
    "said": Space((6,)),
    "embodiment": Space((), "int64", 0, ROBOTS - 1),
}
NAMES = ("arm", "key", "eye", "joints", "mode", "said", "text")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def model(parts=PARTS, sensors=SENSORS, context=CONTEXT, config=CONFIG):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Conditions(parts, sensors, context, config).double()


def given(rows=B, frames=T, seed=0):
    """An action, sensors and context in which everything is known."""
    g = seeded(seed)
    action = torch.rand(rows, frames, 13, generator=g, dtype=torch.float64) * 2 - 1
    obs = {name: space.sample(rows, frames, generator=g) for name, space in SENSORS.items()}
    words = ("open it", "close", "push", "lift")
    context = {
        "text": torch.stack([encode_text(words[b % 4], 12) for b in range(rows)]),
        "said": torch.randn(rows, 6, generator=g),
        "embodiment": torch.arange(rows) % ROBOTS,
    }
    return action, obs, context


def answer(net, action, obs, context, drop=None):
    return net(action, net.encode(len(action), context), obs, drop)


def gradients(net, vector):
    net.zero_grad()
    weight = torch.randn(vector.shape, generator=seeded(9), dtype=vector.dtype)
    (vector * weight).sum().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def owned(net, name):
    """The parameters that read one condition."""
    index = net.names.index(name)
    count = len(net.readers)
    layer = net.readers[index] if index < count else net.constants[index - count]
    return [p.grad for p in layer.parameters()]


# -------------------------------------------------------------------------------------------------
# Closed forms


def test_the_vector_is_the_formula_written_out():
    net = model((Part("arm", 0, 2),), {}, {}, ConditionsConfig(4, 6, fourier=0))
    action = torch.randn(1, 2, 2, dtype=torch.float64)
    (reader,) = net.readers
    hidden = F.silu(F.linear(action, reader.first.weight[:, 0], reader.first.bias[0]))
    mixed = F.linear(hidden, reader.second.weight, reader.second.bias)
    h = net.output.hidden[0].linear(mixed)
    h = F.silu(h / (h.square().mean(-1, keepdim=True) + 1e-4).sqrt())
    expected = net.output.output(h)
    torch.testing.assert_close(net(action, net.encode(1)), expected, rtol=1e-10, atol=1e-12)


def test_conditions_are_summed_before_the_last_mlp():
    net, (action, obs, context) = model(), given()
    one, known = net._read(action, net.encode(B, context), obs)
    assert known.all() and one.shape == (B, T, len(NAMES), CONFIG.hidden)
    expected = net.output(one.sum(-2) / math.sqrt(7))
    torch.testing.assert_close(answer(net, action, obs, context), expected)
    readers = [
        r(*cleaned(action[..., p.start : p.stop]), context["embodiment"])
        for r, p in zip(net.readers, PARTS, strict=False)
    ]
    torch.testing.assert_close(one[..., :3, :], torch.stack(readers, -2))


def test_fourier_features_are_the_formula_and_nothing_where_nothing_is_known():
    x, valid = cleaned(torch.tensor([0.3, NAN, -1.0], dtype=torch.float64))
    expected = [0.3, 0.0, -1.0]
    for f in (math.sin, math.cos):
        for v in (0.3, None, -1.0):
            expected += [0.0 if v is None else f(2**k * math.pi * v) for k in range(3)]
    torch.testing.assert_close(fourier(x, valid, 3), torch.tensor(expected).double())
    assert fourier(x, valid, 0) is x


def test_a_rotation_vector_is_the_exponential_of_its_cross_product():
    vector = torch.randn(20, 3, generator=seeded(), dtype=torch.float64) * 2
    vector[0] = 0
    vector[1] *= 1e-9
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    torch.testing.assert_close(rotation(vector), torch.matrix_exp(cross), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1e-7, 0.4, 3.0])
def test_a_rotation_has_the_gradient_of_finite_differences_at_rest_too(size):
    vector = torch.tensor([[0.6, 0.0, -0.8]], dtype=torch.float64) * size
    assert torch.autograd.gradcheck(rotation, vector.requires_grad_(), eps=1e-5, atol=1e-6)


def test_camera_rotations_that_turn_alike_read_alike():
    net, (action, obs, context) = model(), given()
    turn = action[..., 10:].norm(dim=-1, keepdim=True)
    other = action.clone()
    other[..., 10:] *= 1 - 2 * math.pi / turn
    plain = answer(net, action, obs, context)
    torch.testing.assert_close(answer(net, other, obs, context), plain, rtol=1e-8, atol=1e-10)
    other[..., 10:] *= 1.2
    assert (answer(net, other, obs, context) - plain).abs().amax(-1).min() > 1e-4


def test_the_level_embedding_is_the_formula():
    net = LevelEmbedding(5, frequencies=3).double()
    tau = torch.tensor([[0.0, 0.25], [0.5, 1.0]], dtype=torch.float64)
    step = torch.tensor([1.0, 0.125], dtype=torch.float64)

    def s(x, slowest):
        angle = x[..., None] * slowest ** -(torch.arange(3).double() / 2)
        return torch.cat([angle.sin(), angle.cos()], -1)

    halvings = torch.tensor([0.0, 3.0]).double().expand(2, 2)
    both = torch.cat([s(1000 * tau, 1e4), s(halvings, 100.0)], -1)
    expected = net.output(F.silu(net.hidden(both)))
    torch.testing.assert_close(net(tau, step), expected, rtol=1e-8, atol=1e-10)
    without = net(tau)
    torch.testing.assert_close(net(tau, torch.zeros(())), without)
    torch.testing.assert_close(net(tau, torch.tensor(2.0**-16).double()), without)
    assert without.isfinite().all()
    assert (net(tau, torch.tensor(2.0**-15).double()) - without).abs().amax(-1).min() > 1e-3


def test_the_level_embedding_tells_levels_and_steps_apart_in_half_precision_too():
    net = LevelEmbedding(64)
    tau = torch.arange(65) / 64
    with torch.autocast("cpu", torch.bfloat16):
        levels = net(tau)
        steps = net(torch.full((8,), 0.5), 2.0 ** -torch.arange(8.0))
    assert levels.dtype == torch.float32
    assert net(tau.bfloat16()).equal(net(tau.bfloat16().float()))
    assert torch.pdist(levels).min() > 0.1
    assert torch.pdist(steps).min() > 0.1


# -------------------------------------------------------------------------------------------------
# Missing and dropped


def test_names_are_in_the_order_of_drop():
    net = model()
    assert net.names == NAMES
    assert net.without("key", "text").tolist() == [n in ("key", "text") for n in NAMES]
    assert net.without().all()


def blank(name, action, obs, context, where):
    """`name` missing in the frames `where` [B, T], or rows where constant, by NaN or zeros."""
    action, obs, context = action.clone(), dict(obs), dict(context)
    if name in SENSORS:
        obs[name] = obs[name].masked_fill(where[..., None], NAN)
    elif name == "text":
        context[name] = context[name] * ~where[:, :1]
    elif name in CONTEXT:
        context[name] = context[name].masked_fill(where[:, :1], NAN)
    else:
        part = next(p for p in PARTS if p.name == name)
        action[..., part.start : part.stop].masked_fill_(where[..., None], NAN)
    return action, obs, context


@pytest.mark.parametrize("name", NAMES)
def test_missing_is_dropped_and_leaves_the_other_frames_alone(name):
    net, all_given = model(), given()
    where = torch.zeros(B, T, dtype=torch.bool)
    where[0] = True
    if name not in CONTEXT:
        where[2, 1:3] = True
    full = answer(net, *all_given)
    missing = answer(net, *blank(name, *all_given, where))
    drop = where[..., None] & net.without(name)
    torch.testing.assert_close(missing, answer(net, *all_given, drop))
    assert missing[~where].equal(full[~where])
    assert ((missing - full)[where].abs().amax(-1) > 1e-4).all()
    vectors, _ = net._read(all_given[0], net.encode(B, all_given[2]), all_given[1])
    index = NAMES.index(name)
    vectors[where, index] = net.missing[index]
    torch.testing.assert_close(missing, net.output(vectors.sum(-2) / math.sqrt(7)))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_trains_its_stand_in_alone_with_finite_gradients(name):
    net, all_given = model(), given()
    everywhere = torch.ones(B, T, dtype=torch.bool)
    found = gradients(net, answer(net, *blank(name, *all_given, everywhere)))
    assert all(g.isfinite().all() for g in found.values())
    assert all(g is None or not g.any() for g in owned(net, name))
    standing = net.missing.grad.abs().sum(-1) > 0
    assert standing.tolist() == [other == name for other in NAMES]
    for other in {*NAMES} - {name}:
        assert any(g is not None and g.any() for g in owned(net, other)), other


@pytest.mark.parametrize("rubbish", [NAN, math.inf, 1e30])
@pytest.mark.parametrize("name", ["joints", "said"])
def test_a_mask_says_missing_whatever_the_sensor_holds(name, rubbish):
    net, (action, obs, context) = model(), given()
    where = torch.zeros(B, T, dtype=torch.bool)
    where[1] = True
    expected = answer(net, *blank(name, action, obs, context, where))
    if name in SENSORS:
        obs[name] = obs[name].masked_fill(where[..., None], rubbish)
        obs[f"{name}.present"] = ~where
    else:
        context[name] = context[name].masked_fill(where[:, :1], rubbish)
        context[f"{name}.present"] = ~where[:, 0]
    masked = answer(net, action, obs, context)
    assert masked.equal(expected)
    assert all(g.isfinite().all() for g in gradients(net, masked).values())


def test_a_masked_text_is_no_text():
    net, (action, obs, context) = model(), given()
    silent = torch.tensor([True, False, True])
    masked = {**context, "text.present": ~silent}
    zeros = {**context, "text": context["text"] * ~silent[:, None]}
    torch.testing.assert_close(answer(net, action, obs, masked), answer(net, action, obs, zeros))


def test_what_is_absent_is_missing_everywhere():
    net, (action, _, context) = model(), given()
    robot = {"embodiment": context["embodiment"]}
    bare = answer(net, action, {}, robot)
    drop = net.without("joints", "mode", "said", "text")
    torch.testing.assert_close(bare, answer(net, *given(), drop))
    torch.testing.assert_close(net(action, net.encode(B, robot)), bare)


def test_a_pass_without_anything_is_the_same_for_all():
    net = model()
    nothing = answer(net, *given(), net.without())
    assert nothing.sub(nothing[0, 0]).abs().max() < 1e-12
    action = torch.full((B, T, 13), NAN, dtype=torch.float64)
    blind = answer(net, action, {}, {"embodiment": torch.zeros(B, dtype=torch.int64)})
    torch.testing.assert_close(blind, nothing)


def test_an_arm_with_fewer_joints_reads_as_if_the_map_had_fewer_columns():
    reader = Reader("continuous", 3, 16, 2, 1).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    x[..., 1] = NAN
    out = reader(*cleaned(x), torch.zeros(2, dtype=torch.int64))
    kept = [i for i in range(15) if i not in (1, 5, 6, 11, 12)]
    small = fourier(x[..., [0, 2]], torch.ones(2, 4, 2, dtype=torch.bool), 2)
    hidden = F.silu(F.linear(small, reader.first.weight[:, 0, kept], reader.first.bias[0]))
    torch.testing.assert_close(out, reader.second(hidden))


def test_the_action_has_the_gradient_of_finite_differences_and_none_where_missing():
    net, (action, obs, context) = model(), given(2, 2)
    action[..., 7:] *= 0.3
    action[0, 0, :3] = NAN
    known = action.isnan().logical_not()
    context = net.encode(2, context)
    free = action[known].detach().requires_grad_()

    def vector(values):
        return net(action.masked_scatter(known, values), context, obs)

    assert torch.autograd.gradcheck(vector, free)
    whole_action = action.clone().requires_grad_()
    net(whole_action, context, obs).sum().backward()
    assert not whole_action.grad[~known].any()
    assert whole_action.grad.isfinite().all()


# -------------------------------------------------------------------------------------------------
# Embodiments, context, precision


def test_a_row_uses_the_map_of_its_embodiment_alone():
    layer = EmbodiedLinear(4, 5, 3).double()
    x, robot = torch.randn(6, 2, 4, dtype=torch.float64), torch.tensor([2, 0, 2, 2, 0, 0])
    out = layer(x, robot)
    for b, e in enumerate(robot.tolist()):
        torch.testing.assert_close(out[b], x[b] @ layer.weight[:, e].T + layer.bias[e])
    weight, bias = torch.autograd.grad(out[robot == 2].square().sum(), [*layer.parameters()])
    assert weight.flatten(0).any() and (weight.abs().sum((0, 2)) > 0).tolist() == [
        False,
        False,
        True,
    ]
    assert (bias.abs().sum(1) > 0).tolist() == [False, False, True]


def test_embodiments_share_all_but_the_first_map_of_what_is_continuous():
    net, (action, obs, context) = model(), given()
    robots = [reader.first.weight.shape[1] for reader in net.readers]
    assert dict(zip(NAMES, robots, strict=False)) == {
        "arm": 2,
        "key": 1,
        "eye": 1,
        "joints": 2,
        "mode": 1,
    }
    swapped = {**context, "embodiment": 1 - context["embodiment"]}
    plain, other = answer(net, action, obs, context), answer(net, action, obs, swapped)
    assert ((plain - other).abs().amax(-1) > 1e-4).all()
    hidden = net.without("arm", "joints")
    torch.testing.assert_close(
        answer(net, action, obs, context, hidden), answer(net, action, obs, swapped, hidden)
    )


def test_rows_do_not_know_each_other():
    net, (action, obs, context) = model(), given()
    full = answer(net, action, obs, context)
    for b in range(B):
        one = tree.map(lambda leaf, b=b: leaf[b : b + 1], (action, obs, context))
        torch.testing.assert_close(answer(net, *one), full[b : b + 1], rtol=1e-6, atol=1e-8)


def test_the_context_is_read_once_a_row_and_is_a_tree_for_a_state():
    net, (action, obs, context) = model(), given()
    kept = net.encode(B, context)
    assert kept.vectors.shape == (B, 2, CONFIG.hidden)
    assert kept.embodiment.equal(context["embodiment"])
    assert all(len(leaf) == B for leaf in tree.leaves(kept))
    frames = [
        net(action[:, t : t + 1], kept, {k: v[:, t : t + 1] for k, v in obs.items()})
        for t in range(T)
    ]
    torch.testing.assert_close(torch.cat(frames, 1), answer(net, action, obs, context))
    plain = model(whole(Space((3,))), {}, {})
    assert plain.encode(B).vectors.shape == (B, 0, CONFIG.hidden)
    assert not plain.encode(B).embodiment.any()


def test_tokens_of_a_text_are_the_encoders_and_hidden_where_dropped():
    net, (_, _, context) = model(), given()
    encoder = net.constants[1]
    silent = torch.tensor([True, False, False])
    tokens, mask = net.tokens("text", context, silent)
    expected = encoder(context["text"] * ~silent[:, None])
    assert tokens.equal(expected.tokens) and mask.equal(expected.mask)
    assert mask.sum(1).tolist() == [1, len("close"), len("push")]
    masked = net.tokens("text", {**context, "text.present": ~silent})
    assert masked.tokens.equal(tokens) and masked.mask.equal(mask)


@pytest.mark.parametrize("name", NAMES)
def test_every_condition_matters(name):
    net = model()
    plain = answer(net, *given())
    action, obs, context = given()
    other, sensed, told = given(seed=5)
    if name in SENSORS:
        obs[name] = 1 - obs[name] if name == "mode" else sensed[name]
    elif name in CONTEXT:
        context[name] = context[name].roll(1, 0) if name == "text" else told[name]
    else:
        part = next(p for p in PARTS if p.name == name)
        action[..., part.start : part.stop] = other[..., part.start : part.stop]
    assert ((answer(net, action, obs, context) - plain).abs().amax(-1) > 1e-4).all()


def test_the_size_of_a_single_value_is_not_lost():
    net = model(whole(Space((1,))), {}, {}, ConditionsConfig(32, 32, fourier=0))
    values = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(1, 9, 1)
    assert torch.pdist(net(values, net.encode(1))[0]).min() > 0.02


def test_a_small_value_is_a_small_change_in_spite_of_the_norm():
    net = model(whole(Space((1,))), {}, {}, ConditionsConfig(32, 32, fourier=0))
    values = torch.tensor([[[0.0], [0.02], [-1.0], [1.0]]], dtype=torch.float64)
    none, small, low, high = net(values, net.encode(1))[0]
    assert 0 < (small - none).norm() < 0.05 * (high - low).norm()


def test_half_precision_is_close_and_says_float32():
    net = model().float()
    action, obs, context = given()
    exact = answer(net, action.float(), obs, context)
    with torch.autocast("cpu", torch.bfloat16):
        half = answer(net, action.float(), obs, context)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_it_compiles_as_one_graph_and_says_the_same():
    net, (action, obs, context) = model(), given()
    action[0, :, :3] = NAN
    drop = torch.rand(B, T, 7, generator=seeded()) < 0.3
    compiled = torch.compile(answer, backend="aot_eager", fullgraph=True)
    vector = compiled(net, action, obs, context, drop)
    expected = answer(net, action, obs, context, drop)
    torch.testing.assert_close(vector, expected)
    theirs, ours = gradients(net, expected), gradients(net, vector)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


# -------------------------------------------------------------------------------------------------
# Messages


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Part("a", 0, 3, "text"), "choose one of"),
        (lambda: Part("a", 2, 2), "2:2; it needs at least one"),
        (lambda: Part("a", 0, 3, "camera"), "has 3 entries; a camera's motion has 6"),
        (lambda: Conditions([Part("a", 0, 2), Part("b", 3, 4)]), "'b' starts at entry 3"),
        (lambda: Conditions([Part("a", 0, 2), Part("b", 1, 4)]), "without gap or overlap"),
        (lambda: Conditions([Part("a", 1, 2)]), "end at 0"),
        (lambda: Conditions([Part("a", 0, 2)], {"a": Space((2,))}), "a name of its own"),
        (lambda: Conditions([]), "give at least one"),
        (lambda: Conditions([], {"eye": Space((3, 8, 8), "uint8")}), "'eye' is uint8 of shape"),
        (lambda: Conditions([], {"text": Space((8,), "uint8")}), "in the context alone, a text"),
        (lambda: Conditions([], {}, {"task": Space((), "int64")}), "'task' is int64"),
        (lambda: Conditions([], {}, {"embodiment": Space((), "int64")}), "count - 1"),
        (lambda: model().encode(2, {"text": None}), "2 embodiments and the context has"),
        (lambda: model().without("arms"), "'arms'.*there are"),
        (lambda: answer(model(), *given()[:1], {}, given()[2], torch.ones(7)), "expected bool"),
        (lambda: answer(model(), *given(), torch.ones(3, dtype=torch.bool)), r"bool \[B, T, 7\]"),
        (lambda: model()(torch.zeros(2, 12), model().encode(2, given(2)[2])), r"\[B, T, 13\]"),
    ],
)
def test_what_cannot_be_is_refused_in_a_clear_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_action_is_one_part_unless_somebody_says_more():
    assert whole(Space((4,))) == (Part("action", 0, 4),)
    assert whole(Space((4,), discrete=True)) == (Part("action", 0, 4, "discrete"),)
