"""Images in arrays."""

import numpy as np
import pytest
import torch
from conftest import TINY_TRAINER, run_card, run_cli

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
    assert data.facts["dataset"] == "a"
    assert data.facts["image_shape"] == (3, 2, 4)
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
