"""Report 3's CIFAR-10 network in Keras, as its users would write it: ``benchmarks.cifar`` runs it elsewhere.

    python keras_cifar.py ARRAYS.npz --epochs N --seed S [--until ACCURACY] [--seconds LIMIT]

ARRAYS holds x_train, y_train, x_val, y_val (uint8, n × 32 × 32 × 3). Prints a JSON line an epoch: seconds since the
first, val accuracy. Augmentation runs in tf.data, beside training; compiling the graph is not counted.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, regularizers


def network() -> keras.Model:
    """1,343,018 parameters: six convolutions with batch norm, three pools, dense 512."""
    model = keras.Sequential([layers.Input((32, 32, 3))])
    for width, dropout in ((32, 0.2), (64, 0.3), (128, 0.4)):
        for _ in range(2):
            model.add(layers.Conv2D(width, 3, padding="same", kernel_regularizer=regularizers.L2(1e-4)))
            model.add(layers.Activation("relu"))
            model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(dropout))
    model.add(layers.Flatten())
    model.add(layers.Dense(512, activation="relu", kernel_regularizer=regularizers.L2(1e-4)))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def photographs(x: np.ndarray, y: np.ndarray, *, seed: int, augment: bool, batch: int = 64) -> tf.data.Dataset:
    """Batches of floats 0 to 1; turned, moved and mirrored where `augment`."""
    data = tf.data.Dataset.from_tensor_slices((x, y))
    if not augment:
        return data.batch(512).map(lambda a, b: (tf.cast(a, tf.float32) / 255, b)).prefetch(2)
    change = keras.Sequential(
        [
            layers.RandomRotation(15 / 360, fill_mode="nearest", seed=seed),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 1),
            layers.RandomFlip("horizontal", seed=seed + 2),
        ]
    )
    data = data.shuffle(len(x), seed=seed, reshuffle_each_iteration=True).batch(batch)
    return data.map(
        lambda a, b: (change(tf.cast(a, tf.float32) / 255, training=True), b), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)


class Watch(keras.callbacks.Callback):
    """Tells every epoch, and stops at an accuracy or a limit of time."""

    def __init__(self, until: float, seconds: float) -> None:
        super().__init__()
        self.until, self.seconds, self.started = until, seconds, 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: ARG002 - Keras names them
        """The clock starts when the graph is compiled: after the first batch."""
        self.started = self.started or time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """One line."""
        seconds = time.perf_counter() - self.started
        accuracy = float(logs["val_accuracy"])
        print(json.dumps({"epoch": epoch + 1, "seconds": seconds, "val_accuracy": accuracy}), flush=True)
        if accuracy >= self.until or seconds >= self.seconds:
            self.model.stop_training = True


def main() -> None:
    """Train and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arrays")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=1e9)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    with np.load(options.arrays) as held:
        x_train, y_train, x_val, y_val = (held[name] for name in ("x_train", "y_train", "x_val", "y_val"))
    model = network()
    print(json.dumps({"keras": keras.__version__, "tensorflow": tf.__version__, "parameters": model.count_params()}))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        photographs(x_train, y_train, seed=options.seed, augment=True),
        validation_data=photographs(x_val, y_val, seed=0, augment=False),
        epochs=options.epochs,
        verbose=0,
        callbacks=[
            Watch(options.until, options.seconds),
            keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=5),
            keras.callbacks.EarlyStopping("val_loss", patience=15, restore_best_weights=True),
        ],
    )


if __name__ == "__main__":
    main()
