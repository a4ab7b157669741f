"""Operations of a traced graph: what a tensor is computed from, what depends on it, which kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from whitebox_loc._types import Operation, Tensor

# fmt: off
REARRANGEMENTS = frozenset({
    "BatchToSpaceND", "BroadcastTo", "ConcatV2", "DepthToSpace", "ExpandDims", "GatherV2",
    "MirrorPad", "Pack", "Pad", "PadV2", "Reshape", "ResizeNearestNeighbor", "ReverseV2", "Roll",
    "Slice", "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice",
    "Tile", "Transpose", "Unpack",
})
# fmt: on
"""Only move numbers: each of the output is one of the input, or a constant of the operation."""

SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Outputs are the same for all images of one shape."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Functions within the graph."""


def reached_from(
    sources: Iterable[Tensor], counts: Callable[[Tensor], bool] = lambda tensor: True
) -> set[Any]:
    """Return references to all tensors of a graph that depend on some of its tensors.

    What depends on them only through tensors that do not count is left out.
    """
    sources = list(sources)
    reached = {tensor.ref() for tensor in sources}
    for operation in sources[0].graph.get_operations() if sources else ():
        if operation.type not in SHAPES and any(t.ref() in reached for t in operation.inputs):
            reached |= {t.ref() for t in operation.outputs if counts(t)}
    return reached


def tensors_behind(tensors: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> set[Any]:
    """Return references to tensors and all that they are computed from, up to before `stop`."""
    limit = {t.ref() for t in stop}
    waiting = [t for t in tensors if t.ref() not in limit]
    behind = {t.ref() for t in waiting}
    while waiting:
        sources = {t.ref() for t in waiting.pop().op.inputs} - limit - behind
        behind |= sources
        waiting.extend(source.deref() for source in sources)
    return behind


def ancestors(tensors: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> set[Operation]:
    """Return all operations that tensors are computed by, not looking beyond `stop`."""
    return {reference.deref().op for reference in tensors_behind(tensors, stop)}


def body_of(operation: Operation) -> Any:
    """Return the graph of the function that an operation calls, None if it calls none."""
    if operation.type not in CALLS:
        return None
    return getattr(operation.graph._get_function(operation.get_attr("f").name), "graph", None)
