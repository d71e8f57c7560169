"""What steps a world: compiled kernels, or torch."""

from __future__ import annotations

from typing import Literal

from reverie.physics import loading

Backend = Literal["auto", "warp", "torch"]
"""auto: Warp where it is installed."""
Runner = Literal["warp", "torch"]


def runner(asked: Backend) -> Runner:
    """What runs where so much was asked for.

    Raises:
        ModuleNotFoundError: Warp was asked for, and is not installed.
    """
    if asked == "warp":
        loading.warp()
    return "torch" if asked == "torch" or not loading.installed() else "warp"
