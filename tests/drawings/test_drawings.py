"""What a drawing is: steps, batches, pictures, simplification, files of Sketch-RNN, near-duplicates."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lightning_tasks.drawings import Pen, to_drawing, to_steps
from lightning_tasks.drawings.collection import Collection, from_points, join, of_steps
from lightning_tasks.drawings.duplicates import POINTS, descriptors, near_duplicates
from lightning_tasks.drawings.npz import read_npz
from lightning_tasks.drawings.render import render, render_all
from lightning_tasks.drawings.simplify import simplify
from tests.helpers.padding import pad

# Two strokes; all numbers differ, so that an exchanged axis or sign shows.
ANGLE = [np.array([[1, 2], [4, 8], [9, 3]]), np.array([[20, 30], [21, 33]])]
ANGLE_STEPS = [[3, 6, 0], [5, -5, 1], [11, 27, 0], [1, 3, 1]]


class TestSteps:
    def test_by_hand(self):
        steps = to_steps(ANGLE)
        assert steps.dtype == np.float32
        assert steps.tolist() == ANGLE_STEPS

    def test_there_and_back(self):
        again = to_drawing(to_steps(ANGLE), origin=(1, 2))
        assert [stroke.tolist() for stroke in again] == [stroke.tolist() for stroke in ANGLE]

    def test_what_comes_after_an_end_is_left_out(self):
        steps = np.array([[1, 0, 0], [0, 1, 0], [5, 5, Pen.END], [7, 7, 0]], np.float32)
        assert [stroke.tolist() for stroke in to_drawing(steps)] == [[[0, 0], [1, 0], [1, 1]]]

    def test_steps_through_the_air_leave_no_stroke(self):
        steps = np.array([[1, 0, 1], [2, 0, 1], [3, 0, 0], [0, 4, 1]], np.float32)
        assert [stroke.tolist() for stroke in to_drawing(steps)] == [[[0, 0], [1, 0]], [[6, 0], [6, 4]]]

    @pytest.mark.parametrize("drawing", [[], [np.array([[3, 4]])]])
    def test_nothing_to_draw(self, drawing):
        with pytest.raises(ValueError, match="at least two points"):
            to_steps(drawing)

    @given(st.lists(arrays.arrays(np.int64, st.tuples(st.integers(2, 5), st.just(2)), elements=st.integers(0, 255))))
    def test_many_at_once_are_as_one(self, drawing):
        if not drawing:
            return
        both = [*ANGLE, *drawing]
        steps, starts = from_points(np.concatenate(both), np.array([*map(len, both)]), np.array([2, len(drawing)]))
        assert steps[: starts[1]].tolist() == ANGLE_STEPS
        assert steps[starts[1] :].tolist() == to_steps(drawing).tolist()


class TestBatch:
    def test_padded_and_ended(self):
        steps = [torch.tensor(ANGLE_STEPS), torch.tensor([[7.0, 8.0, 1.0]])]
        batch = pad([each.float() for each in steps], torch.tensor([4, 2]), max_length=10)
        assert batch.offsets.tolist() == [
            [[3, 6], [5, -5], [11, 27], [1, 3], [0, 0]],
            [[7, 8], [0, 0], [0, 0], [0, 0], [0, 0]],
        ]
        assert batch.pens.tolist() == [[0, 1, 0, 1, 2], [1, 2, 2, 2, 2]]
        assert batch.lengths.tolist() == [5, 2]
        assert batch.words.tolist() == [4, 2]
        assert batch.mask.tolist() == [[True] * 5, [True, True, False, False, False]]
        assert batch.real.tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert batch.drawn.tolist() == [0, 1, 2, 3, 5]
        moved = batch.to(torch.device("meta"))
        assert [each.device.type for each in moved] == ["meta", "meta", "cpu", "meta", "meta", "meta"]

    @pytest.mark.parametrize(("max_length", "pens"), [(5, [0, 1, 0, 1, 2]), (4, [0, 1, 0, 1]), (3, [0, 1, 0])])
    def test_cut(self, max_length, pens):
        batch = pad([torch.tensor(ANGLE_STEPS).float()], torch.tensor([0]), max_length)
        assert batch.pens.tolist() == [pens]
        assert batch.lengths.tolist() == [max_length]
        assert batch.mask.all()
        assert batch.real.tolist() == [*range(max_length)]
        assert batch.drawn.tolist() == [*range(min(max_length, 4))]


class TestRender:
    def test_a_line_lies_where_it_should(self):
        """From the lower left to the upper right, y downwards; another unit and place change nothing."""
        line = np.array([[0, 10], [10, 0]], np.float32)
        image = render([line], 20)
        assert image.dtype == np.uint8
        assert image.shape == (20, 20)
        assert image[17, 2] > 200
        assert image[2, 17] > 200
        assert image[2, 2] == image[17, 17] == 0
        assert np.array_equal(image, render([line * 3 + 50], 20))

    def test_proportions_are_kept(self):
        rows, columns = np.nonzero(render([np.array([[0, 0], [100, 0], [100, 50], [0, 50]], np.float32)], 40))
        assert np.ptp(columns) > 1.7 * np.ptp(rows)
        assert rows.mean() == pytest.approx(19.5, abs=1)

    def test_nothing_is_paper_and_many_are_stacked(self):
        images = render_all([[], [np.array([[0, 0], [1, 1]], np.float32)]], 16)
        assert images.shape == (2, 16, 16)
        assert [image.any() for image in images] == [False, True]


def thinned(points, epsilon):
    """Ramer-Douglas-Peucker as it is usually written."""
    start, end = points[0], points[-1]
    along = end - start
    length = np.hypot(*along)
    apart = points - start
    share = np.clip(apart @ along / length**2, 0, 1)[:, None] if length else 0
    far = np.hypot(*(apart - share * along).T)
    if far.max() <= epsilon:
        return np.stack([start, end])
    worst = far.argmax()
    return np.concatenate([thinned(points[: worst + 1], epsilon)[:-1], thinned(points[worst:], epsilon)])


class TestSimplify:
    def test_two_drawings_by_hand(self):
        """Of 510 by 102 pixels at (100, 50), and of 5 by 10 at (-3, -3); each has a corner and a needless point."""
        points = [[100, 50], [355, 51], [610, 50], [610, 152], [200, 60], [220, 60], [-3, -3], [-3, 7], [2, 7]]
        found, strokes = simplify(np.array(points, float), np.array([4, 2, 3]), np.array([2, 1]))
        assert strokes.tolist() == [3, 2, 3]
        assert found.tolist() == [[0, 0], [255, 0], [255, 51], [50, 5], [60, 5], [0, 0], [0, 255], [128, 255]]

    def test_a_dot_stays_two_points(self):
        found, strokes = simplify(np.array([[0, 0], [8, 0], [4, 2], [4, 2]], float), np.array([2, 2]), np.array([2]))
        assert strokes.tolist() == [2, 2]
        assert found.tolist() == [[0, 0], [255, 0], [128, 64], [128, 64]]

    def test_as_the_plain_way(self):
        turn = np.linspace(0, 5, 60)
        spiral = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1)
        spiral = (spiral - spiral.min(axis=0)) * 255 / np.ptp(spiral, axis=0).max()
        leaps = np.hypot(*np.diff(spiral, axis=0).T)
        place = np.concatenate([[0], np.cumsum(leaps)])
        wanted = [*range(int(place[-1]) + 1), place[-1]]
        even = np.stack([np.interp(wanted, place, axis) for axis in spiral.T], axis=1)
        found, _ = simplify(spiral * 2.5 + 40, np.array([60]), np.array([1]))
        assert found.tolist() == thinned(even, 2.0).round().tolist()
        assert 10 < len(found) < 40


class TwoPythonPickler(pickle._Pickler):
    """Writes text and bytes alike as byte strings, as Python 2 did."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, content):
        content = content.encode() if isinstance(content, str) else content
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = dispatch[str] = save_bytes


