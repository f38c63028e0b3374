"""Images in arrays."""

import numpy as np
import pytest
import torch
from helpers.commands import TINY_TRAINER, run_card, run_cli

from datamodules import ImageArraysDataModule

PIXELS = np.arange(6 * 2 * 4 * 3, dtype=np.uint8).reshape(6, 2, 4, 3)  # images, rows, columns, channels
LABELS = np.array([0, 2, 1, 2, 0, 1])


def parts(**changed):
    """Arrays in the names of Keras."""
    return {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:3] + 1, "y_test": LABELS[:3]} | changed


def made(tmp_path, arrays, **options):
    np.savez(tmp_path / "a.npz", **arrays)
    data = ImageArraysDataModule(str(tmp_path / "a.npz"), **options)
    data.prepare_data()
    return data


def test_images_labels_and_facts(tmp_path):
    data = made(tmp_path, parts(), val_fraction=0.5)
    assert data.data_spec["dataset"] == "a"
    assert data.data_spec["image_shape"] == (3, 2, 4)
    assert data.num_classes == 3
    spread = (PIXELS / 255).mean(axis=(0, 1, 2)), (PIXELS / 255).std(axis=(0, 1, 2))
    assert data.mean == pytest.approx(spread[0], abs=1e-4)
    assert data.std == pytest.approx(spread[1], abs=1e-4)
    train, test = data.load()
    assert torch.equal(train.images, torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy()))
    assert train.labels.tolist() == LABELS.tolist()
    assert test.images[2, 1].tolist() == (PIXELS[2, :, :, 1] + 1).tolist()
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (3, 3, 3)


@pytest.mark.parametrize(
    "images",
    [PIXELS, PIXELS.transpose(0, 3, 1, 2), (PIXELS / 255).astype(np.float32), PIXELS.transpose(0, 3, 1, 2) / 255],
    ids=["channels last", "channels first", "floats", "doubles"],
)
def test_forms_of_the_same_images(tmp_path, images):
    data = made(tmp_path, parts(x_train=images, y_train=LABELS[:, None].astype(np.uint8)), val_fraction=0.5)
    assert torch.equal(data.load()[0].images, torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy()))


def test_floats_are_rounded(tmp_path):
    images = np.full((6, 2, 2), 0.6 / 255)
    assert (
        made(tmp_path, parts(x_train=images, x_test=3 * images[:3]), val_fraction=0.5, std=(1.0,))
        .load()[0]
        .images.unique()
        == 1
    )


def test_names_of_medmnist_with_a_validation_part_and_grey_images(tmp_path):
    grey = PIXELS[..., 0]
    arrays = {f"{part}_images": grey + number for number, part in enumerate(("train", "val", "test"))}
    arrays |= {f"{part}_labels": LABELS[:, None] for part in ("train", "val", "test")}
    data = made(tmp_path, arrays, class_names=["a", "b", "c"])
    assert data.image_shape == (1, 2, 4)
    assert data.val_set.images[:, 0].tolist() == (grey + 1).tolist()
    assert data.class_names == ["a", "b", "c"]


def test_a_folder_of_one_part_is_split_by_ratio(tmp_path):
    np.save(tmp_path / "images.npy", np.concatenate([PIXELS] * 5))
    np.save(tmp_path / "labels.npy", np.concatenate([LABELS] * 5))
    data = ImageArraysDataModule(str(tmp_path), split="70:30")
    data.prepare_data()
    assert len(data.test_set) == 9
    with pytest.raises(ValueError, match="no official split"):
        ImageArraysDataModule(str(tmp_path)).prepare_data()


