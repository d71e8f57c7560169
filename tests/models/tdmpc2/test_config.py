"""The published sizes, to the last parameter, and the discount of an episode's length."""

import pytest
import torch

from reverie.core.spec import Space
from reverie.models.tdmpc2 import SIZES, TDMPC2, NetConfig, Task, TDMPC2Config, discount, sized

# counted by building the published network: 24 numbers and 6 actions; one task, three tasks
PUBLISHED = {
    "1m": (1_214_651, 1_413_948),
    "5m": (4_960_618, 5_488_491),
    "19m": (18_062_442, 19_904_619),
    "48m": (47_208_298, None),
    "317m": (312_595_417, None),
}


def count(size: str, episodic: bool = False, **parts: object) -> int:
    config = sized(size, TDMPC2Config(episodic=episodic))
    with torch.device("meta"):
        net = TDMPC2({"x": Space((24,))}, Space((6,)), 0.05, config, **parts)  # type: ignore[arg-type]
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_as_many_as_published(size: str) -> None:
    plain, episodic = PUBLISHED[size]
    assert count(size) == plain
    assert episodic is None or count(size, episodic=True) == episodic


def test_several_tasks_have_as_many_as_published() -> None:
    tasks = [Task(str(n), n) for n in (6, 4, 2)]
    assert count("1m", episodic=True, tasks=tasks) == 1_659_996


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="No TD-MPC2 size is called '7m'; there are: 1m, 5m"):
        sized("7m")


def test_a_size_changes_the_widths_alone() -> None:
    base = TDMPC2Config(net=NetConfig(dropout=0.0, task=64), episodic=True)
    made = sized("317m", base)
    assert (made.episodic, made.net.dropout, made.net.task) == (True, 0.0, 64)
    assert (made.net.latent, made.net.heads, made.net.encoder_layers) == (1376, 8, 5)


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [(500, 0.99), (1000, 0.995), (2000, 0.995), (200, 0.975), (100, 0.95), (5, 0.95), (1, 0.95)],
)
def test_discount_looks_a_fifth_of_an_episode_ahead(decisions: int, expected: float) -> None:
    assert discount(decisions) == pytest.approx(expected)


def test_an_episode_without_decisions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 decision"):
        discount(0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"latent": 100}, "multiple of group=8"),
        ({"heads": 1}, "at least 2, 2 and 1"),
        ({"encoder_layers": 1}, "at least 2, 2 and 1"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_widths_that_do_not_fit_are_refused(parts: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetConfig(**parts)
