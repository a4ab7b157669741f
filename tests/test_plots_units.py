import numpy as np
import pytest

import whitebox_loc as wb


def test_tuning_curves_draw_each_channel_at_the_middle_of_its_bins():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(2, 3, 4)), np.full((2, 3, 4), 0.5)
    mean[1, 2] = np.nan
    edges = np.array([[0, 2, 4, 6], [0, 10, 20, 30]])
    axes = wb.plots.tuning_curves(edges, mean, ["top", "area"], std, channels=[3, 1])
    assert axes.shape == (1, 2)
    for index, ax in enumerate(axes.flat):
        assert [line.get_label() for line in ax.lines] == ["3", "1"]
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), mean[index, :, 3])
        np.testing.assert_array_equal(ax.lines[1].get_ydata(), mean[index, :, 1])
    np.testing.assert_array_equal(axes[0, 1].lines[0].get_xdata(), [5, 15, 25])
    assert axes[0, 1].get_xlabel() == "area (pixels)"
    top = axes[0, 0].collections[0].get_datalim(axes[0, 0].transData).ymax
    assert top == pytest.approx((mean[0, :, 3] + 0.5).max())


def test_probe_table_shows_all_numbers_on_a_scale_of_0_to_1():
    r2 = np.array([[0.25, -3.0, np.nan], [1.0, -0.001, 0.0]])
    ax = wb.plots.probe_table(r2, ["conv1", "box"], ["top", "left", "area"])
    assert [t.get_text() for t in ax.texts] == ["0.25", "-3.00", "1.00", "0.00", "0.00"]
    assert ax.images[0].get_clim() == (0, 1)
    np.testing.assert_array_equal(ax.images[0].get_array(), r2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["conv1", "box"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["top", "left", "area"]
    with pytest.raises(ValueError, match=r"must have shape \(1, 3\).*got \(2, 3\)"):
        wb.plots.probe_table(r2, ["conv1"], ["top", "left", "area"])


@pytest.mark.parametrize(
    ("values", "limits"),
    [([[0.3, -0.1]], (-0.3, 0.3)), ([[0.3, 0.1]], (0, 0.3)), ([[0.3, -1e-9]], (0, 0.3))],
)
def test_ablation_matrix_is_centred_on_zero_where_both_signs_occur(values, limits):
    ax = wb.plots.ablation_matrix(np.array(values), ["channel 0"], ["top", "left"])
    assert ax.images[0].get_clim() == limits


def test_maximized_images_are_shown_as_they_are():
    images = np.random.default_rng(0).random((9, 5, 6, 1))
    axes = wb.plots.maximized_images(images, [f"unit {i}" for i in range(9)])
    assert axes.shape == (2, 8)
    assert [len(ax.images) for ax in axes.flat] == [1] * 9 + [0] * 7
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array(), images[8, ..., 0])
    assert axes[1, 0].get_title() == "unit 8"
    assert axes[0, 3].images[0].get_clim() == (0, 1)
    color = wb.plots.maximized_images(np.repeat(images, 3, -1), list("abcdefghi"))
    assert color[0, 0].images[0].get_array().shape == (5, 6, 3)


def test_receptive_field_is_outlined_on_the_edges_of_its_pixels():
    seen = np.zeros((8, 9))
    seen[3, 4] = 2.5
    ax = wb.plots.receptive_field(seen, [2, 3, 5, 6], label="slope")
    assert {patch.get_bbox().bounds for patch in ax.patches} == {(2.5, 1.5, 3, 3)}
    assert ax.images[0].get_clim() == (0, 2.5)
    plain = wb.plots.receptive_field(np.zeros((8, 9, 3)), [0, 0, 0, 0])
    assert plain.images[0].get_array().shape == (8, 9, 3)
