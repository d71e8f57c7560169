"""The transformer over video: whole against frame by frame, who sees whom, and for how long."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.core import tree
from reverie.nn import rotary
from reverie.nn.rotary import phase
from reverie.nn.spacetime import Cache, SpaceTime, SpaceTimeConfig, SwiGLU, forget, visible

GRID, EXTRA, C, D = (2, 2), 1, 3, 16
S = 5
LAYOUTS = pytest.mark.parametrize("layout", ["factorised", "joint"])
WINDOWS = pytest.mark.parametrize("window", [8, None, 1])


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def model(dtype: torch.dtype = torch.float64, condition: int | None = C, **sizes) -> SpaceTime:
    """With modulation that is not closed any more."""
    config = SpaceTimeConfig(
        **{"width": D, "depth": 4, "heads": 2, "window": 8, "registers": 1, **sizes}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SpaceTime(config, GRID, EXTRA, condition).to(dtype)
        for parameter in net.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return net.requires_grad_(False)


def film(rows: int, frames: int, dtype: torch.dtype = torch.float64, seed: int = 0):
    return (
        draw(rows, frames, S, D, seed=seed, dtype=dtype),
        draw(rows, frames, C, seed=seed + 1, dtype=dtype),
    )


def read(net: SpaceTime, x: Tensor, c: Tensor, sizes: list[int], cache: Cache | None = None):
    """A film in pieces of the sizes given, each appended to the cache."""
    cache = net.empty_cache(len(x)) if cache is None else cache
    out = []
    for piece, condition in zip(x.split(sizes, 1), c.split(sizes, 1), strict=True):
        y, entries = net(piece, condition, cache)
        cache = net.append(cache, entries)
        out.append(y)
    return torch.cat(out, 1), cache


# -------------------------------------------------------------------------------------------------
# What is computed


def angles_written_out(net: SpaceTime, count: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Angles of every token of a film by place, by time and by both, `[T count, d / 2]`."""
    half = net.config.channels // 2
    joint = net.config.layout == "joint"
    part = half // 3 if joint else half // 2
    rest = half - 2 * part if joint else half
    places = torch.zeros(frames, count, half, dtype=torch.float64)
    times = torch.zeros(frames, count, rest, dtype=torch.float64)
    for t in range(frames):
        for token in range(GRID[0] * GRID[1]):
            for j in range(part):
                places[t, token, j] = token // GRID[1] * 100 ** (-j / part)
                places[t, token, part + j] = token % GRID[1] * 100 ** (-j / part)
        for j in range(rest):
            times[t, :, j] = t * 10_000 ** (-j / rest)
    both = torch.cat([places[..., : 2 * part], times], -1)
    return places.flatten(0, 1), times.flatten(0, 1), both.flatten(0, 1)


def attention_written_out(layer, u: Tensor, angle: Tensor, sees) -> Tensor:
    """Every token of one film with every other; `sees(t, s, u, p)` says which may."""
    count = u.shape[2]
    turn = torch.view_as_complex(phase(angle, torch.float64))[:, None]

    def heads(weight) -> Tensor:
        return F.linear(u, weight.weight).unflatten(-1, (layer.heads, -1)).flatten(0, 2)

    def unit(y: Tensor) -> Tensor:
        y = y / (y.square().mean(-1, keepdim=True) + 1e-4).sqrt()
        return torch.view_as_complex(y.unflatten(-1, (-1, 2))) * turn

    q, k, v = unit(heads(layer.query)), unit(heads(layer.key)), heads(layer.value)
    logits = torch.einsum("lhj,mhj,hj->hlm", q.conj(), k, layer.gain + 0j).real
    closed = torch.ones(len(q), len(q), dtype=torch.bool)
    for i in range(len(q)):
        for j in range(len(q)):
            closed[i, j] = not sees(*divmod(i, count), *divmod(j, count))
    weight = (logits / math.sqrt(layer.channels)).masked_fill(closed, -math.inf).softmax(-1)
    return layer.output(torch.einsum("hlm,mhd->lhd", weight, v).flatten(1).view(u.shape))


