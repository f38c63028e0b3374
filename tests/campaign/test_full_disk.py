"""Full disks and read-only folders: a one-line error; existing files stay intact."""

import http.server
import os
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers.commands import SWEEP, TINY_BY_HAND, TINY_DATA, TINY_TEACHER, TINY_TRAINER
from helpers.quickdraw_files import write

from lightning_tasks.runs.atomic_writes import write_atomic

FIT = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=2"]
RUN = Path("logs/teacher/version_0")
LAST = RUN / "checkpoints/last.ckpt"
IMAGES = ["--data=QuickDrawImagesDataModule", "--data.words=[cat, dog]", "--data.root=data", "--data.image_size=16"]


@pytest.fixture(scope="module")
def address():
    """Of a proxy that answers everything with 200 kB."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "200000")
            self.end_headers()
            self.wfile.write(bytes(200_000))

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def children(children, address):
    return SimpleNamespace(run=partial(children.run, environment={"http_proxy": address, "no_proxy": ""}))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB of its own at `logs`."""
    logs = tmp_path / "logs"
    logs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", logs]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    yield logs
    subprocess.run(["umount", "--lazy", logs], check=True)


def fill(disk, left):
    """Leave so many bytes free."""
    (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - left))


def refusal(done, folder):
    assert done.status == 1, done
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err + done.out, done.err
    assert "Exception ignored" not in done.err
    assert "(python -X dev" not in lines[0]
    assert not list(folder.rglob("*.partial*"))
    return lines[0].removeprefix("error: ")


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


class TestDiskThatIsFull:
    def test_first_checkpoint_has_no_room(self, children, small_disk, tmp_path):
        fill(small_disk, 150_000)
        line = refusal(children.run(FIT, tmp_path), tmp_path)
        assert line.startswith(f"{tmp_path / RUN}/checkpoints/")
        assert " are free" in line
        assert ".ckpt: no room for 0.2 MB, " in line
        assert not list(tmp_path.rglob("*.ckpt"))

    @pytest.mark.slow
    def test_later_checkpoint_has_no_room_and_the_run_goes_on_with_the_former(self, children, small_disk, tmp_path):
        done = children.run([*FIT, "--trainer.default_root_dir=whole"], tmp_path)
        assert done.status == 0, done
        done = children.run([*FIT[:-1], "--trainer.max_epochs=1", "--test_after_fit=false"], tmp_path)
        assert done.status == 0, done
        before = LAST.read_bytes()
        fill(small_disk, 150_000)
        line = refusal(children.run([*FIT, "--ckpt_path=last"], tmp_path), tmp_path)
        assert ".ckpt: no room for 0.2 MB, " in line
        assert LAST.read_bytes() == before
        assert weights(LAST)
        (small_disk / "filling").unlink()
        done = children.run([*FIT, "--ckpt_path=last"], tmp_path)
        assert done.status == 0, done
        ours, theirs = weights(LAST), weights(tmp_path / "whole/teacher/version_0/checkpoints/last.ckpt")
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())

    @pytest.mark.parametrize("left", [0, 8192])
    def test_little_or_nothing_is_left(self, left, children, small_disk, tmp_path):
        fill(small_disk, left)
        line = refusal(children.run(FIT, tmp_path), tmp_path)
        assert "logs/teacher/version_0" in line
        assert "no room" in line

    def test_what_was_there_stays(self, small_disk):
        path = small_disk / "run.json"
        write_atomic(path, "former")
        fill(small_disk, 60_000)
        with pytest.raises(OSError, match=r"run.json: no room for 0.1 MB, 57.3 kB are free"):
            write_atomic(path, "x" * 100_000)
        assert path.read_text() == "former"
        assert sorted(each.name for each in small_disk.iterdir()) == ["filling", "run.json"]


