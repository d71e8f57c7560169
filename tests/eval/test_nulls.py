"""What could not be measured is null in JSON, and NaN again when read."""

import json
import math

from reverie.eval.nulls import from_null, to_null


def test_null_for_what_is_not_finite() -> None:
    value = {"a": [1.0, math.nan], "b": (math.inf, "x", None), "c": {"d": -math.inf}, "e": 3}
    found = json.loads(json.dumps(to_null(value), allow_nan=False))
    assert found == {"a": [1.0, None], "b": [None, "x", None], "c": {"d": None}, "e": 3}
    assert math.isnan(from_null(found["a"][1]))
    assert from_null(2) == 2.0