def two_python_pickle(drawings):
    """An object array as numpy under Python 2 pickled it, with numpy's old module names."""
    content = np.empty(len(drawings), object)
    content[:] = [np.array(drawing, np.int16) for drawing in drawings]
    file = io.BytesIO()
    TwoPythonPickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def sketchrnn_file(path, **parts):
    with zipfile.ZipFile(path, "w") as archive:
        for part, pickled in parts.items():
            header = io.BytesIO()
            shape = {"descr": "|O", "fortran_order": False, "shape": (2,)}
            np.lib.format.write_array_header_1_0(header, shape)
            archive.writestr(f"{part}.npy", header.getvalue() + pickled)
    return path


class Trap:
    def __reduce__(self):
        return os.system, ("touch sprung",)


# The first row is where the pen starts. The second drawing begins with a dot.
FIRST = [[1, 2, 0], [3, 6, 0], [5, -5, 1], [11, 27, 0], [1, 3, 1]]
SECOND = [[9, 9, 1], [300, 1, 0], [-2, 4, 1]]
THIRD = [[0, 0, 0], [4, 4, 0]]


class TestSketchRNNFiles:
    def test_official_form(self, tmp_path):
        parts = {"train": [FIRST, SECOND], "valid": [THIRD], "test": [SECOND]}
        pickled = {name: two_python_pickle(drawings) for name, drawings in parts.items()}
        assert b"numpy.core.multiarray" in pickled["train"]
        drawings = read_npz(sketchrnn_file(tmp_path / "cat.npz", **pickled))
        assert drawings.starts.tolist() == [0, 4, 6, 7, 9]
        assert drawings.steps.tolist() == [
            *ANGLE_STEPS,
            [300, 1, 0],
            [-2, 4, 1],
            [4, 4, 1],
            [300, 1, 0],
            [-2, 4, 1],
        ]
        assert drawings.recognized.tolist() == [-1] * 4

    def test_of_todays_numpy(self, tmp_path):
        parts = {}
        for name, drawings in (("train", [FIRST]), ("valid", [SECOND] * 2), ("test", [])):
            parts[name] = np.empty(len(drawings), object)
            parts[name][:] = [np.array(drawing, np.int16) for drawing in drawings]
        np.savez_compressed(tmp_path / "cat.npz", **parts)
        assert read_npz(tmp_path / "cat.npz").starts.tolist() == [0, 4, 6, 8]

    def test_a_pickle_that_runs_something_does_not(self, tmp_path):
        parts = {"train": pickle.dumps(Trap()), "valid": b"", "test": b""}
        with pytest.raises(ValueError, match=r"cat.npz is not .*: a pickle in it asks for posix.system"):
            read_npz(sketchrnn_file(tmp_path / "cat.npz", **parts))
        assert not (tmp_path / "sprung").exists()
        assert os.path.samefile(os.getcwd(), tmp_path)

    @pytest.mark.parametrize(
        ("drawing", "message"),
        [
            ([[1, 2, 0]], r"drawing 2 has shape \(1, 3\)"),
            ([[1, 2], [3, 4]], r"drawing 2 has shape \(2, 2\)"),
            ([[1, 2, 0], [3, 4, 2]], "a pen that is neither 0 nor 1"),
            ([1, 2, 3], r"drawing 2 is no array of numbers \(n, 3\)"),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path, drawing, message):
        parts = {"train": [FIRST], "valid": [drawing], "test": [SECOND]}
        pickled = {name: two_python_pickle(drawings) for name, drawings in parts.items()}
        with pytest.raises(ValueError, match=message):
            read_npz(sketchrnn_file(tmp_path / "cat.npz", **pickled))

    def test_damaged_files_are_refused(self, tmp_path):
        good = two_python_pickle([FIRST])
        for number, parts in enumerate(
            (
                {"train": good},
                {"train": good, "valid": good[:-20], "test": good},
                {"train": pickle.dumps({}), "valid": good, "test": good},
            )
        ):
            with pytest.raises(ValueError, match=r"\d.npz is not a file of Sketch-RNN's drawings: "):
                read_npz(sketchrnn_file(tmp_path / f"{number}.npz", **parts))
        (tmp_path / "3.npz").write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"3.npz is not a file of Sketch-RNN's drawings: "):
            read_npz(tmp_path / "3.npz")


