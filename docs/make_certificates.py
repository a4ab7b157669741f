"""Certify methods and baselines and write their page: ``python docs/make_certificates.py``.

Names of methods or baselines as arguments certify only these and leave the page as it is.
"""

import sys
import time
from pathlib import Path

import numpy as np

from whitebox_loc.data import Scene
from whitebox_loc.evaluation.audits.controls import CONTROLS
from whitebox_loc.evaluation.certificates.certification import certify
from whitebox_loc.evaluation.certificates.results import Certificate
from whitebox_loc.evaluation.truth import evidence_mask
from whitebox_loc.introspect import METHODS
from whitebox_loc.models import COMPILED

PAGE = Path(__file__).parent / "certificates.md"

HEAD = """# Certificates

<!-- Written by `python docs/make_certificates.py`; change that, not this. -->

`wb.evaluation.certify(method)` runs a method over all [compiled models](compiled.md), whose
mechanism is known, and compares its maps with **model truth**: the pixels that the model really
uses for a coordinate. This page holds the certificate of every method with its default options.

## What is checked

On boxes anywhere, large ones, thin ones and such that touch the border, for each coordinate:

| check | where | passed if |
|---|---|---|
| share | some pixels are used, others not | used pixels have more of the map than others |
| shown | all pixels are used | no map is blank |
| silence | no pixel is used | the map is 0, but for float32 rounding (10⁻⁵) |

To have *more of the map* is to have more than half of the sum of its absolute values, and more than
their share of the image, in the mean over images: the lower end of its 95% bootstrap interval.

**Why half.** On images of boxes at least two pixels wide, `max_projection` and `left_right_swapped`
use disjoint pixels for left: those left of the box and its first column, or those right of it and
its last column. A map that does not depend on the model has shares on the two that add up to at
most 1, so it cannot have more than half on both; with any lower threshold it could. In the same
way, top and bottom of one model, for boxes at least two pixels high, rule out maps that do not
depend on the coordinate. **Why their share of the image.** A uniform map, which knows nothing,
reaches it. **Why 0.** `constant` uses nothing, so there is nothing to show. None of the thresholds
was chosen by looking at methods. The checks on `edge_filter` and `dense_linear`, which use nearly
all pixels, are easy: that is what these models are.

The last rows are **baselines**: maps that never look at the model. A ✓ of a method says little
where a baseline has one, too.

| baseline | map |
|---|---|
| `random` | Gaussian noise, drawn anew for each coordinate |
| `edge_detector` | Sobel magnitude of the image: all edges alike, whatever the coordinate |
| `blurred_task_evidence` | both sides of the edge (task truth), blurred by 1.5 pixels |

A certificate is necessary for maps to be true, not sufficient: signs and sizes are not judged,
nor whether *all* used pixels are shown. A failure is a fact about a method *with these options on
this mechanism*: coarse methods fail on images of 16 × 20 pixels because a patch or segment is
larger than what is used (`wb.evaluation.certify("occlusion", patch=1, stride=1)` tries it finely);
gradients fail where a softmax is saturated; what is multiplied by the input cannot show dark
pixels; and a path of grey images passes through answers that the model gives to no box.
"""


def random(model, images, coordinate):
    """Return Gaussian noise: the same in each run, other noise for each coordinate."""
    noise = np.random.default_rng([0, *coordinate.encode()])
    return CONTROLS["random"].function(images, None, coordinate, None, None, noise)


def edge_detector(model, images, coordinate):
    """Return the edges of the image."""
    return CONTROLS["edge_detector"].function(images, None, coordinate, None, None, None)


def blurred_task_evidence(model, images, coordinate):
    """Return what the image says about the coordinate, blurred."""
    boxes, size = _boxes(images), images.shape[1:3]
    truth = evidence_mask(boxes, size, coordinate)
    blurred = CONTROLS["blurred_oracle"].function
    return blurred(images, boxes, coordinate, Scene(size), truth, None)


BASELINES = {each.__name__: each for each in (random, edge_detector, blurred_task_evidence)}
"""Maps that are certified like methods, and never look at the model."""


def _boxes(images):
    """Return the boxes (n, 4) of images that show one rectangle."""
    lit = images[..., 0] > 0
    found = []
    for image in lit:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    return np.array(found)


def matrix(certificates: list[Certificate]) -> list[str]:
    """Return the table of all methods and mechanisms."""
    lines = [
        "| method | " + " | ".join(f"`{name}`" for name in COMPILED) + " |",
        "|---" * (len(COMPILED) + 1) + "|",
    ]
    for certificate in certificates:
        cells = [_cell(certificate, name) for name in COMPILED]
        lines.append(f"| [`{certificate.method}`](#{certificate.method}) | {' | '.join(cells)} |")
    return lines


def section(certificate: Certificate) -> list[str]:
    """Return one certificate as text."""
    passed = "passed" if certificate.passed else f"failed on {len(certificate.failures)} mechanisms"
    lines = [f"### {certificate.method}", "", f"{passed.capitalize()}.", ""]
    for name in certificate.failures:
        lines.append(f"- `{name}`: {certificate.verdict(name)}".replace("|", "\\|"))
    return [*lines, ""]


def _cell(certificate: Certificate, name: str) -> str:
    rows = [row for row in certificate.rows if row.mechanism == name]
    failed = sum(not row.passed for row in rows)
    if rows[0].check == "error":
        return "error"
    return f"✗ {failed}/{len(rows)}" if failed else "✓"


def main(names: list[str]) -> None:
    """Certify the methods and baselines, and write the page if they are all."""
    certificates = []
    for name in names or [*METHODS, *BASELINES]:
        start = time.perf_counter()
        certificates.append(certify(BASELINES.get(name, name)))
        seconds = time.perf_counter() - start
        print(f"{certificates[-1].table()}\n{seconds:.0f} s\n", flush=True)
    if names:
        return
    parts = [HEAD, "## Results", ""]
    parts += [
        "✓ passed; ✗ failed checks of all; error: the method does not apply. Baselines come last.",
        "",
    ]
    parts += [*matrix(certificates), "", "## Certificates", ""]
    parts += [line for certificate in certificates for line in section(certificate)]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
