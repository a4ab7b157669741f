"""Proving what a localizer does on every box of a scene, instead of sampling."""

from whitebox_loc.verification.graphs import UnsupportedModelError
from whitebox_loc.verification.proofs import Proof, prove

__all__ = ["Proof", "UnsupportedModelError", "prove"]
