"""The figure of the synthetic images."""

import numpy as np
import pytest
import torch
from helpers.plots import CIFAR10, MANY, labels, require_readable
from torch.nn import functional as F

from lightning_tasks.data_free.plots import draw_generated, tiles


class TestGenerated:
    @staticmethod
    def rows_of(figure):
        """Brightness of each image in each row, by the name beside the row; white where there is none."""
        found = {}
        for axes in figure.axes[::2]:  # beside each its bars
            picture = np.asarray(axes.images[0].get_array())
            names, centres = labels(axes.yaxis), axes.get_yticks()
            bottom, top = axes.images[0].get_extent()[2:]
            assert axes.get_ylim() == (bottom, top)
            height = len(picture) / (bottom - top)
            for name, centre in zip(names, centres, strict=True):
                line = picture[round((centre - top) * height)]
                assert len(line) % 7 == 0  # images of 5 pixels width, and a pixel on each side
                found[name] = line[3::7].round(4).tolist()
        return found

    @pytest.mark.parametrize(("num_classes", "blocks", "columns"), [(3, 1, 8), (30, 2, 4)])
    def test_an_image_is_in_the_row_of_its_class(self, num_classes, blocks, columns):
        values = torch.arange(12) / 16
        images = values.view(12, 1, 1, 1).expand(12, 1, 3, 5)
        seen = torch.tensor([0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])  # ten of class 0, none of class 1, two of class 2
        seen[seen == 2] = num_classes - 1
        counts = (torch.arange(num_classes) * 7 + 5) % 31  # neither in order nor equal
        names = [f"name {label}" for label in range(num_classes)]
        sure = torch.linspace(0.5, 0.9, 12)
        rest = (1 - sure[:, None]) / (num_classes - 1)
        probabilities = torch.where(F.one_hot(seen, num_classes) == 1, sure[:, None], rest)
        figure = draw_generated(images, probabilities, counts, names, "a title")
        assert len(figure.axes) == 2 * blocks
        said = [text.get_text() for axes in figure.axes[1::2] for text in axes.texts]
        last = [1, 4]
        first = [index for index in range(12) if index not in last]
        assert said == [f"{sure[first].mean():.0%}", *[""] * (num_classes - 2), f"{sure[last].mean():.0%}"]
        rows = self.rows_of(figure)
        assert list(rows) == names
        for label, name in enumerate(names):
            shown = values[seen == label][:columns].tolist()
            assert rows[name] == shown + [1.0] * (columns - len(shown))
        said = [text.get_position()[1] for axes in figure.axes for text in axes.texts if text.get_text() == "none"]
        assert len(said) == num_classes - 2
        bars = [bar.get_width() for axes in figure.axes[1::2] for bar in axes.patches]
        assert bars == pytest.approx((counts / counts.sum()).tolist())
        for axes in figure.axes[1::2]:
            (line,) = axes.lines  # where all classes would be equally frequent
            assert list(line.get_xdata()) == pytest.approx([1 / num_classes] * 2)
            assert axes.get_xlim()[1] >= max(bars)
        assert figure.get_suptitle() == "a title"

    @pytest.mark.parametrize("names", [CIFAR10, MANY], ids=len)
    def test_colours_and_size(self, names):
        images = torch.rand(20, 3, 32, 32)
        seen = torch.arange(20) % 7
        title = "CIFAR100 student after epoch 500: synthetic images by predicted class\n"
        title += "the first of 512, predicted by the teacher"
        figure = draw_generated(
            images, F.one_hot(seen, len(names)).float(), torch.zeros(len(names), dtype=torch.long), names, title
        )
        require_readable(figure, *(() if len(names) <= 10 else (1200, 5)))
        tile = np.asarray(figure.axes[0].images[0].get_array())[1:33, 1:33]
        assert np.allclose(tile, images[0].permute(1, 2, 0))


def test_tiles_lie_side_by_side_in_rows_without_gaps():
    """Three classes, with more images than columns, fewer, and none; each image is of one number."""
    numbers = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 4) / 10
    made = tiles([numbers[:4], numbers[4:5], numbers[:0]], columns=2)
    assert made.shape == (3, 6, 8)
    torch.testing.assert_close(made[1, ::2, ::4], torch.tensor([[0, 0.1], [0.4, 1], [1, 1]]))
    assert torch.equal(made[:, :2, :4], numbers[0])
    assert torch.equal(made[:, 2:4, :4], numbers[4])
