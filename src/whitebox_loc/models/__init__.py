"""Localization networks: the transparent localizer, its plain rivals and VGG16."""

from whitebox_loc.models.distributions import edge_distributions, edge_logits
from whitebox_loc.models.initialization import reinitialize
from whitebox_loc.models.localizers import HEADS, localizer
from whitebox_loc.models.vgg import vgg16

__all__ = ["HEADS", "edge_distributions", "edge_logits", "localizer", "reinitialize", "vgg16"]
