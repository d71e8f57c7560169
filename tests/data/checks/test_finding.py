import json

from reverie.data.checks.finding import Finding, Report

HUNG = [Finding("error", "frozen", "the camera hung.", str(e), 3, 9, "front") for e in range(8)]
BARE = Finding("warning", "no reward", "0 in every row.", sensor="reward")


def report(*findings):
    return Report("here", 9, 900, 90.0, tuple(findings))


def test_a_place_in_words():
    assert HUNG[0].where == "episode 0, rows 3-8"
    assert Finding("error", "short", "", "7", 4, 5).where == "episode 7, row 4"
    assert BARE.where == "everywhere"


def test_errors_come_first_and_many_of_one_kind_are_one_line():
    text = report(BARE, *HUNG).summary().splitlines()
    assert text[0] == "here: 9 episodes, 900 rows, 1.5 minutes. 8 errors, 1 warning."
    assert text[1] == "error   frozen: front: episode 0, rows 3-8: the camera hung."
    assert text[2].strip() == "and 7 more like it, in episodes 1, 2, 3, 4, 5, ..."
    assert text[3].startswith("warning no reward: reward: everywhere")
    assert len(text) == 4


def test_warnings_do_not_fail():
    assert report(BARE).ok and report().ok and not report(*HUNG).ok
    assert (report(BARE, *HUNG).errors, report(BARE, *HUNG).warnings) == (8, 1)


def test_it_is_json():
    value = json.loads(json.dumps(report(BARE, *HUNG).to_json(), allow_nan=False))
    assert value["errors"] == 8 and value["findings"][1]["start"] == 3 and not value["ok"]
