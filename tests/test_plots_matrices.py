"""The annotated matrices, read back from what was drawn."""

import re

import numpy as np
import pytest

import whitebox_loc as wb

NAMES = ["top", "left", "bottom", "right"]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_response_matrix_shows_values_and_intervals_on_a_signed_scale():
    values = np.arange(16).reshape(4, 4) / 10 - 0.5
    values[3, 3] = np.nan
    interval = np.stack([values - 0.01, values + 0.02])
    interval[:, 0, 0] = np.nan
    ax = wb.plots.response_matrix(values, interval, title="moves")
    found = texts(ax)
    assert found[:2] == ["-0.50", "-0.40\n-0.41 to -0.38"]
    assert found[5] == "0.00\n-0.01 to 0.02"
    assert found[15] == "none"
    assert ax.images[0].get_clim() == pytest.approx((-0.9, 0.9))
    np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), values)
    assert [t.get_text() for t in ax.get_xticklabels()] == NAMES
    assert [t.get_text() for t in ax.get_yticklabels()] == NAMES
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("edge that moves", "predicted coordinate")
    assert ax.get_title() == "moves"
    # Texts lie on their own cells: column is x, row is y.
    assert [ax.texts[i].get_position() for i in (1, 4)] == [(1, 0), (0, 1)]
    given = wb.plots.response_matrix(np.eye(4), ax=ax.figure.add_subplot())
    assert given.figure is ax.figure


def test_cross_talk_matrix_has_a_fifth_column():
    values, elsewhere = np.full((4, 4), 0.2), np.array([0.2, 0.1, 0.0, np.nan])
    ax = wb.plots.cross_talk_matrix(values, np.stack([values, values]), elsewhere=elsewhere)
    assert texts(ax)[3:5] == ["0.20\n0.20 to 0.20", "0.20"]
    assert texts(ax)[9] == "0.10"
    assert texts(ax)[19] == "none"
    assert ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].get_array().shape == (4, 5)
    plain = wb.plots.cross_talk_matrix(values)
    assert plain.images[0].get_array().shape == (4, 4)
    assert len(plain.lines) == 0


def test_text_is_white_on_dark_and_black_on_light():
    ax = wb.plots.cross_talk_matrix(np.diag([1.0, 1, 1, 1]))
    assert ax.texts[0].get_color() == "black"
    assert ax.texts[1].get_color() == "white"


def test_matrices_of_the_wrong_shape():
    with pytest.raises(
        ValueError, match=re.escape("`values` must have shape (4, 4), a row and a column for each")
    ):
        wb.plots.response_matrix(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=re.escape("`interval` must have shape (2, 4, 4), lower")):
        wb.plots.cross_talk_matrix(np.zeros((4, 4)), np.zeros((4, 4, 2)))


def test_results_can_be_drawn_as_they_are():
    from whitebox_loc.evaluation.crosstalk import cross_talk

    model = wb.models.localizer(size=(12, 16), head="dense")
    boxes, scene = np.array([[2, 3, 8, 9], [1, 2, 6, 12]]), wb.data.Scene(size=(12, 16))
    moves = wb.introspect.edge_moves(model, boxes, scene)
    ax = wb.plots.response_matrix(moves.matrix, moves.interval)
    np.testing.assert_array_equal(ax.images[0].get_array(), moves.matrix)
    found = cross_talk(np.ones((4, 2, 12, 16)), boxes)
    ax = wb.plots.cross_talk_matrix(found, [found.low, found.high], elsewhere=found.elsewhere)
    np.testing.assert_array_equal(ax.images[0].get_array()[:, :4], found)
