import json
import math
import resource

import pytest

from reverie.learn.accounting import Counters
from reverie.learn.log import Log, LogConfig, Means, TensorBoard, read


def test_lines_have_the_four_counters(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.write("fit", Counters(200, 100, 50, 1.5), {"loss": 0.1, "bad": math.nan})
    log.write("episode", Counters(202, 101, 50, 1.6), {"return": 3.0})
    log.close()
    assert read(tmp_path / "log.jsonl", "fit") == [
        {
            "kind": "fit",
            "frames": 200,
            "decisions": 100,
            "updates": 50,
            "seconds": 1.5,
            "loss": 0.1,
            "bad": None,
        }
    ]
    assert [line["kind"] for line in read(tmp_path / "log.jsonl")] == ["fit", "episode"]


def test_a_resumed_log_is_one_clean_curve(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    for k in range(5):
        log.write("fit", Counters(updates=k), {})
    size = log.sync()
    for k in range(5, 8):
        log.write("fit", Counters(updates=k), {})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"kind": "fit", "upda')  # killed inside a line
    assert [line["updates"] for line in read(path)] == list(range(8))
    log = Log(path, size)
    for k in range(5, 7):
        log.write("fit", Counters(updates=k), {})
    log.close()
    assert [line["updates"] for line in read(path)] == list(range(7))


def test_a_log_that_was_removed_is_reported_and_begun_anew(tmp_path):
    with pytest.warns(UserWarning, match="lines are missing"):
        log = Log(tmp_path / "log.jsonl", 100)
    log.write("fit", Counters(), {})
    log.close()
    assert len(read(tmp_path / "log.jsonl")) == 1


def test_on_a_full_disk_lines_wait_and_none_is_torn(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    log.write("fit", Counters(), {"k": 0})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.warns(UserWarning, match="wait in memory") as warned:
            for k in range(1, 4):
                log.write("fit", Counters(), {"k": k})
        assert len(warned) == 1
        assert path.read_bytes().endswith(b"}\n")
        with pytest.raises(OSError, match="too large"):
            log.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write("fit", Counters(), {"k": 4})
    log.close()
    assert [line["k"] for line in read(path)] == [0, 1, 2, 3, 4]


def test_means_continue_over_a_resume():
    means = Means()
    means.add({"a": 1.0, "b": 5.0})
    state = json.loads(json.dumps(means.state_dict()))
    means = Means()
    means.load_state_dict(state)
    means.add({"a": 2.0})
    assert means.take() == {"a": 1.5, "b": 5.0}
    assert means.take() == {}


def test_tensorboard_holds_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path, Counters())
    board.write("fit", Counters(frames=10, updates=5), {"loss": 0.5, "note": "text"})
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("fit/loss")] == [(10, 0.5)]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"seconds": 0.0}, {"progress": "loud"}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=r"every|seconds|loud"):
        LogConfig(**wrong)
