"""Families are found by name, and imported when they are asked for."""

import subprocess
import sys

import pytest

from reverie.models import FAMILIES, family


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_found_by_name(name: str) -> None:
    assert family(name).__name__ == f"reverie.models.{name}"


def test_an_unknown_family_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="called 'dreamre'; there are: dreamer"):
        family("dreamre")


def test_the_table_loads_no_family() -> None:
    code = "import sys, reverie.models; print([m for m in sys.modules if 'dreamer' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
