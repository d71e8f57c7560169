"""Weights that do not fit are told by name and shape."""

import torch

from reverie.nn.state import misfit


def test_equal_names_and_shapes_fit() -> None:
    assert misfit({"a": torch.zeros(2)}, {"a": torch.ones(2)}) == ""


def test_each_kind_of_difference_is_named() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(1)}
    said = misfit(own, {"b": torch.zeros(3), "c": torch.zeros(1)})
    assert said == (
        "a is missing; c is not in this model; b has shape (3,) and this model has (1,)"
    )


def test_many_differences_are_counted() -> None:
    assert misfit({str(k): torch.zeros(1) for k in range(7)}, {}).endswith("; and 2 more")
