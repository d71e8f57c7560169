"""What to cite is known for every family, and written as BibTeX."""

import re

import pytest

import reverie
from reverie.models import FAMILIES
from reverie.models.references import BIBLIOGRAPHY, RESTS_ON, cite
from tests.models.dreamer import tiny


def test_every_family_rests_on_known_papers() -> None:
    assert RESTS_ON.keys() == FAMILIES.keys()
    assert {key for keys in RESTS_ON.values() for key in keys} == BIBLIOGRAPHY.keys()
    for key, entry in BIBLIOGRAPHY.items():
        assert re.match(rf"@\w+{{{key},\n", entry)
        assert entry.count("{") == entry.count("}")
        assert all(f"  {field} = " in entry for field in ("title", "author", "year"))


def test_a_model_says_what_to_cite() -> None:
    text = reverie.cite(tiny.model())
    assert "Mastering Diverse Domains" in text
    assert text == cite("dreamer")


def test_a_model_of_no_family_is_refused() -> None:
    with pytest.raises(ValueError, match="'object' is of no family"):
        cite(object())
