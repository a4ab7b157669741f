"""Good calls of `whitebox_loc.report`, whose runs are too long for a test of many.

Their arguments are checked before anything is computed: `tests/report` looks at the errors.
"""

CALLS = []

RECORDS = {
    "report.Leaderboard": "record that `leaderboard` makes",
    "report.Tour": "record that `tour` makes",
    "report.leaderboard": "minutes",
    "report.tour": "minutes",
}
