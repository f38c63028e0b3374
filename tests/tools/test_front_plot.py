"""The plot of README."""

import numpy as np
import pytest
from matplotlib.image import imsave

from tools.results import front


def test_the_front_picture_by_hand(card, tmp_path):
    """Two seeds of DFAD+, whose means lie between them, one in another precision, one of DFAD, and one not drawn."""
    over_time = {
        "DFAD+": ([60, 120], [0.5, 0.9]),
        "DFAD": ([60, 300], [0.1, 0.3]),
        "other": ([60, 600], [0.2, 0.2]),
    }
    cards = []
    for name, (seconds, values) in over_time.items():
        kept = {"seconds": seconds, "val/acc": values}
        cards.append(card(1, experiment=f"dfad_cifar10/47-,{name}", over_time=kept))
    for each, teacher in zip(cards, (0.9, 0.94, 0.5), strict=True):
        each["metrics"]["test/acc_teacher"] = teacher
    second = {"seconds": [120, 240], "val/acc": [0.7, 0.7]}
    cards.append(card(2, experiment="dfad_cifar10/47-,DFAD+", over_time=second))
    cards[-1]["metrics"]["test/acc_teacher"] = 0.95
    cards.append(cards[-1] | {"seed": 3, "precision": "16-true"})
    images = np.zeros((10 * 4, 3 * 4, 3), dtype=np.uint8)
    images[8:12] = 255  # of the third class
    imsave(tmp_path / "tiles.png", images)
    left, right = front.draw(cards, tmp_path / "tiles.png").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in right.lines if line.get_alpha() is None}
    assert lines.pop("teacher, on test images") == [[0, pytest.approx(93.5)], [1, pytest.approx(93.5)]]
    assert lines == {"DFAD+": [[1.5, 60.0], [3.0, 80.0]], "DFAD": [[1.0, 10.0], [5.0, 30.0]]}
    dashes = {line.get_linestyle() for line in right.lines if line.get_label() == "DFAD"}
    assert dashes == {"--"} != {line.get_linestyle() for line in right.lines if line.get_label() == "DFAD+"} == {"-"}
    faint = [line.get_xydata().tolist() for line in right.lines if line.get_alpha()]
    assert faint == [[[1, 50], [2, 90]], [[2, 70], [4, 70]]]
    assert (left.get_yticks().tolist()[2], left.get_yticklabels()[2].get_text()) == (10, "bird")
    shown = left.images[0].get_array()[..., :3]
    assert shown[10].min() == 1 > shown[6].max() == shown[14].max() == 0


def test_the_images_of_the_front_picture_are_those_of_the_newest_run(tmp_path):
    pictures, logs = tmp_path / "pictures", tmp_path / "logs"
    pictures.mkdir()
    kept = front.synthetic_images(logs, pictures)
    kept.write_text("kept")
    assert front.synthetic_images(logs, pictures).read_text() == "kept"
    for version in (0, 1):
        figures = logs / f"dfad_cifar10/47-,DFAD+/version_{version}/figures"
        figures.mkdir(parents=True)
        (figures / "synthetic_images.png").write_text(str(version))
    assert front.synthetic_images(logs, pictures).read_text() == "1"
