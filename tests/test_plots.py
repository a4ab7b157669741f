import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex

import whitebox_loc as wb


def test_boxes_are_drawn_on_their_edges():
    ax = wb.plots.boxes(np.zeros((10, 12, 1)), true=[2, 3, 6, 9], predicted=[2, 3, 7, 9])
    true, predicted = ax.patches
    # Pixel 0 is drawn from -0.5 to 0.5: the edge before pixel k is at k - 0.5.
    assert true.get_bbox().bounds == (2.5, 1.5, 6, 4)
    assert predicted.get_bbox().bounds == (2.5, 1.5, 6, 5)
    assert to_hex(true.get_edgecolor()).upper() == wb.plots.COLORS["true"]
    assert ax.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("values", [[[0.0, 2.0]], [[-3.0, -1.0]], [[1e-9, 0.0]]])
def test_signed_maps_are_centred_on_zero(values):
    ax = wb.plots.saliency(np.array(values))
    low, high = ax.images[0].get_clim()
    assert low == -high == -np.abs(values).max()
    middle = ax.images[0].cmap(ax.images[0].norm(0.0))
    assert min(middle[:3]) > 0.95
    np.testing.assert_array_equal(ax.images[0].get_array(), values)


def test_an_all_zero_map_is_drawn_white():
    ax = wb.plots.saliency(np.zeros((3, 3)))
    assert ax.images[0].get_clim() == (-1, 1)


def test_kernels_have_a_place_for_each_pair_of_channels():
    weights = np.arange(3 * 3 * 2 * 4, dtype=float).reshape(3, 3, 2, 4)
    axes = wb.plots.kernels(weights)
    assert axes.shape == (2, 4)
    np.testing.assert_array_equal(axes[1, 2].images[0].get_array(), weights[:, :, 1, 2])
    assert len({ax.images[0].get_clim() for ax in axes.flat}) == 1


def test_feature_maps_share_one_scale_and_hide_empty_places():
    maps = np.random.default_rng(0).normal(size=(5, 6, 10))
    axes = wb.plots.feature_maps(maps)
    assert axes.shape == (2, 8)
    assert [len(ax.images) for ax in axes.flat] == [1] * 10 + [0] * 6
    np.testing.assert_array_equal(axes.flat[9].images[0].get_array(), maps[..., 9])


def test_heat_map_writes_the_numbers_of_full_bins():
    values = np.array([[0.5, np.nan], [1.0, 0.25]])
    ax = wb.plots.heat_map(values, [0, 5, 10], [0, 1, 2], labels=("rows", "columns"))
    assert [t.get_text() for t in ax.texts] == ["0.500", "1.000", "0.250"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "5", "10"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("rows", "columns")


def test_learning_curves_show_the_columns():
    columns = {name: np.arange(1.0, 4.0) for name in wb.training.History().to_dict()}
    columns["excess"] = np.array([1.0, 0.0, -1.0])
    axes = wb.plots.learning_curves(columns)
    loss, excess = axes.flat[:2]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), columns["bce"])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), columns["floor"])
    assert excess.get_yscale() == "log"
    np.testing.assert_array_equal(excess.lines[0].get_ydata(), [1.0, np.nan, np.nan])


def test_a_single_step_is_a_point():
    names = wb.training.History().to_dict()
    for count, marker in ((1, "."), (2, "")):
        axes = wb.plots.learning_curves({name: np.ones(count) for name in names})
        lines = [line for ax in axes.flat for line in ax.lines]
        assert len(lines) == 8
        assert all(line.get_marker() == marker for line in lines)


def test_another_history_is_refused():
    columns = {name: np.ones(2) for name in wb.training.detector_fitting.DETECTOR_COLUMNS}
    with pytest.raises(ValueError, match=r"missing are \['bce'.*call whitebox.*detector_curves"):
        wb.plots.learning_curves(columns)


def test_several_boxes_where_one_is_drawn_are_refused():
    for name in ("true", "predicted"):
        with pytest.raises(ValueError, match=rf"`{name}` must be one box .* got shape \(2, 4\)"):
            wb.plots.boxes(np.zeros((9, 9)), **{name: np.ones((2, 4))})


def test_given_axes_are_used():
    figure_axes = wb.plots.feature_maps(np.zeros((2, 2, 2))).ravel()
    axes = wb.plots.feature_maps(np.ones((2, 2, 2)), figure_axes)
    assert axes.flat[0] is figure_axes[0]
    with pytest.raises(ValueError, match=r"`axes` must hold 1 x 3 = 3 axes; got 2"):
        wb.plots.feature_maps(np.ones((2, 2, 3)), figure_axes)


def test_distributions_are_bars_with_true_edges():
    p = np.eye(6)[2]
    ax = wb.plots.edge_distributions({"top": p, "right": p}, true=[2, 0, 4, 5])
    assert [line.get_xdata()[0] for line in ax.lines] == [2, 5]
    heights = [patch.get_height() for patch in ax.patches[:6]]
    assert heights == p.tolist()


