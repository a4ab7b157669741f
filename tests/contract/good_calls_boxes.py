"""Good calls of `whitebox_loc.boxes`."""

from contract.calls import Call

A = [[2, 3, 9, 12], [0, 0, 4, 4]]
B = [[3, 3, 10, 14], [1, 1, 4, 6]]

TENSOR = ("tensor of nan",)
"""The numbers of tensors are not looked at, since graphs do not know them."""

CALLS = [
    *(
        Call(
            f"boxes.{name}",
            lambda w: {"a": A, "b": B, "format": "yxyx", "size": (12, 16)},
            nan=TENSOR,
        )
        for name in ("iou", "giou", "diou", "ciou")
    ),
    Call(
        "boxes.iou",
        lambda w: {"a": w.rel_boxes, "b": w.predictions, "format": "rel_yxyx"},
        nan=TENSOR,
    ),
    Call(
        "boxes.convert",
        lambda w: {"boxes": A, "source": "yxyx", "target": "center_xywh"},
        nan=TENSOR,
    ),
    Call(
        "boxes.convert",
        lambda w: {"boxes": A, "source": "yxyx", "target": "rel_xyxy", "size": (12, 16)},
        nan=TENSOR,
    ),
]

RECORDS = {"boxes.FORMATS": "constant"}
