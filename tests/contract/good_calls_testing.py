"""Good calls of `whitebox_loc.testing`. The contracts ask models and methods many times."""

import whitebox_loc as wb
from contract.calls import Call


def _gradient(model, images, target):
    return wb.introspect.saliency(model, images, target, "gradient")


CALLS = [
    Call("testing.boxes", lambda w: {"format": "yxyx", "size": (12, 16), "n": 2}),
    Call("testing.images", lambda w: {"scene": w.scene, "n": 2}),
    Call("testing.localizers", lambda w: {"size": (12, 16), "heads": "profile"}),
    Call("testing.scenes", lambda w: {"plain": True, "size": (12, 16)}),
    Call("testing.check_localizer", lambda w: {"model": w.model, "images": w.images}, slow=True),
    Call("testing.check_metric", lambda w: {"metric": "sparseness"}, slow=True),
    Call(
        "testing.check_saliency_method",
        lambda w: {
            "method": "gradient",
            "model": w.compiled,
            "images": w.images[:2],
            "targets": ("top",),
            "signed": False,
        },
        slow=True,
        also={"targets": ("target",)},
    ),
    Call(
        "testing.check_explainer",
        lambda w: {
            "explain": _gradient,
            "model": w.compiled,
            "images": w.images[:2],
            "targets": ("top",),
            "signed": False,
        },
        slow=True,
        also={"targets": ("target",)},
    ),
]

RECORDS = {}
