"""Operations on trees of tensors: states, noise, observations. `()` is a tree without leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply `function` to corresponding leaves; the trees must have one structure."""
    return pytree.tree_map(function, tree, *rest)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of the tree, in a fixed order."""
    return list(pytree.tree_leaves(tree))


def stack(trees: Sequence[Any], dim: int = 0) -> Any:
    """One tree whose leaves are the stacked leaves of equal trees."""
    if not trees:
        raise ValueError("tree.stack was given no trees; give at least one.")
    return pytree.tree_map(lambda *xs: torch.stack(xs, dim), *trees)


def concat(trees: Sequence[Any], dim: int = 0) -> Any:
    """One tree whose leaves are the concatenated leaves of equal trees."""
    if not trees:
        raise ValueError("tree.concat was given no trees; give at least one.")
    return pytree.tree_map(lambda *xs: torch.cat(xs, dim), *trees)


def repeat(tree: Any, times: int) -> Any:
    """Each row `times` in a row, `[B, ...] -> [B * times, ...]`: K candidates from one state."""
    return pytree.tree_map(lambda x: x.repeat_interleave(times, 0), tree)


def select(tree: Any, index: Tensor | slice | int) -> Any:
    """Rows of every leaf by index, mask or slice along the batch axis."""
    return pytree.tree_map(lambda x: x[index], tree)


def where(condition: Tensor, yes: Any, no: Any) -> Any:
    """Rows of `yes` where `condition` `[B]`, else rows of `no`."""

    def choose(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return pytree.tree_map(choose, yes, no)


def flatten_time(tree: Any) -> Any:
    """`[B, T, ...] -> [B * T, ...]` in every leaf."""
    return pytree.tree_map(lambda x: x.flatten(0, 1), tree)


def unflatten(tree: Any, first: int, second: int) -> Any:
    """`[first * second, ...] -> [first, second, ...]` in every leaf."""
    return pytree.tree_map(lambda x: x.unflatten(0, (first, second)), tree)


def detach(tree: Any) -> Any:
    """The same values without their gradient graph."""
    return pytree.tree_map(lambda x: x.detach(), tree)


def to(tree: Any, device: torch.device | str) -> Any:
    """The same values on another device."""
    return pytree.tree_map(lambda x: x.to(device), tree)


def batch_size(tree: Any) -> int:
    """B, the common length of the leaves' first axis."""
    sizes = {x.shape[0] for x in leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(f"The leaves of a state need one batch size; found {sorted(sizes)}.")
    return int(sizes.pop())
