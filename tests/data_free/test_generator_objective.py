"""What a generator is trained towards: the disagreement, further losses, and their weights."""

import pytest
import torch
from helpers.commands import make_trainer
from helpers.data_free import make_task

from lightning_tasks import BatchNormStatisticsLoss, OneHotLoss
from lightning_tasks.data_free import GeneratorLoss, GeneratorObjective, RandomSource, StudentTraining


def test_the_generators_loss_has_all_parts(teacher_ckpt):
    losses = [BatchNormStatisticsLoss(2.0), OneHotLoss(3.0)]
    task, data = make_task(teacher_ckpt, objective_losses=losses, objective_adversarial_weight=0.5)
    tracked, disagreements = {}, []
    task.track = lambda name, value, count: tracked.update({name: value.item()})
    found = task.objective.disagreement
    task.objective.disagreement = lambda *logits: disagreements.append(found(*logits)) or disagreements[-1]
    make_trainer(limit_train_batches=1).fit(task, data)
    expected = 2 * tracked["loss_statistics"] + 3 * tracked["loss_one_hot"] - 0.5 * disagreements[-1].item()
    assert tracked["loss_generator"] == pytest.approx(expected, rel=1e-5)


def test_student_goes_down_and_generator_up():
    teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    x = torch.randn(8, 4, requires_grad=True)
    training, objective, noise = StudentTraining(), GeneratorObjective(), RandomSource.on(torch.device("cpu"))
    by_hand = (student(x) - teacher(x)).abs().mean().item()
    loss, _ = training.loss(student(x), teacher(x), None)
    generator_loss = objective(x, None, teacher, student, noise).loss
    assert loss.item() == pytest.approx(by_hand)
    assert generator_loss.item() == pytest.approx(-by_hand)
    to_student = torch.autograd.grad(loss, list(student.parameters()))
    to_images = torch.autograd.grad(generator_loss, x)[0]
    with torch.no_grad():
        harder = x - 0.01 * to_images
        assert objective.disagreement(student(harder), teacher(harder)).item() > by_hand
        for parameter, gradient in zip(student.parameters(), to_student, strict=True):
            parameter -= 0.01 * gradient
        assert training.loss(student(x), teacher(x), None)[0].item() < by_hand


def test_half_precision_is_summed_in_full():
    a = torch.full((4096, 100), 100.0, dtype=torch.float16)
    assert StudentTraining().loss(a, -a, None)[0].item() == pytest.approx(200)
    assert GeneratorObjective().disagreement(a, -a).item() == pytest.approx(200)


def test_a_negative_weight_of_the_disagreement_is_refused(teacher_ckpt):
    with pytest.raises(ValueError, match=r"adversarial_weight must not be negative, got -0\.5"):
        make_task(teacher_ckpt, objective_adversarial_weight=-0.5)


def test_disagreement_where_both_agree(teacher_ckpt):
    task, _ = make_task(teacher_ckpt, objective_where_agreed=True)
    s = torch.tensor([[2.0, 0.0], [0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
    t = torch.tensor([[4.0, 0.0], [9.0, 0.0], [7.0, 4.0], [1.0, 0.0]])  # the second is another class
    found = task.objective.disagreement(s, t)
    assert found.item() == pytest.approx((1 + 0 + 3 + 0) / 4)
    task.objective.where_agreed = False
    assert task.objective.disagreement(s, t).item() == pytest.approx((1 + 6 + 3 + 0) / 4)


class Margin(GeneratorLoss):
    """A user's term in place of the adversarial loss."""

    name = "margin"
    needs_student = True

    def forward(self, batch):
        return (batch.logits_t - batch.logits_s).clamp(max=3.0).mean()


def test_a_term_that_looks_at_the_student_takes_the_place_of_the_adversarial_loss(teacher_ckpt):
    task, _ = make_task(teacher_ckpt, objective_losses=[Margin(2.0)], objective_adversarial_weight=0.0)
    x, s, t = torch.zeros(2, 1, 1, 1), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[5.0, 0.0], [1.0, 1.0]])
    found = task.objective(x, None, lambda x: t, lambda x: s, RandomSource.on(torch.device("cpu")))
    assert found.loss.item() == pytest.approx(2 * (3 + 0 + 1 - 2) / 4)
    assert [(name, value.item()) for name, value in found.parts] == [("margin", pytest.approx(0.5))]


def test_it_is_left_out_while_the_generator_is_pretrained(teacher_ckpt):
    losses = [Margin(2.0), OneHotLoss(3.0)]
    task, data = make_task(
        teacher_ckpt, objective_losses=losses, objective_adversarial_weight=0.0, generator_pretrain_epochs=1
    )
    tracked = []
    task.track = lambda name, value, count: tracked.append((task.current_epoch, name))
    make_trainer(limit_train_batches=1, max_epochs=2).fit(task, data)
    assert {epoch for epoch, name in tracked if name == "loss_margin"} == {1}
    assert {epoch for epoch, name in tracked if name == "loss_one_hot"} == {0, 1}


@pytest.mark.parametrize("losses", [[], [Margin()]])
def test_a_pretraining_without_any_loss_is_refused(teacher_ckpt, losses):
    with pytest.raises(ValueError, match=r"pretrain_epochs: .*objective\.losses"):
        make_task(teacher_ckpt, objective_losses=losses, generator_pretrain_epochs=1)
