"""Good calls of `whitebox_loc.verification`."""

import whitebox_loc as wb
from contract.calls import Call


def _prove(w, **options):
    return wb.verification.prove(w.compiled, progress=False, **options)


def _saved(w):
    return _prove(w).save(w.path)


CALLS = [
    Call(
        "verification.prove",
        lambda w: {"model": w.compiled, "scene": None, "how": "enumeration", "progress": False},
        # Symmetry has a row of its own: enumeration takes every `up_to`, and does not look at it.
        keep=("canvas",),
    ),
    Call(
        "verification.prove",
        lambda w: {"model": w.model, "canvas": "any", "up_to": 16, "progress": False},
        keep=("out", "executor", "progress"),
        slow=True,
    ),
    Call("verification.Proof.save", lambda w: {"path": w.path}, on=_prove),
    Call(
        "verification.Proof.load",
        lambda w: {"path": _saved(w), "model": w.compiled},
    ),
]

RECORDS = {
    "verification.Proof": "record that `prove` makes",
    "verification.UnsupportedModelError": "error",
}
