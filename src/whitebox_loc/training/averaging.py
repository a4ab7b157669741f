"""Adam whose result is a running average of the weights."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from whitebox_loc._types import Tensor

AVERAGED = 0.99
"""Most that the average of the weights, which is the result, keeps of itself in a step.

It does for a run of any length what a falling learning rate does for one of known length.
"""


class AveragingAdam(keras.optimizers.Adam):
    """Adam that averages over a tenth of the steps, and ends with the average."""

    def __init__(self, learning_rate: Any = 0.001, **options: Any) -> None:
        super().__init__(learning_rate, **{"use_ema": True, **options})

    @property
    def ema_momentum(self) -> Tensor:
        """The share that the average keeps: with a fixed one it would remember the first steps."""
        done = tf.cast(self.iterations, tf.float32)
        return tf.minimum(AVERAGED, (1 + done) / (10 + done))

    @ema_momentum.setter
    def ema_momentum(self, value: float) -> None:
        """Leave out what Keras sets when it builds the optimizer."""

    def get_config(self) -> dict[str, Any]:
        """Return the settings, which do not change with the steps."""
        return super().get_config() | {"ema_momentum": AVERAGED}
