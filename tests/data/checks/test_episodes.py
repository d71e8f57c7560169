import numpy as np
import pytest

from tests.data.checks.planted import found, only, place
from tests.data.memory import ACTION, DT, OBS, Memory, clean, recording


def cut(rows, start, stop):
    """Some rows of an episode, as an episode."""
    part = {name: values[start:stop].copy() for name, values in rows.items()}
    part["action"][0], part["reward"][0] = 0, 0
    part["first"][:], part["last"][:] = False, False
    part["first"][0], part["last"][-1] = True, True
    return part


def test_flags_in_the_midst_of_an_episode():
    for flag, row in (("first", 9), ("last", 12), ("terminated", 15)):
        data = clean()
        data.rows[3][flag][row] = True
        finding = only(data, "error", "ending")
        assert place(finding) == ("3", row, row + 1) and flag in finding.message


def test_ends_that_are_not_marked():
    data = clean()
    data.rows[1]["first"][0] = False
    assert place(only(data, "error", "ending")) == ("1", 0, 1)
    data = clean()
    data.rows[1]["last"][-1] = False
    assert place(only(data, "error", "ending")) == ("1", 42, 43)
    data = clean(complete=[True, False] + [True] * 6)
    data.rows[1]["last"][-1] = False
    assert place(only(data, "warning", "incomplete")) == ("1", 42, 43)


def test_a_termination_at_the_end_is_none():
    data = clean()
    for rows in data.rows:
        rows["terminated"][-1] = True
    assert found(data) == set()


@pytest.mark.parametrize("name", ["action", "reward"])
def test_row_zero_holds_no_action(name):
    data = clean()
    data.rows[2][name][0] = 0.5
    assert place(only(data, "error", "ending", "action")) == ("2", 0, 1)


def test_an_episode_without_an_action():
    data = clean()
    data.rows[2] = cut(data.rows[2], 0, 1)
    assert ("error", "short", "") in found(data)


def test_lengths_that_differ_a_lot():
    rng = np.random.default_rng(5)
    for length in (6, 300):
        data = clean()
        data.rows[2] = recording(length, rng)
        finding = only(data, "warning", "length")
        assert place(finding) == ("2", 0, length + 1)
    data = clean(episodes=4)
    data.rows[2] = recording(300, rng)  # of four episodes nobody can say which is odd
    assert found(data) == set()


def test_tasks_are_missed_where_others_have_one():
    tasks = ["lift the cube"] * 8
    assert found(clean(tasks=tasks)) == set()
    tasks[4] = "  "
    assert only(clean(tasks=tasks), "warning", "no task").episode == "4"


def test_a_copied_episode():
    data = clean()
    data.rows[6] = {name: values.copy() for name, values in data.rows[1].items()}
    finding = only(data, "error", "duplicate")
    assert place(finding) == ("6", 0, 43) and "copy of episode 1" in finding.message


def test_episodes_that_overlap():
    rng = np.random.default_rng(5)
    long = recording(90, rng)
    data = clean()
    data.rows[1], data.rows[6] = cut(long, 0, 60), cut(long, 25, 91)
    finding = only(data, "error", "duplicate")
    assert finding.episode == "6" and "rows of episode 1" in finding.message
    assert finding.start >= 1 and finding.start + 16 <= finding.stop <= 35  # both hold 60 - 25 rows
    assert f"from its row {finding.start + 25} on" in finding.message
    data.rows[6] = cut(long, 59, 91)
    assert found(data) == set()


def test_a_robot_that_stands_repeats_no_episode():
    data = clean()
    for rows in data.rows:
        for name in ("state", "front", "action", "reward"):
            rows[name][15:40] = rows[name][0] if name != "action" else 0
    assert "duplicate" not in {kind for _, kind, _ in found(data)}


def timed(change):
    """Clean recordings with times, of which those of episode 2 were changed."""
    times = [np.arange(len(rows["reward"])) * DT for rows in clean().rows]
    times[2] = change(times[2])
    return clean(times=times)


def test_a_steady_clock_is_fine_whatever_it_starts_from():
    rng = np.random.default_rng(0)
    assert found(timed(lambda t: 1e9 + t + 0.01 * DT * rng.standard_normal(len(t)))) == set()


def test_rows_that_are_missing_are_a_jump():
    finding = only(timed(lambda t: t + (np.arange(len(t)) > 20) * 3 * DT), "error", "time jump")
    assert place(finding) == ("2", 20, 22) and "0.4 s between" in finding.message
    finding = only(timed(lambda t: t - (np.arange(len(t)) > 20) * 9.0), "error", "time jump")
    assert place(finding) == ("2", 20, 22)


def test_a_clock_that_is_nan():
    def change(times):
        times[7] = np.nan
        return times

    assert place(only(timed(change), "error", "time jump")) == ("2", 6, 9)


def test_another_rate():
    assert "0.2 s apart" in only(timed(lambda t: 2 * t), "error", "rate").message


def test_an_unsteady_clock():
    rng = np.random.default_rng(0)
    only(timed(lambda t: t + 0.1 * DT * rng.uniform(-1, 1, len(t)) * 2), "warning", "jitter")


def test_memory_is_a_dataset():
    with pytest.raises(KeyError):
        Memory(OBS, ACTION, []).read("0")
    with pytest.raises(IndexError):
        clean().read("0", 3, 99)
