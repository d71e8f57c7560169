import threading
import time

import numpy as np
import pytest

from reverie.data.lerobot.background import Backlog, Job, Worker
from reverie.data.lerobot.journal import Journal
from reverie.data.lerobot.listing import SizeConfig
from reverie.data.lerobot.take import Take
from tests.data.lerobot.toy import H264, POSE, read, robot, rows


def nothing():
    """A job."""


def test_a_backlog_is_a_queue():
    backlog = Backlog(100)
    jobs = [Job(nothing, size=k) for k in range(3)]
    for job in jobs:
        assert backlog.put(job) == 0
    assert backlog.size == 3
    assert [backlog.get(None) for _ in jobs] == jobs
    assert backlog.get(0.0) is None and backlog.size == 0


def test_a_full_backlog_makes_the_next_wait_until_there_is_room():
    backlog = Backlog(100)
    backlog.put(Job(nothing, size=500))  # too large, but alone
    waited = []
    thread = threading.Thread(target=lambda: waited.append(backlog.put(Job(nothing, size=1))))
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive() and backlog.size == 500
    backlog.get(None)
    thread.join(5)
    assert waited[0] >= 0.04 and backlog.size == 1


def test_a_closed_backlog_is_emptied_first():
    backlog = Backlog(100)
    backlog.put(Job(nothing))
    backlog.close()
    assert not backlog.drained
    assert backlog.get(None) is not None
    assert backlog.get(None) is None and backlog.drained


@pytest.fixture
def worker(tmp_path):
    journal = Journal(tmp_path / "data", robot(POSE), SizeConfig())
    journal.begin()
    made = Worker(journal, 1 << 20)
    yield made
    made.stop()


def take(worker, number, length):
    toy = worker.journal.robot
    made = Take(toy, worker.journal.root / ".recording" / str(number), H264, f"task {number}")
    for each in rows(POSE, number, length):
        worker.add(made, toy.schema.check_row(each))
    return made


def test_what_is_finished_is_on_the_disk_after_a_flush(worker):
    for number in range(3):
        worker.finish(take(worker, number, 4))
    take(worker, 3, 4)  # goes on
    worker.flush()
    assert worker.journal.state.episodes == 3
    assert [task for task, _ in read(worker.journal.root)] == ["task 0", "task 1", "task 2"]


def test_episodes_that_end_together_are_written_together(worker, monkeypatch):
    sizes = []
    real = worker.journal.commit
    monkeypatch.setattr(worker.journal, "commit", lambda e: (sizes.append(len(e)), real(e)))
    hold = threading.Event()
    worker.backlog.put(Job(hold.wait))
    for number in range(5):
        worker.finish(take(worker, number, 4))
    hold.set()
    worker.flush()
    assert sum(sizes) == 5 and len(sizes) < 5


def test_what_is_asked_for_while_it_writes_is_done_before_it_stops(worker, monkeypatch):
    begun, hold, real = threading.Event(), threading.Event(), worker.journal.commit

    def slow(episodes):
        begun.set()
        hold.wait(20)
        real(episodes)

    monkeypatch.setattr(worker.journal, "commit", slow)
    worker.finish(take(worker, 0, 4))
    assert begun.wait(20)
    worker.finish(take(worker, 1, 4))
    worker.backlog.close()
    hold.set()
    worker.stop()
    assert worker.journal.state.episodes == 2


def test_an_idle_worker_writes_without_being_asked(worker):
    worker.finish(take(worker, 0, 4))
    deadline = time.monotonic() + 20
    while worker.journal.state.episodes < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.journal.state.episodes == 1


def test_an_episode_that_is_dropped_is_not_written(worker):
    gone = take(worker, 0, 4)
    worker.drop(gone)
    worker.finish(take(worker, 1, 4))
    worker.flush()
    assert [task for task, _ in read(worker.journal.root)] == ["task 1"]


def test_what_goes_wrong_is_raised_once_and_spoils_its_episode_only(worker, monkeypatch):
    real = Take.add

    def add(self, row):
        if self.task == "task 1" and np.array_equal(row["first"], False):
            raise KeyError("lens")
        real(self, row)

    monkeypatch.setattr(Take, "add", add)
    for number in range(3):
        worker.finish(take(worker, number, 4))
    with pytest.raises(KeyError, match="lens"):
        worker.flush()
    worker.raise_problem()
    worker.flush()
    assert [task for task, _ in read(worker.journal.root)] == ["task 0", "task 2"]
