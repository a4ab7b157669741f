"""Any Keras model as a traced graph: its layers, inputs, outputs of layers and derivatives."""

from whitebox_loc.introspect.tracing.reading import LayerInfo, activations, list_layers
from whitebox_loc.introspect.tracing.refusals import NotFiniteError

__all__ = ["LayerInfo", "NotFiniteError", "activations", "list_layers"]
