"""`import reverie` is light, and what it promises is there."""

import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import reverie

PACKAGE = Path(reverie.__file__).parent
HEAVY = {
    *("PIL", "dm_control", "dm_env", "gymnasium", "imageio", "lz4", "mujoco", "rich"),
    *("starlette", "tensorboard", "tyro", "zstandard"),
}
PROBE = """
import json, sys, time
start = time.process_time()
import reverie
bare, after_import = time.process_time() - start, list(sys.modules)
import torch
start = time.process_time()
for name in reverie.__all__:
    getattr(reverie, name)
print(json.dumps([bare, time.process_time() - start, after_import, list(sys.modules)]))
"""


class Fresh(NamedTuple):
    """What a fresh interpreter did."""

    bare: float  # processor time [s], so that a busy machine does not count: import reverie
    names: float  # [s], then all public names, torch being there
    after_import: set[str]
    after_names: set[str]


@pytest.fixture(scope="module")
def fresh() -> Fresh:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    runs = []
    for _ in range(3):  # the first may compile; the median has not
        command = [sys.executable, "-c", PROBE]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        runs.append(json.loads(done.stdout))
    return Fresh(
        statistics.median(run[0] for run in runs),
        statistics.median(run[1] for run in runs),
        {name.partition(".")[0] for name in runs[0][2]},
        {name.partition(".")[0] for name in runs[0][3]},
    )


def test_import_and_all_public_names_cost_under_0_3_seconds_beyond_torch(fresh: Fresh) -> None:
    assert "torch" not in fresh.after_import  # so that the first time is beyond torch too
    assert fresh.bare + fresh.names < 0.3


def test_neither_import_nor_names_load_a_simulator_logger_server_or_image_library(
    fresh: Fresh,
) -> None:
    assert not fresh.after_names & HEAVY


@pytest.mark.parametrize("name", reverie.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(reverie, name) is getattr(reverie, name)
    assert name in dir(reverie)


def test_public_names_are_those_that_a_type_checker_sees() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert sorted(seen) == reverie.__all__
    for name, module in seen.items():
        source = f"from {module} import {name} as value\nimport reverie\n"
        exec(f"{source}assert value is reverie.{name}", {})


def test_no_public_name_hides_a_room() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir()}
    assert not rooms & set(reverie.__all__)


def test_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Spce'.*'Space'"):
        _ = reverie.Spce


def test_version_is_that_of_the_changelog() -> None:
    changelog = (PACKAGE.parent / "CHANGELOG.md").read_text()
    assert f"## [{reverie.__version__}]" in changelog