def test_a_grid_of_maps_has_a_scale_a_row():
    maps = np.array([[[[1.0, -2.0]], [[0.5, 0.0]]], [[[0.0, 0.1]], [[0.0, -0.3]]]])
    axes = wb.plots.saliency_grid(maps, ["a", "b"], ["top", "left"], box=[0, 0, 1, 1], margin=2)
    limits = [ax.images[0].get_clim() for ax in axes.flat]
    assert limits == [(-2, 2), (-2, 2), (-0.3, 0.3), (-0.3, 0.3)]
    np.testing.assert_array_equal(axes[1, 1].images[0].get_array(), maps[1, 1])
    assert axes[0, 0].get_xlim() == (-2.5, 2.5)
    with pytest.raises(ValueError, match=r"`maps` must have shape \(1, 2, height, width\)"):
        wb.plots.saliency_grid(maps, ["a"], ["top", "left"])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels(channels):
    image = np.zeros((4, 5, channels))
    image[1, 2] = 0.5
    shown = wb.plots.boxes(image).images[0].get_array()
    expected = image if channels == 3 else image.mean(axis=-1)
    np.testing.assert_array_equal(shown, expected)
    as_bytes = wb.plots.boxes((image * 255).astype("uint8")).images[0].get_array()
    np.testing.assert_allclose(as_bytes, expected, atol=0.5 / 255)


def test_pyplot_shows_new_figures_where_it_is_in_use():
    code = """
import matplotlib.pyplot as plt, numpy as np, whitebox_loc as wb
ax = wb.plots.saliency(np.zeros((2, 2)))
assert [plt.figure(n) for n in plt.get_fignums()] == [ax.figure]
wb.plots.saliency(np.zeros((2, 2)), ax)
assert len(plt.get_fignums()) == 1
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "MPLBACKEND": "Agg"}
    )


@pytest.mark.parametrize(
    ("draw", "error", "text"),
    [
        (
            lambda: wb.plots.boxes(None),
            TypeError,
            "`image` must hold numbers; got an array of dtype object.",
        ),
        (
            lambda: wb.plots.boxes(np.zeros((2, 9, 9, 1))),
            ValueError,
            "`image` must have shape (height, width) or (height, width, channels); "
            "got (2, 9, 9, 1).",
        ),
        (
            lambda: wb.plots.saliency(np.array([[0.0, np.inf]])),
            ValueError,
            "`values` must be finite; got inf at index (0, 1).",
        ),
        (
            lambda: wb.plots.saliency(np.zeros((9, 9)), "x"),
            TypeError,
            "`ax` must be matplotlib axes, or None for a new figure; got 'x' of type str.",
        ),
        (
            lambda: wb.plots.saliency(np.zeros((9, 9)), title=3),
            TypeError,
            "`title` must be a text; got 3 of type int.",
        ),
        (
            lambda: wb.plots.saliency_grid(np.zeros((1, 1, 9, 9)), 5, ["top"]),
            TypeError,
            "`rows` must be a sequence of names; got 5 of type int.",
        ),
        (
            lambda: wb.plots.saliency_grid(np.zeros((1, 1, 9, 9)), [None], ["top"]),
            TypeError,
            "`rows[0]` must be a name; got None of type NoneType.",
        ),
        (
            lambda: wb.plots.heat_map(np.ones((1, 2)), [0, 1], [0, 1]),
            ValueError,
            "`column_edges` must have shape (3,), the limits of the bins, one more than `values` "
            "has in this direction; got (2,).",
        ),
        (
            lambda: wb.plots.heat_map(np.ones((1, 1)), [0, 1], [0, 1], limits=(1, 0)),
            ValueError,
            "`limits` must be (least, greatest); got (1, 0).",
        ),
        (
            lambda: wb.plots.learning_curves(None),
            TypeError,
            "`columns` must be a mapping of names to arrays; got None of type NoneType.",
        ),
        (
            lambda: wb.plots.edge_distributions({"x": [1.0]}),
            ValueError,
            "`distributions` must hold some of ['top', 'left', 'bottom', 'right']; got ['x'].",
        ),
        (
            lambda: wb.plots.feature_maps(np.zeros((1, 1, 1001))),
            ValueError,
            "`maps` holds 1,001 channels; at most 1,000 are drawn. Take a part of it.",
        ),
    ],
)
def test_errors(draw, error, text):
    with pytest.raises(error) as caught:
        draw()
    assert str(caught.value) == text


def test_a_heat_map_without_numbers_is_drawn():
    ax = wb.plots.heat_map(np.full((1, 2), np.nan), [0, 1], [0, 1, 2])
    assert ax.images[0].get_clim() == (0, 1)
    assert not ax.texts
