"""What a page may say, and what it is answered where it may not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.serve.messages import (
    LARGEST,
    Act,
    Got,
    Pause,
    Record,
    RefusedError,
    Reset,
    Speed,
    Step,
    Stop,
    Tell,
    parse,
)

ACTION = Space((2,), low=(-1.0, -2.0), high=(1.0, 2.0))


def said(text_size: int = 16, space: Space = ACTION, **message: object) -> object:
    return parse(json.dumps(message), space, text_size)


def test_every_kind_is_understood() -> None:
    act = said(kind="act", action=[0.5, -1], id=7)
    assert isinstance(act, Act)
    assert act.id == 7
    np.testing.assert_array_equal(act.action, np.float32([0.5, -1]))
    assert said(kind="got", frame=3) == Got(3)
    assert said(kind="reset", seed=2**32 - 1) == Reset(2**32 - 1)
    assert said(kind="reset") == Reset(None)
    assert said(kind="pause", on=False) == Pause(False)
    assert said(kind="step") == Step()
    assert said(kind="speed", times=0.5) == Speed(0.5)
    assert said(kind="tell", text="lift it ↑") == Tell("lift it ↑")
    assert said(kind="record", film="gif", data=False) == Record("gif", False)
    assert said(kind="stop") == Stop()


def test_actions_stay_within_their_bounds() -> None:
    act = said(kind="act", action=[5, -5])
    assert isinstance(act, Act)
    np.testing.assert_array_equal(act.action, np.float32([1, -2]))
    free = said(kind="act", action=[5, -5], space=Space((2,)))
    assert isinstance(free, Act)
    np.testing.assert_array_equal(free.action, np.float32([5, -5]))


def test_a_choice_becomes_one_hot() -> None:
    act = said(kind="act", action=[0.2, 0.9, 0.1], space=Space((3,), discrete=True))
    assert isinstance(act, Act)
    np.testing.assert_array_equal(act.action, np.float32([0, 1, 0]))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("no json", "no JSON"),
        ("", "no JSON"),
        ("[" * 60_000, "no JSON"),
        ('{"kind": "got", "frame": ' + "9" * 5000 + "}", "no JSON"),
        ("[1]", "JSON list"),
        ("null", "JSON NoneType"),
        ("{}", "no message of kind"),
        ('{"kind": ["step"]}', "no message of kind"),
        ('{"kind": "act"}', "list of 2 numbers"),
        ('{"kind": "act", "action": [1]}', "1 entries"),
        ('{"kind": "act", "action": [1, NaN]}', "holds NaN"),
        ('{"kind": "act", "action": [1, -Infinity]}', "holds -Infinity"),
        ('{"kind": "act", "action": [1, 1e999]}', "action 1 is inf"),
        ('{"kind": "act", "action": [1, "2"]}', "send a number"),
        ('{"kind": "act", "action": [1, true]}', "send a number"),
        ('{"kind": "act", "action": [1, 1], "id": -1}', "id is -1"),
        ('{"kind": "act", "action": [1, 1], "id": 1.5}', "whole number"),
        ('{"kind": "reset", "seed": 4294967296}', "seed is 4294967296"),
        ('{"kind": "speed"}', "times is None"),
        ('{"kind": "speed", "times": 0}', "0.1 to 4"),
        ('{"kind": "pause", "on": 1}', "true or false"),
        ('{"kind": "record", "film": "../../x.mp4"}', "no film"),
        ('{"kind": "record", "film": "", "data": false}', "Nothing is to be recorded"),
        ('{"kind": "tell"}', "send a string"),
        ('{"kind": "tell", "text": "  "}', "empty"),
        ('{"kind": "tell", "text": "12345678901234567"}', "17 bytes; this model reads 16"),
        ('{"kind": "tell", "text": "éééééééééé"}', "20 bytes"),
        ('{"kind": "tell", "text": "a\\u0000b"}', "control characters"),
        ('{"kind": "tell", "text": "\\ud800"}', "lone surrogate"),
        ('{"kind": "tell", "text": "' + "x" * LARGEST + '"}', "larger than"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_words(raw: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        parse(raw, ACTION, 16)


def test_a_model_without_text_says_so() -> None:
    with pytest.raises(RefusedError, match="reads no text"):
        said(text_size=0, kind="tell", text="go")
