"""Image files of all kinds, decoded once into one array."""

import errno
import io
import multiprocessing
import os
import resource
import time

import numpy as np
import psutil
import pytest
from filelock import FileLock
from helpers.image_files import pictures
from PIL import Image

from datamodules import decoding
from datamodules.decoding import decode_to_file


def decoded(*args, **options):
    return decode_to_file(*args, **options).array


def reds(array):
    return array[:, 0, 0, 0].tolist()


def left(folder):
    """Names of the files that are no images."""
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".png", ".lock"))


@pytest.fixture
def in_groups(monkeypatch):
    """Groups of two images of `pictures`, so that several processes decode."""
    monkeypatch.setattr(decoding, "GROUP_BYTES", 2 * 3 * 3 * 4)


class TestModes:
    """What becomes of images that are not RGB."""

    @pytest.mark.parametrize(
        ("image", "kind", "expected"),
        [
            (Image.new("L", (2, 2), 77), "png", (77, 77, 77)),
            (Image.new("1", (2, 2), 1), "png", (255, 255, 255)),
            (Image.new("LA", (2, 2), (77, 0)), "png", (77, 77, 77)),
            (Image.new("RGBA", (2, 2), (1, 2, 3, 0)), "png", (1, 2, 3)),
            (Image.new("RGB", (2, 2), (9, 8, 7)).quantize(4), "png", (9, 8, 7)),
            (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "tiff", (255, 0, 0)),
            (Image.new("CMYK", (2, 2), (255, 0, 255, 127)), "tiff", (0, 128, 0)),
            (Image.fromarray(np.full((2, 2), 0x12FF, np.uint16)), "png", (0x12,) * 3),
            (Image.fromarray(np.full((2, 2), 0xFE00, np.uint16)), "tiff", (0xFE,) * 3),
            (Image.fromarray(np.full((2, 2), 0xFE12, np.int32)), "tiff", (0xFE,) * 3),
        ],
    )
    def test_to_rgb(self, tmp_path, image, kind, expected):
        path = tmp_path / f"image.{kind}"
        image.save(path)
        with Image.open(path) as stored:
            assert stored.mode == image.mode
        array = decoded([path], tmp_path / "cache")
        assert array.shape == (1, 3, 2, 2)
        assert {tuple(pixel) for pixel in array[0].reshape(3, -1).T.tolist()} == {expected}

    def test_a_cmyk_photograph(self, tmp_path):
        """JPEG is not exact; red stays red."""
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
        assert decoded([tmp_path / "a.jpg"], tmp_path / "cache")[0, :, 4, 4].tolist() == pytest.approx(
            [255, 0, 0], abs=6
        )

    def test_floating_point_pixels_are_refused(self, tmp_path):
        Image.new("F", (2, 2), 0.5).save(tmp_path / "f.tiff")
        with pytest.raises(ValueError, match=r"f\.tiff is no image that can be read: its pixels are floating-point"):
            decoded([tmp_path / "f.tiff"], tmp_path / "cache")

    def test_channels_rows_and_columns(self, tmp_path):
        pixels = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)  # rows, columns, channels
        Image.fromarray(pixels).save(tmp_path / "a.png")
        array = decoded([tmp_path / "a.png"], tmp_path / "cache")
        assert array.dtype == np.uint8
        assert array.tolist() == [pixels.transpose(2, 0, 1).tolist()]


