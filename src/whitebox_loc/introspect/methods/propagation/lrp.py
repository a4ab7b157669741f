"""Layer-wise relevance propagation: the target is shared out layer by layer, down to pixels.

Relevance starts as the target's value and goes back through the operations of the model:

- layers with weights share it by a rule of `rules`; bias and batch normalization behind a
  product belong to it;
- what is linear without weights (Add, average pooling, a lone bias) shares it as `Epsilon`;
- what a model does to its image before the first layer with weights (scaling, shifting by a
  mean, bilinear resizing) passes it on, whole: it belongs to the pixels, black ones included;
- activations with f(0) = 0 (ReLU, leaky ReLU, ELU, tanh ...) pass it on unchanged;
- a maximum gives it to the winner; equal ones share it where the operation's derivative does;
- sigmoid, exp and softmax share it as their expansion to first order at the image does
  (Achtibat et al. 2024): input times derivative. The expansion's constant is lost. With
  ``link="logit"`` a sigmoid at the end is left out, and with ``targets.bin`` a softmax;
- what a target makes of the model's outputs (area, IoU, a function) likewise.

So a map adds up to the target only as far as there is no bias, no expansion and no epsilon;
the difference is reported as the completeness gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Model, Tensor
from whitebox_loc._validation import check_choice
from whitebox_loc.introspect.methods.obstacles import refuse, severed, unknown
from whitebox_loc.introspect.methods.propagation.affine import (
    ADJUSTMENTS,
    AffineLayer,
    affine_layers,
    sees_source,
)
from whitebox_loc.introspect.methods.propagation.operations import (
    ACTIVATIONS,
    MATRICES,
    MAXIMA,
    MOVES,
    SUMS,
    Operation,
    Pairs,
    Route,
    as_float32,
    owners,
    pull,
    sent_back,
    tensors_in,
)
from whitebox_loc.introspect.methods.propagation.rules import (
    COMPOSITES,
    RULES,
    Composite,
    Epsilon,
    Rule,
)
from whitebox_loc.introspect.methods.record import Maps, Read
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.capture import Forward
from whitebox_loc.introspect.tracing.graphs import CALLS, ancestors
from whitebox_loc.introspect.tracing.layers import find_layers, named_layers

Owners = dict[Operation, tuple[str, Any]]


def lrp(
    query: Query,
    *,
    rule: Any = None,
    composite: Any = None,
    epsilon: float | None = None,
    bias: bool | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Maps:
    """Share out the target layer by layer, by one rule or a composite of rules.

    `rule` is a name from `rules.RULES` (default ``"epsilon"``) or a record, used for every
    layer with weights; the other options are the rule's. `composite` is a name from
    `rules.COMPOSITES` or a record. The gap is the map's sum minus the target's value.

    Examples
    --------
    >>> from whitebox_loc.introspect.methods import rules
    >>> record = rules.Composite(convolution=rules.ZPlus(), first=rules.Flat())
    >>> record == rules.COMPOSITES["epsilon_plus_flat"]
    True
    """
    rules_of_layers = as_composite(
        rule, composite, epsilon=epsilon, bias=bias, alpha=alpha, beta=beta, gamma=gamma, low=low,
        high=high,
    )  # fmt: skip
    find_layers(query.model, rules_of_layers.layers)

    def build(read: Read, images: Tensor) -> Tensor:
        return tf.stack(_relevance(query.model, read, images, rules_of_layers))

    run = query.function(("lrp", rules_of_layers), build)
    parts = []
    for rows, _ in query.tiles(1):
        parts.append(run(*query.tensors(rows)).numpy())
        query.count(parts[-1].shape[1])
    maps = np.concatenate(parts, axis=1)
    return Maps(maps, lambda: np.zeros(maps.shape[:2]))


def as_composite(rule: Any = None, composite: Any = None, **options: Any) -> Composite:
    """Return the composite that the options of `lrp` stand for."""
    fields_set = {name: value for name, value in options.items() if value is not None}
    if composite is not None:
        if rule is not None or fields_set:
            raise ValueError(
                f"`composite` has its own rules; got {sorted(fields_set) or ['rule']} as well. "
                "Pass rules.Composite(dense=..., convolution=..., first=...) with the rules you "
                "want."
            )
        if isinstance(composite, Composite):
            return composite
        return COMPOSITES[check_choice("composite", composite, COMPOSITES)]
    record = _rule("epsilon" if rule is None else rule, fields_set)
    # Sums without weights are stabilised as the layers are.
    return Composite(dense=record, convolution=record, sums=Epsilon(epsilon=record.epsilon))


def _rule(rule: Any, options: dict[str, Any]) -> Rule:
    if isinstance(rule, Rule):
        if options:
            raise ValueError(f"`rule` is a record already; set {sorted(options)} in it: {rule!r}.")
        return rule
    kind = RULES[check_choice("rule", rule, RULES)]
    known = [f.name for f in fields(kind)]
    for name in options:
        if name not in known:
            raise TypeError(f"Rule {rule!r} has no option {name!r}; it has {known}.")
    return kind(**options)


def _relevance(model: Model, read: Read, images: Tensor, composite: Composite) -> list[Tensor]:
    """Return maps (m, height, width), one a target."""
    values, passed = read_everything(model, read, images)
    owner = owners(model, passed)
    _check_layers_option(composite, owner)
    outputs = [call.output for calls in passed.calls.values() for call in calls]
    inside = ancestors(tensors_in([passed.outputs, outputs]))
    maps = []
    for value in values:
        route = Route.between(images, [value], floats=True)
        ends = _ends(value, inside)
        back = _Back(route, affine_layers(route, ends), composite, owner)
        for operation in route.operations:
            if operation in inside:
                back.check(operation)
        for cut in severed(images, value)[0]:
            why = f"the derivative of its operation {cut.type} is 0, so relevance would be lost"
            raise refuse("lrp", cut, owner.get(cut), why, smooth=False)
        maps.append(tf.reduce_sum(sent_back(route, _seeds(value, ends), back), -1))
    return maps


def read_everything(model: Model, read: Read, points: Tensor) -> tuple[list[Tensor], Forward]:
    """Trace a pass of which all layers that are reached are noted."""
    try:
        return read(points, watch=list(named_layers(model)), require=False)
    except KeyError:
        # A target's own layer was not reached: the ordinary pass says so.
        read(points)
        raise


def _ends(value: Tensor, inside: set[Operation]) -> list[Tensor]:
    """Return the tensors of the model that a target is made of."""
    if value.op in inside:
        return [value]
    ends = {
        tensor.ref(): tensor
        for operation in ancestors([value]) - inside
        for tensor in operation.inputs
        if tensor.op in inside and tensor.dtype.is_floating
    }
    return list(ends.values())


def _seeds(value: Tensor, ends: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    slopes = tf.gradients(value, ends, stop_gradients=ends, unconnected_gradients="zero")
    return [(t, as_float32(t) * as_float32(g)) for t, g in zip(ends, slopes, strict=True)]


def _check_layers_option(composite: Composite, owner: Owners) -> None:
    kinds = MATRICES.keys() | CALLS
    used = {path for operation, (path, _) in owner.items() if operation.type in kinds}
    for name in composite.layers:
        if not any(path == name or path.startswith(f"{name}/") for path in used):
            raise ValueError(
                f"`layers` of the composite must name layers with weights, some of "
                f"{sorted(used)}, or what contains them; got {name!r}."
            )


class _Back:
    """How relevance goes back through each operation of a route."""

    def __init__(
        self,
        route: Route,
        layers: dict[Operation, AffineLayer],
        composite: Composite,
        owner: Owners,
    ) -> None:
        self.route, self.layers, self.composite, self.owner = route, layers, composite, owner
        self.covered = {layer.operation for layer in layers.values()}
        self.covered |= {operation for layer in layers.values() for operation, _ in layer.tail}

    def __call__(self, operation: Operation, values: list[Tensor]) -> Pairs:
        layer = self.layers.get(operation)
        if layer is not None:
            return [(layer.input, self._rule_of(layer)(layer, values[0]))]
        return _PASSES[operation.type](self, operation, values)

    def check(self, operation: Operation) -> None:
        """Raise if there is no rule for an operation."""
        if operation in self.covered:
            return
        active = self.route.active(operation)
        why = unknown(operation, active, _PASSES)
        if operation.type in (*MATRICES, "Mul") and len(active) > 1:
            why = f"its {operation.type} multiplies two signals that depend on the image"
        elif operation.type == "RealDiv" and 1 in active:
            why = "its RealDiv divides by a signal that depends on the image"
        if why is not None:
            raise refuse("lrp", operation, self.owner.get(operation), why)

    def _rule_of(self, layer: AffineLayer) -> Rule:
        path = self.owner.get(layer.operation, ("", None))[0]
        while path:
            if path in self.composite.layers:
                return self.composite.layers[path]
            path = path.rpartition("/")[0]
        if self.composite.first is not None and sees_source(self.route, layer.input):
            return self.composite.first
        is_dense = layer.operation.type in ("MatMul", "BatchMatMulV2")
        return self.composite.dense if is_dense else self.composite.convolution

    def moved(self, operation: Operation, values: list[Tensor]) -> Pairs:
        return pull(operation, self.route.active(operation), values)

    def passed(self, operation: Operation, values: list[Tensor]) -> Pairs:
        return [(operation.inputs[self.route.active(operation)[0]], values[0])]

    def shared(self, operation: Operation, values: list[Tensor]) -> Pairs:
        if self._adjusts(operation):
            # Numbers of resized images are means of pixels, with weights that add up to 1.
            resized = operation.type == "ResizeBilinear"
            return (self.moved if resized else self.passed)(operation, values)
        shares = self.composite.sums.over(values[0], as_float32(operation.outputs[0]))
        pairs = self.moved(operation, [shares])
        return [(tensor, as_float32(tensor) * share) for tensor, share in pairs]

    def _adjusts(self, operation: Operation) -> bool:
        """Whether an operation shifts or resizes the image itself, before any layer."""
        if not sees_source(self.route, operation.outputs[0]):
            return False
        inside = operation.inputs[self.route.active(operation)[0]].shape.as_list()
        same = inside == operation.outputs[0].shape.as_list()
        return operation.type == "ResizeBilinear" or (operation.type in ADJUSTMENTS and same)

    def scaled(self, operation: Operation, values: list[Tensor]) -> Pairs:
        tensor = operation.inputs[self.route.active(operation)[0]]
        if tensor.shape.as_list() != operation.outputs[0].shape.as_list():
            return self.shared(operation, values)
        return self.passed(operation, values)

    def sigmoid(self, operation: Operation, values: list[Tensor]) -> Pairs:
        x = as_float32(operation.inputs[0])
        # The derivative over the output is 1 - y; written so, it does not round to 0 early.
        return [(operation.inputs[0], values[0] * x * tf.sigmoid(-x))]

    def exponential(self, operation: Operation, values: list[Tensor]) -> Pairs:
        # The derivative over the output is 1.
        return [(operation.inputs[0], values[0] * as_float32(operation.inputs[0]))]

    def softmax(self, operation: Operation, values: list[Tensor]) -> Pairs:
        x = as_float32(operation.inputs[0])
        total = tf.reduce_sum(values[0], -1, keepdims=True)
        return [(operation.inputs[0], x * (values[0] - tf.nn.softmax(x) * total))]


_PASSES: dict[str, Callable[[_Back, Operation, list[Tensor]], Pairs]] = {
    **dict.fromkeys(MOVES | MAXIMA | {"Min", "Minimum"}, _Back.moved),
    **dict.fromkeys(SUMS, _Back.shared),
    **dict.fromkeys(ACTIVATIONS, _Back.passed),
    **dict.fromkeys(("Mul", "RealDiv"), _Back.scaled),
    "Exp": _Back.exponential,
    "Sigmoid": _Back.sigmoid,
    "Softmax": _Back.softmax,
}
