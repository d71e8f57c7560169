"""Operations on trees of tensors: states, noise, observations. `()` is a tree without leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply `function` to corresponding leaves; the trees must have one structure.

    Tuples, lists and dictionaries are gone through here, at a fraction of what torch's own way
    takes: planners do this at every imagined step. Other nodes that torch knows are left to it.
    """
    if isinstance(tree, Tensor):
        return function(tree, *rest)
    kind = type(tree)
    if kind is dict:
        _require_alike(tree, rest)
        return {key: map(function, tree[key], *(other[key] for other in rest)) for key in tree}
    if not isinstance(tree, (tuple, list)) or kind.__module__ == "torch.return_types":
        return pytree.tree_map(function, tree, *rest)
    if rest:
        _require_alike(tree, rest)
        branches = [map(function, *branch) for branch in zip(tree, *rest, strict=True)]
    else:
        branches = [map(function, branch) for branch in tree]
    return kind(*branches) if hasattr(kind, "_fields") else kind(branches)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of the tree, in a fixed order."""
    found: list[Tensor] = []
    map(found.append, tree)
    return found


def clone(tree: Any) -> Any:
    """The same values in memory of their own; leaves that are no tensors stay as they are."""
    return map(lambda x: x.clone() if isinstance(x, Tensor) else x, tree)


def stack(trees: Sequence[Any], dim: int = 0) -> Any:
    """One tree whose leaves are the stacked leaves of equal trees."""
    if not trees:
        raise ValueError("tree.stack was given no trees; give at least one.")
    return map(lambda *xs: torch.stack(xs, dim), *trees)


def concat(trees: Sequence[Any], dim: int = 0) -> Any:
    """One tree whose leaves are the concatenated leaves of equal trees."""
    if not trees:
        raise ValueError("tree.concat was given no trees; give at least one.")
    return map(lambda *xs: torch.cat(xs, dim), *trees)


def repeat(tree: Any, times: int) -> Any:
    """Each row `times` in a row, `[B, ...] -> [B * times, ...]`: K candidates from one state."""
    return map(lambda x: x.repeat_interleave(times, 0), tree)


def select(tree: Any, index: Tensor | slice | int) -> Any:
    """Rows of every leaf by index, mask or slice along the batch axis."""
    return map(lambda x: x[index], tree)


def where(condition: Tensor, yes: Any, no: Any) -> Any:
    """Rows of `yes` where `condition` `[B]`, else rows of `no`."""

    def choose(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return map(choose, yes, no)


def flatten_time(tree: Any) -> Any:
    """`[B, T, ...] -> [B * T, ...]` in every leaf."""
    return map(lambda x: x.flatten(0, 1), tree)


def unflatten(tree: Any, first: int, second: int) -> Any:
    """`[first * second, ...] -> [first, second, ...]` in every leaf."""
    return map(lambda x: x.unflatten(0, (first, second)), tree)


def detach(tree: Any) -> Any:
    """The same values without their gradient graph."""
    return map(lambda x: x.detach(), tree)


def to(tree: Any, device: torch.device | str) -> Any:
    """The same values on another device."""
    return map(lambda x: x.to(device), tree)


def batch_size(tree: Any) -> int:
    """B, the common length of the leaves' first axis."""
    sizes = {x.shape[0] for x in leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(f"The leaves of a state need one batch size; found {sorted(sizes)}.")
    return int(sizes.pop())


def named(tree: Any) -> dict[str, Tensor]:
    """The leaves by their path in the tree (`"deter"`, `"cache.0"`), for files and replay."""
    paths, _ = pytree.tree_flatten_with_path(tree)
    return {".".join(_label(key) for key in path): leaf for path, leaf in paths}


def from_named(values: dict[str, Tensor], like: Any) -> Any:
    """The tree of the structure of `like` with leaves from `values`; inverse of `named`.

    Raises:
        KeyError: a leaf of `like` is not among the values.
    """
    names = list(named(like))
    missing = [name for name in names if name not in values]
    if missing:
        raise KeyError(f"A state needs the leaves {names}; {missing} are missing.")
    return pytree.tree_unflatten([values[name] for name in names], pytree.tree_structure(like))


def differ(one: Any, two: Any, tolerance: float = 0.0) -> str:
    """Where two trees first differ, in words, and by how much; empty where they are equal.

    `tolerance` is absolute and relative. NaN equals NaN; a leaf that is None is no leaf.
    """
    left, right = ({k: x for k, x in named(t).items() if x is not None} for t in (one, two))
    if left.keys() != right.keys():
        return f"leaves {sorted(left)} against {sorted(right)}"
    for name, x in left.items():
        y = right[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"{name!r}: {[*x.shape]} {x.dtype} against {[*y.shape]} {y.dtype}"
        if not torch.allclose(x.double(), y.double(), tolerance, tolerance, equal_nan=True):
            return f"{name!r} by {(x.double() - y.double()).abs().max():.3g}"
    return ""


def _require_alike(tree: Any, rest: Sequence[Any]) -> None:
    for other in rest:
        same = type(other) is type(tree) and len(other) == len(tree)
        if not same or (isinstance(tree, dict) and other.keys() != tree.keys()):
            raise ValueError(f"Trees mismatch: {_outline(tree)} against {_outline(other)}.")


def _outline(tree: Any) -> str:
    name = type(tree).__name__
    if isinstance(tree, dict):
        return f"{name} of {list(tree)}"
    return f"{name} of {len(tree)}" if isinstance(tree, tuple | list) else name


def _label(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
