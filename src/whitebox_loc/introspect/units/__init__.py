"""What single units do: kernels, favourite images, probes and tuning curves."""

from whitebox_loc.introspect.units.exemplars import TopImages, top_images
from whitebox_loc.introspect.units.filters import kernels
from whitebox_loc.introspect.units.maximization import Maximized, maximize
from whitebox_loc.introspect.units.probes import Probe, probe
from whitebox_loc.introspect.units.tuning_curves import Tuning, tuning

__all__ = [
    "Maximized",
    "Probe",
    "TopImages",
    "Tuning",
    "kernels",
    "maximize",
    "probe",
    "top_images",
    "tuning",
]
