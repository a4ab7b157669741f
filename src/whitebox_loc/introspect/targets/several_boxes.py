"""Targets of models that find several boxes: one candidate, or the most similar to a box."""

# ruff: noqa: D102 - the methods of every target are those that `Target` documents.

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import tensorflow as tf

from whitebox_loc._types import Array, Tensor
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.targets import outputs
from whitebox_loc.introspect.targets.one_box import DERIVED, Target, overlap
from whitebox_loc.introspect.tracing.capture import Forward

PARTS = (*COORDINATES, *DERIVED, "score", "class")
"""What can be explained of one candidate."""


@dataclass(frozen=True, eq=False)
class Candidate(Target):
    """A number of one candidate: one for all images, or each image's own.

    `data` (n, 2) holds the candidate and the class. `counts` is how many candidates and classes
    the model must have; None if all that is known is that the numbers in `data` must exist.
    """

    part: str
    label: str
    data: Array
    counts: tuple[int, int] | None = None

    @property
    def key(self) -> Hashable:
        # `read` checks the highest numbers when it is traced, so those are part of the key.
        return ("candidate", self.part, self._needed, self.counts)

    @property
    def _needed(self) -> tuple[int, int]:
        """The least numbers of candidates and classes that the model must have."""
        if self.counts is not None:
            return self.counts
        return int(self.data[:, 0].max()) + 1, int(self.data[:, 1].max()) + 1

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        boxes, scores, classes = outputs.candidate_outputs(passed)
        self._check(boxes, classes)
        is_candidate = tf.equal(data[:, :1], tf.range(tf.shape(boxes)[1], dtype=data.dtype))

        def own(values: Tensor) -> Tensor:
            return tf.reduce_sum(tf.where(is_candidate, values, 0.0), axis=1)

        if self.part == "class":
            return outputs.linked_class(classes, data[:, 1:], link, own)
        if self.part == "score":
            return outputs.linked(scores, link, own)
        if self.part in COORDINATES:
            column = COORDINATES.index(self.part)
            return outputs.linked(boxes, link, lambda values: own(values[..., column]))
        if link == "logit":
            raise ValueError(
                f"`link` 'logit' needs a part that is a probability: one of "
                f"{[p for p in PARTS if p not in DERIVED]}; got {self.part!r}. Use "
                "link='identity'."
            )
        value = DERIVED[self.part](*tf.unstack(tf.cast(boxes, tf.float32), axis=-1))
        return own(value), "identity"

    def _check(self, boxes: Tensor, classes: Tensor) -> None:
        which, label = (count - 1 for count in self._needed)
        outputs.check_number(f"`which` of candidate({which})", which, boxes.shape[1], "candidates")
        if self.part != "class":
            return
        if classes is None:
            raise ValueError(
                "`part` 'class' needs a model with an output 'classes' of shape (n, candidates, "
                "classes)."
            )
        outputs.check_number(f"`classes` {label}", label, classes.shape[-1], "classes")


@dataclass(frozen=True, eq=False)
class Detection(Target):
    """Similarity of the most similar candidate to a box and class, as D-RISE has it.

    `data` holds the box, (n, 4), followed, if `kind` is "label", by the number of a class, if
    it is "vector", by probabilities of classes.
    """

    data: Array
    kind: str = "box"
    label: str = "detection"

    @property
    def key(self) -> Hashable:
        highest = int(self.data[:, 4].max()) if self.kind == "label" else None
        return ("detection", self.kind, highest)

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        if link == "logit":
            raise ValueError(
                "`link` 'logit' needs a target that is a probability; got 'detection', a product "
                "of an overlap, a cosine and a score. Use link='identity'."
            )
        boxes, scores, classes = self._candidates(passed)
        value = overlap(boxes, data[:, None, :4])
        if scores is not None:
            value = value * tf.cast(scores, tf.float32)
        if self.kind != "box":
            own = self._probabilities(data[:, 4:], classes.shape[-1])
            value = value * _cosine(tf.cast(classes, tf.float32), own[:, None])
        return tf.reduce_max(value, axis=1), "identity"

    def _candidates(self, passed: Forward) -> tuple[Tensor, Tensor, Tensor]:
        if outputs.has_candidates(passed):
            boxes, scores, classes = outputs.candidate_outputs(passed)
            if self.kind != "box" and classes is None:
                raise ValueError(
                    "`classes` of detection need a model with an output 'classes' of shape (n, "
                    "candidates, classes); this one has none."
                )
            return boxes, scores, classes
        classes = None if self.kind == "box" else outputs.label_output(passed)[:, None]
        return outputs.box_output(passed)[:, None], None, classes

    def _probabilities(self, data: Tensor, count: int) -> Tensor:
        if self.kind == "label":
            highest = int(self.data[:, 4].max())
            outputs.check_number(f"`classes` {highest}", highest, count, "classes")
            return tf.one_hot(tf.cast(data[:, 0], tf.int32), count)
        if data.shape[-1] != count:
            raise ValueError(
                f"`classes` must hold {count} probabilities a box, as many as the model has "
                f"classes; got {data.shape[-1]}."
            )
        return data


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine between vectors on the last axis, 0 for a zero vector."""
    square = tf.reduce_sum(a * a, -1) * tf.reduce_sum(b * b, -1)
    # The inner `where` keeps the derivative of the root at 0 from coming through the outer.
    length = tf.sqrt(tf.where(square > 0, square, 1.0))
    return tf.where(square > 0, tf.reduce_sum(a * b, -1) / length, 0.0)
