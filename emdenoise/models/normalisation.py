"""Batch normalisation in one kernel where TensorFlow has it."""

from typing import Any

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, which learns with TensorFlow's fused kernel instead of a row of elementwise operations.

    The numbers are the same up to rounding; a training step of the closed network takes two thirds of the time on a
    CPU (docs/decisions/0011-fused-normalisation.md). With other backends, with the statistics of several processes and
    outside training it is Keras' layer itself. Its name is that of Keras' class, which the weights file goes by.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (batch, height, width, channels), by the batch in training and by the running statistics else."""
        is_learning = training and self.trainable and not self.synchronized
        if not is_learning or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow

        outputs, mean, variance, *_ = tensorflow.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        num_values = tensorflow.cast(tensorflow.size(inputs) // tensorflow.shape(inputs)[-1], variance.dtype)
        variance *= (num_values - 1) / num_values  # the kernel divides by one less
        for running, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + found * (1 - self.momentum))
        return outputs
