"""Warp and the modules of kernels, loaded when they are first used, once for each precision."""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any, NamedTuple

import torch

from reverie.physics.quiet import quiet

MODULE = {"max_unroll": 1}
"""Options of every module of kernels: loops stay loops, which halves the time of an adjoint."""


@functools.cache
def installed() -> bool:
    """Whether Warp is there; says once what to do where it is not."""
    try:
        import warp
    except ModuleNotFoundError:
        warnings.warn(
            "Warp is not installed: physics runs on the torch reference, which is slower. "
            "Install it with `pip install 'reverie[physics]'`.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    warp.config.log_level = warp.LOG_ERROR  # no banner
    with quiet(not torch.cuda.is_available()):  # nor a word of a driver that is not there
        warp.init()
    return True


def warp() -> Any:
    """The module `warp`, quiet.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if not installed():
        raise ModuleNotFoundError("Warp is needed here: pip install 'reverie[physics]'.")
    import warp

    return warp


class Real(NamedTuple):
    """The types of one precision."""

    scalar: Any
    vec3: Any
    vec4: Any
    mat33: Any
    quat: Any
    vec6: Any
    mat66: Any


_loading: list[torch.dtype] = []


def chosen() -> Real:
    """The types of the precision for which a file of kernels is being loaded (see `load`)."""
    wp = warp()
    if _loading[-1] == torch.float64:
        return Real(
            *(wp.float64, wp.vec3d, wp.vec4d, wp.mat33d, wp.quatd),
            *(wp.spatial_vectord, wp.spatial_matrixd),
        )
    return Real(
        *(wp.float32, wp.vec3, wp.vec4, wp.mat33, wp.quat),
        *(wp.spatial_vector, wp.spatial_matrix),
    )


def beside(name: str) -> ModuleType:
    """The module of kernels `name`, in the precision of the file that is being loaded."""
    return load(name, _loading[-1])


@functools.cache
def load(name: str, dtype: torch.dtype) -> ModuleType:
    """The module of kernels `name`, loaded for float32 or float64: it is written once for both.

    Raises:
        ValueError: Another dtype.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Physics runs in float32 or float64; got {dtype}.")
    wp = warp()
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None
    bits = "f64" if dtype == torch.float64 else "f32"
    spec = importlib.util.spec_from_file_location(f"{name}_{bits}", found.origin)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _loading.append(dtype)
    try:
        spec.loader.exec_module(module)
    finally:
        _loading.pop()
    wp.set_module_options(MODULE, module)
    return module
