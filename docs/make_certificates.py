"""Certify every method and write the page of certificates: ``python docs/make_certificates.py``.

Names of methods as arguments certify only these and leave the page as it is.
"""

import sys
import time
from pathlib import Path

from whitebox_loc.evaluation.certificates import Certificate
from whitebox_loc.evaluation.certification import certify
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
way, top and bottom of one model rule out maps that do not depend on the coordinate. **Why their
share of the image.** A uniform map, which knows nothing, reaches it. **Why 0.** `constant` uses
nothing, so there is nothing to show. None of the thresholds was chosen by looking at methods. The
checks on `edge_filter` and `dense_linear`, which use nearly all pixels, are easy: that is what
these models are.

A certificate is necessary for maps to be true, not sufficient: signs and sizes are not judged,
nor whether *all* used pixels are shown. A failure is a fact about a method *with these options on
this mechanism*: coarse methods fail on images of 16 × 20 pixels because a patch or segment is
larger than what is used (`wb.evaluation.certify("occlusion", patch=1, stride=1)` tries it finely);
gradients fail where a softmax is saturated; what is multiplied by the input cannot show dark
pixels; and a path of grey images passes through answers that the model gives to no box.
"""


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
    """Certify the methods, and write the page if they are all."""
    certificates = []
    for name in names or METHODS:
        start = time.perf_counter()
        certificates.append(certify(name))
        seconds = time.perf_counter() - start
        print(f"{certificates[-1].table()}\n{seconds:.0f} s\n", flush=True)
    if names:
        return
    parts = [HEAD, "## Results", ""]
    parts += ["✓ passed; ✗ failed checks of all; error: the method does not apply.", ""]
    parts += [*matrix(certificates), "", "## Certificates", ""]
    parts += [line for certificate in certificates for line in section(certificate)]
    PAGE.write_text("\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