class TestFileThatIsTooLong:
    """A limit of the process in place of the disk's, so that one file has no room and the others have."""

    @pytest.mark.parametrize(
        ("size", "words", "file"),
        [
            (50_000, ["--trainer.logger=false"], "checkpoints/"),
            (1_000, ["--trainer.logger=false"], "config.yaml"),
            (3_000, ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs"], ""),
        ],
    )
    def test_file_of_a_run(self, size, words, file, children, tmp_path):
        line = refusal(children.run([*FIT, *words], tmp_path, file_size=size), tmp_path)
        assert f"{RUN / file}" in line
        assert "no room" in line
        assert "(File too large)" in line

    @pytest.mark.slow
    def test_picture(self, children, tmp_path):
        words = ["fit", *TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1", "--trainer.logger=false"]
        words += ["--plots=true", "--trainer.callbacks=PredictionsPlot"]
        line = refusal(children.run(words, tmp_path, file_size=30_000), tmp_path)
        assert "logs/unnamed/version_0/figures/predictions.png: no room for " in line

    def test_table_of_predictions(self, children, teacher_ckpt, tmp_path):
        shutil.copytree(teacher_ckpt.parents[3], tmp_path / "logs")
        words = ["predict", f"--config={RUN}/config.yaml", f"--ckpt_path={LAST}", "--data.test_per_class=null"]
        line = refusal(children.run([*words, "--trainer.logger=false"], tmp_path, file_size=4_000), tmp_path)
        assert "/predictions.csv: no room for " in line
        assert not list(tmp_path.rglob("predictions.csv"))

    def test_download(self, children, tmp_path):
        words = [*FIT, "--data=TinyImageNetDataModule", "--data.root=data"]
        words = [word for word in words if "per_class" not in word]
        line = refusal(children.run(words, tmp_path, file_size=100_000), tmp_path)
        assert "data/tiny-imagenet-200.zip.part: no room for 0.2 MB (File too large); the next start goes on" in line
        assert (tmp_path / "data/tiny-imagenet-200.zip.part").stat().st_size == 100_000

    def test_what_is_kept_of_drawings(self, children, tmp_path):
        write(tmp_path / "data", ["cat", "dog"])
        line = refusal(children.run([*FIT[:5], *IMAGES, *TINY_TRAINER], tmp_path, file_size=4_000), tmp_path)
        assert "data/quickdraw/.cat.ndjson.cache.npz: no room for" in line


@pytest.mark.skipif(os.name != "posix", reason="modes of folders")
class TestFolderThatIsReadOnly:
    def test_logs(self, children, tmp_path):
        (tmp_path / "logs").mkdir(mode=0o555)
        line = refusal(children.run(FIT, tmp_path, is_root=False), tmp_path)
        assert "Permission denied" in line
        assert str(tmp_path / "logs") in line

    @pytest.mark.slow
    def test_checkpoints_of_a_run_that_goes_on(self, children, teacher_ckpt, tmp_path):
        shutil.copytree(teacher_ckpt.parents[3], tmp_path / "logs")
        before = (tmp_path / LAST).read_bytes()
        (tmp_path / LAST).parent.chmod(0o555)
        words = [*FIT[:-1], "--trainer.max_epochs=9", "--ckpt_path=last"]
        line = refusal(children.run(words, tmp_path, is_root=False), tmp_path)
        assert f"{RUN}/checkpoints" in line
        assert "Permission denied" in line
        assert (tmp_path / LAST).read_bytes() == before

    def test_data_that_are_to_be_fetched(self, children, tmp_path):
        (tmp_path / "data").mkdir(mode=0o555)
        words = [word for word in FIT if "per_class" not in word]
        line = refusal(
            children.run([*words, "--data=MNISTDataModule", "--data.root=data"], tmp_path, is_root=False), tmp_path
        )
        assert "Permission denied" in line
        assert "data/" in line

    def test_data_that_are_only_read(self, children, tmp_path):
        write(tmp_path / "data", ["cat", "dog"]).chmod(0o555)
        done = children.run([*FIT[:5], *IMAGES, *TINY_TRAINER, "--trainer.fast_dev_run=true"], tmp_path, is_root=False)
        assert done.status == 0, done

    @pytest.mark.slow
    def test_sweep(self, children, tmp_path):
        (tmp_path / "logs").mkdir(mode=0o555)
        words = [*TINY_DATA, *TINY_BY_HAND, *TINY_TRAINER, "--trainer.max_epochs=1"]
        config = children.run(["fit", *words, "--print_config"], tmp_path)
        (tmp_path / "tiny.yaml").write_text(config.out)
        (tmp_path / "table.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
        line = refusal(children.run(["table.yaml", "--logs", "logs"], tmp_path, "sweep", is_root=False), tmp_path)
        assert "logs" in line
        assert "Permission denied" in line