class TestManyFiles:
    @pytest.mark.slow
    def test_processes_that_do_not_fork(self, tmp_path, monkeypatch, in_groups):
        """As on Windows."""
        spawn = multiprocessing.get_context("spawn")
        monkeypatch.setattr(decoding, "get_all_start_methods", lambda: ["spawn"])
        monkeypatch.setattr(decoding, "get_context", lambda method: {None: spawn, "spawn": spawn}[method])
        files = pictures(tmp_path / "made", 15)[::-1]
        assert reds(decoded(files, tmp_path / "cache", shape=(3, 3, 4))) == list(range(14, -1, -1))

    def test_processes_decode_each_to_its_place(self, tmp_path, monkeypatch, in_groups):
        def read(file, size, read_file=decoding.open_rgb):
            (tmp_path / "pids" / str(os.getpid())).touch()
            return read_file(file, size)

        (tmp_path / "pids").mkdir()
        files = pictures(tmp_path / "made", 15)[::-1]
        bars = []
        track = decoding.track
        monkeypatch.setattr(decoding, "track", lambda *args, **options: bars.append(options) or track(*args, **options))
        monkeypatch.setattr(decoding, "ENOUGH_FOR_A_BAR", 15)
        array = decoded(files, tmp_path / "cache", shape=(3, 3, 4))
        assert reds(array) == list(range(14, -1, -1))
        assert array[0, :, 2, 3].tolist() == [14, 28, 241]
        assert [bar["disable"] for bar in bars] == [False]
        monkeypatch.setattr(decoding, "open_rgb", read)
        decoded(files[:14], tmp_path / "other", shape=(3, 3, 4))
        assert [bar["disable"] for bar in bars] == [False, True]
        pids = {int(path.name) for path in (tmp_path / "pids").iterdir()}
        assert pids
        assert os.getpid() not in pids

    @pytest.mark.parametrize("bad", [0, 7, 11])
    def test_a_bad_file_among_them_is_named_and_nothing_stays(self, tmp_path, in_groups, bad):
        files = pictures(tmp_path / "made")
        Image.new("RGB", (3, 4)).save(files[bad])
        with pytest.raises(ValueError, match=r"\.png has . x . pixels and .*000\.png . x .; give data\.image_size$"):
            decoded(files, tmp_path / "made" / "cache")
        assert left(tmp_path / "made") == []
        with pytest.raises(ValueError, match=rf"{files[bad].name} has 3 x 4 pixels and all must have 4 x 3$"):
            decoded(files, tmp_path / "made" / "cache", shape=(3, 3, 4))
        files[bad].write_bytes(b"")
        with pytest.raises(ValueError, match=f"{files[bad].name} is no image that can be read"):
            decoded(files, tmp_path / "made" / "cache")
        assert left(tmp_path / "made") == []

    def test_a_jpeg_cut_short(self, tmp_path):
        """Wherever it is cut; two bytes less only lack the mark of the end."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        stored = io.BytesIO()
        Image.fromarray(noise).save(stored, "jpeg")
        path, content = tmp_path / "a.JPEG", stored.getvalue()
        for length in (0, 1, 10, 300, len(content) // 2, len(content) - 20):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"a\.JPEG is no image that can be read"):
                decoded([path], tmp_path / "cache")
        assert left(tmp_path) == ["a.JPEG"]


class TestKept:
    """The array of an earlier call."""

    def test_is_taken_if_nothing_has_changed(self, tmp_path, monkeypatch):
        files = pictures(tmp_path)
        decoded(files, tmp_path / "cache")
        monkeypatch.setattr(decoding, "open_rgb", None)
        assert reds(decoded(files, tmp_path / "cache")) == list(range(12))

    @pytest.mark.parametrize(
        "change", ["content", "time", "same time", "other file", "name", "one more", "one less", "order", "image_size"]
    )
    def test_is_made_anew_if_a_file_has_changed(self, tmp_path, monkeypatch, change):
        files = pictures(tmp_path)
        decoded(files, tmp_path / "cache")
        read = []
        read_file = decoding.open_rgb
        monkeypatch.setattr(decoding, "open_rgb", lambda file, size: read.append(file) or read_file(file, size))
        if change == "content":
            Image.new("RGB", (4, 3), (99, 98, 97)).save(files[5], compress_level=0)
        elif change == "time":
            os.utime(files[5], ns=(1, 1))
        elif change in ("same time", "other file"):  # of equal size
            before, replaced = files[5].stat(), tmp_path / "other.png"
            content = files[5].read_bytes()
            Image.new("RGB", (4, 3), (7, 14, 248)).save(replaced)
            content = replaced.read_bytes().ljust(len(content), b"\0")
            replaced.write_bytes(content)
            if change == "other file":
                replaced.rename(files[5])
            else:
                files[5].write_bytes(content)
            assert before.st_size == len(content)
            os.utime(files[5], ns=(before.st_atime_ns, before.st_mtime_ns))
            replaced.unlink(missing_ok=True)
        elif change == "name":
            files[5] = files[5].rename(tmp_path / "other.png")
        elif change == "one more":
            files.append(files[0])
        elif change == "one less":
            files.pop()
        elif change == "order":
            files.reverse()
        array = decoded(files, tmp_path / "cache", 2 if change == "image_size" else None)
        assert set(read) == set(files)
        assert len(array) == len(files)
        with Image.open(files[5]) as image:
            assert array[5, :, 0, 0].tolist() == list(image.getpixel((0, 0)))

    def test_is_made_anew_if_another_is_put_in_its_place(self, tmp_path):
        """Of equal size and time, as of a copy that was made for other images."""
        files = pictures(tmp_path)
        decoded(files, tmp_path / "cache")
        array = tmp_path / "cache.npy"
        before, content = array.stat(), array.read_bytes()
        array.write_bytes(content[:-36] + bytes(36))
        os.utime(array, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert reds(decoded(files, tmp_path / "cache")) == list(range(12))

    @pytest.mark.parametrize("damage", ["cut", "longer", "header", "pixel", "lost", "note", "no note", "cut note"])
    def test_is_made_anew_if_it_is_damaged(self, tmp_path, damage):
        files = pictures(tmp_path)
        decoded(files, tmp_path / "cache")
        array, note = tmp_path / "cache.npy", tmp_path / "cache.txt"
        content = array.read_bytes()
        time.sleep(0.01)  # a coarse clock of the file system
        if damage in ("lost", "no note"):
            (array if damage == "lost" else note).unlink()
        elif damage in ("note", "cut note"):
            note.write_bytes(b"\xff" if damage == "note" else note.read_bytes()[:16])
        else:
            flipped = bytearray(content)
            flipped[5 if damage == "header" else -5] ^= 1
            array.write_bytes({"cut": content[:-100], "longer": content + b"1"}.get(damage, bytes(flipped)))
        assert reds(decoded(files, tmp_path / "cache")) == list(range(12))
        assert array.read_bytes() == content
        assert left(tmp_path) == ["cache.npy", "cache.txt"]

    def test_is_not_changed_by_what_is_written_to_the_images(self, tmp_path):
        files = pictures(tmp_path)
        decoded(files, tmp_path / "cache")[:] = 200
        assert reds(decoded(files, tmp_path / "cache")) == list(range(12))


def with_little_room(folder, sayings):
    """As on a disk that has 100 kB left."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    decoding.open_rgb = lambda file, size: sayings.put("read")
    try:
        decoded(list(folder.glob("*.png")), folder / "cache", shape=(3, 100, 200))
    except OSError as error:
        sayings.put(str(error))


