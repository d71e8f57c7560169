"""The optional sub-protocols are recognised by what a model has; random rows are rows."""

import pytest
import torch
from torch import Generator

from reverie.core import tree
from reverie.core.model import Clip, Featured, Sequential, Trainable, sample_rows
from tests.toys import Chunked, Latent, Pendulum


def test_sub_protocols_are_recognised_by_structure() -> None:
    kinds = (Sequential, Trainable, Featured, Clip)
    assert [isinstance(Latent(), kind) for kind in kinds] == [True, True, True, False]
    assert [isinstance(Chunked(), kind) for kind in kinds] == [False, False, False, True]
    assert [isinstance(Pendulum(), kind) for kind in kinds] == [False] * 4


@pytest.mark.parametrize("family", [Latent, Chunked, Pendulum])
def test_sampled_rows_keep_the_row_convention(
    family: type[Latent] | type[Chunked] | type[Pendulum],
) -> None:
    spec = family().spec
    rows = sample_rows(spec, 3, 4 * spec.chunk, Generator().manual_seed(0))
    assert rows.obs.keys() == spec.obs.keys()
    for name, space in spec.obs.items():
        assert rows.obs[name].shape == (3, 4 * spec.chunk, *space.shape)
        assert rows.obs[name].dtype == space.torch_dtype
    assert rows.first[:, spec.chunk - 1].all()
    assert rows.first.sum() == 4  # One more, half-way through the first sequence.
    assert not rows.action[rows.first].any()
    assert not rows.reward[rows.first].any()
    assert torch.equal(rows.last[:, :-1], rows.first[:, 1:])
    assert not (rows.terminated & ~rows.last).any()
    again = sample_rows(spec, 3, 4 * spec.chunk, Generator().manual_seed(0))
    assert not tree.differ(rows, again)
