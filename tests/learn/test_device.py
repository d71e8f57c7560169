import subprocess
import sys

import numpy as np
import pytest
import torch

from reverie.learn import device as device_module
from reverie.learn.device import Device, DeviceConfig, multiplies_bfloat16, settle


def test_a_missing_device_is_an_error_that_says_what_to_do():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device=cpu"):
            settle(DeviceConfig(device="cuda"))
    with pytest.raises(ValueError, match="'tpu' is unknown"):
        DeviceConfig(device="tpu")
    with pytest.raises(ValueError, match="'float16' is unknown"):
        DeviceConfig(precision="float16")
    with pytest.raises(ValueError, match="threads"):
        DeviceConfig(threads=-1)


def test_what_is_put_is_aligned_whatever_its_address():
    device = settle(DeviceConfig(device="cpu"))
    block = np.arange(101, dtype=np.float32)
    values = device.put({"a": block[1:], "b": torch.from_numpy(block)[3:90], "c": ()})
    assert values["a"].data_ptr() % 64 == 0
    assert values["b"].data_ptr() % 64 == 0
    assert values["a"].tolist() == block[1:].tolist()
    assert values["b"].tolist() == block[3:90].tolist()
    assert values["c"] == ()


def test_generators_repeat():
    device = Device(torch.device("cpu"))
    a, b = (torch.rand(3, generator=device.generator(7)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", None])
def test_auto_precision_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, feature):
    has = {"avx512_f": True, "avx512_bf16": False, **({feature: True} if feature else {})}
    monkeypatch.setattr(device_module.torch.cpu, "get_capabilities", lambda: has)
    settled = settle(DeviceConfig(device="cpu", precision="auto"))
    assert settled.precision == ("bfloat16" if feature else "float32")
    with settled.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if feature else torch.float32)


def test_precision_asked_for_by_name_is_kept_whatever_the_processor():
    for name in ("float32", "bfloat16"):
        assert settle(DeviceConfig(device="cpu", precision=name)).precision == name
    assert not multiplies_bfloat16("mps")


def test_threads_are_set_and_told():
    about = settle(DeviceConfig(device="cpu", threads=1)).describe()
    assert about["threads"] == torch.get_num_threads() == 1


def test_nothing_is_compiled_unless_asked_for():
    def double(x):
        return 2 * x

    assert settle(DeviceConfig(device="cpu")).compiled(double) is double


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has mallopt")
def test_what_was_freed_serves_again_without_fresh_pages():
    """In a process of its own: a large block is freed and asked for again, many times."""
    program = (
        "import resource, sys, torch\n"
        "from reverie.learn.device import keep_memory\n"
        "kept = sys.argv[1] == 'keep' and keep_memory()\n"
        "def use():\n"
        "    held = [torch.ones(10_000_000 + 1000 * k) for k in range(4)]\n"
        "    return sum(float(x[0]) for x in held)\n"
        "[use() for _ in range(8)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "[use() for _ in range(4)]\n"
        "print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {}
    for way in ("keep", "plain"):
        command = [sys.executable, "-c", program, way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        kept, count = done.stdout.split()
        faults[way] = int(count)
        if way == "keep" and kept == "False":
            pytest.skip("this C library has no mallopt")
    assert 4 * faults["keep"] < faults["plain"]
