"""Any Keras model as a traced graph: its layers, inputs, outputs of layers and derivatives."""

from whitebox_loc.introspect.tracing.capture import (
    Call,
    Forward,
    Traced,
    call_given,
    first_line,
    forward,
    trace,
)
from whitebox_loc.introspect.tracing.derivatives import (
    RELU_RULES,
    gradient_of,
    reached_from,
    rectified,
    slopes_of,
)
from whitebox_loc.introspect.tracing.fingerprints import (
    Same,
    function_fingerprint,
    model_fingerprint,
)
from whitebox_loc.introspect.tracing.inputs import (
    Inputs,
    beside,
    blank,
    check_fit,
    check_images,
    fixed_spec,
    input_shapes,
    tensor_specs,
)
from whitebox_loc.introspect.tracing.layers import (
    find_layers,
    layer_names,
    named_layers,
    split_call,
)
from whitebox_loc.introspect.tracing.reading import (
    REDUCTIONS,
    LayerInfo,
    activations,
    list_layers,
    readable,
    run_in_batches,
)
from whitebox_loc.introspect.tracing.refusals import NotFiniteError, check_answer, check_weights

__all__ = [
    "REDUCTIONS",
    "RELU_RULES",
    "Call",
    "Forward",
    "Inputs",
    "LayerInfo",
    "NotFiniteError",
    "Same",
    "Traced",
    "activations",
    "beside",
    "blank",
    "call_given",
    "check_answer",
    "check_fit",
    "check_images",
    "check_weights",
    "find_layers",
    "first_line",
    "fixed_spec",
    "forward",
    "function_fingerprint",
    "gradient_of",
    "input_shapes",
    "layer_names",
    "list_layers",
    "model_fingerprint",
    "named_layers",
    "reached_from",
    "readable",
    "rectified",
    "run_in_batches",
    "slopes_of",
    "split_call",
    "tensor_specs",
    "trace",
    "traced",
]
