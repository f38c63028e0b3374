"""Tiny ImageNet from its official address, or from an archive."""

import hashlib
import http.server
import multiprocessing
import os
import shutil
import signal
import threading
import zipfile

import pytest
import torch
from helpers.commands import files
from helpers.tiny_imagenet_files import numbers, write

from datamodules import TinyImageNetDataModule


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as the official one, with ranges."""

    content = b""
    asked: list
    breaks_off = False

    def do_GET(self):
        wanted = self.headers["Range"]
        self.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : start + 1000] if self.breaks_off else self.content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    write(tmp_path / "made")
    archive = shutil.make_archive(tmp_path / "archive", "zip", tmp_path / "made")
    content = (tmp_path / "archive.zip").read_bytes()
    handler = type("Handler", (Server,), {"asked": [], "content": content, "archive": archive})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{served.server_port}/tiny-imagenet-200.zip"
    monkeypatch.setattr(TinyImageNetDataModule, "address", address)
    monkeypatch.setattr(TinyImageNetDataModule, "md5", hashlib.md5(content).hexdigest())
    yield handler
    served.shutdown()
    served.server_close()


def get(root):
    torch.set_num_threads(1)
    data = TinyImageNetDataModule(root=str(root), val_fraction=0.25)
    data.prepare_data()
    return numbers(data.test_set.images)


def listed(root):
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


class TestDownload:
    whole = ("tiny-imagenet-200", "tiny-imagenet-200.zip")

    def test_once_verified_and_unpacked(self, tmp_path, server):
        root = tmp_path / "data"
        for _ in range(2):
            assert get(root) == list(range(12, 18))
            assert server.asked == [("/tiny-imagenet-200.zip", None)]
        assert listed(root) == list(self.whole)
        made = files(tmp_path / "made" / "tiny-imagenet-200")
        kept = files(root / "tiny-imagenet-200")
        assert {path.relative_to(tmp_path / "made"): content for path, content in made.items()} == {
            path.relative_to(root): content for path, content in kept.items() if not path.name.startswith(".decoded")
        }

    def test_a_folder_that_is_there_needs_no_network(self, tmp_path, server):
        assert get(tmp_path / "made") == list(range(12, 18))
        assert not server.asked
        assert listed(tmp_path / "made") == ["tiny-imagenet-200"]

    def test_an_archive_that_is_there_needs_no_network(self, tmp_path, server):
        shutil.copy(server.archive, tmp_path / "made" / "tiny-imagenet-200.zip")
        shutil.rmtree(tmp_path / "made" / "tiny-imagenet-200")
        assert get(tmp_path / "made") == list(range(12, 18))
        assert not server.asked

    def test_another_archive_is_refused_and_kept(self, tmp_path, server):
        (tmp_path / "data").mkdir()
        with zipfile.ZipFile(tmp_path / "data" / "tiny-imagenet-200.zip", "w") as archive:
            archive.writestr("tiny-imagenet-200/wnids.txt", "n01443537")
        with pytest.raises(OSError, match=r"the download failed \(ValueError: .*200\.zip is not the official file\)"):
            get(tmp_path / "data")
        assert listed(tmp_path / "data") == ["tiny-imagenet-200.zip"]
        assert not server.asked

    def test_an_interrupted_one_goes_on(self, tmp_path, server):
        server.breaks_off = True
        for kept in (1000, 2000):
            with pytest.raises(OSError, match=rf"^TinyImageNet: no usable data .* broke off after {kept:,} of "):
                get(tmp_path / "data")
            assert listed(tmp_path / "data") == ["tiny-imagenet-200.zip.part"]
        server.breaks_off = False
        assert get(tmp_path / "data") == list(range(12, 18))
        assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", "bytes=2000-"]

    def test_wrong_content_is_refused_and_removed(self, tmp_path, server):
        server.content = server.content[:-100] + bytes(100)
        with pytest.raises(OSError, match=r"what came is not the official file \(length or MD5\)"):
            get(tmp_path / "data")
        assert listed(tmp_path / "data") == []

    def test_no_network(self, tmp_path, monkeypatch):
        monkeypatch.setattr(TinyImageNetDataModule, "address", "http://127.0.0.1:9/tiny-imagenet-200.zip")
        with pytest.raises(
            OSError, match=r"^TinyImageNet: no usable data in .*data and the download failed \(URLError"
        ):
            get(tmp_path / "data")
        assert listed(tmp_path / "data") == []

    def test_a_full_disk_while_it_is_unpacked(self, tmp_path, server, monkeypatch):
        extract = zipfile.ZipFile.extract

        def full(self, name, folder):
            if name.endswith("val_3.JPEG"):
                raise OSError(28, "No space left on device")
            return extract(self, name, folder)

        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "extract", full)
            with pytest.raises(OSError, match="No space left on device"):
                get(tmp_path / "data")
        assert listed(tmp_path / "data") == ["tiny-imagenet-200.zip"]
        assert get(tmp_path / "data") == list(range(12, 18))
        assert len(server.asked) == 1

    @pytest.mark.ddp
    @pytest.mark.parametrize("moment", ["val_3.JPEG", "rename"])
    def test_a_kill_while_it_is_unpacked(self, tmp_path, server, moment):
        process = multiprocessing.get_context("fork").Process(target=die_at, args=(tmp_path / "data", moment))
        process.start()
        process.join(60)
        assert process.exitcode == -9
        assert listed(tmp_path / "data") == [".tiny-imagenet-200.partial", "tiny-imagenet-200.zip"]
        assert get(tmp_path / "data") == list(range(12, 18))
        assert listed(tmp_path / "data") == list(self.whole)

    @pytest.mark.ddp
    def test_two_runs_share_one_download(self, tmp_path, server):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(get, [tmp_path / "data"] * 2) == [list(range(12, 18))] * 2
        assert len(server.asked) == 1


def die_at(root, moment):
    """Be killed at a moment of the unpacking."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    extract = zipfile.ZipFile.extract
    if moment == "rename":
        os.rename = die
    else:
        zipfile.ZipFile.extract = lambda self, name, to: die() if name.endswith(moment) else extract(self, name, to)
    get(root)