def written_out(net: SpaceTime, x: Tensor, c: Tensor) -> Tensor:
    """The network with dense matrices of who sees whom, filled pair by pair; one film."""
    frames = x.shape[1]
    x = torch.cat([x, net.registers.expand(1, frames, -1, -1)], 2)
    still, moving, both = angles_written_out(net, x.shape[2], frames)

    def near(t: int, _s: int, u: int, _p: int) -> bool:
        return 0 <= t - u < (net.config.window or frames)

    for block in net.blocks:
        first, last, *middle = block.modulation(F.silu(c), net.modulation(F.silu(c)))
        if net.config.layout == "joint" and block.looks:
            change = attention_written_out(block.space, first.enter(x), both, near)
        else:
            change = attention_written_out(
                block.space, first.enter(x), still, lambda t, s, u, p: t == u
            )
        x = first.leave(x, change)
        for part in middle:
            change = attention_written_out(
                block.time, part.enter(x), moving, lambda *at: near(*at) and at[1] == at[3]
            )
            x = part.leave(x, change)
        x = last.leave(x, block.feed(last.enter(x)))
    return x[:, :, : net.tokens]


@LAYOUTS
@pytest.mark.parametrize("window", [2, None])
def test_it_is_the_network_written_out(layout: str, window: int | None) -> None:
    net = model(layout=layout, window=window, depth=2)
    x, c = film(1, 4)
    torch.testing.assert_close(net(x, c)[0], written_out(net, x, c), atol=1e-10, rtol=1e-10)


def test_swiglu() -> None:
    net, x = SwiGLU(4, 6).double(), draw(3, 4)
    a, b = x @ net.gate.weight.T, x @ net.up.weight.T
    torch.testing.assert_close(net(x), (a * torch.sigmoid(a) * b) @ net.down.weight.T)


