"""Training under tf.distribute. Devices and clusters are fixed when TensorFlow starts, so that the
work is done by processes of their own: this file, run with arguments (see the end)."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.training.averaging import AveragingAdam

pytestmark = pytest.mark.whole

SCENE = wb.data.Scene(size=(16, 20), shapes=("rectangle", "ellipse"))
BATCH, STEPS = 8, 6
TIMEOUT = 480  # for the worst of busy machines

# Work that is shared adds the same float32 numbers in another order. A number of the first step is
# a chain of fewer than ten sums of fewer than 100 terms each, whose rounding errors add up to less
# than 1000 * 2**-24 of it. A mean over the wrong images or with a wrong factor is off by percents.
FIRST = 1000 * 2.0**-24


# What the processes do -----------------------------------------------------------------------


def profile_model():
    return wb.models.localizer(size=(16, 20), filters=(4,), classes=2, seed=0)


def linear_model():
    inputs = keras.Input((16, 20, 1))
    dense = keras.layers.Dense(4, activation="sigmoid", kernel_regularizer=keras.regularizers.L2())
    return wb.models.reinitialize(keras.Model(inputs, dense(keras.layers.Flatten()(inputs))))


def norm_model():
    inputs = keras.Input((16, 20, 1))
    # The layer below is not trained, so that what the averages see is known.
    x = keras.layers.Conv2D(2, 3, strides=4, name="conv", trainable=False)(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(name="norm")(x))
    return wb.models.reinitialize(keras.Model(inputs, keras.layers.Dense(4, "sigmoid")(x)))


def clipping():
    # Adam does not see a factor of the gradient, and clipping hides what is not clipped: the
    # norm of the gradient starts above it and falls below.
    return keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.4)


def averaging():
    # The default where classes are learned. With so large an epsilon, a step changes by less
    # than the rate times the change of the gradient, like the one below.
    return AveragingAdam(1.0, epsilon=1.0)


@keras.saving.register_keras_serializable()
class NoLoss(keras.losses.Loss):
    """Cross entropy, but NaN for one box, so that one replica alone sees it."""

    def __init__(self, box):
        super().__init__()
        self.box = box

    def call(self, y_true, y_pred):
        bad = tf.reduce_all(tf.abs(y_true - self.box) < 1e-6, axis=-1)
        found = keras.ops.mean(tf.square(y_true - y_pred), axis=-1)
        return tf.where(bad, np.nan, found)

    def get_config(self):
        return {"box": list(self.box)}


def train(strategy, build, make=None, **options):
    with strategy.scope():
        model = build()
        optimizer = make() if make else None
    settings = {"steps": STEPS, "batch_size": BATCH, "progress": False, "optimizer": optimizer}
    history = wb.training.fit(model, SCENE, **{**settings, **options})
    return model, history


def arrays(name, model, history):
    kept = {f"{name}/{column}": values for column, values in history.to_dict().items()}
    return kept | {f"{name}/weight{i:02}": w for i, w in enumerate(model.get_weights())}


def copies(model, replica):
    return [np.asarray(v.value.values[replica]) for v in model.variables]


def share_batches(out):
    """Compare two replicas on virtual devices with one; write all arrays to `out`."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    one, path = tf.distribute.get_strategy(), Path(out).with_suffix(".run.npz")
    found = {}
    for name, strategy in {"one": one, "both": both}.items():
        found |= arrays(f"profile {name}", *train(strategy, profile_model))
        found |= arrays(f"linear {name}", *train(strategy, linear_model, clipping))
        last = Path(out).with_suffix(f".{name}.npz")  # has the weights and their averages
        model, history = train(strategy, linear_model, averaging, checkpoint=last)
        found |= arrays(f"average {name}", model, history)
        found[f"last {name}/weight00"] = np.load(last)["model/0"]
    found |= {
        f"copies {i}/weight{j:02}": c for i in range(2) for j, c in enumerate(copies(model, i))
    }
    train(both, linear_model, clipping, steps=3, checkpoint=path)
    # The copies are made before each goes on and writes its own checkpoint.
    path.with_suffix(".copy").write_bytes(path.read_bytes())
    found |= arrays("resumed both", *train(both, linear_model, clipping, checkpoint=path))
    path = path.with_suffix(".copy")
    found |= arrays("resumed one", *train(one, linear_model, clipping, checkpoint=path))
    found |= diverge(both)
    np.savez(out, **found, errors=json.dumps(errors(both, one)))


