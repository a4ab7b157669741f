"""Panels show the numbers of the curves and nothing else."""

import dataclasses

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.plots import COLORS
from whitebox_loc.training.shifts import SHIFTS


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    made = {}
    for name in ("noise", "blur", "cut", "quadrant", "wide"):
        k = len(SHIFTS[name].severities)
        score = {s: rng.random(k) for s in ("mean_iou", "pixel_error", "exact_rate")}
        band = {
            f"{s}_interval": rng.random((k, 1)) + np.array([[-0.1, 0.1]])
            for s in ("iou", "pixel", "exact")
        }
        error = 9 * rng.random((k, 4))
        made[name] = wb.training.Curve(
            SHIFTS[name], np.array(SHIFTS[name].severities, float), **score, **band, error=error,
            error_interval=np.stack([error - 1, error + 1], -1), bias=error, spread=error,
            wrong=error / 9, wrong_by=error,
        )  # fmt: skip
    return made


def test_stress_curves(curves):
    axes = wb.plots.stress_curves(curves, least_iou=0.9)
    assert axes.shape == (2, 4)
    assert [ax.axison for ax in axes.flat] == [True] * 5 + [False] * 3
    for ax, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        assert ax.get_title() == name
        assert ax.get_xlabel() == curve.shift.unit
        level, iou, exact, moderate = ax.lines
        assert set(level.get_ydata()) == {0.9}
        assert set(moderate.get_xdata()) == {curve.shift.moderate}
        for line, score, interval in (
            (iou, curve.mean_iou, curve.iou_interval),
            (exact, curve.exact_rate, curve.exact_interval),
        ):
            np.testing.assert_array_equal(line.get_xdata(), curve.severities)
            np.testing.assert_array_equal(line.get_ydata(), score)
            band = ax.collections[0 if line is iou else 1].get_datalim(ax.transData)
            assert (band.ymin, band.ymax) == pytest.approx((interval.min(), interval.max()))
        assert ax.get_ylim() == (-0.03, 1.03)
    assert [t.get_text() for t in axes[0, 0].get_legend().get_texts()] == [
        "breaks below 0.9", "mean IoU", "share exact to the pixel", "moderate severity"
    ]  # fmt: skip
    assert axes[0, 1].get_legend() is None


def test_stress_coordinates(curves):
    axes = wb.plots.stress_coordinates(curves)
    for ax, curve in zip(axes.flat, curves.values(), strict=False):
        for j, name in enumerate(("top", "left", "bottom", "right")):
            assert ax.lines[j].get_label() == name
            assert ax.lines[j].get_color() == COLORS[name]
            np.testing.assert_array_equal(ax.lines[j].get_ydata(), curve.error[:, j])
        assert ax.get_ylim()[0] == pytest.approx(-0.03 * ax.get_ylim()[1])
        assert ax.get_ylim()[1] >= curve.error_interval.max()
    assert axes[0, 0].get_ylabel() == "error (pixels)"


def test_rounding_errors_are_not_blown_up(curves):
    tiny = {"noise": curves["noise"]}
    tiny["noise"].error[:] = 1e-6
    tiny["noise"].error_interval[:] = 1e-6
    assert wb.plots.stress_coordinates(tiny)[0, 0].get_ylim() == (-0.03, 1)


def test_a_moderate_severity_that_was_left_out_is_not_marked(curves):
    noise = curves["noise"]
    kept = noise.severities != noise.shift.moderate
    arrays = {
        field.name: getattr(noise, field.name)[kept]
        for field in dataclasses.fields(noise)
        if field.name != "shift"
    }
    ax = wb.plots.stress_curves({"noise": dataclasses.replace(noise, **arrays)})[0, 0]
    assert len(ax.lines) == 3


@pytest.mark.parametrize("draw", [wb.plots.stress_curves, wb.plots.stress_coordinates])
def test_no_curves(draw):
    with pytest.raises(ValueError, match="`curves` must hold at least one curve; got none"):
        draw({})


def test_own_axes_must_be_enough(curves):
    with pytest.raises(ValueError, match=r"`axes` must hold 2 x 4 = 8 axes; got 1"):
        wb.plots.stress_curves(curves, axes=wb.plots.stress_curves({"a": curves["cut"]}).flat[:1])
