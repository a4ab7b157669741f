"""Whether a method is right about models whose mechanism is known."""

from whitebox_loc.evaluation.certificates.certification import certify
from whitebox_loc.evaluation.certificates.results import Certificate

__all__ = ["Certificate", "certify"]
