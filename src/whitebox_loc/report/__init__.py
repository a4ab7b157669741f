"""Reports: many numbers and figures about one model, in files to read."""

from whitebox_loc.report.tours import Tour, tour

__all__ = ["Tour", "tour"]
