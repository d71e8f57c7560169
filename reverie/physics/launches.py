"""Launches of Warp kernels, recorded once and made again and again, at less cost.

On a CPU Warp packs the arguments of a kernel at each launch, one by one, which takes as long as a
small kernel itself. Here they are packed once.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """One kernel over `dim` threads; arguments are names of arrays, or plain values."""

    kernel: Any
    dim: int | tuple[int, ...]
    arguments: tuple[Any, ...]
    again: bool = True
    """Whether the way back needs what it writes; launches that write only the next state do not."""
    back: tuple[Launch, ...] | None = None
    """What adds its gradient, where that is not its kernel's own adjoint: launches that name some
    gradient, `~x` (an empty array where nobody asks for it), or whose adjoint does it."""

    def by_hand(self) -> bool:
        """Whether it names a gradient."""
        return any(isinstance(x, str) and x.startswith("~") for x in self.arguments)


def record(
    launch: Callable[..., Any],
    device: str,
    given: Launch,
    arrays: Mapping[str, Any],
    slopes: Mapping[str, Any] | None,
) -> Callable[[], Any]:
    """What makes a launch by `warp.launch`; with `slopes`, the gradients by name, its adjoint."""
    inputs = [arrays[x] if isinstance(x, str) else x for x in given.arguments]
    options: dict[str, Any] = {"device": device, "record_tape": False, "record_cmd": True}
    if slopes is not None:
        options["adjoint"] = True
        options["adj_inputs"] = [
            slopes.get(x) if isinstance(x, str) else None for x in given.arguments
        ]
    return ready(launch(given.kernel, given.dim, inputs, **options))


def ready(command: Any) -> Callable[[], Any]:
    """What launches a command of `warp.launch(..., record_cmd=True)` as it is.

    Its arrays are to outlive it. Where Warp's own parts are not as expected (they are not public),
    or the device is no CPU, that is the command's own way.
    """
    pack = getattr(sys.modules[type(command).__module__], "_build_cpu_args_structs", None)
    if pack is None or not command.device.is_cpu or getattr(command, "block_dim", 1) > 1:
        launch: Callable[[], Any] = command.launch
        return launch
    packed = pack(command.kernel, command.hooks, command.params, command.adjoint)
    call = command.hooks.backward if command.adjoint else command.hooks.forward
    structs = [command.params[0], *(x for x in packed if x is not None)]
    return functools.partial(_call, command, call, *(ctypes.byref(x) for x in structs))


def _call(command: Any, call: Callable[..., Any], *arguments: Any) -> None:
    """`command` is held, and with it the compiled module."""
    call(*arguments)
