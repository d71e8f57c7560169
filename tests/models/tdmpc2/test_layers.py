"""SimNorm, the layers and their initial values, and ensembles against their members."""

import pytest
import torch
import torch.nn.functional as F

from reverie.models.tdmpc2.layers import MLP, Dense, Ensemble, Latent, Shared, simnorm


def ensemble(dropout: float = 0.0) -> Ensemble:
    net = Ensemble(members=4, inputs=7, outputs=5, width=8, dropout=dropout).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return net


def member(
    net: Ensemble, k: int, x: torch.Tensor, kept: torch.Tensor | None = None
) -> torch.Tensor:
    """One network of the ensemble, by the plain functions."""
    for i, layer in enumerate(net.layers):
        x = F.linear(x, layer.weight[k], layer.bias[k])
        if i == 0 and kept is not None:
            x = x * kept[k] / (1 - net.dropout)
        if layer.gain is not None:
            x = F.mish(F.layer_norm(x, x.shape[-1:], layer.gain[k], layer.shift[k]))
    return x


def test_simnorm_is_a_softmax_in_each_group() -> None:
    x = torch.randn(3, 2, 12, dtype=torch.float64)
    z = simnorm(x, 4)
    for start in (0, 4, 8):
        part = x[..., start : start + 4].exp()
        expected = part / part.sum(-1, keepdim=True)
        torch.testing.assert_close(z[..., start : start + 4], expected)
    torch.testing.assert_close(z.sum(-1), torch.full((3, 2), 3.0, dtype=torch.float64))


def test_layers_are_linear_norm_and_activation() -> None:
    dense, latent = Dense(5, 8).double(), Latent(5, 8, 6, 1, 4).double()
    mlp = MLP(5, 3, 6, 2).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    expected = F.mish(F.layer_norm(x @ dense.weight.T + dense.bias, (8,)))
    torch.testing.assert_close(dense(x), expected)
    first, last = latent.layers
    inner = F.layer_norm(first(x) @ last.weight.T + last.bias, (8,))
    torch.testing.assert_close(latent(x), simnorm(inner, 4))
    torch.testing.assert_close(mlp(x), mlp.layers[2](mlp.layers[1](mlp.layers[0](x))))


def test_initial_values_are_as_published() -> None:
    torch.manual_seed(0)
    net, head = Ensemble(5, 300, 101, 200, 0.01), MLP(300, 101, 200, zero=True)
    for weight in (
        net.layers[0].weight,
        net.layers[1].weight,
        *(p.weight for p in head.layers[:2]),
    ):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    # every member its own
    assert not torch.equal(net.layers[0].weight[0], net.layers[0].weight[1])
    assert not net.layers[2].weight.any() and not head.layers[2].weight.any()
    for module in (net, head):
        for name, p in module.named_parameters():
            if name.endswith(("bias", "shift")):
                assert not p.any()
            if name.endswith("gain"):
                assert (p == 1).all()
    output = MLP(300, 101, 200).layers[2].weight
    assert output.std().item() == pytest.approx(0.02, rel=0.05)


def test_an_ensemble_is_its_members() -> None:
    net, x = ensemble(), torch.randn(6, 7, dtype=torch.float64)
    expected = torch.stack([member(net, k, x) for k in range(4)])
    torch.testing.assert_close(net(x), expected)


def test_only_the_chosen_are_computed_and_their_parameters_are_constant() -> None:
    net, x = ensemble(), torch.randn(6, 7, dtype=torch.float64)
    action = x[:, 4:].clone().requires_grad_()
    pair = torch.tensor([2, 0])
    some = net.some([x[:, :4], action], pair)
    torch.testing.assert_close(some, net(x)[pair])
    some.sum().backward()
    assert all(p.grad is None for p in net.parameters())
    whole = x.clone().requires_grad_()
    net(whole)[pair].sum().backward()
    torch.testing.assert_close(action.grad, whole.grad[:, 4:])


def test_dropout_acts_before_the_norm_of_the_first_layer() -> None:
    net = ensemble(dropout=0.25)
    x = 1e-3 * torch.randn(6, 7, dtype=torch.float64)  # small, so that eps of the norm counts
    kept = (torch.rand(4, 6, 8) > 0.4).double()
    with torch.no_grad():
        net.layers[0].bias.mul_(1e-3)
    expected = torch.stack([member(net, k, x, kept) for k in range(4)])
    torch.testing.assert_close(net(x, kept), expected)
    assert (net(x) - expected).abs().max() > 1e-3


def test_the_gradient_of_an_ensemble_is_that_of_finite_differences() -> None:
    net = ensemble(dropout=0.25)
    kept = (torch.rand(4, 3, 8) > 0.4).double()
    names, leaves = zip(*net.named_parameters(), strict=True)
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(net, given, (x, kept))

    assert torch.autograd.gradcheck(run, (x, *leaves), fast_mode=True)


def test_rows_that_begin_alike_share_their_first_product():
    torch.manual_seed(0)
    same, own = torch.randn(6), torch.randn(5, 3)
    rows = torch.cat([same.expand(5, -1), own], 1)
    for net in (MLP(9, 4, 8), Latent(9, 8, 8, 2, 4)):
        assert torch.allclose(net(Shared(same, own)), net(rows), atol=1e-6)
