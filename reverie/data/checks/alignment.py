"""Do actions stand beside what they change? The lag at which an action explains the movement.

For each lag l in -5..5 a ridge regression

    o_{t+1} - o_t  ~  1, o_t, o_t - o_{t-1}, a_{t+l}                              (1)

is fitted to some episodes and tried on the others. Told is the share of what the state alone
(1, o_t, o_t - o_{t-1}) leaves unexplained that the action explains,

    R^2_l = 1 - RSS_l / RSS_state,

averaged over the entries of o that answer best, with a bootstrap interval over pieces of episodes.
The state stands beside the action, because a target ("be at q") explains a change only together
with where the robot is, and because successive actions resemble each other.

In a right recording l = 0 is best. l > 0, an effect before its cause: actions are recorded late.
l < 0: they are recorded early, or the robot answers late.

A policy that reacts to what it sees betrays by a_{t+1} what o_{t+1} was. So a lag above 0 must also
be better where (1) has, instead of actions, what is left of each after its regression (not a linear
one) on the observation it was chosen from; else it is a suspicion. Where such a policy has no noise
at all, a real lag is told one too high.

Legend: `T` rows, `D` entries of the state, `A` of the action, `L` lags, `P` pieces, `N` samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.data.checks.finding import Alignment, Finding
from reverie.data.checks.recording import Recording, is_small
from reverie.data.container import Array

REACH = 5
LAGS = tuple(range(-REACH, REACH + 1))

MOST_ROWS = 20_000
MOST_ENTRIES = 32
FEWEST_ROWS, FEWEST_PIECES = 100, 5
EXPLAINS = 0.05
"""R^2 below which nothing is said."""
CLEARLY = 1.5
"""How many times the R^2 of lag 0 that of another must be, or how many times smaller what it leaves
unexplained."""

_PIECE = 50
_FOLDS = 5
_DRAWS = 1000
_RIDGE = 1e-6
_COSINES = 150
_ROUNDING = 1e-3  # of an action's deviation; what is left of a policy without noise is less


class _Part(NamedTuple):
    """Rows of one episode."""

    state: Array
    """`[T, D]`."""
    action: Array
    """`[T, A]`, row t the action that led there."""


class Aligned:
    """Collects the first 20,000 rows; `finish` regresses."""

    def __init__(self, obs: Mapping[str, Space]) -> None:
        small = [n for n, s in obs.items() if is_small(s) and s.dtype.startswith("float")]
        self._sensors = small
        self._parts: list[_Part] = []
        self._rows = 0
        self.result: Alignment | None = None
        """After `finish`; None where there is too little to tell."""

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Keeps its state and its actions."""
        count = len(recording.rows["reward"])
        if self._sensors and self._rows < MOST_ROWS and count >= 2 * REACH + 3:
            flat = [recording.rows[n].reshape(count, -1) for n in self._sensors]
            state = np.concatenate(flat, 1)[:, :MOST_ENTRIES].astype(np.float64)
            action = recording.rows["action"].reshape(count, -1).astype(np.float64)
            there = all(recording.present(n).all() for n in self._sensors)
            if there and np.isfinite(state).all() and np.isfinite(action).all():
                self._parts.append(_Part(state, action))
                self._rows += count
        yield from ()

    def finish(self) -> Iterator[Finding]:
        """A finding where another lag than 0 is significantly better."""
        self.result = align(self._parts)
        if self.result is None or self.result.suspect == 0:
            return
        lag = self.result.suspect
        steps = f"{abs(lag)} step{'s' if abs(lag) > 1 else ''}"
        at = self.result.lags.index(lag)
        told = (
            f"off by {lag} (R^2 {self.result.r2[at]:.2f}, {self.result.low[at]:.2f} to "
            f"{self.result.high[at]:.2f}, against {self.result.r2[REACH]:.2f} as recorded)"
        )
        if self.result.best == 0:
            message = (
                f"actions may be {told}, or were chosen without noise from what was seen, so that "
                "nothing tells what they do; look at a few, or record with other actions."
            )
            yield Finding("warning", "alignment unclear", message, sensor="action")
            return
        if lag > 0:
            reason = f"actions are recorded {steps} too late, after what they changed"
            advice = f"move them {steps} towards the start"
        else:
            reason = f"actions are recorded {steps} too early, or the robot answers {steps} late"
            advice = f"move them {steps} towards the end, unless that is the robot's own delay"
        message = f"{reason}: {told}; {advice}."
        yield Finding("error", "misaligned", message, sensor="action")


