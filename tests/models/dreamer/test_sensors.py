"""What the model senses: several sensors at once, some of them missing, in any of their forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.core.spec import Space
from reverie.models.dreamer.sensors import Decoder, Encoder
from tests.models.dreamer import tiny

SPACES = {
    "joints": Space((5,), unit="rad"),
    "mode": Space((3,), discrete=True),
    "camera": Space((3, 16, 16), "uint8", 0, 255),
    "hand": Space((1, 20, 12), "uint8", 0, 255),
    "contacts": Space((2,), "bool"),
    "height": Space((), unit="m"),
    "map": Space((1, 2, 3)),
}
N = 4


def observed(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    made = {name: space.sample(N) for name, space in SPACES.items()}
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in made.items()}


def parts(spaces: dict[str, Space] = SPACES) -> tuple[Encoder, Decoder]:
    config = tiny.config()
    return Encoder(spaces, config), Decoder(spaces, 16, 20, config)


def raw_of(decoder: Decoder) -> dict[str, Tensor]:
    return decoder(torch.randn(N, 16), torch.randn(N, 20))


def test_all_sensors_make_one_embedding_and_come_back() -> None:
    encoder, decoder = parts()
    assert encoder(observed()).shape == (N, encoder.size)
    shown = decoder.mean(raw_of(decoder))
    assert shown.keys() == SPACES.keys()
    for name, space in SPACES.items():
        assert shown[name].shape == (N, *space.shape), name
        assert shown[name].is_floating_point() and torch.isfinite(shown[name]).all()
    for name in ("camera", "hand"):
        assert (shown[name] > 0).all() and (shown[name] < 1).all()
    torch.testing.assert_close(shown["mode"].sum(-1), torch.ones(N))


@pytest.mark.parametrize("name", SPACES)
def test_the_embedding_reads_each_sensor(name: str) -> None:
    encoder, _ = parts()
    one, two = observed(), observed()
    mixed = {**one, name: two[name]}
    assert not torch.equal(encoder(one), encoder(mixed))


@pytest.mark.parametrize("name", SPACES)
def test_a_sensor_alone_is_enough(name: str) -> None:
    encoder, decoder = parts({name: SPACES[name]})
    obs = {name: observed()[name]}
    assert encoder(obs).shape == (N, encoder.size)
    assert decoder.losses(raw_of(decoder), obs)[name].shape == (N,)


def test_vectors_are_squashed_but_one_hots_are_not() -> None:
    encoder, _ = parts({"joints": SPACES["joints"], "mode": SPACES["mode"]})
    obs = observed()
    squashed = torch.cat([obs["joints"].sign() * obs["joints"].abs().log1p(), obs["mode"]], -1)
    torch.testing.assert_close(encoder(obs), encoder.dense(squashed))
    huge = {**obs, "joints": torch.full((N, 5), 1e30)}
    assert torch.isfinite(encoder(huge)).all()


def test_bytes_and_floats_are_the_same_picture() -> None:
    encoder, decoder = parts()
    bytes_, raw = observed(), raw_of(decoder)
    floats = {k: x / 255 if x.dtype == torch.uint8 else x for k, x in bytes_.items()}
    torch.testing.assert_close(encoder(bytes_), encoder(floats), rtol=0, atol=0)
    one, two = decoder.losses(raw, bytes_), decoder.losses(raw, floats)
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_each_loss_is_what_it_says() -> None:
    _, decoder = parts()
    obs, raw = observed(), raw_of(decoder)
    losses = decoder.losses(raw, obs)
    shown = decoder.mean(raw)
    squash = lambda x: x.sign() * x.abs().log1p()  # noqa: E731
    expected = {
        "joints": (raw["joints"] - squash(obs["joints"])).square().sum(-1),
        "camera": (shown["camera"] - obs["camera"] / 255).square().sum((1, 2, 3)),
        "height": (raw["height"] - squash(obs["height"])).square(),
        "map": (squash(shown["map"]) - squash(obs["map"])).square().sum((1, 2, 3)),
        "mode": F.cross_entropy(raw["mode"], obs["mode"].argmax(-1), reduction="none"),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5)
    assert losses.keys() == SPACES.keys()


@pytest.mark.parametrize("filler", [0.0, 1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("name", SPACES)
def test_what_stands_where_a_sensor_is_missing_changes_nothing(name: str, filler: float) -> None:
    encoder, decoder = parts()
    there = torch.tensor([True, False, True, False])
    one = {**observed(), f"{name}.present": there}
    if one[name].dtype == torch.uint8:
        one[name] = one[name] / 255
    holes = there.reshape(-1, *[1] * (one[name].ndim - 1))
    filled = torch.where(holes, one[name], filler) if name != "contacts" else one[name] ^ ~holes
    two = {**one, name: filled}
    seen = []
    for obs in (one, two):
        encoder.zero_grad()
        decoder.zero_grad()
        torch.manual_seed(1)
        raw = raw_of(decoder)
        losses = decoder.losses(raw, obs)
        embedding = encoder(obs)
        (torch.stack([*losses.values()]).sum() + embedding.square().sum()).backward()
        grads = [p.grad for net in (encoder, decoder) for p in net.parameters()]
        seen.append([embedding, *losses.values(), *grads])
        assert losses[name].nonzero().flatten().tolist() == [0, 2]
    for a, b in zip(*seen, strict=True):
        assert torch.equal(a, b) and torch.isfinite(a).all()


def test_a_missing_sensor_is_told_from_one_that_is_there() -> None:
    encoder, _ = parts({"joints": SPACES["joints"], "camera": SPACES["camera"]})
    obs = {"joints": torch.ones(N, 5), "camera": observed()["camera"]}
    gone = {"joints.present": torch.zeros(N, dtype=torch.bool)}
    assert not torch.equal(encoder(obs), encoder({**obs, **gone}))
    every = {"joints.present": torch.ones(N, dtype=torch.bool)}
    assert torch.equal(encoder(obs), encoder({**obs, **every}))
    dark = {"camera.present": torch.zeros(N, dtype=torch.bool)}
    width = encoder.cameras["camera"].size
    assert not encoder({**obs, **dark})[:, -width:].any()


def test_the_order_in_which_sensors_are_named_does_not_matter() -> None:
    one, _ = parts()
    two, _ = parts(dict(reversed(SPACES.items())))
    two.load_state_dict(one.state_dict())
    obs = observed()
    assert torch.equal(one(obs), two(obs))
