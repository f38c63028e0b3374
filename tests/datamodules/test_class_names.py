"""Names of the classes belong to what was trained: their order is followed, and no other name takes their place."""

import contextlib
import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import TINY_TRAINER, make_trainer, refusal, run_cli
from helpers.quickdraw_files import write
from PIL import Image

from datamodules import ImageArraysDataModule, NoImages, QuickDrawDataModule, QuickDrawImagesDataModule
from lightning_tasks import MLP, ClassificationTask
from lightning_tasks.export.export import export
from lightning_tasks.export.predict import find_images, load, predict
from lightning_tasks.runs.data_spec import in_order_of, require_equal

NAMES = ["cat", "dog", "owl"]
OTHER = ["owl", "cat", "dog"]
MODEL = ["--model=ClassificationTask", "--model.network=MLP", "--model.network.hidden_sizes=[16]"]
REST = [*TINY_TRAINER, "--plots=false", "--data.batch_size=10"]


def bars(counts=(20, 8)):
    """Images of three classes, each a bright bar at its own place, by class: of training and of test."""
    rng = np.random.default_rng(0)
    parts = []
    for count in counts:
        images = rng.integers(0, 60, (3, count, 9, 9, 3), dtype=np.uint8)
        for label in range(3):
            images[label, :, :, 3 * label : 3 * label + 3] += 150
        parts.append(images)
    return parts


def arrays(path, names=NAMES):
    """The same images whatever the order of the names; the class of a bar has the same name, and so another number."""
    train, test = bars()
    order = [NAMES.index(name) for name in names]
    label = np.argsort(order)  # of each bar
    made = {}
    for part, images in (("train", train), ("test", test)):
        made[f"x_{part}"] = images.reshape(-1, 9, 9, 3)
        made[f"y_{part}"] = label.repeat(images.shape[1])
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **made)
    return path


def of_arrays(path, names=NAMES):
    return ["--data=ImageArraysDataModule", f"--data.path={arrays(path, names)}", f"--data.class_names={names}"]


def folder(root, names=NAMES):
    for part, images in zip(("train", "test"), bars(), strict=True):
        for name, of_class in zip(names, images, strict=True):
            (root / part / name).mkdir(parents=True)
            for number, image in enumerate(of_class):
                Image.fromarray(image).save(root / part / name / f"{number:02}.png")
    return ["--data=ImageFolderDataModule", f"--data.folder={root}"]


def rename(root, old="cat", new="feline"):
    for part in ("train", "test"):
        (root / part / old).rename(root / part / new)


def answered(folder, place):
    """Let an exported network classify images; returns the folder of the table."""
    predict(load(folder), find_images([place]), folder / "predictions.csv")
    return folder


