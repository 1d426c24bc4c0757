"""`mirada.ImageClassifier` keeps scikit-learn's conventions, as far as they apply to arrays of images.

The checks of `sklearn.utils.estimator_checks` that do not feed two-dimensional tables run as they are; what the
others hold is held here on photographs.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks

from mirada import ImageClassifier
from mirada.errors import InputError, NotEnoughData
from mirada.testing.models import tiny_backbone
from mirada.testing.quick import pixels

CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_backbone(tmp_path_factory.mktemp("backbone")).onnx_path)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    X = np.stack([pixels(seed, (40, 36), look=look, n_looks=3) for look in range(3) for seed in range(20)])
    y = np.repeat(["sea", "sky", "wood"], 20)
    return X, y


@pytest.fixture(scope="module")
def fitted(backbone: str, images: tuple[np.ndarray, np.ndarray]) -> ImageClassifier:
    return ImageClassifier(backbone=backbone, precision="f32").fit(*images)


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_checks(name: str, backbone: str) -> None:
    getattr(estimator_checks, name)("ImageClassifier", ImageClassifier(backbone=backbone))


def test_it_is_a_classifier_with_scikit_learns_shapes(fitted: ImageClassifier, images: tuple[np.ndarray, ...]) -> None:
    X, y = images
    probs = fitted.predict_proba(X)
    assert is_classifier(fitted)
    assert list(fitted.classes_) == ["sea", "sky", "wood"]
    assert probs.shape == (60, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[probs.argmax(axis=1)])
    assert fitted.predict(X).dtype == y.dtype
    assert fitted.score(X, y) >= 0.95


def test_fitting_again_gives_the_same(fitted: ImageClassifier, images: tuple[np.ndarray, ...]) -> None:
    again = clone(fitted).fit(*images)
    np.testing.assert_array_equal(again.predict_proba(images[0]), fitted.predict_proba(images[0]))


def test_answers_do_not_depend_on_order_or_number(fitted: ImageClassifier, images: tuple[np.ndarray, ...]) -> None:
    X = images[0]
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(fitted.predict_proba(X[order]), fitted.predict_proba(X)[order], atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(X[3:4]), fitted.predict_proba(X)[3:4], atol=1e-6)


def test_fit_does_not_change_its_input(backbone: str, images: tuple[np.ndarray, ...]) -> None:
    X, y = images[0].copy(), images[1].copy()
    ImageClassifier(backbone=backbone).fit(X, y)
    np.testing.assert_array_equal(X, images[0])
    np.testing.assert_array_equal(y, images[1])


def test_unfitted_it_says_so(backbone: str, images: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(NotFittedError):
        ImageClassifier(backbone=backbone).predict(images[0])


@pytest.mark.parametrize("labels", [np.arange(60) % 3, (np.arange(60) % 3).astype(float), np.arange(60) % 3 == 0])
def test_any_kind_of_label(backbone: str, images: tuple[np.ndarray, ...], labels: np.ndarray) -> None:
    predicted = ImageClassifier(backbone=backbone).fit(images[0], labels).predict(images[0][:4])
    assert predicted.dtype == labels.dtype


def test_paths_pictures_bytes_and_arrays_agree(
    fitted: ImageClassifier, images: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    X = images[0][::10]
    pictures = [Image.fromarray(image) for image in X]
    paths, encoded = [], []
    for i, picture in enumerate(pictures):
        path = tmp_path / f"{i}.png"
        picture.save(path)
        paths.append(path)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    wanted = fitted.predict_proba(X)
    for form in (pictures, paths, [str(path) for path in paths], encoded):
        np.testing.assert_array_equal(fitted.predict_proba(form), wanted)


def test_cross_validation_works(backbone: str, images: tuple[np.ndarray, ...]) -> None:
    scores = cross_val_score(ImageClassifier(backbone=backbone), *images, cv=3)
    assert scores.mean() >= 0.9


@pytest.mark.parametrize(
    ("X", "y", "error"),
    [
        (np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1], InputError),
        (np.zeros((4, 8, 8, 3), np.float32), [0, 1, 0, 1], InputError),
        (np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0], InputError),
        (np.zeros((4, 8, 8, 3), np.uint8), [0, 0, 0, 0], NotEnoughData),
    ],
)
def test_wrong_input_is_a_sentence(backbone: str, X: np.ndarray, y: list[int], error: type[Exception]) -> None:
    with pytest.raises(error):
        ImageClassifier(backbone=backbone).fit(X, y)
