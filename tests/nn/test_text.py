"""The byte encoder of text: bytes and back, blindness to padding, closed forms, and learning."""

import math

import pytest
import torch
import torch.nn.functional as F

from reverie.nn.text import (
    NOTHING,
    Block,
    TextConfig,
    TextEncoder,
    decode_text,
    encode_text,
    sinusoids,
)

SMALL = TextConfig(width=32, layers=2, heads=2)
INSTRUCTIONS = [
    "push the red block left of the blue block",
    "push the blue block left of the red block",
    "push the red block right of the blue block",
    "push the blue block right of the red block",
    "open the drawer",
    "close the drawer",
    "öffne die Schublade",
    "引き出しを開けて",
]


def batch(*texts, length=64):
    return torch.stack([encode_text(text, length) for text in texts])


def encoder(outputs=8, config=SMALL, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TextEncoder(outputs, config)


@pytest.mark.parametrize("text", [*INSTRUCTIONS, " a ", "x" * 64])
def test_a_text_is_its_bytes_and_back(text):
    data = encode_text(text, 64)
    assert (data.shape, data.dtype) == ((64,), torch.uint8)
    raw = text.encode()
    assert bytes(data.tolist()) == raw + bytes(64 - len(raw))
    assert decode_text(data) == text


@pytest.mark.parametrize(
    ("text", "length", "message"),
    [
        ("", 8, "is blank"),
        (" \n", 8, "is blank"),
        ("a\0b", 8, "zero character"),
        ("nine char", 8, "9 bytes in UTF-8 and there is room for 8"),
        ("äöüß.", 8, "9 bytes in UTF-8"),
    ],
)
def test_a_text_that_cannot_be_held_is_refused(text, length, message):
    with pytest.raises(ValueError, match=message):
        encode_text(text, length)


def test_what_is_no_utf8_is_read_all_the_same_and_no_text_is_empty():
    broken = torch.tensor([*b"ab", 0xC3, *b"c", 0, 0], dtype=torch.uint8)
    assert decode_text(broken) == "ab\ufffdc"
    assert decode_text(torch.zeros(5, dtype=torch.uint8)) == ""
    cut = encode_text("引き", 6)[:4]
    assert decode_text(cut).startswith("引")
    assert decode_text(encode_text("a\ud800b", 8)) == "a?b"


@pytest.mark.parametrize("data", [torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(3)])
def test_only_a_row_of_bytes_is_read_as_text(data):
    with pytest.raises(ValueError, match=r"uint8 of shape \(L,\)"):
        decode_text(data)


@pytest.mark.parametrize("data", [torch.zeros(2, 3), torch.zeros(3, dtype=torch.uint8)])
def test_only_a_batch_of_bytes_is_encoded(data):
    with pytest.raises(ValueError, match=r"uint8 of shape \(B, L\)"):
        encoder()(data)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="a multiple of 6"):
        TextConfig(width=32, heads=3)


def test_sinusoids_are_the_formula():
    x = torch.tensor([0.0, 0.3, 7.0], dtype=torch.float64)
    expected = [
        [f(v / 50 ** (i / 3)) for f in (math.sin, math.cos) for i in range(4)] for v in x.tolist()
    ]
    torch.testing.assert_close(sinusoids(x, 8, 50.0), torch.tensor(expected).double())
    assert sinusoids(x.bfloat16(), 8, 50.0).dtype == torch.float32


def test_a_block_is_the_formula_head_by_head():
    torch.manual_seed(0)
    block, x = Block(8, 2).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    norm = lambda v: F.rms_norm(v, (8,))  # noqa: E731
    q, k, v = block.parts(norm(x)).split(8, -1)
    rows = []
    for b in range(2):
        heads = []
        for h in (slice(0, 4), slice(4, 8)):
            score = q[b, :, h] @ k[b, mask[b], h].T / 2
            heads.append(score.softmax(-1) @ v[b, mask[b], h])
        rows.append(torch.cat(heads, -1))
    y = x + block.joined(torch.stack(rows))
    expected = y + block.output(F.gelu(block.hidden(norm(y))))
    torch.testing.assert_close(block(x, mask), expected, rtol=1e-10, atol=1e-12)


def test_the_vector_joins_the_mean_and_what_the_query_picks():
    net = encoder().double()
    text = batch("open it", "close the drawer", length=20)
    tokens, mask = net(text)
    rows = []
    for h, seen in zip(tokens, mask, strict=True):
        kept = h[seen]
        weight = (kept @ net.query / math.sqrt(32)).softmax(0)
        rows.append(net.output(torch.cat([kept.mean(0), weight @ kept])))
    torch.testing.assert_close(net.pool(text), torch.stack(rows), rtol=1e-6, atol=1e-6)
    assert mask.sum(1).tolist() == [7, 16]


@pytest.mark.parametrize("length", [30, 64, 200])
def test_equal_texts_are_equal_whatever_they_are_padded_to(length):
    net = encoder()
    short, long = batch("close the drawer", length=16), batch("close the drawer", length=length)
    torch.testing.assert_close(net.pool(short), net.pool(long), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net(short).tokens, net(long).tokens[:, :16], rtol=1e-5, atol=1e-5)
    assert not net(long).mask[:, 16:].any()


def test_a_text_does_not_depend_on_the_others_of_its_batch():
    net = encoder()
    together = net.pool(batch(*INSTRUCTIONS))
    alone = torch.cat([net.pool(batch(text)) for text in INSTRUCTIONS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_different_texts_differ_in_order_alone_too():
    vectors = encoder().pool(batch(*INSTRUCTIONS, "ab", "ba"))
    assert torch.pdist(vectors).min() > 1e-2


def test_no_text_is_one_learnt_token():
    net = encoder()
    nothing = torch.zeros(2, 12, dtype=torch.uint8)
    tokens, mask = net(nothing)
    assert mask.tolist() == [[True] + [False] * 11] * 2
    assert tokens.isfinite().all()
    vectors = net.pool(torch.cat([nothing, batch("open", length=12)]))
    torch.testing.assert_close(vectors[0], vectors[1])
    torch.testing.assert_close(
        vectors[:1], net.pool(nothing[:1, :5].contiguous()), rtol=1e-5, atol=1e-5
    )
    assert (vectors[0] - vectors[2]).abs().max() > 1e-2
    net.pool(nothing).sum().backward()
    learns = net.embedding.weight.grad.abs().sum(-1) > 0
    assert learns.nonzero().flatten().tolist() == [NOTHING]


def test_padding_has_no_gradient_and_a_text_trains_its_own_bytes():
    net = encoder()
    net.pool(batch("abca", length=9)).square().sum().backward()
    learns = net.embedding.weight.grad.abs().sum(-1) > 0
    assert learns.nonzero().flatten().tolist() == [ord("a"), ord("b"), ord("c")]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_half_precision_is_close_and_says_float32():
    net, text = encoder(), batch(*INSTRUCTIONS)
    exact = net.pool(text)
    with torch.autocast("cpu", torch.bfloat16):
        half = net.pool(text)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_it_learns_to_tell_instructions_apart_in_a_few_hundred_steps():
    net, text = encoder(outputs=8, seed=1), batch(*INSTRUCTIONS)
    target = torch.arange(8)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(200):
        optimiser.zero_grad()
        F.cross_entropy(net.pool(text), target).backward()
        optimiser.step()
    with torch.no_grad():
        said = net.pool(batch(*INSTRUCTIONS, length=100)).softmax(-1)
    assert said.argmax(-1).equal(target)
    assert said.amax(-1).min() > 0.9
