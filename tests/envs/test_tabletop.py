"""On the table, blocks move when they are pushed and at no other time; sentences are not scenes."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.envs import make
from reverie.envs.instructions import (
    BLOCK_HALF,
    BLOCKS,
    HAND,
    HAND_RADIUS,
    INSTRUCTIONS,
    REACH,
    TABLE,
    spoken,
)
from reverie.envs.tabletop import Layout, Tabletop, drawn, moved

TOUCH = HAND_RADIUS + BLOCK_HALF


def test_a_hand_that_meets_nothing_moves_alone() -> None:
    start = Layout((0.0, 0.0), ((0.5, 0.5), (-0.5, 0.5), (0.5, -0.5)))
    after = moved(start, (0.08, -0.03))
    assert after.blocks == start.blocks
    assert after.hand == pytest.approx((0.08, -0.03))


def test_a_block_is_pushed_ahead_of_the_hand_and_pushes_the_next() -> None:
    layout = Layout((-0.4, 0.02), ((0.0, 0.0), (0.35, 0.05), (0.0, 0.6)))
    for _ in range(5):
        layout = moved(layout, (0.1, 0.0))
    (x, y), (next_x, next_y), other = layout.blocks
    assert layout.hand == pytest.approx((0.1, 0.02))
    assert (x, y) == pytest.approx((0.1 + TOUCH, 0.0))
    assert (next_x, next_y) == pytest.approx((0.1 + TOUCH + 2 * BLOCK_HALF, 0.05))
    assert other == (0.0, 0.6)


def test_at_the_edge_block_and_hand_stop_and_the_hand_slides() -> None:
    layout = Layout((0.5, 0.0), ((0.8, 0.0), (0.0, 0.6), (0.0, -0.6)))
    for _ in range(10):
        layout = moved(layout, (0.05, 0.0))
    x, y = layout.blocks[0]
    assert x == pytest.approx(1 - BLOCK_HALF, abs=0.02)
    assert x <= 1 - BLOCK_HALF
    assert y == 0
    after = moved(layout, (0.05, 0.05))
    assert after.blocks[0] == layout.blocks[0]
    assert after.hand == pytest.approx((layout.hand[0], layout.hand[1] + 0.05), abs=0.02)
    assert moved(Layout((0.89, 0.89), ()), (0.1, 0.1)).hand == pytest.approx((0.9, 0.9))


def test_a_corner_is_pushed_along_the_line_from_the_hand() -> None:
    aside = (BLOCK_HALF + HAND_RADIUS / 2**0.5) * 1.0
    layout = Layout((0.0, 0.0), ((aside, aside), (-0.5, 0.5), (0.5, -0.5)))
    x, y = moved(layout, (0.02, 0.02)).blocks[0]
    assert x == pytest.approx(y)
    assert x == pytest.approx(aside + 0.02)


def gaps(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Between the hand and each block, and between any two blocks; negative: an overlap."""
    blocks, hand = np.array(layout.blocks), np.array(layout.hand)
    beyond = (np.abs(blocks - hand) - BLOCK_HALF).clip(0)
    pairs = np.abs(blocks[:, None] - blocks[None]).max(-1) - 2 * BLOCK_HALF
    return np.linalg.norm(beyond, axis=-1) - HAND_RADIUS, pairs + 9 * np.eye(len(blocks))


def test_whatever_is_done_nothing_overlaps_falls_off_or_moves_by_itself() -> None:
    world, pushes = Tabletop(), 0
    for seed in range(40):
        world.begin(seed)
        random = np.random.default_rng(seed)
        wish = np.zeros(2)
        for k in range(60):
            if k % 6 == 0:
                wish = random.uniform(-1, 1, 2)
            before = world.layout
            world.advance(wish)
            hand, pairs = gaps(world.layout)
            assert min(hand.min(), pairs.min()) > -1e-7
            places = np.abs(world.layout.array())
            assert places[0].max() <= 1 - HAND_RADIUS + 1e-12
            assert places[1:].max() <= 1 - BLOCK_HALF + 1e-12
            still = np.array(world.layout.blocks) == np.array(before.blocks)
            from_hand, from_others = gaps(before)
            far = (from_hand > REACH * 2**0.5) & (from_others.min(1) > REACH * 2**0.5)
            assert still[far].all()
            pushes += int((~still).any())
    assert pushes > 100


def test_one_start_takes_any_instruction_and_what_is_asked_does_not_show() -> None:
    env = make("toy:tabletop", pixels=True, size=(32, 32))
    own = env.reset(3)
    seen = []
    for text in (INSTRUCTIONS[0], INSTRUCTIONS[-1]):
        env.simulator.instruct(text)  # type: ignore[attr-defined]
        row = env.reset(3)
        assert spoken(row.obs["text"]) == text
        assert spoken(env.step(np.ones(2)).obs["text"]) == text
        seen.append(row.obs["image"])
    assert np.array_equal(seen[0], seen[1])
    env.simulator.instruct(None)  # type: ignore[attr-defined]
    assert np.array_equal(env.reset(3).obs["text"], own.obs["text"])
    with pytest.raises(ValueError, match="push the red block left"):
        env.simulator.instruct("push the pink block left")  # type: ignore[attr-defined]


def test_seeds_ask_for_everything_and_repeat_bit_by_bit() -> None:
    one, two = make("toy:tabletop"), make("toy:tabletop")
    asked = {spoken(one.reset(seed).obs["text"]) for seed in range(150)}
    assert asked == set(INSTRUCTIONS)
    random = np.random.default_rng(0)
    a, b = one.reset(7), two.reset(7)
    for _ in range(20):
        assert all(np.array_equal(a.obs[name], b.obs[name]) for name in a.obs)
        action = random.uniform(-1, 1, 2)
        a, b = one.step(action), two.step(action)


def test_the_instruction_stands_beside_pictures_and_the_places_only_when_asked_for() -> None:
    assert set(make("toy:tabletop").obs) == {"text", "state"}
    assert set(make("toy:tabletop", pixels=True).obs) == {"image", "text"}
    both = make("toy:tabletop", pixels=True, with_state=True)
    assert set(both.obs) == {"image", "text", "state"}
    assert both.obs["text"].shape == (48,)
    row = both.reset(0)
    assert row.obs["text"].dtype == np.uint8
    rows = 1
    while not row.last:
        row, rows = both.step(np.zeros(2)), rows + 1
    assert rows == both.decisions + 1 == 41
    assert not row.terminated


def test_edges_are_smooth_so_that_areas_are_exact() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        x, y = random.uniform(-0.8, 0.8, 2).tolist()
        away = ((9.0, 9.0),) * 3
        empty = drawn(Layout((9.0, 9.0), away), 48, 64).astype(float)
        square = drawn(Layout((9.0, 9.0), ((x, y), *away[1:])), 48, 64) - empty
        full = np.array(BLOCKS["red"]) - np.array(TABLE)
        area = (square @ full).sum() / (full @ full) * (2 / 48) ** 2
        assert area == pytest.approx(4 * BLOCK_HALF**2, rel=0.05)
        disc = drawn(Layout((x, y), away), 48, 64) - empty
        full = np.array(HAND) - np.array(TABLE)
        area = (disc @ full).sum() / (full @ full) * (2 / 48) ** 2
        assert area == pytest.approx(np.pi * HAND_RADIUS**2, rel=0.05)