def align(parts: list[_Part]) -> Alignment | None:
    """The lag that explains best, from rows of several episodes; None where there are too few."""
    parts = _standardised(parts)
    if not parts:
        return None
    scores = _Scores.of(parts)
    if scores is None:
        return None
    r2, draws = scores.r2(), scores.bootstrap()
    best = suspect = int(r2.argmax())
    if not (_clearly(r2, best) and _surely(r2, draws, best)):
        best = suspect = REACH
    if best > REACH:
        innovation = _Scores.of(_innovations(parts))
        if innovation is None or not _surely(innovation.r2(), innovation.bootstrap(), best):
            best = REACH
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    return Alignment(LAGS, _told(r2), _told(low), _told(high), LAGS[best], LAGS[suspect])


def _told(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _clearly(r2: Array, lag: int) -> bool:
    """Whether a lag is better than 0 by far."""
    much = r2[lag] >= CLEARLY * r2[REACH] or CLEARLY * (1 - r2[lag]) <= 1 - r2[REACH]
    return bool(lag != REACH and much)


def _surely(r2: Array, draws: Array, lag: int) -> bool:
    """Whether a lag explains something, and more than 0 does in 99 of 100 samples."""
    return bool(r2[lag] >= EXPLAINS and np.quantile(draws[:, lag] - draws[:, REACH], 0.01) > 0)


def _standardised(parts: list[_Part]) -> list[_Part]:
    """Every entry with mean 0 and deviation 1; those that never change are left out."""
    if not parts:
        return []
    scaled = []
    for column in range(2):
        values = np.concatenate([part[column] for part in parts])
        mean, deviation = values.mean(0), values.std(0)
        moves = (deviation > 1e-9 * np.maximum(1, np.abs(mean))) & np.isfinite(deviation)
        if not moves.any():
            return []
        scaled.append(
            [((p[column] - mean) / np.maximum(deviation, 1e-30))[:, moves] for p in parts]
        )
    return [_Part(state, action) for state, action in zip(*scaled, strict=True)]


def _innovations(parts: list[_Part]) -> list[_Part]:
    """The same with, instead of each action, what is left of it after its regression on the
    observation before it."""
    before = [_features(p.state[:-1]) for p in parts]
    x, y = np.concatenate(before), np.concatenate([p.action[1:] for p in parts])
    weights = _solve(x.T @ x, x.T @ y, len(x))
    left = np.sqrt(np.mean(np.square(y - x @ weights), 0)) > _ROUNDING
    out = []
    for part, features in zip(parts, before, strict=True):
        fresh = np.concatenate([part.action[:1], part.action[1:] - features @ weights])
        out.append(_Part(part.state, fresh * left))
    return out


def _features(state: Array) -> Array:
    """`[T, 1 + D + 150]`: 1, the state, and cosines of random projections of it (Rahimi and Recht
    2007) in which a policy that saturates or bends is nearly linear."""
    size = state.shape[1]
    rng = np.random.default_rng(0)
    scales = np.repeat([0.5, 1.5, 4.0], _COSINES // 3)
    directions = rng.standard_normal((size, _COSINES)) * scales / np.sqrt(size)
    cosines = np.cos(state @ directions + rng.uniform(0, 2 * np.pi, _COSINES))
    return np.concatenate([np.ones((len(state), 1)), state, cosines], 1)


def _solve(gram: Array, right: Array, rows: int) -> Array:
    solved: Array = np.linalg.solve(gram + _RIDGE * rows * np.eye(len(gram)), right)
    return solved


class _Scores(NamedTuple):
    """Squared errors on rows that were not fitted to."""

    errors: Array
    """`[P, L, D]`."""
    state_errors: Array
    """`[P, D]`, of the state alone."""

    @staticmethod
    def of(parts: list[_Part]) -> _Scores | None:
        """Cross-validated: over episodes where there are five or more, else over pieces."""
        size, actions = parts[0].state.shape[1], parts[0].action.shape[1]
        pieces: list[Array] = []
        folds: list[int] = []
        for episode, part in enumerate(parts):
            rows = _design(part)
            for start in range(0, len(rows), _PIECE):
                pieces.append(rows[start : start + _PIECE])
                folds.append((episode if len(parts) >= _FOLDS else len(folds)) % _FOLDS)
        if len(pieces) < FEWEST_PIECES or sum(map(len, pieces)) < FEWEST_ROWS:
            return None
        scale = np.sqrt(np.mean(np.square(np.concatenate(pieces)), 0))
        pieces = [rows / np.maximum(scale, 1e-12) for rows in pieces]
        grams = np.stack([rows.T @ rows for rows in pieces])
        counts = np.array([len(rows) for rows in pieces])
        state = np.arange(1 + 2 * size)
        target = np.arange(size) + 1 + 2 * size
        first = 1 + 3 * size
        columns = [
            np.concatenate([state, first + lag * actions + np.arange(actions)])
            for lag in range(len(LAGS))
        ]
        fold = np.array(folds)
        errors = [_held_out(grams, counts, fold, chosen, target) for chosen in columns]
        return _Scores(np.stack(errors, 1), _held_out(grams, counts, fold, state, target))

    def _answering(self) -> Array:
        """Entries `[D]` whose best lag explains at least half as much as in the best entry."""
        total, base = self.errors.sum(0), self.state_errors.sum(0)
        left = base > 1e-8 * max(float(base.max()), 1e-300)
        best = np.where(left, (1 - total / np.where(left, base, 1)).max(0), -np.inf)
        chosen: Array = left & (best >= 0.5 * best.max())
        return chosen if chosen.any() else left

    def r2(self) -> Array:
        """`[L]`."""
        return self._weighted(np.ones((1, len(self.errors))))[0]

    def bootstrap(self) -> Array:
        """`[N, L]`, of samples of the pieces, with replacement."""
        count = len(self.errors)
        rng = np.random.default_rng(0)
        return self._weighted(rng.multinomial(count, np.full(count, 1 / count), _DRAWS))

    def _weighted(self, weights: Array) -> Array:
        """R^2 `[N, L]` where the pieces count as `weights [N, P]` says."""
        chosen = self._answering()
        errors = np.einsum("np,pld->nld", weights, self.errors[:, :, chosen])
        base = np.maximum(weights @ self.state_errors[:, chosen], 1e-300)
        r2: Array = (1 - errors / base[:, None]).mean(2)
        return r2


def _design(part: _Part) -> Array:
    """Rows t of (1): 1, o_t, o_t - o_{t-1}, o_{t+1} - o_t, then a_{t+l} lag by lag."""
    state, action = part
    at = np.arange(REACH, len(state) - REACH - 1)
    change = np.diff(state, axis=0)
    lagged = [action[at + 1 + lag] for lag in LAGS]  # a_t is the action that led to row t + 1
    return np.concatenate(
        [np.ones((len(at), 1)), state[at], change[at - 1], change[at], *lagged], 1
    )


def _held_out(grams: Array, counts: Array, fold: Array, columns: Array, target: Array) -> Array:
    """Squared errors `[P, D]` of each piece under the fit to the other folds, from their Gram
    matrices: |y - X b|^2 = y'y - 2 b'X'y + b'X'X b."""
    out = np.zeros((len(grams), len(target)))
    inner = grams[:, columns[:, None], columns]
    cross = grams[:, columns[:, None], target]
    own = grams[:, target, target]
    for one in np.unique(fold):
        fitted, tried = fold != one, fold == one
        if not fitted.any():
            continue
        weights = _solve(inner[fitted].sum(0), cross[fitted].sum(0), int(counts[fitted].sum()))
        error = own[tried] - 2 * (weights * cross[tried]).sum(1)
        out[tried] = error + ((inner[tried] @ weights) * weights).sum(1)
    return np.maximum(out, 0)
