"""A dataset as one HTML page: what is in it, how an episode looks, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reverie.data.check import Report
from reverie.data.datasets import Dataset, Episode
from reverie.data.statistics import Statistics, Summary
from reverie.viz import page, video
from reverie.viz.charts import Chart, Line, Role
from reverie.viz.provenance import provenance
from reverie.viz.ticks import amount, duration

SECONDS = 20.0
"""Of an episode that are filmed [s]."""
_HEIGHT = 240
_ROLES: tuple[Role, ...] = ("real", "model", "mean", "linear", "repeat", "quiet")


def write(
    dataset: Dataset,
    path: Path | str,
    episode: str = "",
    statistics: Statistics | None = None,
    report: Report | None = None,
) -> Path:
    """Write the page of a dataset; it is there whole, or not at all.

    Args:
        dataset: what is shown.
        path: of the page.
        episode: the one that is filmed and drawn; empty for the first.
        statistics: of the dataset, for the table of sensors.
        report: what a check found.

    Raises:
        ValueError: there is no such episode, or none at all.
    """
    episodes = list(dataset.episodes())
    chosen = [e for e in episodes if e.name == episode] if episode else episodes[:1]
    if not chosen:
        names = ", ".join(e.name for e in episodes[:5]) or "none"
        raise ValueError(f"{dataset.where} has no episode {episode!r}; it has {names}.")
    shown = chosen[0]
    rows = dataset.read(shown.name)
    parts = [
        _head(dataset, episodes),
        _findings(report) if report else "",
        _film(dataset, shown, rows),
        _curves(dataset, shown, rows),
        _sensors(dataset, statistics),
        _episodes(episodes, dataset.about.dt),
        page.section("Where this page comes from", "", page.facts(provenance())),
    ]
    words = (
        "Written by Reverie. This file is complete in itself: it loads nothing and sends nothing."
    )
    body = ["<main>", *parts, f'<footer class="inner">{words}</footer>', "</main>"]
    return page.save(page.page(f"{dataset.where}: recorded episodes", body), path)


def _head(dataset: Dataset, episodes: Sequence[Episode]) -> str:
    about, rows = dataset.about, sum(e.rows for e in episodes)
    seconds = about.dt * sum(max(e.rows - 1, 0) for e in episodes)
    tasks = sorted({e.task for e in episodes if e.task})
    tiles = [
        page.tile("Episodes", f"{len(episodes):,}", f"{rows:,} rows", first=True),
        page.tile("Recorded", duration(seconds), f"a decision every {about.dt * 1000:g} ms"),
        page.tile("Sensors", str(len(dataset.obs)), ", ".join(dataset.obs)),
        page.tile("Action", str(dataset.action.size), _meaning(dataset)),
    ]
    words = "Tasks: " if len(tasks) > 1 else "Task: "
    words = words + "; ".join(tasks[:4]) + (" ..." if len(tasks) > 4 else "") if tasks else ""
    return (
        f'<header><p class="kicker">{escape(about.format)}</p>'
        f"<h1>{escape(about.source or Path(dataset.where).name)}</h1>"
        f'<p class="lede">{escape(words)}</p><dl class="tiles">{"".join(tiles)}</dl></header>'
    )


def _meaning(dataset: Dataset) -> str:
    """What the numbers of an action are, in words."""
    if dataset.action.discrete:
        return "a choice"
    info = dataset.about.action
    words: list[str] = ["meaning not recorded" if info.kind == "unknown" else info.kind]
    words += [f"in the frame {info.frame}"] if info.frame else []
    words += [", ".join(dict.fromkeys(info.units))] if info.units else []
    words += ["scaled to -1..1"] if info.low else []
    return ", ".join(words)


def _findings(report: Report) -> str:
    if not report.findings:
        return page.section("Checked", "", page.note("Nothing wrong was found.", plain=True))
    groups: dict[str, list[list[str | page.Cell]]] = {}
    for (severity, kind, sensor), found in report.kinds().items():
        more = f"and {len(found) - 1} more" if len(found) > 1 else ""
        groups.setdefault(f"{severity}s", []).append(
            [page.Cell(kind, sensor), page.Cell(found[0].where, more), found[0].message]
        )
    words = f"{report.errors} errors and {report.warnings} warnings in {report.rows:,} rows."
    return page.section("Checked", words, page.table(["what", "where", "message"], groups))


def _film(dataset: Dataset, episode: Episode, rows: dict[str, NDArray[np.generic]]) -> str:
    """The cameras side by side, as a moving picture."""
    cameras = [n for n, space in dataset.obs.items() if space.is_image and space.shape[0] in (1, 3)]
    if not cameras:
        return ""
    count = min(episode.rows, 1 + round(SECONDS / dataset.about.dt))
    stride = max(1, math.ceil(count / 200))
    tiles = [_scaled(np.asarray(rows[name][:count:stride])) for name in cameras]
    frames = np.concatenate(tiles, 2)
    fps = 1 / (stride * dataset.about.dt)
    about = (
        f"Episode {episode.name}, {', '.join(cameras)}: {amount(count * dataset.about.dt, 2)} s."
    )
    try:
        moving = video.encode(frames, fps)
    except ImportError as missing:
        return page.section("An episode", about, page.note(f"There is no film here. {missing}"))
    height, width = frames.shape[1:3]
    shape = f'width="{width}" height="{height}" style="width: {2 * width}px; max-width: 100%"'
    words = f"{about} {episode.task}".strip()
    film = f'<figure class="screen">{page.picture(moving, about, "moving", shape)}</figure>'
    return page.section("An episode", words, film)


def _scaled(pictures: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Pictures `[T, C, h, w]` as `[T, height, width, 3]` of one height, by whole pixels."""
    frames = np.moveaxis(np.asarray(pictures, np.uint8), 1, -1)
    frames = np.broadcast_to(frames, (*frames.shape[:-1], 3))
    height, width = frames.shape[1:3]
    wide = max(1, round(width * _HEIGHT / height))
    up = (np.arange(_HEIGHT) * height // _HEIGHT)[:, None], np.arange(wide) * width // wide
    return np.ascontiguousarray(frames[:, up[0], up[1]])


def _curves(dataset: Dataset, episode: Episode, rows: dict[str, NDArray[np.generic]]) -> str:
    seconds = (np.arange(episode.rows) * dataset.about.dt).tolist()
    panels = []
    named = {name: space.unit for name, space in dataset.obs.items() if not space.is_image}
    for name, unit in {**named, "action": dataset.action.unit, "reward": ""}.items():
        values = np.asarray(rows[name], np.float64).reshape(episode.rows, -1)
        drawn = values[:, : len(_ROLES)]
        more = f"the first {len(_ROLES)} of {values.shape[1]} entries"
        lines = tuple(
            Line(f"{name} {k}", seconds, drawn[:, k].tolist(), role=_ROLES[k])
            for k in range(drawn.shape[1])
        )
        chart = Chart(f"{name} in time", "seconds", unit or name, lines, zero=False)
        beside = more if values.shape[1] > len(_ROLES) else ""
        panels.append(page.panel(name, beside, chart, height=200, stacked=True))
    return page.section(
        "What was sensed and done",
        f"Episode {episode.name}. The action in a row led to it; that of the first row is none.",
        f'<div class="grid">{"".join(panels)}</div>',
    )


def _sensors(dataset: Dataset, statistics: Statistics | None) -> str:
    if statistics is None:
        return ""
    head = ["entry", "mean", "deviation", "smallest", "1 %", "median", "99 %", "largest", "missing"]
    groups = {}
    entries = {**statistics.obs, "action": statistics.action, "reward": statistics.reward}
    for name, summary in entries.items():
        space = dataset.obs.get(name)
        shape = f"{space.dtype} {space.shape}" if space else ""
        unit = f" [{space.unit}]" if space and space.unit else ""
        groups[f"{name}{unit} {shape}".strip()] = _rows(summary)
    words = (
        f"Over all {statistics.reward.count:,} rows; pictures by channel in 0..1, from a sample."
    )
    return page.section("Values", words, page.table(head, groups))


def _rows(summary: Summary) -> list[list[str | page.Cell]]:
    found: list[list[str | page.Cell]] = []
    for k in range(min(len(summary.mean), 32)):
        q01, _, q50, _, q99 = (row[k] for row in summary.quantiles)
        values = (summary.mean[k], summary.std[k], summary.low[k], q01, q50, q99, summary.high[k])
        missing = f"{100 * summary.missing[k]:.2g} %" if summary.missing[k] else ""
        found.append([summary.entry(k), *(amount(v, 2) for v in values), missing])
    if len(summary.mean) > 32:
        found.append([f"and {len(summary.mean) - 32} more", *[""] * 8])
    return found


def _episodes(episodes: Sequence[Episode], dt: float) -> str:
    rows: list[list[str | page.Cell]] = [
        [
            e.name,
            f"{e.rows:,}",
            f"{(e.rows - 1) * dt:.1f} s",
            e.task,
            "" if e.complete else "cut off",
        ]
        for e in episodes[:200]
    ]
    words = f"The first 200 of {len(episodes):,}." if len(episodes) > 200 else ""
    listed = page.table(["episode", "rows", "time", "task", ""], {"": rows})
    return page.section("Episodes", words, page.details(f"All {len(rows)}", listed))
