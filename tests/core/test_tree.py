"""Trees of tensors: rows, time, names and differences."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.model import Transition


class State(NamedTuple):
    deter: Tensor
    cache: dict[str, list[Tensor]]


def state(offset: float = 0.0) -> State:
    one = torch.arange(6.0).reshape(3, 2) + offset
    return State(one, {"key": [one[:, 0] * 10, torch.arange(3) % 2 == 0]})


def test_map_and_leaves_follow_one_order() -> None:
    doubled = tree.map(lambda x, y: x + y, state(), state())
    assert isinstance(doubled, State)
    assert torch.equal(doubled.deter, 2 * state().deter)
    assert [x.shape for x in tree.leaves(state())] == [(3, 2), (3,), (3,)]
    assert tree.leaves(()) == []
    assert tree.map(torch.neg, ()) == ()


def test_trees_of_different_structure_are_refused() -> None:
    with pytest.raises(ValueError, match="mismatch"):
        tree.map(lambda x, y: x + y, state(), {"deter": torch.zeros(3)})


def test_stack_and_concat() -> None:
    stacked = tree.stack([state(), state(1)], 1)
    assert stacked.deter.shape == (3, 2, 2)
    assert torch.equal(stacked.deter[:, 1], state(1).deter)
    joined = tree.concat([state(), state(1)])
    assert torch.equal(joined.deter[3:], state(1).deter)
    assert tree.stack([(), ()]) == ()
    for function in (tree.stack, tree.concat):
        with pytest.raises(ValueError, match="no trees"):
            function([])


def test_repeat_puts_the_candidates_of_a_row_side_by_side() -> None:
    repeated = tree.repeat(state(), 2)
    assert torch.equal(repeated.deter[::2], state().deter)
    assert torch.equal(repeated.deter[1::2], state().deter)


def test_select_takes_rows_by_slice_index_or_mask() -> None:
    assert torch.equal(tree.select(state(), 1).deter, state().deter[1])
    assert tree.select(state(), slice(0, 2)).deter.shape == (2, 2)
    mask = torch.tensor([True, False, True])
    assert torch.equal(tree.select(state(), mask).cache["key"][0], torch.tensor([0.0, 40.0]))


def test_where_chooses_whole_rows() -> None:
    mixed = tree.where(torch.tensor([True, False, False]), state(100), state())
    assert torch.equal(mixed.deter[0], state(100).deter[0])
    assert torch.equal(mixed.deter[1:], state().deter[1:])
    assert torch.equal(mixed.cache["key"][0], torch.tensor([1000.0, 20.0, 40.0]))


def test_time_is_flattened_and_restored() -> None:
    sequence = tree.stack([state(t) for t in range(4)], 1)
    flat = tree.flatten_time(sequence)
    assert flat.deter.shape == (12, 2)
    assert not tree.differ(tree.unflatten(flat, 3, 4), sequence)


def test_detach_clone_and_to() -> None:
    x = torch.ones(2, requires_grad=True)
    assert not tree.detach({"x": x * 2})["x"].requires_grad
    copy = tree.clone({"x": x, "note": "kept", "none": None})
    assert copy["x"].requires_grad
    assert copy["x"].data_ptr() != x.data_ptr()
    assert copy["note"] == "kept"
    assert tree.to(state(), "cpu").deter.device.type == "cpu"
    assert tree.to(state(), torch.device("meta")).cache["key"][1].device.type == "meta"


def test_batch_size_is_that_of_all_leaves() -> None:
    assert tree.batch_size(state()) == 3
    for value in ({"a": torch.zeros(2), "b": torch.zeros(3)}, ()):
        with pytest.raises(ValueError, match="one batch size"):
            tree.batch_size(value)


def test_names_lead_to_the_leaves_and_back() -> None:
    names = tree.named(state())
    assert list(names) == ["deter", "cache.key.0", "cache.key.1"]
    assert not tree.differ(tree.from_named(names, state(5)), state())
    with pytest.raises(KeyError, match=r"cache\.key\.1"):
        tree.from_named({"deter": torch.zeros(1), "cache.key.0": torch.zeros(1)}, state())


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (state(0.5), "'deter' by 0.5"),
        (state()._replace(deter=torch.zeros(3)), "'deter': [3, 2] torch.float32 against [3]"),
        (state()._replace(deter=state().deter.double()), "against [3, 2] torch.float64"),
        (state()._replace(cache={}), "leaves ['cache.key.0', 'cache.key.1', 'deter'] against"),
        (state()._replace(deter=state().deter / 0), "'deter' by nan"),
    ],
)
def test_differ_says_where(other: Any, words: str) -> None:
    assert words in tree.differ(state(), other)


def test_differ_is_silent_about_equal_trees() -> None:
    nothing = torch.tensor([torch.nan, torch.inf])
    assert tree.differ(nothing, nothing.clone()) == ""
    assert tree.differ(state(), state(1e-6), 1e-5) == ""
    assert tree.differ(state(), state(1e-4), 1e-5)
    assert tree.differ(Transition(state()), Transition(state())) == ""
    assert "reward" in tree.differ(Transition(state(), torch.zeros(3)), Transition(state()))
