"""Reports: many numbers and figures about one model, in files to read."""

from whitebox_loc.report.leaderboards import Leaderboard, leaderboard
from whitebox_loc.report.tours import Tour, tour

__all__ = ["Leaderboard", "Tour", "leaderboard", "tour"]
