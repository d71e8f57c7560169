import pytest
import torch

from reverie.plan.shape import colour_matrix, shaped_noise, smoothness, spline_matrix

SHAPE = (1, 20_000, 32, 1)
CPU = torch.device("cpu")


def draw(**options):
    return shaped_noise(SHAPE, torch.Generator().manual_seed(0), CPU, **options)


@pytest.mark.parametrize("options", [{}, {"exponent": 1.0}, {"exponent": 3.0}, {"knots": 5}])
def test_noise_has_unit_variance_at_every_step(options):
    x = draw(**options)
    assert x.shape == SHAPE
    assert torch.allclose(x.std(1), torch.ones(1, 32, 1), atol=0.02)
    assert torch.allclose(x.mean(1), torch.zeros(1, 32, 1), atol=0.03)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_has_its_power_law(exponent):
    """The spectrum of a long plan falls as f^-exponent between its ends."""
    x = shaped_noise((1, 4000, 256, 1), torch.Generator().manual_seed(0), CPU, exponent=exponent)
    window = torch.hann_window(256)
    power = torch.fft.rfft(x[0, :, :, 0] * window, dim=1).abs().square().mean(0)
    low, high = power[8:12].mean(), power[64:96].mean()
    slope = -(high / low).log() / torch.tensor(80.0 / 10.0).log()
    assert slope.item() == pytest.approx(exponent, abs=0.15)


def test_coloured_noise_does_not_tie_the_end_to_the_beginning():
    x = draw(exponent=2.0)[0, :, :, 0]
    near, far = ((x[:, 0] * x[:, k]).mean().item() for k in (1, 31))
    assert near > 0.9
    assert far < 0.5


def test_white_noise_is_the_identity():
    assert torch.equal(colour_matrix(7, 0.0), torch.eye(7))
    assert torch.equal(colour_matrix(1, 2.0), torch.eye(1))


def test_a_spline_passes_through_its_knots_and_is_smoother():
    matrix = spline_matrix(13, 5)
    for knot in range(5):
        row = matrix[3 * knot]
        assert row[knot] == pytest.approx(1.0)
        assert row.abs().sum() == pytest.approx(1.0)
    assert torch.equal(spline_matrix(4, 1), torch.ones(4, 1))
    assert smoothness(draw(knots=4)).mean() < 0.3 * smoothness(draw()).mean()
    assert smoothness(torch.zeros(2, 1, 3)).tolist() == [0, 0]


def test_noise_is_coloured_or_splined():
    with pytest.raises(ValueError, match="not both"):
        draw(exponent=1.0, knots=3)
