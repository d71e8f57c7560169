import math

import pytest
import torch
from torch import nn

from reverie.core.model import Batch
from reverie.learn.device import Device, DeviceConfig, settle
from reverie.learn.fit import DivergenceError, Fitter
from reverie.learn.learner import Learner, Update
from reverie.learn.optim import OptimiserConfig

CPU = Device(torch.device("cpu"))


class Line(nn.Module):
    """Fits y = w x + b; a loss or a scale can be spoiled."""

    agent = None

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.b = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.spoil = {}
        self.scales = {"error": 2.0, "size": 0.5}
        self.metrics = {"noise": torch.tensor(3.0)}

    def update(self, batch, state, generator):
        error = (batch.obs["x"] @ self.w + self.b - batch.reward) ** 2
        losses = {"error": error, "size": self.w**2}
        for name, value in self.spoil.items():
            losses[name] = losses[name] * value if name in losses else value
        return Update(losses, self.scales, {"h": error[..., None]}, self.metrics)

    def after_update(self):
        self.count += 1

    def latent(self, memory):
        return ()


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    x, flag = torch.randn(4, 5, 3, generator=g), torch.zeros(4, 5, dtype=torch.bool)
    reward = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
    return Batch({"x": x}, torch.zeros(4, 5, 2), reward, flag, flag, flag)


def fitter(line=None, **config):
    return Fitter(line or Line(), OptimiserConfig(**{"lr": 1e-2, "warmup": 0, **config}), CPU)


def test_a_learner_is_recognised():
    assert isinstance(Line(), Learner)
    assert not isinstance(nn.Linear(2, 2), Learner)


def test_the_losses_are_scaled_means_and_go_down():
    fit = fitter()
    rng = torch.Generator()
    first = fit.fit(batch(), (), rng)
    expected = batch().reward.square().mean().item()
    assert first.metrics["loss/error"] == pytest.approx(expected)
    assert first.metrics["loss/size"] == 0.0
    assert first.metrics["loss"] == pytest.approx(2 * expected)
    assert first.metrics["noise"] == 3.0
    assert not first.latents["h"].requires_grad
    for k in range(300):
        last = fit.fit(batch(k), (), rng)
    assert last.metrics["loss/error"] < 0.1 * expected
    assert fit.updates == 301 == fit.learner.count


def test_the_gradient_norm_is_that_of_the_scaled_loss():
    line = Line()
    result = fitter(line).fit(batch(), (), torch.Generator())
    other = Line()
    update = other.update(batch(), (), None)
    loss = sum(other.scales[k] * v.mean() for k, v in update.losses.items())
    grads = torch.autograd.grad(loss, [other.w, other.b])
    expected = math.sqrt(sum(float(g.square().sum()) for g in grads))
    assert result.metrics["grad_norm"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_moves_nothing(value):
    line = Line()
    fit = fitter(line)
    for k in range(3):
        fit.fit(batch(k), (), torch.Generator())
    before = {k: v.clone() for k, v in line.state_dict().items()}
    moments = {k: v.clone() for k, v in fit.state_dict()["nu"].items()}
    line.spoil = {"size": torch.tensor([1.0, value, 1.0])}
    with pytest.raises(DivergenceError, match="'size' is not finite at update 4") as caught:
        fit.fit(batch(), (), torch.Generator())
    assert caught.value.update == 4
    assert all(torch.equal(v, before[k]) for k, v in line.state_dict().items())
    assert all(torch.equal(v, moments[k]) for k, v in fit.state_dict()["nu"].items())


def test_a_gradient_that_is_not_finite_is_named_by_its_weight():
    line = Line()
    line.w.register_hook(lambda g: g * float("nan"))
    with pytest.raises(DivergenceError, match="gradient of 'w' is not finite at update 1"):
        fitter(line).fit(batch(), (), torch.Generator())
    assert line.w.tolist() == [0.0] * 3


def test_a_weight_that_is_not_finite_is_named():
    line = Line()
    fit = fitter(line)
    fit.check_weights()
    with torch.no_grad():
        line.b.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="Weight 'b'"):
        fit.check_weights()


def test_losses_and_scales_must_have_the_same_names():
    line = Line()
    line.spoil = {"extra": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"without a scale: \['extra'\]"):
        fitter(line).fit(batch(), (), torch.Generator())
    line.spoil, line.scales = {}, {"error": 1.0, "size": 1.0, "lost": 1.0}
    with pytest.raises(ValueError, match=r"without a loss: \['lost'\]"):
        fitter(line).fit(batch(), (), torch.Generator())


def test_a_metric_must_be_a_scalar():
    line = Line()
    line.metrics = {"histogram": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"'histogram' has shape \(7,\)"):
        fitter(line).fit(batch(), (), torch.Generator())


def test_a_loaded_fitter_continues_bitwise():
    one = fitter(warmup=10)
    for k in range(4):
        one.fit(batch(k), (), torch.Generator())
    line = Line()
    line.load_state_dict(one.learner.state_dict())
    two = fitter(line, warmup=10)
    two.load_state_dict(one.state_dict())
    for k in range(4, 9):
        a, b = (f.fit(batch(k), (), torch.Generator()) for f in (one, two))
        assert a.metrics == b.metrics
    assert torch.equal(one.learner.w, two.learner.w)


def test_bfloat16_keeps_weights_and_losses_in_float32():
    device = settle(DeviceConfig(device="cpu", precision="bfloat16"))
    line = Line()
    fit = Fitter(line, OptimiserConfig(lr=1e-2, warmup=0), device)
    seen = []
    line.w.register_hook(lambda g: seen.append(g.dtype))
    result = fit.fit(batch(), (), torch.Generator())
    assert line.w.dtype == torch.float32
    assert seen == [torch.float32]
    exact = fitter().fit(batch(), (), torch.Generator())
    assert result.metrics["loss"] == pytest.approx(exact.metrics["loss"], rel=0.02)
