"""Bad input: one clear line, a non-zero exit status, and nothing else changed."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import ROOT, TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, refused, run_cli

DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
TEACHER = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]


class TestTeacher:
    def test_missing(self, tmp_path):
        line = refused(tmp_path, *DFAD, "--model.teacher_ckpt=logs/teacher")
        assert "teacher_ckpt: no checkpoint at logs/teacher" in line

    def test_truncated(self, tmp_path, teacher_ckpt):
        path = tmp_path / "teacher.ckpt"
        path.write_bytes(teacher_ckpt.read_bytes()[:5000])
        line = refused(tmp_path, *DFAD, f"--model.teacher_ckpt={path}")
        assert f"teacher_ckpt: {path} is damaged" in line

    @pytest.mark.slow
    def test_code_in_the_file_does_not_run(self, tmp_path):
        path = tmp_path / "teacher.ckpt"
        victim = tmp_path / "victim"
        victim.write_text("alive")

        class Attack:
            def __reduce__(self):
                return os.remove, (str(victim),)

        torch.save({"state_dict": Attack()}, path)
        line = refused(tmp_path, *DFAD, f"--model.teacher_ckpt={path}")
        assert "holds more than plain data" in line
        assert victim.read_text() == "alive"
        path.write_bytes(pickle.dumps(Attack()))
        assert "holds more than plain data" in refused(tmp_path, *DFAD, f"--model.teacher_ckpt={path}")
        assert "holds more than plain data" in refused(tmp_path, *TEACHER, f"--ckpt_path={path}")
        assert victim.read_text() == "alive"

    def test_of_another_class_count(self, tmp_path, teacher_ckpt):
        checkpoint = torch.load(teacher_ckpt, weights_only=True)
        checkpoint["data_spec"]["num_classes"] = 100
        torch.save(checkpoint, tmp_path / "teacher.ckpt")
        line = refused(tmp_path, *DFAD, "--model.teacher_ckpt=teacher.ckpt")
        assert "teacher_ckpt: teacher.ckpt was trained with num_classes 100; this run has 10" in line

    def test_of_another_normalisation(self, tmp_path, teacher_ckpt):
        checkpoint = torch.load(teacher_ckpt, weights_only=True)
        checkpoint["data_spec"]["mean"] = [0.5]
        torch.save(checkpoint, tmp_path / "teacher.ckpt")
        assert "trained with mean [0.5]" in refused(tmp_path, *DFAD, "--model.teacher_ckpt=teacher.ckpt")

    def test_of_another_network(self, tmp_path, teacher_ckpt):
        line = refused(tmp_path, *DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.teacher.width=8")
        assert "do not fit ResNet" in line

    def test_no_checkpoint_at_all(self, tmp_path):
        torch.save({"weights": 1}, tmp_path / "teacher.ckpt")
        assert "it has no weights by name" in refused(tmp_path, *DFAD, "--model.teacher_ckpt=teacher.ckpt")


CIFAR = ["fit", *TINY_TEACHER, "--data=CIFAR100DataModule", *TINY_TRAINER, "--trainer.max_epochs=1", "--data.root=data"]
# No host answers there: the same as no network, wherever the tests run.
OFFLINE = {"no_proxy": "", "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


class TestData:
    def test_absent_with_no_network(self, tmp_path):
        line = refused(tmp_path, *CIFAR, **OFFLINE)
        assert f"CIFAR100: no usable data in {tmp_path / 'data'} and the download failed" in line
        assert "configs/*_digits.yaml" in line

    def test_wrong_checksum(self, tmp_path):
        folder = tmp_path / "data/cifar-100-python"
        folder.mkdir(parents=True)
        for name in ("train", "test", "meta"):
            (folder / name).write_bytes(pickle.dumps({"data": [], "fine_labels": []}))
        assert "cifar-100-python/train is not the official file" in refused(tmp_path, *CIFAR, **OFFLINE)

    def test_truncated_file(self, tmp_path, mnist_root):
        file = mnist_root / "MNIST/raw/t10k-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:-10])
        words = ["--data=MNISTDataModule", f"--data.root={mnist_root}", *TINY_TEACHER, *TINY_TRAINER]
        assert "t10k-images-idx3-ubyte is not the official file" in refused(tmp_path, "fit", *words, **OFFLINE)

    def test_split_that_leaves_a_class_empty(self, tmp_path):
        line = refused(tmp_path, *TEACHER, "--data.val_fraction=0.001")
        assert "data.val_fraction: class 0 has 142 samples" in line

    def test_more_samples_a_class_than_there_are(self, tmp_path):
        assert "data.train_per_class: 500 samples a class asked for" in refused(
            tmp_path, *TEACHER, "--data.train_per_class=500"
        )

    def test_no_official_split(self, tmp_path):
        line = refused(tmp_path, *TEACHER, "--data.split=official")
        assert "data.split must be one of ['70:30', '80:20', '90:10']" in line


class TestConfig:
    def test_unknown_key(self, tmp_path):
        config = (ROOT / "configs/dfad_digits.yaml").read_text().replace("{width: 16}", "{nz: 16}")
        (tmp_path / "mine.yaml").write_text(config)
        line = refused(tmp_path, "fit", "--config=mine.yaml", status=2)
        number = next(n for n, text in enumerate(config.splitlines(), 1) if text.count("nz:"))
        assert f"Option 'nz' is not accepted (mine.yaml:{number})" in line

    def test_unknown_class(self, tmp_path):
        line = refused(tmp_path, "fit", "--model=DFADTusk", status=2)
        assert "model: no class DFADTusk; known are ByHandTask, ClassificationTask, DFADTask" in line
        line = refused(tmp_path, "fit", *TINY_TEACHER, "--data=Digits", status=2)
        assert "data: no class Digits; known are" in line
        assert "DigitsDataModule" in line

    def test_missing_file(self, tmp_path):
        assert "nothing.yaml" in refused(tmp_path, "fit", "--config=nothing.yaml", status=2)

    def test_images_too_small_for_the_network(self, tmp_path):
        line = refused(tmp_path, *TEACHER, "--model.network.stem=imagenet")
        assert "ResNet needs images of at least 32 x 32 pixels, got 16 x 16" in line

    def test_a_batch_beyond_memory(self, tmp_path, teacher_ckpt):
        line = refused(tmp_path, *DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.batch_size=1000000000")
        assert "batch_size: a step of the generator on 1000000000 images needs" in line

    def test_missing_checkpoint(self, tmp_path):
        assert "ckpt_path: no checkpoint at a.ckpt" in refused(tmp_path, *TEACHER, "--ckpt_path=a.ckpt")

    def test_share_that_is_not_reached(self, tmp_path, teacher_ckpt):
        line = refused(tmp_path, *DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.student_share=0.1")
        assert "student_share: the student has" in line


@pytest.mark.slow
def test_divergence_stops_and_keeps_the_last_good_checkpoint(teacher_ckpt):
    words = [*DFAD, f"--model.teacher_ckpt={teacher_ckpt}"]
    run_cli(*words)
    good = torch.load("logs/dfad/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    shutil.rmtree("logs")
    # The schedule multiplies the learning rate by 1e30 after the first epoch.
    with pytest.raises(FloatingPointError, match=r"train/loss_student became (nan|inf) in epoch 2") as stop:
        run_cli(
            *words,
            "--trainer.max_epochs=3",
            "--model.student_training.scheduler=torch.optim.lr_scheduler.StepLR",
            "--model.student_training.scheduler.step_size=1",
            "--model.student_training.scheduler.gamma=1e30",
        )
    kept = torch.load(str(stop.value).rpartition(" the last good checkpoint is ")[2], weights_only=True)
    assert kept["epoch"] == 0
    assert all(torch.equal(kept["state_dict"][name], good[name]) for name in good)
    assert not Path("logs/dfad/version_0/run.json").exists()


@pytest.mark.slow
def test_divergence_in_the_shell(children, tmp_path, teacher_ckpt):
    words = [*DFAD, f"--model.teacher_ckpt={teacher_ckpt}", "--model.student_training.optimizer.lr=1e30"]
    done = children.run(words, tmp_path)
    assert done.status == 1
    assert done.err.rstrip().splitlines()[-1].startswith("error: train/loss_student became")
