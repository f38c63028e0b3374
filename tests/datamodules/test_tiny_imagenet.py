"""Tiny ImageNet: read, downloaded, decoded; on small folders in its official form."""

import shutil

import numpy as np
import pytest
import torch
from helpers.commands import ROOT, TINY_TEACHER, TINY_TRAINER, files, refusal, run_card, run_cli
from helpers.tiny_imagenet_files import ANNOTATED, WNIDS, numbers, photograph, write
from PIL import Image

from datamodules import BatchRandomCrop, ImageFolderDataModule, TinyImageNetDataModule, decoding, tiny_imagenet
from datamodules.decoding import StoredImages


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "data")


def opened(folder, **options):
    data = TinyImageNetDataModule(root=str(folder.parent), **{"val_fraction": 0.25} | options)
    data.prepare_data()
    return data


def pairs(part):
    return set(zip(numbers(part.images), part.labels.tolist(), strict=True))


class TestContent:
    def test_images_labels_names_and_splits(self, folder):
        data = opened(folder)
        assert data.data_spec["dataset"] == "TinyImageNet"
        assert data.data_spec["num_classes"] == 3
        assert data.data_spec["image_shape"] == (3, 64, 64)
        assert data.class_names == ["goldfish", "bullfrog", "Egyptian cat"]
        assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [9, 3, 6]
        assert pairs(data.train_set) | pairs(data.val_set) == {(number, number // 4) for number in range(12)}
        assert data.val_set.labels.tolist() == [0, 1, 2]
        assert numbers(data.test_set.images) == list(range(12, 18))
        assert data.test_set.labels.tolist() == list(ANNOTATED)
        assert data.test_set.images.dtype == torch.uint8

    def test_resized(self, folder):
        data = opened(folder, image_size=32)
        assert data.data_spec["image_shape"] == data.test_set[0][0].shape == (3, 32, 32)
        assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [9, 3, 6]

    @pytest.mark.parametrize("layout", ["val by class", "val by class, images", "no images", "nested", "all"])
    def test_other_layouts_of_the_same_files(self, folder, layout, recwarn):
        if layout.startswith("val by class") or layout == "all":
            for index, label in enumerate(ANNOTATED):
                place = folder / "val" / WNIDS[label] / ("images" if layout.endswith("images") else "")
                place.mkdir(parents=True, exist_ok=True)
                (folder / f"val/images/val_{index}.JPEG").rename(place / f"val_{index}.JPEG")
            (folder / "val/images").rmdir()
            (folder / "val/val_annotations.txt").unlink()
        if layout in ("no images", "all"):
            for wnid in WNIDS:
                for file in (folder / "train" / wnid / "images").iterdir():
                    file.rename(folder / "train" / wnid / file.name)
                (folder / "train" / wnid / "images").rmdir()
        if layout in ("nested", "all"):
            folder.rename(folder.parent / "inner")
            folder.mkdir()
            (folder.parent / "inner").rename(folder / folder.name)
        data = opened(folder)
        assert pairs(data.train_set) | pairs(data.val_set) == {(number, number // 4) for number in range(12)}
        assert numbers(data.test_set.images) == list(range(12, 18))
        assert data.test_set.labels.tolist() == list(ANNOTATED)
        assert not [each for each in recwarn if "not read" in str(each.message)]

    def test_a_class_without_a_folder_in_val(self, folder):
        shutil.rmtree(folder / "val" / "images")
        (folder / "val" / WNIDS[0]).mkdir()
        photograph(1).save(folder / "val" / WNIDS[0] / "val_0.JPEG")
        with pytest.raises(FileNotFoundError, match=rf"val/{WNIDS[1]}/images has no images val_"):
            opened(folder)

    def test_batches(self, folder):
        data = opened(folder, batch_size=4, augment=[BatchRandomCrop(4)], mean=(0.5, 0.25, 0.1), std=(0.5, 1, 0.5))
        assert isinstance(data.train_set, StoredImages)
        batch = next(iter(data.test_dataloader()))
        x, y = data.on_after_batch_transfer(batch, 0)
        assert y.tolist() == list(ANNOTATED)
        assert x[0, :, 5, 5].tolist() == pytest.approx([(200 / 255 - 0.5) / 0.5, -0.25, -0.2], abs=0.03)
        orders = []
        for num_workers in (0, 1):
            data.num_workers = num_workers
            batches = list(data.train_dataloader())
            assert [len(y) for _, y in batches] == [4, 4]  # and one alone that is left out
            orders.append([(numbers(x), y.tolist()) for x, y in batches])
            assert all(number // 4 == y for xs, ys in orders[-1] for number, y in zip(xs, ys, strict=True))
        assert orders[0] == orders[1]

    def test_the_first_classes_of_the_list(self, folder):
        data = opened(folder, num_classes=2)
        assert data.data_spec["num_classes"] == 2
        assert data.class_names == ["bullfrog", "Egyptian cat"]
        assert pairs(data.train_set) | pairs(data.val_set) == {(number, number // 4 - 1) for number in range(4, 12)}
        assert numbers(data.test_set.images) == [12, 14, 15, 16]
        assert data.test_set.labels.tolist() == [1, 0, 0, 1]

    def test_files_that_are_not_read_are_said(self, folder, recwarn):
        images = folder / "train" / WNIDS[0] / "images"
        for place in (images / "._x.JPEG", folder / "train" / ".ipynb_checkpoints" / "x.JPEG"):  # hidden
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(b"")
        (folder / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt").write_text("")  # official
        opened(folder)
        assert not [each for each in recwarn if "not read" in str(each.message)]
        (images / f"{WNIDS[0]}_0.JPEG").rename(images / f"{WNIDS[0]}_0.jpeg")
        (folder / "val" / "images" / "extra.png").write_bytes(b"")
        with pytest.warns(UserWarning, match=rf"not read: 1 \.jpeg in {images}$") as said:
            assert len(opened(folder).load()[0]) == 11
        assert any("not read: 1 .png in" in str(each.message) for each in said)

    def test_a_folder_with_fewer_classes(self, folder):
        shutil.rmtree(folder / "train" / WNIDS[1])
        data = opened(folder)
        assert data.data_spec["num_classes"] == 2
        assert data.class_names == ["goldfish", "Egyptian cat"]
        assert pairs(data.train_set) | pairs(data.val_set) == {
            (number, number // 8) for number in (0, 1, 2, 3, 8, 9, 10, 11)
        }
        assert numbers(data.test_set.images) == [12, 13, 16, 17]
        assert data.test_set.labels.tolist() == [1, 0, 1, 0]

    def test_mean_and_standard_deviation(self, folder, monkeypatch):
        """A quarter of each image is the colour, another its grey, the rest black."""

        def of(greys):
            grey = 5 * np.array(greys) / 255
            mean = (200 / 255 + grey.mean()) / 4
            return mean, (((200 / 255) ** 2 + (grey**2).mean()) / 4 - mean**2) ** 0.5

        for num_classes, used in ((None, range(12)), (2, range(4, 12))):
            data = opened(folder, num_classes=num_classes)
            mean, std = of(used)
            assert data.data_spec["mean"] == pytest.approx([mean] * 3, abs=2e-3)
            assert data.data_spec["std"] == pytest.approx([std] * 3, abs=2e-3)
            images = torch.cat([data.train_set.images, data.val_set.images]).double() / 255
            assert data.mean == pytest.approx(images.mean((0, 2, 3)).tolist(), abs=6e-5)
            assert data.std == pytest.approx(images.std((0, 2, 3), correction=0).tolist(), abs=6e-5)
        assert opened(folder, mean=(0.1, 0.2, 0.3)).data_spec["mean"] == (0.1, 0.2, 0.3)
        assert opened(folder, normalise=False).data_spec["std"] == (1, 1, 1)
        monkeypatch.setattr(tiny_imagenet, "OFFICIAL_CLASSES", 3)
        assert opened(folder).mean != TinyImageNetDataModule.mean
        monkeypatch.setattr(tiny_imagenet, "OFFICIAL_IMAGES", 12)
        assert opened(folder).data_spec["mean"] == (0.4802, 0.4481, 0.3975)
        assert opened(folder).data_spec["std"] == (0.2770, 0.2691, 0.2821)

    def test_grey_photographs(self, folder):
        Image.new("L", (64, 64), 99).save(folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG")
        grey = opened(folder).load()[0].images[0]
        assert grey.shape == (3, 64, 64)
        assert grey.unique().tolist() == [99]

    def test_files_that_do_not_belong_there(self, folder):
        expected = opened(folder).data_spec
        extra = ["README", "train/.DS_Store", "train/n09999999/images/n09999999_0.JPEG", "val/images/Thumbs.db"]
        extra += [f"train/{WNIDS[0]}/images/{name}" for name in ("._n01443537_0.JPEG", "copy.JPEG", "n01443537_0.txt")]
        for name in [*extra, "val/images/._val_0.JPEG"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"nothing")
        data = opened(folder)
        assert data.data_spec == expected
        assert pairs(data.train_set) | pairs(data.val_set) == {(number, number // 4) for number in range(12)}
        assert len(data.test_set) == 6

    def test_decoded_once_for_any_number_of_classes(self, folder, monkeypatch):
        opened(folder)
        read = []
        read_file = decoding.open_rgb
        monkeypatch.setattr(decoding, "open_rgb", lambda file, size: read.append(file) or read_file(file, size))
        opened(folder)
        opened(folder, num_classes=2)
        assert not read
        photograph(40).save(folder / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG", quality=100, subsampling=0)
        assert numbers(opened(folder).load()[0].images) == [0, 1, 2, 3, 4, 5, 40, 7, 8, 9, 10, 11]
        assert len(read) == 12  # those of the validation split are as they were


class TestRefused:
    def refused(self, folder, **options):
        """The one line; no file may be lost or made but the array of a part that is in order."""
        before = files(folder.parent)
        with pytest.raises((ValueError, OSError)) as error:
            opened(folder, **options)
        after = files(folder.parent)
        assert after.keys() - before.keys() <= {folder / "train" / f".decoded.{kind}" for kind in ("npy", "txt")}
        assert {path: after[path] for path in before} == before
        text = str(error.value)
        assert "\n" not in text
        return text

    def test_numbers_of_classes(self, folder):
        assert self.refused(folder, num_classes=4) == f"num_classes: 4 asked for, but {folder} has 3 classes"
        assert self.refused(folder, num_classes=1) == "num_classes must be at least 2, got 1"

    @pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
    def test_a_list_is_missing(self, folder, name):
        (folder / name).unlink()
        assert self.refused(folder).endswith(f"No such file or directory: '{folder / name}'")

    def test_no_folders_of_classes(self, folder):
        shutil.rmtree(folder / "train")
        assert self.refused(folder).endswith("two at least; found 0 of 3")

    def test_a_class_without_images(self, folder):
        images = folder / "train" / WNIDS[2] / "images"
        shutil.rmtree(images)
        assert self.refused(folder) == f"{images} has no images {WNIDS[2]}_*.JPEG"

    def test_a_class_without_a_name(self, folder):
        (folder / "words.txt").write_text("n01443537\tgoldfish\nn02124075\tEgyptian cat\n")
        assert self.refused(folder) == f"{folder}/words.txt has no line for n01641577"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda lines: lines[:4], "has no line for val_4.JPEG, one of 2 such images"),
            (lambda lines: lines[1:], "has no line for val_0.JPEG, one of 1 such images"),
            (
                lambda lines: [*lines, "val_9.JPEG\tn01443537\t0\t0\t1\t1"],
                "annotates val_9.JPEG, one of 1 that are not in",
            ),
            (lambda lines: [*lines[:5], lines[5][:15]], ": line 6 is not an image and its class: 'val_5.JPEG\\tn014'"),
            (lambda lines: [*lines[:5], "val_5.JPEG"], ": line 6 is not an image and its class: 'val_5.JPEG'"),
            (lambda lines: [lines[0].replace("\t", " "), *lines[1:]], ": line 1 is not an image and its class"),
            (lambda lines: [*lines, lines[2]], ": line 7 annotates an image again: 'val_2.JPEG\\t"),
        ],
    )
    def test_annotations(self, folder, change, message):
        path = folder / "val" / "val_annotations.txt"
        path.write_text("\n".join(change(path.read_text().splitlines())))
        text = self.refused(folder)
        assert text.startswith(str(path))
        assert message in text

    def test_a_class_without_test_images(self, folder):
        path = folder / "val" / "val_annotations.txt"
        path.write_text(path.read_text().replace(WNIDS[1], WNIDS[2]))
        assert self.refused(folder) == f"{path} has no image of {WNIDS[1]}, one of 1 such classes"

    @pytest.mark.parametrize("name", [f"train/{WNIDS[1]}/images/{WNIDS[1]}_3.JPEG", "val/images/val_4.JPEG"])
    def test_an_image_cut_short(self, folder, name):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-100])
        assert self.refused(folder).startswith(f"{path} is no image that can be read: image file is truncated")

    def test_an_image_of_another_size(self, folder):
        path = folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG"
        Image.new("RGB", (64, 48)).save(path)
        assert self.refused(folder) == f"{path} has 64 x 48 pixels and all must have 64 x 64"

    def test_the_command_says_it_in_one_line(self, folder, tmp_path):
        path = folder / "val" / "images" / "val_3.JPEG"
        path.unlink()
        line = refusal(tmp_path, "fit", *TINY_TEACHER, "--data=TinyImageNetDataModule", f"--data.root={folder.parent}")
        lost = f"annotates val_3.JPEG, one of 1 that are not in {folder}/val/images"
        assert line == f"error: {folder}/val/val_annotations.txt {lost}"


def test_a_run(folder):
    """From the command line, with options of all image sets; the facts reach the task."""
    words = ["--data=TinyImageNetDataModule", f"--data.root={folder.parent}", "--data.num_classes=2"]
    words += [
        "--data.val_fraction=0.25",
        "--trainer.max_epochs=1",
        "--data.augment=[{class_path: datamodules.BatchRandomFlip}]",
    ]
    cli = run_cli("fit", *TINY_TEACHER, *words, *TINY_TRAINER)
    assert cli.model.data_spec["num_classes"] == 2
    assert cli.model.data_spec["mean"] == cli.datamodule.mean
    assert run_card("teacher")


def test_the_folder_datamodule_reads_its_training_images_alike(folder, tmp_path):
    """Another way to the same figures."""
    for wnid in WNIDS:
        shutil.copytree(folder / "train" / wnid / "images", tmp_path / "plain" / wnid)
    plain = ImageFolderDataModule(str(tmp_path / "plain"), split="80:20")
    ours = opened(folder)
    assert plain.mean == ours.mean
    assert plain.std == ours.std
    assert torch.equal(plain.load()[0].images, ours.load()[0].images)


@pytest.mark.real_data
def test_the_real_folder():
    """Labels and names of images that were looked at."""
    if not (ROOT / "data" / "tiny-imagenet-200").is_dir():
        pytest.skip("no tiny-imagenet-200 in data/")
    data = TinyImageNetDataModule(root=str(ROOT / "data"))
    data.prepare_data()
    names = (ROOT / "data/tiny-imagenet-200/wnids.txt").read_text().split()
    assert data.num_classes == len(names)
    train, test = data.load()
    assert torch.bincount(train.labels).tolist() == [500] * len(names)
    assert torch.bincount(test.labels).tolist() == [50] * len(names)
    assert data.class_names[sorted(names).index("n01443537")] == "goldfish"
    assert data.class_names[sorted(names).index("n02124075")] == "Egyptian cat"
    assert data.mean == pytest.approx(TinyImageNetDataModule.mean, abs=0.04)
    assert data.std == pytest.approx(TinyImageNetDataModule.std, abs=0.02)
