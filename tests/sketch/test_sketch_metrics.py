"""Scores of sketches, computed by hand."""

import math

import numpy as np
import pytest
import torch

from lightning_tasks.drawings.steps import Pen
from lightning_tasks.sketch.metrics import StepEvaluation, lengths_and_ends, novelty, precision_recall


def steps_of(points, ended=True):
    """Steps of one stroke through points."""
    steps = np.zeros((len(points) - 1, 3), np.float32)
    steps[:, :2] = np.diff(np.array(points, np.float32), axis=0)
    steps[-1, 2] = Pen.LIFT
    return np.concatenate([steps, [[0, 0, Pen.END]]]).astype(np.float32) if ended else steps


SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)]
LINE = [(0, 0), (8, 0)]
SLOPE = [(0, 0), (8, 8)]


def test_lengths_and_ends():
    sketches = [steps_of(SQUARE), steps_of(LINE, ended=False), steps_of(LINE), steps_of(SLOPE)]
    scores = lengths_and_ends(sketches, [steps_of(SQUARE, ended=False), steps_of(LINE, ended=False)])
    assert scores == {"endless": 0.25, "steps": (4 + 1 + 1 + 1) / 4, "steps_real": 2.5}


def test_novelty_of_copies_is_none_and_of_others_the_distance_of_their_points():
    moved_and_larger = [(100 + 3 * x, 50 + 3 * y) for x, y in SQUARE]
    train = [steps_of(SQUARE, ended=False), steps_of(LINE, ended=False)]
    scores = novelty([steps_of(moved_and_larger)], [steps_of(SLOPE, ended=False)], train)
    assert scores["novelty"] == pytest.approx(0, abs=1e-6)
    # Points of the slope are (t, t) and of the line (t, 0), t from 0 to 1 in 32 equal steps.
    expected = math.sqrt(np.mean(np.linspace(0, 1, 32) ** 2))
    assert scores["novelty_real"] == pytest.approx(expected, rel=1e-5)


def test_precision_and_recall_by_hand():
    # With k = 1 the radius of each real point is 1, but 10 for the lone one; of made ones 2, 2 and 87.
    real = torch.tensor([[0.0], [1.0], [11.0]])
    made = torch.tensor([[3.0], [5.0], [92.0]])
    scores = precision_recall(real, made, k=1)
    assert scores["precision"] == pytest.approx(2 / 3)  # 3 and 5 are within 10 of 11; 92 is far from all
    assert scores["recall"] == pytest.approx(2 / 3)  # 1 within 2 of 3; 11 within 87 of 92; 0 within none


def test_step_evaluation_by_hand():
    evaluation = StepEvaluation()
    # 4 DOWN of which 3 are right, 1 LIFT that is wrong, 1 END that is right.
    pens = torch.tensor([0, 0, 0, 0, 1, 2])
    said = torch.tensor([0, 0, 0, 1, 0, 2])
    logits = torch.log(torch.full((6, 3), 0.2).scatter(1, said[:, None], 0.6))
    evaluation.update(torch.tensor([1.0, 2.0]), logits[:4], pens[:4])
    evaluation.update(torch.tensor([6.0]), logits[4:], pens[4:])
    metrics = {name: value.item() for name, value in evaluation.metrics().items()}
    cross_entropy = -(4 * math.log(0.6) + 2 * math.log(0.2)) / 6
    assert metrics == pytest.approx(
        {
            "loss_offset": 3.0,
            "loss_pen": cross_entropy,
            "pen_acc": 4 / 6,
            "pen_acc_balanced": (3 / 4 + 0 + 1) / 3,
        }
    )
    assert evaluation.loss.item() == pytest.approx(3 + cross_entropy)


def test_a_state_that_never_comes_has_no_share():
    evaluation = StepEvaluation()
    evaluation.update(torch.tensor([0.0]), torch.tensor([[2.0, 0, 0], [0, 2.0, 0]]), torch.tensor([0, 0]))
    assert evaluation.metrics()["pen_acc_balanced"].item() == 0.5
