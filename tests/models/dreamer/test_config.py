"""The sizes: parameters counted against the published layer shapes and totals."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from reverie.core.spec import Space
from reverie.imagine import ActorCritic, ActorCriticConfig
from reverie.models.dreamer import SIZES, Dreamer, DreamerConfig, LatentConfig, sized

WALKER = {"orientations": Space((14,)), "height": Space((1,)), "velocity": Space((9,))}
PICTURE = {"image": Space((3, 64, 64), "uint8", 0, 255)}
ACTIONS, VARIABLES, BLOCKS, BINS = 6, 32, 8, 255

# Millions of parameters of danijar/dreamerv3 on walker, without the slow critic: proprioception
# (24 numbers) and vision (64 x 64 x 3).
PUBLISHED = {
    "1m": (0.64, 0.69),
    "12m": (9.74, 10.5),
    "25m": (21.8, 23.5),
    "50m": (38.6, 41.7),
    "100m": (86.6, 93.5),
    "200m": (154.0, 166.0),
    "400m": (346.0, 373.0),
}


def counted(size: str, obs: dict[str, Space]) -> int:
    """Parameters of model, policy and critic, without allocating them."""
    config = sized(size)
    with torch.device("meta"):
        model = Dreamer(obs, Space((ACTIONS,), low=-1, high=1), 0.025, config)
        agent = ActorCritic(
            model.feature_size, model.spec.action, ActorCriticConfig(units=config.units)
        )
    parts: tuple[nn.Module, ...] = (model, agent.policy, agent.value)
    return sum(p.numel() for part in parts for p in part.parameters())


def from_published_shapes(size: str, vision: bool) -> int:
    """The same, added up from the layers of the published implementation."""
    deter, hidden, classes, depth, units = SIZES[size]
    latent = VARIABLES * classes
    features = deter + latent

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    def dense(inputs: int, outputs: int) -> int:
        return linear(inputs, outputs) + outputs

    def block(inputs: int, outputs: int) -> int:
        return inputs * outputs // BLOCKS + outputs

    def mlp(inputs: int, layers: int) -> int:
        return dense(inputs, units) + (layers - 1) * dense(units, units)

    def convolutions(widths: list[int]) -> int:
        return sum(linear(25 * i, o) for i, o in itertools.pairwise(widths))

    maps = [depth * m for m in (2, 3, 4, 4)]
    area = 4 * 4 * maps[-1]
    if vision:
        embedding = area
        encoder = convolutions([3, *maps]) + sum(maps)
        space = block(deter, area) + dense(latent, 2 * units) + linear(2 * units, area) + maps[-1]
        decoder = space + convolutions([*maps[::-1], 3]) + sum(maps[-2::-1])
    else:
        embedding, encoder = units, mlp(24, 3)
        decoder = mlp(features, 3) + linear(units, 24)
    cell = dense(deter, hidden) + dense(latent, hidden) + dense(ACTIONS, hidden)
    cell += block(deter + 3 * hidden * BLOCKS, deter) + deter + block(deter, 3 * deter)
    posterior = dense(deter + embedding, hidden) + linear(hidden, latent)
    prior = dense(deter, hidden) + dense(hidden, hidden) + linear(hidden, latent)
    heads = mlp(features, 1) + linear(units, BINS) + mlp(features, 1) + linear(units, 1)
    actor = mlp(features, 3) + 2 * linear(units, ACTIONS)
    critic = mlp(features, 3) + linear(units, BINS)
    return encoder + decoder + cell + posterior + prior + heads + actor + critic


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_the_published_number_of_parameters(size: str) -> None:
    for vision, obs in enumerate((WALKER, PICTURE)):
        count = counted(size, obs)
        assert count == from_published_shapes(size, bool(vision))
        assert count / 1e6 == pytest.approx(PUBLISHED[size][vision], rel=0.01)


def test_the_default_is_the_published_default() -> None:
    assert sized("200m") == DreamerConfig()


def test_a_size_changes_widths_alone() -> None:
    base = DreamerConfig(latent=LatentConfig(variables=8, unimix=0.0), layers=2, bins=41)
    small = sized("1m", base)
    assert (small.latent.variables, small.latent.unimix, small.layers, small.bins) == (8, 0, 2, 41)
    assert (small.cell.deter, small.cell.hidden, small.latent.classes) == (512, 64, 4)
    assert (small.depth, small.units) == (4, 64)


def test_an_unknown_size_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"called '2m'; there are: 1m, 12m, .*400m"):
        sized("2m")


@pytest.mark.parametrize(("kind", "size", "outputs"), [("categorical", 20, 20), ("gaussian", 4, 8)])
def test_a_latent_knows_its_numbers(kind: str, size: int, outputs: int) -> None:
    config = LatentConfig(kind=kind, variables=4, classes=5)  # type: ignore[arg-type]
    assert (config.size, config.outputs) == (size, outputs)


def test_configs_do_not_change_under_ones_hands() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DreamerConfig().units = 3  # type: ignore[misc]
