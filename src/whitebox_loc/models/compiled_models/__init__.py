"""Compiled models: weights computed, mechanism known, one row each.

To add a model: a function that builds it under the row's name, a function that returns which
pixels it uses, a row here, and its derivation in ``docs/compiled.md``.
"""

from whitebox_loc.models.compiled_models import cheaters, honest, linear, usage
from whitebox_loc.models.compiled_models.record import Compiled

__all__ = ["COMPILED", "Compiled"]

_ROWS = (
    Compiled(
        "integrator", honest.integrator, usage.extreme_usage, honest=True, exact=True,
        summary="counts the lines before the first lit one with a cumulative maximum",
    ),
    Compiled(
        "max_projection", honest.max_projection, usage.extreme_usage, honest=True, exact=True,
        summary="takes the lit position that is farthest from the other border",
    ),
    Compiled(
        "soft_argmax", honest.soft_argmax, usage.extreme_usage, honest=True, exact=True,
        summary="takes the expectation of a sharp softmax over lit positions",
    ),
    Compiled(
        "edge_filter", honest.edge_filter, usage.edge_usage, honest=True, exact=True, images="box",
        summary="filters for edges of four orientations and adds up their positions",
    ),
    Compiled(
        "dense_linear", linear.dense_linear, linear.linear_usage,
        honest=False, exact=False, tolerance=0.0,
        summary="is the best linear map from pixels to coordinates: sees area and centre of mass",
    ),
    Compiled(
        "area_only", cheaters.area_only, usage.side_usage, honest=False, exact=False,
        summary="measures height and width and puts the box in the middle of the canvas",
    ),
    Compiled(
        "wrong_edge", cheaters.wrong_edge, usage.opposite_usage,
        honest=False, exact=True, images="box",
        summary="finds each edge from the opposite edge and the side, and is right",
    ),
    Compiled(
        "left_right_swapped", cheaters.left_right_swapped, usage.swapped_usage,
        honest=False, exact=False,
        summary="answers the box of the mirrored image: left from the right edge and vice versa",
    ),
    Compiled(
        "border_reader", cheaters.border_reader, usage.extreme_usage, honest=False, exact=True,
        summary="is right, but knows positions only from zeros padded at the border",
    ),
    Compiled(
        "constant", cheaters.constant, usage.no_usage, honest=False, exact=False,
        summary="answers the middle of the canvas, whatever it is shown",
    ),
    Compiled(
        "corner_only", cheaters.corner_only, usage.corner_usage, honest=False, exact=False,
        summary="finds the top left corner and answers the one pixel there",
    ),
)  # fmt: skip

COMPILED: dict[str, Compiled] = {row.name: row for row in _ROWS}
"""Name to compiled model: what `compiled` can be asked for."""
