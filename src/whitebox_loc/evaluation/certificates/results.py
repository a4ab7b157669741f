"""What a certificate is: checks, whether they were passed, and which mechanism failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whitebox_loc._validation import check_choice


@dataclass(frozen=True)
class Check:
    """One check of one method on one compiled model.

    Attributes
    ----------
    mechanism, scene, coordinate : str
        Names; the last two are empty if the method failed before any scene was looked at.
    check : {"share", "shown", "silence", "error"}
        See `certify`.
    value : float
        Mean over images of the share of the map on used pixels; share of images whose map is
        not blank; largest size of a map that should be 0; NaN for an error.
    low, high : float
        Ends of the 95% interval of the value; the value itself where nothing is estimated.
    threshold : float
        What `low` must exceed ("share"), `value` must reach ("shown") or not exceed ("silence").
    passed : bool
    note : str
        What else is known: blank maps, maps that are not finite, or the error.
    """

    mechanism: str
    scene: str
    coordinate: str
    check: str
    value: float
    low: float
    high: float
    threshold: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Certificate:
    """Whether the maps of a method agree with model truth.

    Attributes
    ----------
    method : str
    options : mapping
        Options that were given.
    rows : tuple of Check
    """

    method: str
    options: Mapping[str, Any]
    rows: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks were passed."""
        return all(row.passed for row in self.rows)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Names of the compiled models it was tried on."""
        return tuple(dict.fromkeys(row.mechanism for row in self.rows))

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the compiled models on which at least one check failed."""
        return tuple(dict.fromkeys(row.mechanism for row in self.rows if not row.passed))

    @property
    def errors(self) -> tuple[str, ...]:
        """Names of the compiled models that the method changed, or raised an exception on."""
        return tuple(dict.fromkeys(r.mechanism for r in self.rows if r.check == "error"))

    def verdict(self, mechanism: str) -> str:
        """Return ``"passed"``, ``"error"``, or how many checks failed and by how much.

        For a failure, the lowest share on used pixels beside what it had to exceed, and the
        size of maps that should be 0.
        """
        check_choice("mechanism", mechanism, self.mechanisms)
        rows = [row for row in self.rows if row.mechanism == mechanism]
        failed = [row for row in rows if not row.passed]
        if not failed:
            return "passed"
        if failed[0].check == "error":
            return f"error: {failed[0].note}"
        return "; ".join([f"failed {len(failed)} of {len(rows)}", *_worst(failed)])

    def table(self) -> str:
        """Return one line of text a mechanism."""
        width = max(map(len, self.mechanisms), default=0)
        lines = [f"{name:{width}}  {self.verdict(name)}" for name in self.mechanisms]
        return "\n".join([f"{self.method}: {'passed' if self.passed else 'failed'}", *lines])

    def __repr__(self) -> str:
        state = "passed" if self.passed else f"failed on {', '.join(self.failures)}"
        return f"<Certificate of {self.method}: {state}; {len(self.rows)} checks>"


def _worst(failed: list[Check]) -> list[str]:
    texts = []
    shares = [row for row in failed if row.check == "share"]
    if shares:
        row = min(shares, key=lambda r: r.low - r.threshold)
        note = f", {row.note}" if row.note else ""
        texts.append(
            f"worst {row.coordinate} on {row.scene!r}: {row.value:.0%} on used pixels "
            f"[{row.low:.0%}, {row.high:.0%}], must exceed {row.threshold:.0%}{note}"
        )
    blank = next((row for row in failed if row.check == "shown"), None)
    if blank is not None:
        texts.append(f"{blank.note} ({blank.coordinate} on {blank.scene!r})")
    loud = [row for row in failed if row.check == "silence"]
    if loud:
        row = max(loud, key=lambda r: (bool(r.note), r.value))
        size = row.note or f"of up to {row.value:.1g}"
        texts.append(f"maps {size} where nothing is used")
    return texts
