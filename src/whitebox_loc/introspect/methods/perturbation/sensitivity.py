"""Global sensitivity of the targets to segments of an image: how much, not in which direction."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import check_generator, check_int, check_memory
from whitebox_loc.introspect.methods.perturbation.masks import scores, segment_labels, segment_masks
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.targets.query import Query

# Outputs are float32 sums; a spread below this share of their size is rounding.
_ROUNDING = 1e-6


def sobol(
    query: Query,
    *,
    segments: ArrayLike = (8, 8),
    samples: int = 32,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Estimate the total-order Sobol index of each segment, with Jansen's estimator.

    It is the share of the target's variance that would remain if all other segments were
    known, when each segment is mixed with the baseline by a share of its own from a scrambled
    Sobol sequence. `samples` must be a power of 2; samples x (segments + 1) images are scored.
    The index stands at every pixel of its segment.
    """
    labels = segment_labels(segments, query.images.shape[1:3])
    count = int(labels.max()) + 1
    if 2 * count > qmc.Sobol.MAXDIM:
        raise ValueError(
            f"`segments` must be at most {qmc.Sobol.MAXDIM // 2}, for which there are Sobol "
            f"sequences; got {count}."
        )
    check_int("samples", samples, low=2)
    check_memory("samples", samples, 8.0 * samples * count * (count + 1), "masks")
    if samples & (samples - 1):
        raise ValueError(
            f"`samples` must be a power of 2, for which the Sobol sequence is balanced; got "
            f"{samples}. Take {2 ** samples.bit_length()}."
        )
    sequence = qmc.Sobol(2 * count, scramble=True, seed=check_generator(seed))
    first, second = np.split(sequence.random(samples), 2, axis=1)
    # Block 0 is the first matrix; block i + 1 has its column i from the second.
    visible = np.repeat(first[None], count + 1, axis=0)
    visible[np.arange(1, count + 1), :, np.arange(count)] = second.T
    values = scores(query, segment_masks(visible.reshape(-1, count), labels), baseline)
    blocks = values.reshape(*values.shape[:2], count + 1, samples)
    remaining = ((blocks[:, :, 1:] - blocks[:, :, :1]) ** 2).mean(-1) / 2
    # Every block is a sample of the same distribution, so all count in the variance.
    variance = np.where(_varies(values), values.var(-1), np.inf)
    return Maps((remaining / variance[..., None])[..., labels].astype(np.float32))


def hsic(
    query: Query,
    *,
    segments: ArrayLike = (8, 8),
    samples: int = 512,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Measure the dependence between the target and whether each segment is seen.

    Each segment is seen with probability 1/2. The measure is the Hilbert-Schmidt independence
    criterion tr(K H L H) / (samples - 1)^2 with the kernel K = 1/2 if a segment is seen in
    both or in none of two samples and -1/2 otherwise, and a Gaussian kernel L of the targets,
    whose width is the median distance between them. It stands at every pixel of the segment.
    """
    labels = segment_labels(segments, query.images.shape[1:3])
    # Every sample is compared with every other.
    check_int("samples", samples, low=2, high=20000)
    count = int(labels.max()) + 1
    visible = check_generator(seed).random((samples, count)) < 0.5
    values = scores(query, segment_masks(visible, labels), baseline)
    # K is z z' / 2 with z = 1 or -1, so the trace is a quadratic form of centered z.
    sign = np.where(visible, 1.0, -1.0)
    sign -= sign.mean(0)
    traces = np.zeros((*values.shape[:2], count))
    for index in np.ndindex(*values.shape[:2]):
        if _varies(values[index]):
            traces[index] = (sign * (_gaussian(values[index]) @ sign)).sum(0) / 2
    # The form of a Gaussian kernel is never negative, but its rounding may be.
    traces = np.maximum(traces, 0.0)
    return Maps((traces / (samples - 1) ** 2)[..., labels].astype(np.float32))


def _gaussian(values: Array) -> Array:
    distance = np.abs(values[:, None] - values)
    # Targets that differ by rounding alone are equal: their noise must not be the width.
    distance[distance <= _ROUNDING * np.abs(values).max()] = 0.0
    apart = distance[np.triu_indices(len(values), 1)]
    # The median is 0 if most samples give the same target.
    width = np.median(apart) or apart.mean()
    return np.exp(-((distance / width) ** 2) / 2)


def _varies(values: Array) -> Array:
    return np.ptp(values, axis=-1) > _ROUNDING * np.abs(values).max(-1)