def test_a_run(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (40, 8, 8, 3), np.uint8), "y_train": np.arange(40) % 2}
    np.savez(tmp_path / "noise.npz", x_test=255 - arrays["x_train"], y_test=arrays["y_train"], **arrays)
    run_cli("fit", "--model=ClassificationTask", "--model.network=MLP", "--data=ImageArraysDataModule",
            f"--data.path={tmp_path / 'noise.npz'}", *TINY_TRAINER, "--trainer.max_epochs=1",
            "--experiment=noise")  # fmt: skip
    assert 0 <= run_card("noise")["metrics"]["test/acc"] <= 1


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"a": PIXELS}, {}, r"has no arrays x_train and y_train or .* but a$"),
        ({"x_test": PIXELS, "y_test": LABELS}, {}, r"has no arrays .* but x_test, y_test"),
        ({"x_train": PIXELS}, {}, "has x_train, but no y_train"),
        (parts(y_train=LABELS[:5]), {}, r"y_train in .* has shape \(5,\) for 6 images"),
        (parts(y_train=LABELS / 1), {}, "y_train in .* must be whole numbers from 0, got float64"),
        (parts(y_train=LABELS - 1), {}, "must be whole numbers from 0, got int64 from -1"),
        (parts(y_train=LABELS * 0, y_test=LABELS[:3] * 0), {}, "has one class only"),
        (
            parts(y_train=LABELS + 1, y_test=LABELS[:3] + 1),
            {},
            r"must be 0 to 2 for 3 classes, found 1, 2, 3; subtract 1\?",
        ),
        (parts(y_train=LABELS + 1), {"class_names": ["a", "b", "c"]}, r"found 1, 2, 3; subtract 1\?"),
        (parts(y_train=LABELS * 127 + (LABELS == 2)), {}, r"found 0, 127, 255; np\.unique\(labels, return_inverse"),
        (
            parts(y_train=np.where(LABELS == 2, 255, LABELS).astype(np.uint8)),
            {},
            "found 0, 1, 255; 255 often means no label",
        ),
        (parts(y_train=LABELS * 10**9), {}, "found 0, 1000000000, 2000000000; "),
        (parts(y_train=LABELS * 0 + 3), {}, "has one class only"),
        (parts(train_images=PIXELS, train_labels=LABELS), {}, "has both x_train and train_images; keep one"),
        (parts(x_val=PIXELS, y_val=LABELS, x_dev=PIXELS, y_dev=LABELS), {}, "has both x_val and x_dev; keep one"),
        (parts(y_valid=LABELS), {}, "has y_valid, but no x_valid"),
        (
            parts(x_train=PIXELS * np.array([1, 0, 1], np.uint8)),
            {},
            "std: channel 2 of 3 of the training images has one",
        ),
        (
            parts(x_train=PIXELS[..., 0] | 255, x_test=PIXELS[:3, ..., 0]),
            {},
            "channel 1 of 1 of the training images has one value",
        ),
        (parts(y_test=LABELS[:3] + 1), {}, "test has images .* labels up to 3, train .* and 2"),
        (parts(x_test=PIXELS[:3, :1]), {}, r"test has images \[3, 1, 4\]"),
        (parts(x_train=PIXELS.astype(np.int32)), {}, "is of int32; expected bytes"),
        (parts(x_train=PIXELS / 1), {}, "values from 0.0 to 143.0; floats must be in"),
        (parts(x_train=PIXELS * np.nan), {}, "values from nan to nan"),
        (parts(x_train=PIXELS[..., :2]), {}, r"has shape \(6, 2, 4, 2\), without an axis"),
        (parts(x_train=PIXELS[0, 0]), {}, r"has shape \(4, 3\), not \(N, H, W\)"),
        (parts(x_train=PIXELS[:0], y_train=LABELS[:0]), {}, r"has shape \(0,"),
        (parts(y_train=LABELS.astype(object)), {}, "cannot be read: Object arrays cannot be loaded"),
        (parts(), {"class_names": ["a"]}, "class_names: 1 names for 3 classes"),
    ],
)
def test_refused(tmp_path, arrays, options, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        made(tmp_path, arrays, **options)


@pytest.mark.parametrize("name", ["valid", "validation", "dev"])
def test_names_of_the_validation_part(tmp_path, name):
    assert len(made(tmp_path, parts(**{f"x_{name}": PIXELS + 2, f"y_{name}": LABELS})).val_set) == 6
    arrays = {f"{part}_images": PIXELS + number for number, part in enumerate(("train", name, "test"))}
    arrays |= {f"{part}_labels": LABELS for part in ("train", name, "test")}
    assert made(tmp_path, arrays).val_set.images[0, 0, 0, 0] == 1


def test_arrays_that_are_not_read_are_said(tmp_path):
    with pytest.warns(UserWarning, match=r"data\.path: .*a\.npz: not read: x_extra, weights$"):
        made(tmp_path, parts(x_extra=PIXELS, weights=LABELS), val_fraction=0.5)
    for name, array in parts().items():
        np.save(tmp_path / f"{name}.npy", array)
        np.save(tmp_path / f"._{name}.npy", array)
    np.save(tmp_path / "X_val.npy", PIXELS)
    with pytest.warns(UserWarning, match="not read: X_val$"):
        ImageArraysDataModule(str(tmp_path), val_fraction=0.5)


def test_a_class_without_a_training_image_is_said_if_it_has_a_name(tmp_path):
    labels = np.array([0, 3, 1, 3, 0, 1])
    with pytest.warns(UserWarning, match="no training image of 'c', one of 1 such classes"):
        data = made(tmp_path, parts(y_train=labels), class_names=["a", "b", "c", "d"], val_fraction=0.5)
    assert data.num_classes == 4


@pytest.mark.parametrize(
    ("images", "said"), [(PIXELS // 128, "to be multiplied by 255"), (PIXELS / 255 / 255, "divided by 255 twice")]
)
def test_black_images_are_said(tmp_path, images, said):
    with pytest.warns(UserWarning, match=rf"x_train in .* is black, with no value above 1 of 255: {said}\?"):
        made(tmp_path, parts(x_train=images), val_fraction=0.5, std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"<html>"])
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data.path: .*a\.npz cannot be read"):
        ImageArraysDataModule(str(tmp_path / "a.npz"))
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        ImageArraysDataModule(str(tmp_path / "nowhere"))
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(ValueError, match="is one array; give the folder"):
        ImageArraysDataModule(str(tmp_path / "a.npy"))
