"""The cells against the published formulas, written without the rearrangements made for speed."""

import einops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.dreamer.cell import BlockGRU, PlainGRU, bounded, cell
from reverie.models.dreamer.config import CellConfig

WIDE = CellConfig(deter=12, hidden=5, blocks=3)


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net.double()


def published_block_gru(net: BlockGRU, deter: Tensor, latent: Tensor, action: Tensor) -> Tensor:
    """The core of danijar/dreamerv3: the three inputs are copied to each block."""
    groups = net.recur.weight.shape[0]

    def dense(layer: torch.nn.Module, x: Tensor) -> Tensor:
        return norm_silu(layer.linear(x), layer.gain)

    def norm_silu(x: Tensor, gain: Tensor) -> Tensor:
        return F.silu(x * gain / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-4))

    def split(x: Tensor) -> Tensor:
        return einops.rearrange(x, "b (g h) -> b g h", g=groups)

    def join(x: Tensor) -> Tensor:
        return einops.rearrange(x, "b g h -> b (g h)")

    action = action / action.abs().clamp(min=1)
    inputs = [
        dense(net.deter_in, deter),
        dense(net.latent_in, latent),
        dense(net.action_in, action),
    ]
    shared = torch.cat(inputs, -1)[:, None].expand(-1, groups, -1)
    x = torch.cat([split(deter), shared], -1)
    kernel = torch.cat(
        [net.recur.weight, einops.rearrange(net.mix, "i (g o) -> g i o", g=groups)], 1
    )
    x = join(torch.einsum("bgi,gio->bgo", x, kernel)) + net.recur.bias
    x = norm_silu(x, net.gain)
    x = join(torch.einsum("bgi,gio->bgo", split(x), net.gates.weight)) + net.gates.bias
    reset, candidate, update = (join(gate) for gate in split(x).chunk(3, -1))
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1)
    return update * candidate + (1 - update) * deter


def test_the_block_gru_is_the_published_core() -> None:
    net = shaken(BlockGRU(WIDE, latent=7, action=2))
    inputs = [torch.randn(4, n, dtype=torch.float64, requires_grad=True) for n in (12, 7, 2)]
    inputs[2].data.mul_(2)  # actions beyond 1 too
    ours = net(inputs[0], inputs[1], net.embed(inputs[2]))
    theirs = published_block_gru(net, *inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    weight = torch.randn_like(ours)
    wanted = [*inputs[:2], *net.parameters()]
    mine = torch.autograd.grad((ours * weight).sum(), wanted)
    published = torch.autograd.grad((theirs * weight).sum(), wanted)
    torch.testing.assert_close(mine, published, rtol=1e-10, atol=1e-12)


def test_the_plain_gru_is_one_norm_on_all_gates() -> None:
    net = shaken(PlainGRU(WIDE, latent=7, action=2))
    deter, latent, action = (torch.randn(4, n, dtype=torch.float64) for n in (12, 7, 2))
    x = net.input(torch.cat([latent, action / action.abs().clamp(min=1)], -1))
    gates = F.linear(torch.cat([x, deter], -1), net.gates.weight, net.gates.bias)
    reset, candidate, update = net.norm(gates).chunk(3, -1)
    update = torch.sigmoid(update - 1)
    expected = update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * deter
    torch.testing.assert_close(net(deter, latent, net.embed(action)), expected)


def test_the_initial_deviation_follows_the_width_that_a_block_reads_in_all_blocks() -> None:
    net = BlockGRU(CellConfig(deter=512, hidden=64, blocks=8), latent=128, action=6)
    expected = (3 * 64 * 8 + 512) ** -0.5
    assert net.mix.std().item() == pytest.approx(expected, rel=0.02)
    assert net.recur.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert net.gates.weight.std().item() == pytest.approx(512**-0.5, rel=0.02)
    assert not net.recur.bias.any() and not net.gates.bias.any()


def test_an_action_out_of_bounds_reaches_the_model_as_its_clipped_value() -> None:
    action = torch.tensor([[-3.0, 0.25, 1.0, 7.0]])
    assert bounded(action).tolist() == [[-1.0, 0.25, 1.0, 1.0]]
    for kind in ("block_gru", "gru"):
        net = cell(CellConfig(kind=kind, deter=8, hidden=4, blocks=2), latent=3, action=4)
        assert torch.equal(net.embed(action), net.embed(action.clamp(-1, 1)))


@pytest.mark.parametrize(("kind", "made"), [("block_gru", BlockGRU), ("gru", PlainGRU)])
def test_a_config_names_its_cell(kind: str, made: type) -> None:
    net = cell(CellConfig(kind=kind, deter=8, hidden=4, blocks=2), latent=3, action=2)
    assert isinstance(net, made)
    h = net(torch.randn(5, 8), torch.randn(5, 3), net.embed(torch.randn(5, 2)))
    assert h.shape == (5, 8)


def test_a_state_within_bounds_stays_within_bounds() -> None:
    net = cell(WIDE, latent=7, action=2)
    h = torch.zeros(6, 12)
    for _ in range(50):
        h = net(h, 100 * torch.randn(6, 7), net.embed(torch.randn(6, 2)))
    assert h.abs().max() <= 1.0 + 1e-6
