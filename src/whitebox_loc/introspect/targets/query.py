"""One question to a model, as methods see it: values and gradients of targets at images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc.introspect.targets.one_box import Target
from whitebox_loc.introspect.targets.outputs import FORMULA
from whitebox_loc.introspect.tracing.capture import Forward, Traced, forward, traced
from whitebox_loc.introspect.tracing.derivatives import rectified, slopes_of
from whitebox_loc.introspect.tracing.inputs import Inputs
from whitebox_loc.introspect.tracing.refusals import check_answer

__all__ = ["Path", "Query", "check_log_odds", "one_a_row"]

Path = Callable[..., tuple[Any, Any]]


class Query:
    """A model, the images and targets of one call, and the two things methods ask.

    Parameters
    ----------
    model : keras.Model
    inputs : Inputs
    targets : sequence of Target
    link : {"identity", "logit"}
    batch_size : int
        Most images in one pass of the model, whatever they stand for: images times steps,
        noise samples or baselines.

    Attributes
    ----------
    images : float32 array (n, height, width, channels)
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Inputs,
        targets: Sequence[Target],
        link: str = "identity",
        batch_size: int = 256,
    ) -> None:
        self.images = inputs.image
        self.batch_size = batch_size
        self._engine = _Engine(model, inputs, targets, link)
        self._rows = np.arange(len(inputs))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self._engine.targets)

    @property
    def passes(self) -> int:
        """Images that have gone through the model so far."""
        return self._engine.passes

    def at(self, images: np.ndarray, rows: np.ndarray) -> Query:
        """Return the same question about other images; `rows` tells whose variants they are."""
        other = object.__new__(Query)
        other.images, other.batch_size = images, self.batch_size
        other._engine, other._rows = self._engine, self._rows[rows]
        return other

    def tiles(
        self, samples: int, *, beside: int = 0, split: bool = False
    ) -> Iterator[tuple[slice, slice]]:
        """Cut images times samples into slices of both, at most `batch_size` together.

        All samples of an image go together where they fit: what comes back is a sum over
        samples, so every further slice of samples is one more map an image to bring home.
        With `split` they go apart if that makes fewer batches. `beside` images an image go
        with every slice of its samples; a batch then holds one sample at least.
        """
        slices = -(-samples // max(1, self.batch_size - beside))
        if split:
            slices = min(range(slices, min(8 * slices, samples) + 1), key=self._batches(samples))
        together = -(-samples // slices)
        images = max(1, self.batch_size // (together + beside))
        for row in range(0, len(self), images):
            for sample in range(0, samples, together):
                yield (
                    slice(row, min(row + images, len(self))),
                    slice(sample, min(sample + together, samples)),
                )

    def _batches(self, samples: int) -> Callable[[int], int]:
        """Return the number of batches as a function of the number of slices of samples."""

        def count(slices: int) -> int:
            together = -(-samples // slices)
            images = max(1, self.batch_size // together)
            return -(-len(self) // images) * -(-samples // together)

        return count

    def values(self, points: Any, rows: Any) -> tf.Tensor:
        """Return the targets (k, m) at the images `points` (m, ...), variants of `rows`."""
        self._engine.passes += len(points)
        return self._engine.values(points, *self._engine.beside(self._rows[rows]))

    def gradients(self, points: Any, rows: Any) -> tf.Tensor:
        """Return the targets' gradients (k, m, height, width, channels) at `points`."""
        self._engine.passes += len(points)
        return self._engine.gradients(points, *self._engine.beside(self._rows[rows]))

    def path_sum(
        self,
        path: Path,
        parameters: Sequence[np.ndarray] = (),
        *,
        samples: int = 1,
        rule: str | None = None,
    ) -> np.ndarray:
        """Sum gradient times factor over samples and channels: maps (k, n, height, width).

        Parameters
        ----------
        path : callable
            From images (r, height, width, channels) and the parameters of s samples to the
            points at which the gradient is taken and the factors, tensors (s, r, height,
            width, channels); None for the factor 1. A function of a module, since it is
            compiled with the model.
        parameters : sequence of arrays (samples, ...)
        samples : int
        rule : str, optional
            A name from `derivatives.RELU_RULES`: another derivative for every ReLU.
        """
        constants = [np.asarray(p, np.float32) for p in parameters]
        run = self._engine.path_sum(path, rule, constants)
        parts: dict[int, np.ndarray] = {}
        for row, part in self.tiles(samples):
            images = tf.convert_to_tensor(self.images[row])
            beside = self._engine.beside(self._rows[row])
            found = run(images, *beside, *(tf.convert_to_tensor(c[part]) for c in constants))
            self._engine.passes += len(images) * (part.stop - part.start)
            before = parts.get(row.start)
            parts[row.start] = found.numpy() if before is None else before + found.numpy()
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
        as ``function(*query.tensors(rows), *extra)``; `extra` and `notes` as in `compiled`.
        """
        return self._engine.function(key, build, extra, {} if notes is None else notes)

    def tensors(self, rows: slice) -> list[tf.Tensor]:
        """Return images, and what goes beside them, as functions from `function` take them."""
        return [tf.convert_to_tensor(self.images[rows]), *self._engine.beside(self._rows[rows])]

    def count(self, passes: int) -> None:
        """Count images that a function from `function` has passed through the model."""
        self._engine.passes += passes

    @property
    def model(self) -> keras.Model:
        """The model."""
        return self._engine.model

    @property
    def link(self) -> str:
        """How the targets are read."""
        return self._engine.link

    @property
    def given(self) -> int:
        """Number of images first given."""
        return len(self._engine.inputs)

    @property
    def rows(self) -> np.ndarray:
        """Which of the images first given each image is a variant of."""
        return self._rows

    def values_everywhere(self) -> np.ndarray:
        """Return the targets (k, n) at the images."""
        return np.concatenate(
            [self.values(self.images[part], part).numpy() for part, _ in self.tiles(1)], axis=1
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Short texts for the targets."""
        return tuple(target.label for target in self._engine.targets)

    @property
    def links(self) -> tuple[str, ...]:
        """How the link was applied, target by target."""
        return self._engine.values.notes["links"]


class _Engine:
    """The compiled functions of one question, and the arrays that go beside the images."""

    def __init__(
        self, model: keras.Model, inputs: Inputs, targets: Sequence[Target], link: str
    ) -> None:
        self.model, self.inputs, self.targets, self.link = model, inputs, tuple(targets), link
        self._data = [one_a_row(t.data, len(inputs)) for t in targets if t.data is not None]
        self.passes = 0

    def beside(self, rows: np.ndarray) -> list[tf.Tensor]:
        """Return the other inputs and the targets' data of the given rows."""
        return [tf.convert_to_tensor(a[rows]) for a in (*self.inputs.others, *self._data)]

    @cached_property
    def values(self) -> Traced:
        """Images (m, ...) and what goes beside them to targets (k, m)."""
        notes: dict[str, Any] = {}

        def build(image: Any, *beside: Any) -> Any:
            return tf.stack(self._read(image, beside, None, notes))

        return self._compile("values", build, notes=notes)

    @cached_property
    def gradients(self) -> Traced:
        """Images (m, ...) and what goes beside them to gradients (k, m, h, w, c)."""

        def build(image: Any, *beside: Any) -> Any:
            return tf.stack(slopes_of(self._read(image, beside, None, {}), image))

        return self._compile("gradients", build)

    def path_sum(self, path: Path, rule: str | None, parameters: Sequence[np.ndarray]) -> Traced:
        """Images (r, ...), what goes beside them and parameters to maps (k, r, h, w)."""
        count = len(self.inputs.others) + len(self._data)

        def build(image: Any, *arrays: Any) -> Any:
            points, factors = path(image, *arrays[count:])
            samples = tf.shape(points)[0]
            flat = tf.reshape(points, (-1, *image.shape[1:]))
            beside = [_repeated(a, samples) for a in arrays[:count]]
            maps = []
            for slope in slopes_of(self._read(flat, beside, rule, {}), flat):
                product = tf.reshape(slope, tf.shape(points))
                product = product if factors is None else product * factors
                maps.append(tf.reduce_sum(product, (0, 4)))
            return tf.stack(maps)

        return self._compile(("path_sum", path, rule), build, parameters)

    def _compile(
        self,
        kind: Hashable,
        build: Callable[..., Any],
        parameters: Sequence[np.ndarray] = (),
        notes: dict[str, Any] | None = None,
    ) -> Traced:
        keys = [target.key for target in self.targets]
        key = None if None in keys else (kind, self.link, *keys)
        extra = [*self._data, *parameters]
        return traced(self.model, key, self.inputs, build, extra=extra, notes=notes)

    def function(
        self, key: Hashable, build: Callable[..., Any], extra: Sequence[Any], notes: dict[str, Any]
    ) -> Traced:
        """Images (r, ...), what goes beside them and `extra` to what `build` returns."""
        count = len(self.inputs.others) + len(self._data)

        def trace(image: Any, *tensors: Any) -> Any:
            def read(
                points: Any, copies: Any = 1, rows: Any = None, rule: Any = None, **options: Any
            ) -> tuple[list[Any], Forward]:
                if rows is None:
                    beside = [_repeated(t, copies) for t in tensors[:count]]
                else:
                    beside = [tf.gather(t, rows) for t in tensors[:count]]
                return self._pass(points, beside, rule, notes, **options)

            return build(read, image, *tensors[count:])

        return self._compile(key, trace, extra, notes)

    def _read(self, image: Any, beside: Any, rule: str | None, notes: dict[str, Any]) -> list[Any]:
        return self._pass(image, beside, rule, notes)[0]

    def _pass(
        self,
        image: Any,
        beside: Any,
        rule: str | None,
        notes: dict[str, Any],
        watch: Sequence[str] = (),
        **options: Any,
    ) -> tuple[list[Any], Forward]:
        others = len(self.inputs.others)
        read = {name for target in self.targets for name in target.watched(self.model)}
        with rectified(self.model, rule):
            packed = self.inputs.pack((image, *beside[:others]))
            passed = forward(self.model, packed, watch=[*watch, *sorted(read)], **options)
        data = iter(beside[others:])
        found = [
            target.read(passed, None if target.data is None else next(data), self.link)
            for target in self.targets
        ]
        notes["links"] = tuple(how for _, how in found)
        return [value for value, _ in found], passed


def _repeated(array: Any, samples: Any) -> Any:
    return tf.tile(array, [samples] + [1] * (array.shape.rank - 1))


def one_a_row(data: np.ndarray, n: int) -> np.ndarray:
    """Return the data of a target with one row for each of n images."""
    if len(data) not in (1, n):
        raise ValueError(
            f"`target` must hold one box or class an image, {n}, or one for all; got {len(data)}."
        )
    return np.broadcast_to(data, (n, *data.shape[1:]))


def check_log_odds(
    model: keras.Model, inputs: Inputs, targets: Sequence[Target], link: str, batch_size: int
) -> None:
    """Raise a ValueError if log-odds are asked for of a target that is no probability.

    Where a sigmoid or softmax is found in the graph nothing is looked at.
    """
    if link != "logit":
        return
    links = Query(model, inputs, targets, link, batch_size).links
    asked = [target for target, how in zip(targets, links, strict=True) if how == FORMULA]
    if not asked:
        return
    values = Query(model, inputs, asked, "identity", batch_size).values_everywhere()
    check_answer("Targets", values, model)
    outside = np.argwhere((values <= 0) | (values >= 1))
    if not len(outside):
        return
    row, image = outside[0].tolist()
    raise ValueError(
        f"`link` 'logit' needs probabilities, above 0 and below 1; target {asked[row].label!r} is "
        f"{values[row, image]:.9g} for image {image}. Use link='identity', or end the model with "
        "a sigmoid, in front of which log-odds are read."
    )
