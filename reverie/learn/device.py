"""The one place where a fit chooses its device, its precision and its threads."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
import torch.utils.deterministic
from torch import Tensor

from reverie.core import tree
from reverie.nn.products import onednn

F = TypeVar("F", bound=Callable[..., Any])

_ALIGNMENT = 64  # bytes; torch's own allocations on the CPU have it, numpy's and mapped files' not


_KEEP = {-3: 2**30, -1: 2**31 - 1}
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of <malloc.h> [bytes]."""


@dataclass(frozen=True)
class DeviceConfig:
    """Where and how precisely to compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """What to compute on; auto takes CUDA, then MPS, then the CPU."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of activations; weights, optimiser and losses stay float32. auto takes bfloat16 where the
    hardware multiplies it; elsewhere it is emulated, several times slower than float32."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's choice. Results are exact for one number of them."""
    compile: bool = False
    """Compile cells and heads: a minute once, then cached between runs; pays from about 1000
    updates."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"Device {self.device!r} is unknown; choose auto, cpu, cuda or mps.")
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise ValueError(
                f"Precision {self.precision!r} is unknown; choose float32, bfloat16 or auto."
            )
        if self.threads < 0:
            raise ValueError(f"DeviceConfig threads is {self.threads}; give 0 for torch's choice.")


@dataclass(frozen=True)
class Device:
    """A chosen device; moves values to it and says how to compute there."""

    device: torch.device
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which models are called."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def generator(self, seed: int) -> torch.Generator:
        """A source of noise on this device."""
        return torch.Generator(self.device).manual_seed(seed)

    def put(self, values: Any) -> Any:
        """A tree of arrays or tensors as tensors on this device.

        On the CPU every tensor starts at an aligned address: matrix products may round
        differently by address, and a resumed run must repeat the run that was not killed.
        """
        return tree.map(self._put, values)

    def _put(self, value: Tensor | np.ndarray) -> Tensor:
        tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        if tensor.device != self.device:
            return tensor.to(self.device, non_blocking=self.device.type == "cuda")
        if self.device.type == "cpu" and tensor.data_ptr() % _ALIGNMENT:
            return tensor.clone(memory_format=torch.contiguous_format)
        return tensor

    def compiled(self, function: F) -> F:
        """The function compiled for fixed shapes where this device is set to compile."""
        if not self.compile:
            return function
        return cast(F, torch.compile(function, dynamic=False))

    def describe(self) -> dict[str, Any]:
        """What results depend on, for logs and checkpoints."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {
            "device": self.device.type,
            "name": name,
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "compile": self.compile,
            "products": "onednn" if onednn() else "blas",
            "torch": torch.__version__,
        }


def settle(config: DeviceConfig) -> Device:
    """Choose the device and set the process up for it; raises where it is not there."""
    kind = config.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    elif (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not _has_mps()):
        raise ValueError(
            f"Device {kind!r} was asked for, but this torch ({torch.__version__}) finds none; "
            "use device=cpu, or install a torch build for it."
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    if kind == "cpu":
        keep_memory()
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if config.compile:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "reverie" / "compiled"))
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if multiplies_bfloat16(kind) else "float32"
    return Device(torch.device(kind), precision, config.compile)


def multiplies_bfloat16(kind: str) -> bool:
    """Whether a device of this kind has instructions for products in bfloat16: CUDA from Ampere on,
    x86 with AVX512-BF16 or AMX. Others may have them, but were not measured."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def keep_memory() -> bool:
    """Have the C library keep what is freed; whether it does.

    Otherwise glibc returns large blocks to the system, and every update pays for fresh pages again.
    What a process holds is then the most it ever needed. Blocks above a
    gigabyte are still returned. Libraries without `mallopt` stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return all(set_option(option, size) == 1 for option, size in _KEEP.items())


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
