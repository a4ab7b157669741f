"""Receptive fields: which pixels can reach a unit, by interval arithmetic, and which do."""

from whitebox_loc.introspect.receptive.fields import (
    ReceptiveField,
    effective_receptive_field,
    receptive_field,
)

__all__ = ["ReceptiveField", "effective_receptive_field", "receptive_field"]
