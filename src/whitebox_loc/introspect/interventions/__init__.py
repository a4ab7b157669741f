"""What happens if something is changed: layers, channels, or one edge of the box."""

from whitebox_loc.introspect.interventions.ablation import Ablation, ablate
from whitebox_loc.introspect.interventions.edge_derivatives import Response, response
from whitebox_loc.introspect.interventions.edges import EdgeMoves, edge_moves
from whitebox_loc.introspect.interventions.patching import patch
from whitebox_loc.introspect.interventions.restoration import Restoration, activation_patching

__all__ = [
    "Ablation",
    "EdgeMoves",
    "Response",
    "Restoration",
    "ablate",
    "activation_patching",
    "edge_moves",
    "patch",
    "response",
]
