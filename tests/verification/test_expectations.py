import keras
import numpy as np
import pytest

from whitebox_loc.verification.expectations import EXP, count_terms, expectation, rounding
from whitebox_loc.verification.intervals import UNIT

LENGTHS = [2, 7, 101, 1025, 4097]


def noise(n):
    return np.random.default_rng(n).normal(0, 1, n)


def peak(n):
    return np.where(np.arange(n) == n // 3, 30.0, 0.0)


DISTRIBUTIONS = {
    "flat": np.zeros,
    "sharp": peak,
    "sharp at the end": lambda n: peak(n)[::-1] + 17.0 * np.arange(n),
    "sharp at the start": lambda n: -3.7 * np.arange(n),
    "broad": lambda n: -0.5 * ((np.arange(n) - 0.6 * n) / (0.05 * n + 1)) ** 2,
    "two peaks": lambda n: 0.9 * peak(n) + 0.9 * peak(n)[::-1],
    "noise": noise,
    "wide noise": lambda n: 40 * noise(n),
    "large": lambda n: 1e4 + 3 * noise(n),
    "large and low": lambda n: -1e6 + 1e3 * noise(n),
    "huge": lambda n: 1e30 * noise(n),
}


def by_keras(logits):
    """What the localizers compute."""
    n = len(logits)
    inputs = keras.Input((n, 1))
    shares = keras.layers.Softmax(axis=1)(inputs)
    positions = (np.arange(n, dtype=np.float32) / np.float32(n - 1))[:, None]
    model = keras.Model(inputs, keras.ops.sum(shares * positions, axis=1))
    return float(model(logits[None, :, None]).numpy()[0, 0]) * (n - 1)


def forward(values):
    return np.add.accumulate(values, dtype=np.float32)[-1]


def backward(values):
    return forward(values[::-1])


def pairwise(values):
    while len(values) > 1:
        values = np.append(values, np.zeros(len(values) % 2, np.float32))
        values = values[::2] + values[1::2]
    return values[0]


def smallest_first(values):
    return forward(np.sort(values))


def by_sums(logits, add, divide):
    n = len(logits)
    terms = np.exp(logits - logits.max())
    assert terms.dtype == np.float32
    positions = np.arange(n, dtype=np.float32) / np.float32(n - 1)
    total = add(terms)
    shares = terms / total if divide else terms * (np.float32(1) / total)
    return float(add(shares * positions)) * (n - 1)


SUMS = (forward, backward, pairwise, smallest_first, np.sum)


@pytest.mark.numeric
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_float32_expectation_lies_between_the_bounds(name, n):
    logits = np.asarray(DISTRIBUTIONS[name](n), np.float32)
    low, high = expectation(*np.float64([logits, logits]))
    answers = [by_sums(logits, add, divide) for add in SUMS for divide in (False, True)]
    answers.append(by_keras(logits))
    assert low <= min(answers)
    assert max(answers) <= high


def spread(logits):
    """Return the exact expectation of logits, and the mean distance from it."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    positions = np.arange(len(logits))
    mean = shares @ positions
    return mean, shares @ np.abs(positions - mean), shares


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "huge"])
def test_bounds_of_exact_logits_are_as_wide_as_rounding(name, n):
    logits = np.float64(np.float32(DISTRIBUTIONS[name](n)))
    low, high = expectation(logits, logits)
    mean, distance, shares = spread(logits)
    # Each term is off by what the exponential rounds, 4 units in the last place, and by one
    # rounding of its difference to the largest logit ...
    depth = logits.max() - logits
    moved = 8 * UNIT * distance + UNIT * (shares * depth) @ np.abs(np.arange(n) - mean)
    # ... and by what adds, divides and multiplies: of each term that is not below 2^-25 / n.
    least, most = ((shares >= UNIT / (2 * n) * by).sum() for by in (1.01, 1 / 1.01))
    assert low <= mean <= high
    for error in (mean - low, high - mean):
        assert error >= (1 - 1e-6) * (moved + ((2 * least + 8) * mean + 4 * (n - 1)) * UNIT)
        # A unit more, of the difference; and the second order, of up to (2n + 8) 2^-24.
        moved_at_most = moved + UNIT * distance
        assert error <= 1.001 * (moved_at_most + ((2 * most + 8) * mean + 4 * (n - 1)) * UNIT)


def extremes(low, high):
    """Return the least and greatest expectation of any logits between bounds.

    The greatest takes the upper bound beyond some position and the lower one up to it, as the
    expectation grows with a logit if and only if its position is beyond the expectation.
    """
    n = len(low)
    beyond = np.arange(n) >= np.arange(n + 1)[:, None]
    ends = []
    for first, second in ((high, low), (low, high)):
        logits = np.where(beyond, second, first)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        ends.append((shares @ np.arange(n)) / shares.sum(-1))
    return ends[0].min(), ends[1].max()


@pytest.mark.parametrize("width", [1e-4, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("n", [2, 7, 101, 513])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_choice_of_logits_lies_between_the_bounds(name, n, width):
    rng = np.random.default_rng(1)
    middle = DISTRIBUTIONS[name](n)
    low, high = middle - width * rng.random(n), middle + width * rng.random(n)
    least, most = extremes(low, high)
    found = expectation(low, high)
    assert found[0] <= least
    assert most <= found[1]
    for _ in range(5):
        logits = low + (high - low) * rng.integers(0, 2, n)
        assert least - 1e-9 * n <= spread(logits)[0] <= most + 1e-9 * n


@pytest.mark.parametrize("width", [1e-3, 0.05])
@pytest.mark.parametrize("name", ["flat", "broad", "noise", "two peaks"])
def test_bounds_are_little_wider_than_the_extremes(name, width):
    n = 101
    middle = DISTRIBUTIONS[name](n)
    low, high = middle - width, middle + width
    least, most = extremes(low, high)
    found = expectation(low, high)
    # All terms move by at most e^w, the rest by e^-w at least: 1 + 2w to the second order, and
    # twice that as the sum of all terms moves. Rounding is (2n + 12) 2^-24 of n - 1 positions and
    # what the exponentials and differences round of logits below 10.
    slack = (2 * n + 12 + 30) * UNIT * n
    assert found[1] - found[0] <= (1 + 5 * width) * (most - least) + 2 * slack


@pytest.mark.parametrize(("kind", "n"), [("flat", 5), ("flat", 65537), ("rare", 65537)])
def test_the_worst_rounding_of_all_operations_lies_within_the_bound(kind, n):
    """Every sum, quotient and product is off by 2^-24 to the same side, at any of the logits."""
    low, high = np.zeros((2, n))
    if kind == "rare":  # beside the first: never seen, or some ten thousandths of all
        low[1:], high[1:] = -60, -20
    most, _, shares = spread(high)
    terms = (shares >= UNIT / (2 * n)).sum()
    assert terms == n
    # n - 1 sums of numerators, three products; n - 1 sums of the denominator, a reciprocal.
    worst = most * (1 + UNIT) ** (terms + 2) / (1 - UNIT) ** (terms + 1)
    assert worst <= expectation(low, high)[1]


def test_bounds_are_infinite_where_intervals_are_too_wide():
    low, high = np.zeros((2, 3, 50))
    high[0] = 1.38  # each term may grow to 1.994 of what it is in the middle, less than 2
    high[1] = 1.39  # 2.004: the rest of their sum may be nothing
    high[2, 0] = 2.0  # one of 50 alone may
    found = expectation(low, high)
    assert np.isfinite(found).tolist() == [[True, False, True]] * 2
    assert (found[0][1], found[1][1]) == (-np.inf, np.inf)
    low[0, :2], high[0, :2] = [-2000, -1], [2000, 1]
    low[2] = -1e13  # beyond what a float32 difference can tell from others
    high[2] = -1e13 * (1 - 2e-7)
    found = expectation(low, high)
    assert (found[0][[0, 2]] == -np.inf).all()
    assert (found[1][[0, 2]] == np.inf).all()


def test_an_interval_that_is_wide_and_negligible_costs_little():
    low = np.append(np.zeros(1), np.full(9, -90.0))
    high = np.append(np.zeros(1), np.full(9, -30.0))
    found = expectation(low, high)
    rounding = 4 * UNIT * 9
    assert found[1] <= 1.001 * 45 * np.exp(-30) + (2 + 8) * UNIT * 1e-9 + 1.001 * rounding


def test_terms_that_are_not_negligible_are_counted():
    n = 10
    shares = np.array([[1.0, *[UNIT / 20.01] * 9], [1.0, *[UNIT / 20] * 9]])
    assert count_terms(shares, n).tolist() == [1, 10]


@pytest.mark.parametrize("add", SUMS)
@pytest.mark.parametrize("share", [1e-9, 1e-6, 1e-4, 0.1])
@pytest.mark.parametrize("place", [0, 2048, 4096])
def test_small_terms_are_lost_once_in_each_sum(add, share, place):
    """One boundary has nearly all of the mass, all others together `share`."""
    n = 4097
    logits = np.full(n, np.log(share / (1 - share) / (n - 1)), np.float32)
    logits[place] = 0
    exact, _, shares = spread(np.float64(logits))
    small = 1 - shares[place]
    # The exponentials' own errors and those of logits are no part of sums.
    own = 2 * (EXP + UNIT * 40) * small * n
    off = abs(by_sums(logits, add, divide=True) - exact)
    assert off <= rounding(np.asarray(1), np.asarray(exact), n - 1, small) + own


def test_sums_that_start_at_the_largest_term_lose_all_others():
    n, share = 4097, 1e-5  # each of the others is 2e-9, below half of float32's spacing at 1
    logits = np.full(n, np.log(share / n), np.float32)
    logits[0] = 0
    exact, _, shares = spread(np.float64(logits))
    off = abs(by_sums(logits[::-1], backward, divide=True) - (n - 1 - exact))
    # A bound that knows nothing of them is too small.
    assert rounding(np.asarray(1), np.asarray(n - 1), n - 1) < off
    assert off <= rounding(np.asarray(1), np.asarray(n - 1), n - 1, 1 - shares[0])


def test_no_bound_holds_where_small_terms_may_be_all():
    assert (
        rounding(np.asarray(1), np.asarray(5.0), 10, np.array([1.0, 7.0])).tolist() == [np.inf] * 2
    )