class TestCollection:
    def test_selected_and_joined(self):
        drawings = Collection(
            np.arange(18, dtype=np.float32).reshape(6, 3), np.array([0, 1, 3, 6]), np.array([1, 0, -1], np.int8)
        )
        some = drawings.select(np.array([2, 0]))
        assert some.steps[:, 0].tolist() == [9, 12, 15, 0]
        assert some.starts.tolist() == [0, 3, 4]
        assert some.recognized.tolist() == [-1, 1]
        both = join([some, drawings])
        assert both.steps[:, 0].tolist() == [9, 12, 15, 0, 0, 3, 6, 9, 12, 15]
        assert both.starts.tolist() == [0, 3, 4, 5, 7, 10]
        assert both.recognized.tolist() == [-1, 1, 1, 0, -1]
        assert len(join([])) == 0


def walks(count, seed=0):
    random = np.random.default_rng(seed)
    return [[random.integers(0, 255, (9, 2)), random.integers(0, 255, (4, 2))] for _ in range(count)]


class TestDuplicates:
    def test_points_at_equal_distances_along_the_ink(self):
        """Two strokes of 62 and 31 units, far apart: 31 steps of 3, and a box of 93 by 31."""
        drawing = [np.array([[10, 5], [72, 5]]), np.array([[103, 5], [103, 36]])]
        (found,) = descriptors(of_steps([to_steps(drawing)])).reshape(-1, POINTS, 2)
        on_first = [[3 * point / 93, 0] for point in range(21)]
        on_second = [[1, (3 * point - 62) / 93] for point in range(21, 32)]
        np.testing.assert_allclose(found, on_first + on_second, atol=1e-6)

    def test_nothing_drawn_has_a_descriptor(self):
        empty = np.zeros((0, 3), np.float32)
        found = descriptors(of_steps([empty, to_steps(ANGLE), empty]))
        assert not found[[0, 2]].any()
        np.testing.assert_allclose(found[1:2], descriptors(of_steps([to_steps(ANGLE)])), atol=1e-9)

    def test_groups(self):
        """Moved, enlarged, slightly bent and by way of another are the same; bent more and in another order are not."""
        drawings = walks(50)
        base = drawings[7]
        bent = [[stroke + shift * np.array([1, 0]) * (np.arange(len(stroke))[:, None] % 2) for stroke in base]
                for shift in (4, 8, 16)]  # fmt: skip
        same = [[2 * stroke + 9 for stroke in base], *bent]
        groups = near_duplicates(of_steps([to_steps(drawing) for drawing in [*drawings, *same, base[::-1]]]))
        assert len(set(groups[:50])) == 50
        assert set(groups[50:53]) == {groups[7]}
        assert not set(groups[53:]) & set(groups[:53])
        paths = descriptors(of_steps([to_steps(base), to_steps(bent[1])]))
        assert np.linalg.norm(paths[0] - paths[1]) / POINTS**0.5 > 0.02  # so it was found by way of the other

    def test_as_all_pairs_say(self):
        drawings = of_steps([to_steps(drawing) for drawing in walks(120)])
        paths = descriptors(drawings)
        apart = np.linalg.norm(paths[:, None] - paths, axis=2) / POINTS**0.5
        radius = np.sort(apart[np.triu_indices(120, 1)])[20]
        groups = near_duplicates(drawings, radius)
        near = apart <= radius
        reach = np.linalg.matrix_power(near.astype(float), 120) > 0
        assert np.array_equal(groups[:, None] == groups, reach)
        assert 90 < len(set(groups)) < 120