def diverge(strategy):
    [box] = wb.data.batch_at(SCENE, 2, batch_size=BATCH).rel_boxes[-1:]  # of the second replica
    loss = NoLoss(box.tolist())
    before, history = train(strategy, norm_model, clipping, steps=2, loss=loss)
    with strategy.scope():  # also during training, which some will do
        model, text = norm_model(), "no error"
        try:
            options = {"steps": 9, "batch_size": BATCH, "loss": loss, "progress": False}
            wb.training.fit(model, SCENE, optimizer=clipping(), **options)
        except wb.training.TrainingDivergedError as error:
            text = str(error)
    parts = {"before": copies(before, 0), "first": copies(model, 0), "second": copies(model, 1)}
    listed = {f"diverged {k}/{i:02}": v for k, vs in parts.items() for i, v in enumerate(vs)}
    return {**listed, **arrays("norm", before, history), "diverged text": text}


def errors(both, one):
    with both.scope():
        inside, optimizer = linear_model(), clipping()
        accumulating = keras.optimizers.SGD(gradient_accumulation_steps=2)
        overwriting = keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2)
    outside, foreign = linear_model(), clipping()
    single = tf.distribute.OneDeviceStrategy("CPU:0")
    with single.scope():
        alone = linear_model()
    with tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"]).scope():
        unknown = linear_model()
    image = keras.Input((16, 20, 1))
    mixed = keras.Model(image, keras.layers.average([outside(image), inside(image)]))
    calls = {
        "batch": (both, inside, {"batch_size": 7}),
        "outside": (both, outside, {}),
        "foreign": (one, inside, {"optimizer": foreign}),
        "needless": (one, outside, {"optimizer": optimizer}),
        "accumulating": (one, inside, {"optimizer": accumulating}),
        "overwriting": (one, inside, {"optimizer": overwriting}),
        "unknown": (one, unknown, {}),
        "mixed": (one, mixed, {}),
        "single": (single, alone, {}),
    }
    return {name: error_of(*call) for name, call in calls.items()}


def error_of(strategy, model, options):
    with strategy.scope():
        try:
            wb.training.fit(
                model, SCENE, **{"steps": 1, "batch_size": BATCH, "progress": False, **options}
            )
        except ValueError as error:
            return str(error)
    return "no error"