class TestFullDisk:
    def test_space_is_reserved_before_anything_is_decoded(self, tmp_path):
        pictures(tmp_path, 20, (200, 100))
        fork = multiprocessing.get_context("fork")
        sayings = fork.Queue()
        process = fork.Process(target=with_little_room, args=(tmp_path, sayings))
        process.start()
        assert sayings.get(timeout=60) == f"{tmp_path}: the decoded images need 1 MB there, but File too large"
        process.join()
        assert sayings.empty()
        assert left(tmp_path) == []

    def test_the_error_says_how_much_is_needed(self, tmp_path, monkeypatch):
        def full(descriptor, start, size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        files = pictures(tmp_path, 1200, (64, 64))
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match=r"decoded images need 15 MB there, but No space left on device$"):
            decoded(files, tmp_path / "cache")
        assert left(tmp_path) == []

    def test_it_fills_up_meanwhile(self, tmp_path, monkeypatch, in_groups):
        """Where nothing can be reserved; the error comes from another process."""

        def full(path, mode):
            if mode == "r+b":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return open(path, mode)

        files = pictures(tmp_path)
        decoded(files[:3], tmp_path / "cache")
        with monkeypatch.context() as patch:
            patch.delattr(os, "posix_fallocate")
            patch.setattr(decoding, "open", full, raising=False)
            with pytest.raises(OSError, match=r"need 0 MB there, but No space left on device$"):
                decoded(files, tmp_path / "cache")
        assert left(tmp_path) == ["cache.npy"]  # of before, and not taken for that of all
        assert reds(decoded(files, tmp_path / "cache")) == list(range(12))


def build_slowly(folder):
    def read(file, size, read_file=decoding.open_rgb):
        time.sleep(0.2 if file.name > "004.png" else 0)
        return read_file(file, size)

    decoding.open_rgb = read
    decoded(sorted(folder.glob("*.png")), folder / "cache")


@pytest.mark.ddp
def test_a_kill_while_it_is_built(tmp_path, in_groups):
    """It leaves nothing that is read, and no process that goes on."""
    files = pictures(tmp_path, 60)
    process = multiprocessing.get_context("fork").Process(target=build_slowly, args=(tmp_path,))
    process.start()
    partial = tmp_path / "cache.partial.npy"
    deadline = time.monotonic() + 60
    while not (partial.exists() and any(partial.read_bytes()[128:])):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.join()
    _, outliving = psutil.wait_procs(workers, timeout=30)
    for each in outliving:
        each.kill()
    assert not outliving
    assert left(tmp_path) == ["cache.partial.npy"]
    with FileLock(tmp_path / "cache.lock", timeout=30):  # the workers had it too
        pass
    assert reds(decoded(files, tmp_path / "cache")) == list(range(60))
    assert left(tmp_path) == ["cache.npy", "cache.txt"]
