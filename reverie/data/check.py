"""Is a dataset fit to learn from? One pass over all of it, and a page that says what is wrong.

report = check(open_dataset(place))
report.summary()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from reverie.data.checks.alignment import Aligned
from reverie.data.checks.episodes import Endings, Lengths, Repeats, Times
from reverie.data.checks.finding import Alignment, Finding, Report
from reverie.data.checks.pictures import Pictures
from reverie.data.checks.recording import Check, load
from reverie.data.checks.values import Bounds, Constant, Finite, Reward, Saturated
from reverie.data.datasets import Dataset, Episode

__all__ = ["Alignment", "Finding", "Report", "check"]

Progress = Callable[[int, int], None]
"""Called with the episodes done and those there are."""


def check(dataset: Dataset, *, progress: Progress | None = None) -> Report:
    """Everything that is wrong or doubtful in a dataset.

    It reads every row once, an episode's small entries at a time and its pictures in slabs.
    An episode that cannot be read is a finding; the others are looked at nevertheless. Where the
    dataset has a method `timestamps(name)` (seconds, one for each row) these are looked at, too.

    Errors: values that are NaN, infinite or out of bounds; choices that are no choice; a sensor
    that never changes; actions beside the wrong rows; pictures that froze or are blank; times that
    jump or have another rate; episodes that repeat others, hold no action or end in their midst.
    Warnings: entries that never change; actions often at a bound; no reward at all; frames that
    repeat; an unsteady clock; lengths that differ a lot; tasks or an end that is missing.
    """
    aligned = Aligned(dataset.obs)
    spaces = {**dataset.obs, "action": dataset.action}
    checks: list[Check] = [
        Finite(),
        Bounds(spaces),
        Constant(spaces, dataset.about.action.names),
        Saturated(dataset.action),
        Reward(),
        Pictures(),
        Endings(),
        Lengths(),
        Repeats(),
        Times(dataset.about.dt, getattr(dataset, "timestamps", None)),
        aligned,
    ]
    episodes = dataset.episodes()
    findings = list(_names(episodes))
    with np.errstate(over="ignore", invalid="ignore"):  # a stranger's numbers may be of any size
        for done, episode in enumerate(episodes):
            findings.extend(_look(dataset, episode, checks))
            if progress is not None:
                progress(done + 1, len(episodes))
        for one in checks:
            findings.extend(one.finish())
    rows = sum(episode.rows for episode in episodes)
    seconds = dataset.about.dt * sum(max(episode.rows - 1, 0) for episode in episodes)
    return Report(dataset.where, len(episodes), rows, seconds, tuple(findings), aligned.result)


def _names(episodes: Sequence[Episode]) -> Iterator[Finding]:
    """An empty dataset, and episodes of one name."""
    if not episodes:
        yield Finding("error", "empty", "there are no episodes.")
    for name, count in Counter(episode.name for episode in episodes).items():
        if count == 1:
            continue
        yield Finding("error", "name", "several episodes have this name.", name)


def _look(dataset: Dataset, episode: Episode, checks: list[Check]) -> Iterator[Finding]:
    """What each check sees in an episode."""
    try:
        recording = load(dataset, episode)
    except (ValueError, OSError) as error:
        yield Finding("error", "unreadable", str(error), episode.name)
        return
    for one in checks:
        yield from one.see(recording)