def work_in_group(out, endless):
    """Train in a group, resume in it, and go on until a worker is lost."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    run = Path(endless).with_name("run.npz")
    train(strategy, linear_model, clipping, steps=3, checkpoint=run)
    model, history = train(strategy, linear_model, clipping, checkpoint=run)
    quick, ended = train(strategy, linear_model, steps=None, seconds=0.0)
    assert len(ended) == 0
    # Not the same arguments everywhere.
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    own = run.with_name("own.npz") if index == 0 else None
    texts = [
        error_of(strategy, quick, {k: v}) for k, v in {"seed": index, "checkpoint": own}.items()
    ]
    np.savez(out, **arrays("group", model, history), texts=texts)
    train(strategy, linear_model, steps=10**6, checkpoint=endless, checkpoint_seconds=0)


# The tests -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharing(tmp_path_factory):
    """The process of two virtual devices, which works while other tests run."""
    out = tmp_path_factory.mktemp("shared") / "found.npz"
    with open(out.with_suffix(".log"), "w") as log:
        process = subprocess.Popen([sys.executable, __file__, "share", out], stdout=log, stderr=log)
    yield process, out
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def shared(sharing):
    process, out = sharing
    assert process.wait(TIMEOUT) == 0, out.with_suffix(".log").read_text()[-3000:]
    return np.load(out)


def part(found, name):
    return {key.split("/")[1]: found[key] for key in found if key.startswith(f"{name}/")}


def weights(found, name):
    return [value for key, value in sorted(part(found, name).items()) if key[-1].isdigit()]


def assert_close(found, name, expected, atol=0.0):
    for a, b in zip(weights(found, name), weights(found, expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


class Group:
    """Two workers on this machine, none of which outlives the `with` block."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        places = [f"localhost:{port}" for port in free_ports(2)]
        self.workers = [self.start(i, {"cluster": {"worker": places}}) for i in range(2)]
        return self

    def start(self, index, config):
        task = {"task": {"type": "worker", "index": index}}
        with open(self.folder / f"{index}.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, __file__, "group", f"{self.folder}/{index}.npz",
                 f"{self.folder}/endless.npz"],
                env={**os.environ, "TF_CONFIG": json.dumps(config | task)},
                stdout=log, stderr=log,
            )  # fmt: skip

    def wait_for(self, path):
        end = time.monotonic() + TIMEOUT
        while not path.exists():
            codes = [worker.poll() for worker in self.workers]
            assert codes == [None, None], self.logs()
            assert time.monotonic() < end, self.logs()
            time.sleep(0.05)

    def logs(self):
        return "\n".join((self.folder / f"{i}.log").read_text()[-3000:] for i in range(2))

    def __exit__(self, *_):
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@functools.cache
def one_worker():
    keras.utils.set_random_seed(0)
    return train(tf.distribute.get_strategy(), linear_model, clipping)


@pytest.mark.parametrize(
    ("victim", "sent", "says"),
    [
        (1, signal.SIGKILL, "RuntimeError: A worker stopped answering"),
        pytest.param(0, signal.SIGKILL, "RuntimeError: A worker", marks=pytest.mark.slow),
        pytest.param(1, signal.SIGINT, "KeyboardInterrupt: interrupted", marks=pytest.mark.slow),
    ],
)
def test_two_workers_learn_resume_and_end_together(sharing, tmp_path, victim, sent, says):
    with Group(tmp_path) as group:
        model, history = one_worker()  # while the two are at work
        group.wait_for(tmp_path / "endless.npz")
        group.workers[victim].send_signal(sent)
        other = group.workers[1 - victim]
        assert other.wait(TIMEOUT) != 0
    text = (tmp_path / f"{1 - victim}.log").read_text()
    assert says in text, group.logs()
    for found in (np.load(tmp_path / f"{i}.npz") for i in range(2)):
        # Tolerances as above.
        curve = part(found, "group")["loss"]
        np.testing.assert_allclose(curve[0], history["loss"][0], rtol=FIRST)
        np.testing.assert_allclose(curve, history["loss"], rtol=FIRST * 10)
        for a, b in zip(weights(found, "group"), model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=FIRST * 10)
        for text in found["texts"]:
            assert "call `fit` with the same arguments, `checkpoint` included" in text


@pytest.fixture
def other_seed(sharing):  # before it is waited for
    return train(tf.distribute.get_strategy(), profile_model, seed=1)[1]


def test_two_replicas_learn_the_curve_of_one(other_seed, shared):
    one, both = part(shared, "profile one"), part(shared, "profile both")
    measured = ["loss", "bce", "iou", "pixel_error", "edge_loss", "label_loss", "accuracy"]
    for name in [*measured, "floor", "exact_rate", "gradient_norm"]:
        np.testing.assert_allclose(both[name][:1], one[name][:1], rtol=FIRST, err_msg=name)
        # A step of Adam is about the learning rate for each weight, also for one whose gradient
        # is all rounding; by its small gradient, such a weight changes the loss little. So the
        # difference grows with each step, to at most a thousandth of the loss in these six; the
        # images of another seed change the loss by ten times that, as the last line says.
        if name in ("loss", "edge_loss", "label_loss"):
            np.testing.assert_allclose(both[name], one[name], rtol=1e-3, err_msg=name)
    assert np.abs(other_seed["loss"] / one["loss"] - 1).max() > 0.01


