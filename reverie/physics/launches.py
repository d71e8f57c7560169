"""Recorded launches of Warp kernels that are made again and again, at less cost.

On a CPU Warp packs the arguments of a kernel at each launch, one by one, which takes as long as a
small kernel itself. Here they are packed once.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any


def ready(command: Any) -> Callable[[], Any]:
    """What launches a command of `warp.launch(..., record_cmd=True)` with its arguments as they are.

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