@LAYOUTS
def test_gradients_are_those_of_finite_differences(layout: str) -> None:
    net = model(layout=layout, depth=2, window=2)
    names = [name for name, _ in net.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in net.parameters()]
    x, c = film(1, 3)

    def out(x: Tensor, c: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(net, named, (x, c))[0]

    leaves = (x.requires_grad_(), c.requires_grad_(), *values)
    assert torch.autograd.gradcheck(out, leaves, fast_mode=True)


@LAYOUTS
def test_gradients_flow_through_a_cache(layout: str) -> None:
    net = model(layout=layout, window=4)
    x, c = film(2, 6)
    whole, parts = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = draw(2, S, D, seed=5)
    (net(whole, c)[0][:, -1] * weight).sum().backward()
    (read(net, parts, c, [3, 2, 1])[0][:, -1] * weight).sum().backward()
    torch.testing.assert_close(parts.grad, whole.grad)


@LAYOUTS
def test_it_is_the_identity_at_first(layout: str) -> None:
    net = SpaceTime(SpaceTimeConfig(width=D, depth=4, heads=2, layout=layout), GRID, EXTRA, C)
    x, c = film(2, 3, torch.float32)
    assert torch.equal(net(x, c)[0], x)


@LAYOUTS
def test_rows_know_nothing_of_each_other(layout: str) -> None:
    net = model(layout=layout)
    x, c = film(3, 5)
    order = torch.tensor([2, 0, 1])
    y = net(x, c)[0]
    torch.testing.assert_close(net(x[order], c[order])[0], y[order])
    torch.testing.assert_close(net(x[1:2], c[1:2])[0], y[1:2])


# -------------------------------------------------------------------------------------------------
# Who sees whom


@LAYOUTS
@pytest.mark.parametrize("window", [1, 3, None])
def test_a_frame_depends_on_those_it_sees_and_on_no_other(layout: str, window: int | None) -> None:
    net = model(layout=layout, window=window, depth=1, time_every=1)
    x, c = (leaf.requires_grad_() for leaf in film(1, 6))
    y = net(x, c)[0]
    for t in range(6):
        for s in range(S):
            to_x, to_c = torch.autograd.grad(
                (y[0, t, s] * draw(D)).sum(), (x, c), retain_graph=True
            )
            for u in range(6):
                seen = 0 <= t - u < (window or 6)
                assert (to_x[0, u] != 0).any(-1).tolist() == [seen] * S
                assert (to_c[0, u] != 0).any().item() is seen


@LAYOUTS
def test_blocks_that_do_not_look_back_do_not(layout: str) -> None:
    net = model(layout=layout, depth=3, time_every=3)
    assert [block.looks for block in net.blocks] == [False, False, True]
    assert len(net.empty_cache(2).keys) == 1
    x = film(1, 4)[0].requires_grad_()
    inner: list[Tensor] = []
    net.blocks[1].register_forward_hook(lambda *given: inner.append(given[-1][0]))
    net(x, film(1, 4)[1])
    (slope,) = torch.autograd.grad(inner[0][:, 2].square().sum(), x)
    assert (slope != 0).flatten(2).any(-1).tolist() == [[False, False, True, False]]


@LAYOUTS
def test_a_film_that_begins_anew_sees_nothing_before(layout: str) -> None:
    net = model(layout=layout)
    x, c = film(2, 9)
    first = torch.zeros(2, 9, dtype=torch.bool)
    first[0, 4] = first[0, 6] = first[1, 0] = True
    cache = read(net, *film(2, 5, seed=3), [5])[1]
    y, entries = net(x, c, cache, first)
    before = read(net, x[:1, :4], c[:1, :4], [4], tree.select(cache, slice(0, 1)))[0]
    middle, end = net(x[:1, 4:6], c[:1, 4:6])[0], net(x[:1, 6:], c[:1, 6:])[0]
    torch.testing.assert_close(y[:1], torch.cat([before, middle, end], 1))
    torch.testing.assert_close(y[1:], net(x[1:], c[1:])[0])
    assert entries.age.tolist() == [3, 9]
    after = film(2, 2, seed=8)
    later = read(net, *after, [2], net.append(cache, entries))[0]
    joined = [
        torch.cat(pair, 1)
        for pair in zip((x[:1, 6:], c[:1, 6:]), (a[:1] for a in after), strict=True)
    ]
    torch.testing.assert_close(later[:1], net(*joined)[0][:, 3:])


def test_who_is_visible() -> None:
    frame, seen, before = visible(2, 3, torch.tensor([0, 1, 9]), 2)
    assert frame.tolist() == [[0, 1], [1, 2], [9, 10]]
    assert seen.tolist() == [[[True, False], [True, True]]]
    assert before.tolist() == [
        [[False, False], [False, False]],
        [[False, True], [False, True]],
        [[True, True], [False, True]],
    ]
    assert visible(1, None, torch.tensor([0]), 0)[1:] == (None, None)


# -------------------------------------------------------------------------------------------------
# What is kept


@LAYOUTS
@WINDOWS
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_frame_by_frame_is_the_whole(
    layout: str, window: int | None, dtype: torch.dtype, error: float
) -> None:
    net = model(dtype, layout=layout, window=window)
    x, c = film(2, 64, dtype)
    whole = net(x, c)[0]
    assert 0.5 < whole.std() < 3 and (whole - x).std() > 0.3
    for sizes in ([1] * 64, [5, 1, 20, 1, 1, 7, 29]):
        assert (read(net, x, c, sizes)[0] - whole).abs().max() < error


@LAYOUTS
@pytest.mark.parametrize("window", [4, None])
def test_rows_of_one_batch_may_have_different_ages(layout: str, window: int | None) -> None:
    net = model(layout=layout, window=window)
    x, c = film(3, 12)
    begins, out = (0, 5, 10), []
    cache = net.empty_cache(3)
    for t in range(12):
        cache = forget(cache, torch.tensor([t == begin for begin in begins]))
        y, entries = net(x[:, t : t + 1], c[:, t : t + 1], cache)
        cache = net.append(cache, entries)
        out.append(y)
    assert cache.age.tolist() == [12, 7, 2]
    for row, begin in enumerate(begins):
        alone = net(x[row : row + 1, begin:], c[row : row + 1, begin:])[0]
        torch.testing.assert_close(torch.cat(out, 1)[row : row + 1, begin:], alone)


@LAYOUTS
def test_a_cache_is_a_value(layout: str) -> None:
    net = model(layout=layout)
    x, c = film(2, 3)
    cache = read(net, x, c, [2, 1])[1]
    kept = tree.clone(cache)
    one, entries = net(x, c, cache)
    two, _ = net(x, c, cache)
    net.append(cache, entries)
    forget(cache, torch.tensor([True, False]))
    assert torch.equal(one, two) and not tree.differ(cache, kept)
    assert tree.batch_size(cache) == 2 and cache.age.dtype == torch.int64
    many = net(x.repeat_interleave(3, 0), c.repeat_interleave(3, 0), tree.repeat(cache, 3))[0]
    torch.testing.assert_close(many, one.repeat_interleave(3, 0))


@LAYOUTS
def test_a_cache_has_room_for_the_window_alone(layout: str) -> None:
    net = model(layout=layout, window=4)
    shapes = [leaf.shape for leaf in tree.leaves(net.empty_cache(2))]
    cache = read(net, *film(2, 30), [1] * 20 + [10])[1]
    assert [leaf.shape for leaf in tree.leaves(cache)] == shapes
    frame = 2 * 2 * (S + 1) * D  # keys and values in 2 of the 4 blocks
    assert sum(leaf[0].numel() for leaf in (*cache.keys, *cache.values)) == 3 * frame


def test_a_change_before_the_window_is_forgotten_and_one_within_is_not() -> None:
    net = model(window=4, depth=2, time_every=1)  # sees 2 (4 - 1) frames back in two blocks
    x, c = film(1, 12)
    whole = net(x, c)[0][:, -1]
    for frame, same in ((5, False), (4, True), (0, True)):
        other = x.clone()
        other[:, frame] += 1
        assert torch.allclose(net(other, c)[0][:, -1], whole, atol=1e-12, rtol=0) is same


@LAYOUTS
def test_ten_thousand_frames_later_it_says_the_same(layout: str, monkeypatch) -> None:
    net = model(torch.float32, layout=layout, window=4, depth=2, time_every=1)
    sight = 2 * 3
    x, c = film(1, sight + 3, torch.float32, seed=4)
    young = net(x, c)[0][:, sight:]

    def old() -> Tensor:
        cache = net.empty_cache(1)
        for seed in range(200):
            cache = net.append(cache, net(*film(1, 50, torch.float32, seed), cache)[1])
        assert cache.age.tolist() == [10_000]
        return read(net, x, c, [1] * (sight + 3), cache)[0][:, sight:]

    with monkeypatch.context() as patch:
        assert (old() - young).abs().max() < 1e-5
        exact = rotary.angles
        patch.setattr(
            "reverie.nn.spacetime.angles", lambda *given: exact(*given).bfloat16().double()
        )
        assert (old() - young).abs().max() > 1e-2, "rounded angles must show"


# -------------------------------------------------------------------------------------------------
# Precision and messages


@LAYOUTS
def test_half_precision_is_close(layout: str) -> None:
    net = model(torch.float32, layout=layout).requires_grad_(True)
    x, c = film(2, 6, torch.float32)
    whole = net(x, c)[0]
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x, c)[0]
        cached, cache = read(net, x, c, [4, 1, 1])
    assert half.dtype == torch.float32 and {k.dtype for k in cache.keys} == {torch.bfloat16}
    for other in (half, cached):
        assert 0 < (other - whole).norm() < 0.03 * (whole - x).norm()
    half.square().sum().backward()
    slopes = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    whole.square().sum().backward()
    for name, parameter in net.named_parameters():
        slope = slopes[name]
        assert slope is not None and parameter.grad is not None
        assert torch.cosine_similarity(slope.flatten(), parameter.grad.flatten(), 0) > 0.98, name


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"width": 6}, "multiple of 4"),
        ({"heads": 3}, "multiple of 4"),
        ({"layout": "joint", "heads": 4}, "at least 8"),
        ({"layout": "diagonal"}, "choose one of"),
        ({"time_every": 5}, "between 1 and `depth`"),
        ({"time_every": 0}, "between 1 and `depth`"),
        ({"window": 0}, "at least 1"),
        ({"registers": -1}, "0 or more"),
        ({"hidden": 0}, "at least 1, or None"),
    ],
)
def test_sizes_that_do_not_fit(sizes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model(**sizes)


def test_the_hidden_layer_is_a_multiple_of_32() -> None:
    assert SpaceTimeConfig().inner == 704
    assert SpaceTimeConfig(hidden=100).inner == 100


def test_shapes_that_do_not_fit() -> None:
    net, (x, c) = model(), film(2, 3)
    for frames, condition, says in (
        (x[:, :, 1:], c, "expected .B, T, 5, 16"),
        (x[:, :0], c[:, :0], "T > 0"),
        (x, None, "this model takes"),
        (x, c[:, :2], "this model takes"),
    ):
        with pytest.raises(ValueError, match=says):
            net(frames, condition)
    with pytest.raises(ValueError, match="this model takes None"):
        model(condition=None)(x, c)
    with pytest.raises(ValueError, match="4 rows with 2 rows"):
        net(x, c, net.empty_cache(4))
    with pytest.raises(ValueError, match="at least 1 x 1"):
        SpaceTime(SpaceTimeConfig(), (0, 4))
