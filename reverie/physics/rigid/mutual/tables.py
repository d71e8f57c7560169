"""How bodies of one tree answer forces on each other, as lists for the kernels.

    W_de = (1 - S_d U_d^T / D_d) W_pe       d after e, p the parent of d, W_ed = W_de^T

for axes d, e that hang on a common one; those that bodies in couples need, and what they are made
of, in an order in which they can be computed. Legend: `E` couples, `N` bodies, `K` answers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.physics.rigid.model import RigidModel

OWN, AHEAD, BACK = 0, 1, 2
"""Kinds of W: of an axis to itself; one of the `K`; its transpose."""


class Kinship(NamedTuple):
    """Integers are int32."""

    couples: np.ndarray
    """`[E, 12]`: as given, then kind and index of W of the first to the second, or -1, -1."""
    answers: np.ndarray
    """`[K, 3]`: an axis, kind and index of the W of its parent."""
    relatives: np.ndarray
    """`[N, 2]`: bounds in `kin`."""
    kin: np.ndarray
    """`[., 3]`: for a body those that move it, itself included, and kind and index of W."""


def kinship(model: RigidModel, couples: np.ndarray) -> Kinship:
    """The answers that the couples `[E, 10]` of `tables` need."""
    parents, last = model.parent_velocity, model.last_velocity
    rows: list[tuple[int, int, int]] = []
    index: dict[tuple[int, int], int] = {}

    def above(d: int) -> set[int]:
        return {d} | above(parents[d]) if d >= 0 else set()

    def answer(d: int, e: int) -> tuple[int, int]:
        """Kind and index of W_de; the axes have a common one above."""
        if d == e:
            return OWN, d
        if d < e:
            kind, at = answer(e, d)
            return (BACK if kind == AHEAD else AHEAD), at
        if (d, e) not in index:
            row = d, *answer(parents[d], e)
            index[d, e] = len(rows)
            rows.append(row)
        return AHEAD, index[d, e]

    def between(a: int, b: int) -> tuple[int, int]:
        """The same of bodies; -1, -1 where neither moves the other."""
        related = above(last[a]) & above(last[b])
        return answer(last[a], last[b]) if related else (-1, -1)

    paired = sorted({int(b) for b in couples[:, 8:10].ravel()})
    kin: list[tuple[int, int, int]] = []
    relatives = np.zeros((len(last), 2), np.int32)
    for a in paired:
        found = [(b, *between(a, b)) for b in paired]
        relatives[a] = len(kin), len(kin) + sum(kind >= 0 for _, kind, _ in found)
        kin += [entry for entry in found if entry[1] >= 0]
    ends = [between(int(a), int(b)) for a, b in couples[:, 8:10]]
    return Kinship(
        np.concatenate([couples, np.array(ends, np.int32).reshape(-1, 2)], 1),
        np.array(rows, np.int32).reshape(-1, 3),
        relatives,
        np.array(kin, np.int32).reshape(-1, 3),
    )
