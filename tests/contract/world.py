"""Small things that good calls share: models, scenes, images, records, paths.

Each is made when a call asks for it first. Arrays are handed out as copies, and the weights of
models are put back after each call, so that no call sees what another one did.
"""

import functools
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np

import whitebox_loc as wb


class World:
    """Fixtures of all good calls; used as a context, it works in a folder that is removed."""

    size = (12, 16)

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._before = os.getcwd()
        self._numbers = itertools.count()
        self._weights = {}
        os.chdir(self._folder.name)
        return self

    def __exit__(self, *error):
        os.chdir(self._before)
        self._folder.cleanup()

    @property
    def path(self):
        """A path to nothing, in a folder of its own, new each time."""
        folder = Path(self._folder.name) / f"call-{next(self._numbers)}"
        folder.mkdir()
        return folder / "new"

    @property
    def root(self):
        return Path(self._folder.name)

    def keep(self, model):
        """Remember the weights of a shared model, for `restore`."""
        self._weights[id(model)] = (model, [v.numpy() for v in model.variables])
        return model

    def restore(self):
        for model, values in self._weights.values():
            for variable, value in zip(model.variables, values, strict=True):
                if not np.array_equal(variable.numpy(), value, equal_nan=value.dtype.kind == "f"):
                    variable.assign(value)

    # Scenes and images.

    @functools.cached_property
    def scene(self):
        return wb.data.Scene(size=self.size, heights=(3, None), widths=(3, None))

    @functools.cached_property
    def shapes(self):
        return wb.data.Scene(
            size=self.size, shapes=("rectangle", "ellipse"), heights=(5, None), widths=(5, None)
        )

    @functools.cached_property
    def multi(self):
        return wb.data.MultiScene(
            wb.data.Scene(size=(16, 16), heights=(3, 6), widths=(3, 6)), (1, 2)
        )

    @functools.cached_property
    def batch(self):
        return wb.data.generate(self.scene, 3, seed=0)

    @functools.cached_property
    def shape_batch(self):
        return wb.data.generate(self.shapes, 3, seed=0)

    @functools.cached_property
    def crowd(self):
        return wb.data.generate(self.multi, 3, seed=0)

    @property
    def images(self):
        return self.batch.images.copy()

    @property
    def boxes(self):
        """Boxes in pixels, as yxyx (3, 4)."""
        return self.batch.boxes.copy()

    @property
    def rel_boxes(self):
        return self.batch.rel_boxes.astype("float32")

    @property
    def predictions(self):
        return np.clip(self.rel_boxes + np.float32(0.01), 0, 1)

    @property
    def maps(self):
        return np.random.default_rng(0).normal(size=(4, 3, *self.size)).astype("float32")

    # Models.

    @functools.cached_property
    def model(self):
        return self.keep(wb.models.localizer(self.size, filters=(3, 4), line_filters=4, seed=0))

    @functools.cached_property
    def classifier(self):
        options = {"filters": (3, 4), "line_filters": 4, "classes": 2, "seed": 0}
        return self.keep(wb.models.localizer(self.size, **options))

    @functools.cached_property
    def detector(self):
        return self.keep(wb.models.detector((16, 16), filters=(3, 4), seed=0))

    @functools.cached_property
    def compiled(self):
        return self.keep(wb.models.compiled("integrator", self.size))

    @functools.cached_property
    def plain(self):
        """A Sequential model as a user writes it: boxes as fractions."""
        import keras

        keras.utils.set_random_seed(0)
        layers = [
            keras.Input((*self.size, 1)),
            keras.layers.Conv2D(2, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="sigmoid"),
        ]
        return self.keep(keras.Sequential(layers))

    @functools.cached_property
    def found(self):
        boxes = self.crowd.rel_boxes.astype("float32")
        return wb.models.detections({"boxes": boxes, "scores": 0.8 * self.crowd.valid})

    # Records.

    @functools.cached_property
    def evaluation(self):
        return wb.training.evaluate(self.model, self.scene, n=8, seed=1)

    @property
    def history(self):
        names = wb.training.history.COLUMNS
        return wb.training.History({name: [1.0, 2.0] for name in names})

    @functools.cached_property
    def stress(self):
        return wb.training.stress(self.model, "noise", self.scene, n=4, resamples=5)
