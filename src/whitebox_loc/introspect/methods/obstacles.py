"""Operations that no method of propagation can pass, and the errors that name them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from whitebox_loc._types import Tensor
from whitebox_loc.introspect.methods.propagation.operations import (
    MATRICES,
    Operation,
    Route,
    changes_smoothly,
)
from whitebox_loc.introspect.tracing.graphs import CALLS, ancestors, body_of, reached_from

_JUMPS = frozenset({"Round", "Rint", "Floor", "Ceil", "Sign", "FloorDiv", "StopGradient"})

# Inputs that choose, scale or switch the others. What the derivative of a function of the user's
# (IdentityN) does with its inputs is not known.
_SWITCHES: dict[str, Sequence[int]] = {
    **dict.fromkeys(("Select", "SelectV2"), (0,)),
    **dict.fromkeys(("Mul", "MulNoNan", "IdentityN"), range(64)),
    **dict.fromkeys(MATRICES, range(3)),
    **dict.fromkeys(("RealDiv", "DivNoNan", "GatherNd", "ResourceGather"), (1,)),
    **dict.fromkeys(("GatherV2", "Slice", "BatchGatherV2"), (1, 2)),
    "StridedSlice": (1, 2, 3),
}

_HIDES = {
    **dict.fromkeys(CALLS, "a tf.function"),
    **dict.fromkeys(("While", "StatelessWhile", "TensorListFromTensor"), "a loop"),
    **dict.fromkeys(("If", "StatelessIf"), "a condition"),
}
"""What keeps its operations in graphs of their own."""


def severed(source: Tensor, end: Tensor) -> tuple[list[Operation], bool]:
    """Return the operations at which the dependence of a tensor on another is no longer smooth.

    Behind them is what changes in jumps only, or whose derivative is stopped: indices, signs,
    truth values. Where these only choose among signals or switch them on and off, as in a ReLU
    written with a condition, nothing is lost. A stopped derivative beside others counts as meant,
    as in a variance. Beside the operations, whether nothing smooth is left.
    """
    origin: dict[Any, Operation] = {}
    route = Route.between(source, [end], floats=False)
    losses = _losses(route.operations, route.reached, origin)
    losses += [origin[end.ref()]] if end.ref() in origin else []
    return list(dict.fromkeys(losses)), end.ref() in origin


def _losses(
    operations: Iterable[Operation], reached: Iterable[Any], origin: dict[Any, Operation]
) -> list[Operation]:
    """Return what `severed` does, but for the end; note in `origin` behind what a tensor lies."""
    losses: list[Operation] = []
    for operation in operations:
        active = [i for i, t in enumerate(operation.inputs) if t.ref() in reached]
        cut = [i for i in active if operation.inputs[i].ref() in origin]
        smooth = [o for o in operation.outputs if changes_smoothly(o)]
        body = body_of(operation)
        if body is not None:
            outer_of = {body.inputs[i].ref(): operation.inputs[i].ref() for i in active}
            inside = {ref: origin[outer] for ref, outer in outer_of.items() if outer in origin}
            on_the_way = reached_from([key.deref() for key in outer_of])
            behind = ancestors(body.outputs)
            steps = [o for o in body.get_operations() if o in behind and o.type != "Placeholder"]
            steps = [o for o in steps if any(t.ref() in on_the_way for t in o.outputs)]
            losses += _losses(steps, on_the_way, inside)
            pairs = zip(operation.outputs, body.outputs, strict=True)
            origin |= {a.ref(): inside[b.ref()] for a, b in pairs if b.ref() in inside}
        elif len(cut) == len(active) or operation.type in _JUMPS or not smooth:
            first = origin[operation.inputs[cut[0]].ref()] if cut else operation
            origin |= {t.ref(): first for t in operation.outputs}
        else:
            origin |= {t.ref(): operation for t in operation.outputs if not changes_smoothly(t)}
            switches = _SWITCHES.get(operation.type, ())
            behind_jumps = [origin[operation.inputs[i].ref()] for i in cut if i not in switches]
            losses += [o for o in behind_jumps if o.type != "StopGradient"]
    return losses


def unknown(operation: Operation, active: Sequence[int], rules: Container[str]) -> str | None:
    """Return why a method with some `rules` cannot pass an operation, None if it may."""
    if operation.type == "Cast" and not changes_smoothly(operation.outputs[0]):
        return f"its Cast to {operation.outputs[0].dtype.name} changes in jumps only"
    if operation.type == "PadV2" and list(active) != [0]:
        return "it pads with a number that depends on the image"
    if operation.type in rules:
        return None
    hides = f" ({_HIDES[operation.type]})" if operation.type in _HIDES else ""
    return f"there is no rule for its operation {operation.type}{hides}"


def refuse(
    method: str, operation: Operation, owner: tuple[str, Any] | None, why: str, smooth: bool = True
) -> ValueError:
    """Return the error for an operation without a rule; if not `smooth`, without derivative too."""
    # A stopped derivative does no harm within a variance, nor the comparison within a ReLU.
    if not smooth or operation.type in _JUMPS - {"StopGradient"} | {"Cast"}:
        instead = "'occlusion', which needs no derivatives"
    else:
        instead = "'integrated_gradients', which needs derivatives only"
    what = place_of(operation, owner)
    return ValueError(
        f"Method {method!r} cannot pass {what}: {why}. Replace it by layers that the method "
        "knows, explain a target in front of or behind it (introspect.targets.unit), or use "
        f"method={instead}."
    )


def place_of(operation: Operation, owner: tuple[str, Any] | None) -> str:
    """Return how messages name an operation: by the layer that owns it if there is one."""
    if owner is None:
        return f"operation {operation.name!r}"
    return f"layer {owner[0]!r} ({type(owner[1]).__name__})"
