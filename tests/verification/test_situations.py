import numpy as np
import pytest

from whitebox_loc.verification.any_canvas import Situations, errors
from whitebox_loc.verification.intervals import UNIT
from whitebox_loc.verification.situations import (
    Line,
    from_gaps,
    inner_positions,
    patterns,
    short_positions,
    shortest,
    shortest_lines,
)
from whitebox_loc.verification.symmetry import all_lines, sets_of
from whitebox_loc.verification.windows import Window

WINDOWS = [
    Window(),
    Window(0, 2, -2),  # no frame
    Window(-1, 0, 1),  # two lines beside a boundary
    Window(-3, 1, 2),  # default maps
    Window(-4, 3, 1),  # default logits
    Window(-5, -1, 1),  # looks back alone
    Window(-6, 3, 6),  # a frame wider than is needed: some positions see nothing of the image
]
STATES = {"beside": 0, "in": 1, "outside": 2}


def views(line, window):
    """Write out what each position sees."""
    return [
        tuple(
            "outside"
            if not 0 <= place < line.length
            else "in"
            if line.first <= place < line.last
            else "beside"
            for place in range(position + window.first, position + window.last + 1)
        )
        for position in range(line.length + window.extra)
    ]


def written(line, window, framed):
    outside = "beside" if framed else "outside"
    return frozenset(
        bytes(STATES[outside if state == "outside" else state] for state in view)
        for view in views(line, window)
    )


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_short_positions_see_the_same_as_the_positions_they_stand_for(window):
    lengths = [*range(1, window.length + 4), 3 * window.length + 1, 3 * window.length + 5]
    for line in (line for length in lengths for line in all_lines(length)):
        short = shortest(line, window)
        seen = views(short, window)
        assert max(short.gaps) <= window.length
        assert shortest(short, window) == short
        places = short_positions(line, window)
        assert places.min(initial=0) >= 0
        assert [seen[place] for place in places] == views(line, window), (line, short)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_shortest_lines_are_the_shortest_of_all_lines(window):
    lines = [line for length in range(1, 3 * window.length + 3) for line in all_lines(length)]
    assert sorted(shortest_lines(window), key=str) == sorted(
        {shortest(line, window) for line in lines}, key=str
    )


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("window", WINDOWS[:5], ids=str)
def test_sets_of_all_lines_are_those_of_the_shortest_lines(window, framed):
    lines = [line for length in range(1, 3 * window.length + 2) for line in all_lines(length)]
    expected = {written(line, window, framed) for line in lines}
    assert {patterns(line, window, framed) for line in lines} == expected
    assert {patterns(line, window, framed) for line in shortest_lines(window)} == expected
    examples, kinds = sets_of(lines, window, framed)
    assert len(examples) == len(expected)
    of_examples = [written(line, window, framed) for line in examples]
    assert [of_examples[kind] for kind in kinds] == [written(x, window, framed) for x in lines]


def test_a_hundred_columns_show_19_sets():
    window = Window(-3, 1, 2)
    lines = all_lines(100)
    assert len(lines) == 5050
    assert len({patterns(line, window, True) for line in lines}) == 19
    assert len({written(line, window, True) for line in lines}) == 19
    assert len(sets_of(lines, window, True)[0]) == 19


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_longer_lines_repeat_the_inner_position_of_a_run(window):
    for line in shortest_lines(window):
        seen = views(line, window)
        inner = inner_positions(line, window)
        assert [place >= 0 for place in inner] == [gap == window.length for gap in line.gaps]
        for run, place in enumerate(inner):
            if place < 0:
                continue
            assert set(seen[place]) == {("beside", "in", "beside")[run]}
            for more in (1, 4):
                gaps = np.add(line.gaps, more * (np.arange(3) == run))
                longer = views(from_gaps(*gaps.tolist()), window)
                assert longer == seen[: place + 1] + [seen[place]] * more + seen[place + 1 :]


def test_lines_have_gaps_and_gaps_make_lines():
    assert Line(2, 5, 9).gaps == (2, 3, 4)
    assert from_gaps(2, 3, 4) == Line(2, 5, 9)


@pytest.mark.parametrize("window", [Window(-1, 0, 1), Window(-2, 1, 1), Window(-1, 1, 1)], ids=str)
@pytest.mark.parametrize("scale", [0.5, 3, 12])
@pytest.mark.parametrize("seed", range(3))
def test_error_of_every_line_up_to_a_length_is_within_the_bound(window, scale, seed):
    """Random logits for each view of a position, looked up on every canvas."""
    rng = np.random.default_rng(seed)
    lines, up_to = shortest_lines(window), 4 * window.length
    logits = {}
    for length in range(1, up_to + 1):
        for line in all_lines(length):
            for place, view in enumerate(views(line, window)):
                # Every second network is nearly right, so that far boundaries decide.
                near = [scale * 3.0 * (place == edge) for edge in (line.first, line.last)]
                logits.setdefault(view, rng.normal(0, scale, 2) + (near if seed else 0))
    most = max(line.length for line in lines) + window.extra
    table = np.full((1, len(lines), most, 2), -np.inf)
    for number, line in enumerate(lines):
        rows = [logits[view] for view in views(line, window)]
        table[0, number, : len(rows)] = rows
    inner = np.array([inner_positions(line, window) for line in lines])
    cases = Situations(lines, lines[:1], table, table, inner)
    numbers = {line: number for number, line in enumerate(lines)}
    for longest in (window.length, up_to):
        bound = errors(cases, longest)[0]
        for line in (line for length in range(1, longest + 1) for line in all_lines(length)):
            rows = np.array([logits[view] for view in views(line, window)])
            shares = np.exp(rows - rows.max(0))
            mean = np.arange(len(rows)) @ (shares / shares.sum(0))
            off = np.abs(mean - [line.first, line.last])
            assert (off <= bound[numbers[shortest(line, window)]] + UNIT).all(), line


def test_logits_so_large_that_nothing_is_known_of_them_have_no_bound():
    window = Window(-1, 0, 1)
    lines = shortest_lines(window)
    places = np.arange(max(line.length for line in lines) + 1)
    edges = np.array([[line.first, line.last] for line in lines])
    middle = np.where(places[None, :, None] == edges[:, None], 0.0, -1e4)[None]
    inner = np.array([inner_positions(line, window) for line in lines])

    def bound(width):
        return errors(Situations(lines, lines[:1], middle - width, middle + width, inner), 6)

    assert bound(10.0).max() < 1e-4
    assert np.isposinf(bound(1e5)).all()
