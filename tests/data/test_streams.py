from hypothesis import given
from hypothesis import strategies as st

from reverie.data.part import Key, Part
from reverie.data.streams import Stream


def made(*parts: tuple[int, int, int, bool]) -> Stream:
    """Parts given as (episode, part, rows, ended)."""
    stream = Stream()
    for uid, (episode, number, rows, ended) in enumerate(parts):
        stream.add(10 + uid, Part(Key(0, episode, number), rows=rows, ended=ended))
    return stream


def rows_of(stream: Stream, position: int, count: int) -> list[tuple[int, int]]:
    index, row = stream.locate(position)
    return [(r.uid, i) for r in stream.runs(index, row, count) for i in range(r.start, r.stop)]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_positions_are_the_rows_in_order_whatever_was_dropped(sizes, data):
    stream = made(*((e, 0, n, True) for e, n in enumerate(sizes)))
    flat = [(10 + e, i) for e, n in enumerate(sizes) for i in range(n)]
    for uid in data.draw(
        st.lists(st.sampled_from([10 + e for e in range(len(sizes))]), max_size=5)
    ):
        dropped = stream.drop(uid)
        assert (dropped is None) == all(u != uid for u, _ in flat)
        flat = [place for place in flat if place[0] != uid]
    assert stream.rows == len(flat)
    for position in range(len(flat)):
        assert rows_of(stream, position, 4) == flat[position : position + 4]
        index, row = stream.locate(position)
        assert stream.holds(index, row, len(flat) - position)
        assert not stream.holds(index, row, len(flat) - position + 1)


def test_a_growing_part_is_counted():
    stream = made((0, 0, 3, True), (1, 0, 1, False))
    stream.parts[-1].rows = 4
    assert stream.rows == 7
    assert rows_of(stream, 2, 3) == [(10, 2), (11, 0), (11, 1)]


def test_the_row_before_is_known_inside_an_episode_only():
    stream = made((0, 0, 3, False), (0, 1, 2, True), (1, 0, 2, False), (1, 2, 2, True))
    assert stream.before(0, 0) is None
    assert stream.before(0, 2) == (10, 1)
    assert stream.before(1, 0) == (10, 2)  # the part before, of the same episode
    assert stream.before(2, 0) is None  # another episode
    assert stream.before(3, 0) is None  # a part is missing between


def gaps(stream: Stream) -> list[tuple[bool, bool]]:
    return [(r.begins, r.ends) for r in stream.runs(0, 0, stream.rows)]


def test_gaps_are_told_on_both_sides():
    assert gaps(made((0, 0, 3, False), (0, 1, 2, True), (1, 0, 2, True))) == [(False, False)] * 3
    assert gaps(made((0, 0, 3, False), (0, 2, 2, True))) == [(False, True), (True, False)]
    assert gaps(made((0, 1, 3, True), (3, 0, 2, True))) == [(False, False)] * 2
    assert gaps(made((0, 0, 3, False), (1, 0, 2, True))) == [(False, True), (False, False)]


def test_the_final_row_is_an_end_unless_more_is_coming():
    stream = made((0, 0, 3, False))
    assert gaps(stream) == [(False, True)]
    stream.running = True
    assert gaps(stream) == [(False, False)]
