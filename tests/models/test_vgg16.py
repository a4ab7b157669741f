import urllib.error

import keras
import numpy as np
import pytest

import whitebox_loc as wb


def test_is_the_network_of_the_notebook():
    model = wb.models.vgg16(size=(100, 100))
    assert model.output_shape == (None, 4)
    assert [layer.name for layer in model.layers[-2:]] == ["flatten", "box"]
    # VGG16 without top has 14,714,688 weights (Simonyan and Zisserman, table 2, D); 100
    # pixels halved five times are 3, so the last layer has 3 * 3 * 512 * 4 + 4.
    assert model.count_params() == 14_714_688 + 3 * 3 * 512 * 4 + 4


def test_weights_from_a_file(tmp_path):
    donor = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "vgg.weights.h5"
    donor.save_weights(path)
    model = wb.models.vgg16(path, size=(32, 32))
    # The last two weights are those of the new Dense(4).
    for a, b in zip(donor.get_weights(), model.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_file_of_another_network(tmp_path):
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(ValueError, match=r"other\.weights\.h5' does not hold the weights of VGG16"):
        wb.models.vgg16(path, size=(32, 32))


def test_missing_file():
    with pytest.raises(FileNotFoundError) as caught:
        wb.models.vgg16("nowhere.h5")
    assert str(caught.value) == (
        "`weights` must be None, 'imagenet' or the path of a weights file; "
        "there is no file 'nowhere.h5'."
    )


def test_imagenet_without_a_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    # An empty cache, and a download that fails as it does without a connection.
    files = "keras.src.utils.file_utils"
    monkeypatch.setattr(f"{files}.config.keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(f"{files}.urlretrieve", refuse)
    with pytest.raises(ConnectionError, match="could not be downloaded") as caught:
        wb.models.vgg16("imagenet", size=(32, 32))
    assert "Connect once, or pass the path of a downloaded weights file." in str(caught.value)


def test_too_small_canvas():
    with pytest.raises(ValueError, match=r"`size` must be at least \(32, 32\)"):
        wb.models.vgg16(size=(31, 100))
