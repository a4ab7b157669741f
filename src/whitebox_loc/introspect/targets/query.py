"""A query as methods see it: values and gradients of targets of a model at images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc.introspect.targets.one_box import Target
from whitebox_loc.introspect.targets.outputs import FORMULA
from whitebox_loc.introspect.tracing.capture import Forward, Traced, forward, traced
from whitebox_loc.introspect.tracing.derivatives import rectified, slopes_of
from whitebox_loc.introspect.tracing.inputs import Inputs
from whitebox_loc.introspect.tracing.refusals import check_answer

Path = Callable[..., tuple[Tensor, Tensor | None]]
Read = Callable[..., tuple[list[Tensor], Forward]]


class Query:
    """A model, the images and targets of one call: their values and gradients, compiled.

    `batch_size` is the most images in one pass of the model, steps or noise samples included.

    Attributes
    ----------
    images : float32 array (n, height, width, channels)
    rows : int array (n,)
        Which of the images of the call each image is a variant of.
    """

    def __init__(
        self,
        model: Model,
        inputs: Inputs,
        targets: Sequence[Target],
        link: str = "identity",
        batch_size: int = 256,
    ) -> None:
        self.model, self.link, self.batch_size = model, link, batch_size
        self.images, self.rows = inputs.image, np.arange(len(inputs))
        self._inputs, self._targets = inputs, tuple(targets)
        self._data = [_one_a_row(t.data, len(inputs)) for t in targets if t.data is not None]
        # Shared with the queries of other images that `at` makes of this one.
        self._passes, self._functions = [0], dict[str, Traced]()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self._targets)

    @property
    def labels(self) -> tuple[str, ...]:
        """Short texts for the targets."""
        return tuple(target.label for target in self._targets)

    @property
    def links(self) -> tuple[str, ...]:
        """How the link was applied, target by target."""
        return self._values.notes["links"]

    @property
    def given(self) -> int:
        """Number of images of the call."""
        return len(self._inputs)

    @property
    def passes(self) -> int:
        """Images that have gone through the model so far."""
        return self._passes[0]

    def count(self, passes: int) -> None:
        """Count images that a function from `function` has passed through the model."""
        self._passes[0] += passes

    def at(self, images: Array, rows: Array) -> Query:
        """Return the same query of other images, variants of the images `rows`."""
        query = copy.copy(self)
        query.images, query.rows = images, self.rows[rows]
        return query

    def tiles(
        self, samples: int, *, beside: int = 0, split: bool = False
    ) -> Iterator[tuple[slice, slice]]:
        """Cut images times samples into slices of both, at most `batch_size` together.

        All samples of an image go together where they fit, so that one sum of them is copied
        back; with `split` they go apart if that makes fewer batches. `beside` images an image go
        with every slice of its samples; a batch then holds one sample at least.
        """
        slices = -(-samples // max(1, self.batch_size - beside))
        if split:

            def batches(slices: int) -> int:
                together = -(-samples // slices)
                images = max(1, self.batch_size // together)
                return -(-len(self) // images) * -(-samples // together)

            slices = min(range(slices, min(8 * slices, samples) + 1), key=batches)
        together = -(-samples // slices)
        images = max(1, self.batch_size // (together + beside))
        for row in range(0, len(self), images):
            rows = slice(row, min(row + images, len(self)))
            for sample in range(0, samples, together):
                yield rows, slice(sample, min(sample + together, samples))

    def values(self, points: Tensor, rows: ArrayLike) -> tf.Tensor:
        """Return the targets (k, m) at the images `points` (m, ...), variants of `rows`."""
        self.count(len(points))
        return self._values(points, *self._beside(rows))

    def gradients(self, points: Tensor, rows: ArrayLike) -> tf.Tensor:
        """Return the targets' gradients (k, m, height, width, channels) at `points`."""
        self.count(len(points))
        run = self._once("gradients", lambda read, x: tf.stack(slopes_of(read(x)[0], x)))
        return run(points, *self._beside(rows))

    @property
    def _values(self) -> Traced:
        return self._once("values", lambda read, images: tf.stack(read(images)[0]))

    def _once(self, key: str, build: Callable[..., Any]) -> Traced:
        # Also where the targets have no key, so that `traced` does not keep the function.
        if key not in self._functions:
            self._functions[key] = self.function(key, build)
        return self._functions[key]

    def values_everywhere(self) -> Array:
        """Return the targets (k, n) at the images."""
        parts = (part for part, _ in self.tiles(1))
        return np.concatenate([self.values(self.images[p], p).numpy() for p in parts], axis=1)

    def path_sum(
        self,
        path: Path,
        parameters: Sequence[Array] = (),
        *,
        samples: int = 1,
        rule: str | None = None,
    ) -> Array:
        """Sum gradient times factor over samples and channels: maps (k, n, height, width).

        `path`, a function of a module, since it is compiled with the model, is called with images
        (r, height, width, channels) and the `parameters` (samples, ...) of s samples. It returns
        the points at which the gradient is taken and the factors, tensors (s, r, height, width,
        channels); None for the factor 1. `rule` is a name from `derivatives.RELU_RULES`.
        """

        def build(read: Read, images: Tensor, *parameters: Tensor) -> Tensor:
            points, factors = path(images, *parameters)
            flat = tf.reshape(points, (-1, *images.shape[1:]))
            values, _ = read(flat, tf.shape(points)[0], rule=rule)
            maps = []
            for slope in slopes_of(values, flat):
                product = tf.reshape(slope, tf.shape(points))
                product = product if factors is None else product * factors
                maps.append(tf.reduce_sum(product, (0, 4)))
            return tf.stack(maps)

        constants = [np.asarray(p, np.float32) for p in parameters]
        run = self.function(("path_sum", path, rule), build, constants)
        parts: dict[int, np.ndarray] = {}
        for row, part in self.tiles(samples):
            maps = run(*self.tensors(row), *(tf.convert_to_tensor(c[part]) for c in constants))
            self.count((row.stop - row.start) * (part.stop - part.start))
            before = parts.get(row.start)
            parts[row.start] = maps.numpy() if before is None else before + maps.numpy()
        return np.concatenate(list(parts.values()), axis=1) if len(parts) > 1 else parts[0]

    def function(
        self,
        key: Hashable,
        build: Callable[..., Any],
        extra: Sequence[Any] = (),
        notes: dict[str, Any] | None = None,
    ) -> Traced:
        """Compile ``build(read, images, *extra)``, once per model, targets and `key`.

        ``read(points, copies=1, rows=None, rule=None, **options)`` runs the model inside the
        trace and returns the targets, k tensors (m,), and the `Forward`. `points` are `copies`
        times as many as the images, copy after copy, or variants of the images `rows`, a tensor
        (m,); `rule` is one of `derivatives.RELU_RULES`; the options are those of `forward`. Run it
        as ``function(*query.tensors(rows), *extra)``; `extra` and `notes` as in `traced`.
        """
        notes = {} if notes is None else notes
        keys = [target.key for target in self._targets]
        others = len(self._inputs.others)
        count = others + len(self._data)

        def trace(images: Tensor, *tensors: Tensor) -> Tensor:
            beside, rest = list(tensors[:count]), tensors[count:]
            layers = sorted({name for t in self._targets for name in t.watched(self.model)})

            def read(
                points: Tensor,
                copies: Tensor = 1,
                rows: Tensor = None,
                rule: str | None = None,
                watch: Sequence[str] = (),
                **options: Any,
            ) -> tuple[list[Tensor], Forward]:
                if rows is not None:
                    own = [tf.gather(t, rows) for t in beside]
                elif isinstance(copies, int) and copies == 1:
                    own = beside
                else:
                    own = [tf.tile(t, [copies] + [1] * (t.shape.rank - 1)) for t in beside]
                with rectified(self.model, rule):
                    packed = self._inputs.pack((points, *own[:others]))
                    passed = forward(self.model, packed, watch=[*watch, *layers], **options)
                values = read_targets(self._targets, passed, own[others:], self.link)
                notes["links"] = tuple(how for _, how in values)
                return [value for value, _ in values], passed

            return build(read, images, *rest)

        return traced(
            self.model,
            None if None in keys else (key, self.link, *keys),
            self._inputs,
            trace,
            extra=[*self._data, *extra],
            notes=notes,
        )

    def tensors(self, rows: slice) -> list[tf.Tensor]:
        """Return images, and what goes beside them, as functions from `function` take them."""
        return [tf.convert_to_tensor(self.images[rows]), *self._beside(rows)]

    def _beside(self, rows: ArrayLike) -> list[tf.Tensor]:
        """Return the other inputs and the targets' data of some images."""
        arrays = (*self._inputs.others, *self._data)
        return [tf.convert_to_tensor(a[self.rows[rows]]) for a in arrays]

    def check_log_odds(self) -> None:
        """Raise a ValueError if the link is "logit" and a target is no probability.

        Where a sigmoid or softmax is found in the graph nothing is looked at.
        """
        if self.link != "logit":
            return
        plain = [t for t, how in zip(self._targets, self.links, strict=True) if how == FORMULA]
        if not plain:
            return
        query = Query(self.model, self._inputs, plain, "identity", self.batch_size)
        values = check_answer("Targets", query.values_everywhere(), self.model)
        outside = np.argwhere((values <= 0) | (values >= 1))
        if len(outside):
            row, image = outside[0].tolist()
            raise ValueError(
                f"`link` 'logit' needs probabilities, above 0 and below 1; target "
                f"{plain[row].label!r} is {values[row, image]:.9g} for image {image}. Use "
                "link='identity', or end the model with a sigmoid, in front of which log-odds "
                "are read."
            )


def read_targets(
    targets: Sequence[Target], passed: Forward, data: Sequence[Tensor], link: str
) -> list[tuple[Tensor, str]]:
    """Return targets of a traced pass, and how the link was applied; `data` of those that have."""
    rest = iter(data)
    return [t.read(passed, None if t.data is None else next(rest), link) for t in targets]


def _one_a_row(data: Array, n: int) -> Array:
    """Return the data of a target with one row for each of n images."""
    if len(data) not in (1, n):
        raise ValueError(
            f"`target` must hold one box or class an image, {n}, or one for all; got {len(data)}."
        )
    return np.broadcast_to(data, (n, *data.shape[1:]))