def test_gradients_clipping_and_penalties_are_those_of_the_whole_batch(shared):
    one, both = part(shared, "linear one"), part(shared, "linear both")
    assert one["gradient_norm"][0] > 0.4 > one["gradient_norm"].min()  # clipped, and not
    # A step of gradient descent adds rounding of the gradient and multiplies what there is by at
    # most 1 + rate / (1 - momentum) * curvature, here less than 3: 3**6 times that of the first.
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(both[name][0], one[name][0], rtol=FIRST, err_msg=name)
        np.testing.assert_allclose(both[name], one[name], rtol=FIRST * 10, err_msg=name)
    assert_close(shared, "linear both", "linear one", FIRST * 10)


def test_averaged_weights_are_those_of_one(shared):
    for kind in ("average", "last"):  # Tolerance as above: means of weights differ no more.
        assert_close(shared, f"{kind} both", f"{kind} one", FIRST * 10)
    # They are not the weights of the last step, and the same on both replicas.
    [average, *_], [last] = weights(shared, "average both"), weights(shared, "last both")
    assert np.abs(average - last).max() > FIRST * 20
    for replica in range(2):
        assert_close(shared, f"copies {replica}", "average both")


def test_resumes_exactly_under_a_strategy_and_closely_without(shared):
    assert_close(shared, "resumed both", "linear both")
    np.testing.assert_array_equal(shared["resumed both/loss"], shared["linear both/loss"])
    assert_close(shared, "resumed one", "linear both", FIRST * 10)


def test_moving_averages_are_the_means_over_replicas(shared):
    keras.utils.set_random_seed(0)
    model = norm_model()
    mean, variance = np.zeros(2), np.ones(2)
    for index in range(2):
        images = wb.data.batch_at(SCENE, index, batch_size=BATCH).images
        seen = model.get_layer("conv")(images).numpy().astype("float64")
        shares = seen.reshape(2, -1, 2)  # (replica, pixels, channel)
        mean = 0.99 * mean + 0.01 * shares.mean((0, 1))
        variance = 0.99 * variance + 0.01 * shares.var(1).mean(0)
    norm = model.get_layer("norm")
    place = next(i for i, v in enumerate(model.variables) if v is norm.moving_mean)
    found = weights(shared, "norm")[place : place + 2]
    # Each is a mean of 80 products in float32, of sums of nine.
    np.testing.assert_allclose(found[0], mean, rtol=FIRST, atol=1e-7)
    np.testing.assert_allclose(found[1], variance, rtol=FIRST)


def test_all_replicas_leave_out_a_step_that_one_finds_bad(shared):
    assert "step 3" in str(shared["diverged text"])
    before = list(part(shared, "diverged before").values())
    assert len(before) == 8
    for replica in ("first", "second"):
        for a, b in zip(part(shared, f"diverged {replica}").values(), before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("batch", "multiple of their number, 2; got 7. Take 8."),
        ("outside", "built outside any strategy"),
        ("foreign", "made outside the scope"),
        ("needless", "made inside the scope of a MirroredStrategy"),
        ("accumulating", "gradient_accumulation_steps"),
        ("overwriting", "ema_overwrite_frequency"),
        ("unknown", "CentralStorageStrategy"),
        ("single", "OneDeviceStrategy"),
        ("mixed", "in one `with strategy.scope"),
    ],
)
def test_says_what_does_not_suit_the_strategy(shared, name, words):
    assert words in json.loads(str(shared["errors"]))[name]


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    {"share": share_batches, "group": work_in_group}[sys.argv[1]](*sys.argv[2:])
