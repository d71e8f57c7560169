"""Precisions, and what happens without Warp."""

import subprocess
import sys

import pytest
import torch

from reverie.physics import kernels

WITHOUT = """
import sys, warnings
sys.modules["warp"] = None
import torch
from reverie.physics import kernels
from reverie.physics.mpm import MPM
kind = torch.zeros(2, dtype=torch.int64)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    made = [MPM(kind, dx=0.1, dt=1e-4) for _ in range(3)]
print(len(seen), "reverie[physics]" in str(seen[0].message), made[0].backend)
try:
    MPM(kind, dx=0.1, dt=1e-4, backend="warp")
except ModuleNotFoundError as error:
    print("reverie[physics]" in str(error))
"""


def test_each_precision_is_loaded_once_and_others_are_refused() -> None:
    name = "reverie.physics.mpm.kernels"
    single, double = (kernels.load(name, t) for t in (torch.float32, torch.float64))
    assert single is kernels.load(name, torch.float32) and single is not double
    assert single.REAL is not double.REAL
    with pytest.raises(ValueError, match="float16"):
        kernels.load(name, torch.float16)


def test_without_warp_the_reference_runs_and_says_so_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["1", "True", "torch", "True"], done.stderr