def answers(place):
    with open(max(Path(place).rglob("predictions.csv"), key=lambda path: path.stat().st_mtime), newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(place):
        words = [*MODEL, *folder(Path("bars")), *REST, "--experiment=bars"]
        run_cli("fit", *words, "--trainer.max_epochs=4")
    return place, words


@pytest.fixture
def trained(trained_once, tmp_path):
    """Images and a run in the current folder; gives the words of its command."""
    place, words = trained_once
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    return words


class TestFacts:
    def test_equal_names_take_their_order(self):
        ours = {"num_classes": 3, "classes": ("a", "b", "c"), "class_levels": {"above": ["x", "y", "x"]}}
        found = in_order_of({"classes": ["c", "a", "b"]}, ours)
        assert found == {"num_classes": 3, "classes": ("c", "a", "b"), "class_levels": {"above": ["x", "x", "y"]}}
        assert in_order_of({"words": ("b", "a")}, {"words": ("a", "b")}) == {"words": ("b", "a")}

    def test_numbers_and_what_is_not_known_take_names(self):
        theirs = {"classes": ("a", "b"), "class_levels": {"above": ["x", "y"]}}
        assert in_order_of(theirs, {"classes": ("0", "1")}) == theirs
        assert in_order_of(theirs, {}) == theirs
        for known in (None, {}, {"classes": ("0", "1")}):
            assert in_order_of(known, theirs) == theirs
            require_equal(known, theirs, "it was made")

    @pytest.mark.parametrize("names", [("a", "x"), ("a",), ("a", "a"), ("a", "b", "c")])
    def test_others_stay_and_are_refused(self, names):
        ours = {"classes": ("b", "a")}
        assert in_order_of({"classes": names}, ours) == ours
        with pytest.raises(ValueError, match=f"^it was made with classes {', '.join(names)}; this run has b, a; name"):
            require_equal({"classes": names}, in_order_of({"classes": names}, ours), "it was made")

    def test_names_that_stand_twice_keep_their_order(self):
        ours = {"classes": ("crane", "owl", "crane")}
        assert in_order_of({"classes": ("crane", "crane", "owl")}, ours) == ours

    def test_of_many_names_those_are_listed_that_differ(self):
        many = [f"class {number}" for number in range(100)]
        others = [*many[:40], "x", "y", *many[42:]]
        line = "with classes class 40, class 41; this run has x, y; name the classes as they were, or train anew"
        with pytest.raises(ValueError, match=line):
            require_equal({"classes": many}, {"classes": others}, "it was made")
        with pytest.raises(ValueError, match=r"classes class 0, .*class 9 and 90 more; this run has class 99, "):
            require_equal({"classes": many}, {"classes": many[::-1]}, "it was made")


class TestData:
    @pytest.mark.parametrize("split", ["official", "80:20"])
    @pytest.mark.parametrize("already_made", [True, False])
    def test_is_as_if_it_had_always_been_in_that_order(self, tmp_path, split, already_made):
        made = []
        for names in (NAMES, OTHER):
            path = arrays(tmp_path / names[0] / "bars.npz", names)
            data = ImageArraysDataModule(str(path), names, split=split, train_per_class=5)
            if already_made:
                data.setup("fit")
            data.order_classes(NAMES)
            data.setup("fit")
            assert data.class_names == NAMES
            made.append([data.train_set, data.val_set, data.test_set])
        for ours, theirs in zip(*made, strict=True):
            assert torch.equal(ours.labels, theirs.labels)
            assert torch.equal(ours.images, theirs.images)

    def test_levels_follow(self, tmp_path):
        data = ImageArraysDataModule(str(arrays(tmp_path / "bars.npz")), NAMES)
        data.class_levels = {"superclass": ["mammal", "mammal", "bird"]}
        data.order_classes(OTHER)
        assert data.class_levels == {"superclass": ["bird", "mammal", "mammal"]}
        assert data.data_spec["class_levels"] == data.class_levels
        data.order_classes(["owl", "cat", "wolf"])
        assert data.data_spec["classes"] == tuple(OTHER)

    def test_of_drawings(self, tmp_path):
        write(tmp_path, ["cat", "bus"])
        for kind in (QuickDrawDataModule, QuickDrawImagesDataModule):
            there, here = (kind(words, root=str(tmp_path)) for words in (("cat", "bus"), ("bus", "cat")))
            here.prepare_data()
            there.prepare_data()
            here.order_classes(there.data_spec["words"])
            assert here.data_spec == there.data_spec
            assert here.class_names == ["cat", "bus"]
            assert torch.equal(here.test_set.labels, there.test_set.labels)
            ours, theirs = (each.test_set.__getitems__([0, 1])[0] for each in (here, there))
            assert torch.equal(ours, theirs)
            here.order_classes(("cat", "fish"))
            assert here.class_names == ["cat", "bus"]


class TestRuns:
    def test_the_same_classes_in_another_order(self, tmp_path):
        """Trained on arrays; tested, answered and taught with the same images in another order, and as a folder."""
        trained = run_cli("fit", *MODEL, *of_arrays(tmp_path / "a" / "bars.npz"), *REST, "--trainer.max_epochs=4")
        assert trained.trainer.callback_metrics["test/acc"] == 1
        words = of_arrays(tmp_path / "b" / "bars.npz", OTHER)
        tested = run_cli("test", *MODEL, *words, *REST, "--ckpt_path=last")
        assert tested.trainer.callback_metrics["test/acc"] == 1
        assert tested.datamodule.class_names == NAMES
        run_cli("predict", *MODEL, *words, *REST, "--ckpt_path=last")
        rows = answers("logs/unnamed")
        assert [row["predicted"] for row in rows] == [row["label"] for row in rows] == np.repeat(NAMES, 8).tolist()
        student = ["--model=KDTask", "--model.teacher_ckpt=logs/unnamed", "--experiment=student"]
        for which, size in (("teacher", 16), ("student", 8)):
            student += [f"--model.{which}=MLP", f"--model.{which}.hidden_sizes=[{size}]"]
        for words in (of_arrays(tmp_path / "c" / "bars.npz", OTHER), folder(tmp_path / "d" / "bars")):
            taught = run_cli("fit", *student, *words, *REST, "--trainer.max_epochs=1")
            assert taught.trainer.callback_metrics["test/acc_teacher"] == 1
            assert taught.datamodule.class_names == NAMES
        rename(tmp_path / "d" / "bars")
        line = refusal(tmp_path, "fit", *student, *words, *REST, "--trainer.max_epochs=1")
        assert "was trained with classes cat, dog, owl; this run has dog, feline, owl" in line

    @pytest.mark.slow
    def test_a_class_folder_is_renamed(self, trained, tmp_path):
        rename(tmp_path / "bars")
        both = "trained with classes cat, dog, owl; this run has dog, feline, owl; name the classes as they were, or"
        for command in ("test", "predict", "fit"):
            longer = ["--trainer.max_epochs=5"] if command == "fit" else []
            line = refusal(tmp_path, command, *trained, *longer, "--ckpt_path=last")
            assert f"ckpt_path: the checkpoint was {both}" in line

    @pytest.mark.slow
    def test_an_export_has_the_names_of_the_training(self, trained, tmp_path, capsys):
        rename(tmp_path / "bars")
        out, facts = export("logs/bars", tmp_path / "out", False, "x", "y")
        assert facts["classes"] == load(out).classes == NAMES
        assert facts["compared_on"].startswith("500 images of noise")
        assert (
            "without test images: the network was trained with classes cat, dog, owl; this" in capsys.readouterr().out
        )

    @pytest.mark.slow
    def test_files_are_answered_without_the_training_data(self, trained, tmp_path):
        """From the run and from its export: a folder, and all files there are."""
        out, _ = export("logs/bars", tmp_path / "out", False, "x", "y")
        (tmp_path / "bars").rename(tmp_path / "gone")
        (tmp_path / "gone" / "test" / "cat" / "99.png").write_text("no image")
        for place, count in (("gone/test/cat", 9), ("gone", 85)):
            run_cli("predict", *trained, "--ckpt_path=last", f"--data.predict={place}", "--data.eval_batch_size=7")
            ours, theirs = (
                answers("logs/bars"),
                answers(answered(out, place)),
            )
            assert len(ours) == len(theirs) == count
            for one, other in zip(ours, theirs, strict=True):
                known = Path(one["file"]).parent.name if Path(one["file"]).name != "99.png" else ""
                assert one["predicted"] == other["predicted"] == known
                assert one["file"] == other["file"]
                if known:
                    assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=2e-4)

    @pytest.mark.slow
    def test_a_checkpoint_of_old_has_no_names(self, trained, tmp_path):
        path = tmp_path / "logs/bars/version_0/checkpoints/last.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        for facts in (checkpoint["data_spec"], checkpoint["hyper_parameters"]["data_spec"]):
            del facts["classes"]
        torch.save(checkpoint, path)
        assert run_cli("test", *trained, "--ckpt_path=last").trainer.callback_metrics["test/acc"] == 1
        run_cli("predict", *trained, "--ckpt_path=last", "--data.predict=bars/test/dog")
        assert [row["predicted"] for row in answers("logs/bars")] == ["dog"] * 8

    @pytest.mark.slow
    def test_names_that_are_names_of_other_things_too(self, tmp_path):
        """A class called as a file that lies here, and one as a function of an installed module."""
        (tmp_path / "cat").write_text("")
        words = [*MODEL, *folder(tmp_path / "bars", ["cat", "os.system", "webbrowser.open"]), *REST]
        run_cli("fit", *words, "--trainer.max_epochs=1")
        run_cli("test", *words, "--ckpt_path=last")

    def test_from_python(self, tmp_path):
        data = [ImageArraysDataModule(str(arrays(tmp_path / n[0] / "bars.npz", n)), n) for n in (NAMES, OTHER)]

        def network(num_classes, image_shape):
            return MLP(num_classes, image_shape, hidden_sizes=[16])

        task = ClassificationTask(data[0].data_spec, network)
        trainer = make_trainer(max_epochs=4)
        trainer.fit(task, datamodule=data[0])
        trainer.save_checkpoint("bars.ckpt")
        again = ClassificationTask.load_from_checkpoint("bars.ckpt", network=network)
        assert make_trainer().test(again, datamodule=data[1], verbose=False)[0]["test/acc"] == 1
        unordered = ImageArraysDataModule(str(tmp_path / "owl" / "bars.npz"), OTHER)
        fresh = ClassificationTask(unordered.data_spec, network)
        for _ in range(2):
            tested = make_trainer().test(fresh, datamodule=unordered, ckpt_path="bars.ckpt", verbose=False)
            assert tested[0]["test/acc"] == 1

    def test_names_without_images(self):
        data = NoImages(3, image_shape=(1, 4, 4), mean=(0.5,), std=(0.5,))
        data.order_classes(OTHER)
        assert data.class_names == OTHER
        named = NoImages(3, image_shape=(1, 4, 4), mean=(0.5,), std=(0.5,), class_names=NAMES)
        with pytest.raises(ValueError, match="with classes cat, dog, wolf; this run has cat, dog, owl"):
            require_equal(
                data.data_spec | {"dataset": "bars", "classes": ("cat", "dog", "wolf")}, named.data_spec, "it was"
            )
