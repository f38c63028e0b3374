"""Three answers to each image: every figure by hand, on eight images whose pixels are what the heads say of them."""

import csv
import math

import pytest
import torch
from helpers.commands import ROOT, make_trainer, refused, run_cli
from helpers.tree_data import GROUPS, IMAGES, SUPERCLASSES, Shares, TreeData

from lightning_tasks import MLP, MultiTask
from lightning_tasks.networks import CNN

COSTS = (1.0, 2.0, 10.0)
ANSWERS = {
    "argmax": [0, 1, 1, 0, 5, 0, 2, 1],
    "tree": [0, 3, 1, 0, 5, 1, 2, 2],
    "least_severity": [0, 3, 1, 0, 5, 1, 2, 1],
}
EXPECTED = {
    "acc_fine": 2 / 8,
    "acc_super": 5 / 8,
    "acc_group": 4 / 8,
    "same_super": 2 / 6,
    "same_group": 1 / 6,
    "across": 3 / 6,
    "severity": (2 * 1 + 1 * 2 + 3 * 10) / 6,
    "cost": (2 * 1 + 1 * 2 + 3 * 10) / 8,
    "inconsistent": 2 / 8,
    "loss": -sum(math.log(fine[y] / 100) for y, fine, *_ in IMAGES) / 8,
    "acc_fine_tree": 5 / 8,
    "acc_super_tree": 7 / 8,
    "acc_group_tree": 8 / 8,
    "same_super_tree": 2 / 3,
    "same_group_tree": 1 / 3,
    "across_tree": 0,
    "severity_tree": (2 * 1 + 1 * 2) / 3,
    "cost_tree": (2 * 1 + 1 * 2) / 8,
    "acc_fine_crm": 4 / 8,
    "acc_super_crm": 6 / 8,
    "acc_group_crm": 7 / 8,
    "same_super_crm": 2 / 4,
    "same_group_crm": 1 / 4,
    "across_crm": 1 / 4,
    "severity_crm": (2 * 1 + 1 * 2 + 1 * 10) / 4,
    "cost_crm": (2 * 1 + 1 * 2 + 1 * 10) / 8,
}


def make(data=None, **options):
    data = data or TreeData()
    options = {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1), "costs": COSTS} | options
    return MultiTask(data.data_spec, network=Shares, **options), data


def test_every_figure_of_a_test_by_hand():
    task, data = make()
    found = make_trainer().test(task, data, verbose=False)[0]
    assert found == pytest.approx({f"test/{name}": value for name, value in EXPECTED.items()}, abs=1e-5)
    assert task.test_confusion.compute()[2].tolist() == [1, 1, 1, 0, 0, 0]
    confusions = task.level_confusions  # rows true, columns answered
    assert confusions["super"].tolist() == [[2, 0, 1], [1, 2, 0], [1, 0, 1]]
    assert confusions["group"].tolist() == [[3, 2], [2, 1]]
    assert task.level_names == {"super": ["bird", "cat", "dog"], "group": ["pets", "wild"]}


def test_a_second_test_starts_to_count_anew_and_pictures_get_the_classes():
    task, data = make()
    trainer = make_trainer()
    first = trainer.test(task, data, verbose=False)[0]
    assert trainer.test(task, data, verbose=False)[0] == first
    assert task.level_confusions["super"].sum() == len(IMAGES)
    with torch.inference_mode():
        x, y = data.test_samples(3)
        assert torch.equal(task.test_step((x, y), 0), task(x))
    assert task(x).shape == (3, 6)


def test_validation_has_the_figures_of_the_heads_only():
    task, data = make(ema_decay=0.5)
    found = make_trainer(limit_val_batches=1.0).validate(task, data, verbose=False)[0]
    heads = {name: value for name, value in EXPECTED.items() if not name.endswith(("_tree", "_crm"))}
    assert found == pytest.approx(
        {f"val/{name}{s}": value for name, value in heads.items() for s in ("", "_ema")}, abs=1e-5
    )


@pytest.mark.parametrize("decision", ANSWERS)
def test_predictions_answer_on_three_levels(decision):
    task, data = make(decision=decision)
    batches = make_trainer().predict(task, data)
    answers = {
        level: [torch.cat([each[level][part] for each, _ in batches]) for part in (0, 1)]
        for level in ("fine", "super", "group")
    }
    assert answers["fine"][0].tolist() == ANSWERS[decision]
    if decision == "argmax":
        assert answers["super"][0].tolist() == [2, 0, 0, 1, 0, 2, 1, 0]
        assert answers["super"][1].tolist() == pytest.approx([0.7, 0.5, 0.8, 0.5, 0.6, 0.5, 0.7, 0.4], abs=1e-5)
        assert answers["group"][0].tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    else:
        names = [SUPERCLASSES[answer] for answer in ANSWERS[decision]]
        assert [task.level_names["super"][each] for each in answers["super"][0]] == names
        assert answers["super"][1][:2].tolist() == pytest.approx([0.7, 0.33], abs=1e-5)  # sums of the classes in it
        assert answers["group"][1][:2].tolist() == pytest.approx([0.8, 0.53], abs=1e-5)
    assert answers["fine"][1][0] == pytest.approx(0.6, abs=1e-5)


def tracked(task, data, y=None):
    """What a training step on all eight images gives and tracks."""
    data.prepare_data()
    make_trainer().validate(task, data, verbose=False)  # sets up
    images, labels = data.train_set.images, data.train_set.labels
    seen = {}
    task.track = lambda name, value, count: seen.update({name: (value.item(), count)})
    return task.training_step((images.float() / 255, labels if y is None else y), 0).item(), seen


def cross_entropies():
    supers = [["bird", "cat", "dog"].index(SUPERCLASSES[y]) for y, *_ in IMAGES]
    groups = [0 if SUPERCLASSES[y] in GROUPS["pets"] else 1 for y, *_ in IMAGES]
    rows = [[fine[y], its[s], group[g]] for (y, fine, its, group), s, g in zip(IMAGES, supers, groups, strict=True)]
    return [-sum(math.log(row[head] / 100) for row in rows) / 8 for head in range(3)]


def test_the_training_loss_by_hand():
    loss, seen = tracked(*make(loss_weights=(1.0, 0.5, 3.0)))
    fine, supers, groups = cross_entropies()
    assert loss == pytest.approx(fine + 0.5 * supers + 3 * groups, abs=1e-4)
    assert {name: value for name, (value, _) in seen.items()} == pytest.approx(
        {"loss": loss, "loss_fine": fine, "loss_super": supers, "loss_group": groups, "acc_fine": 0.25}, abs=1e-4
    )
    assert {count for _, count in seen.values()} == {8}


def test_labels_of_all_heads_are_smoothed():
    _, seen = tracked(*make(label_smoothing=0.4))
    for head, level in enumerate(("fine", "super", "group"), 1):
        uniform = -sum((torch.tensor(row[head]) / 100 + 1e-8).log().mean().item() for row in IMAGES) / 8
        expected = 0.6 * cross_entropies()[head - 1] + 0.4 * uniform
        assert seen[f"loss_{level}"][0] == pytest.approx(expected, abs=1e-3)


def test_the_severity_is_that_of_the_fine_head():
    severities = {"argmax": [0, 10, 1, 2, 1, 10, 0, 10]}
    rows = [(-math.log(fine[y] / 100), cost) for (y, fine, *_), cost in zip(IMAGES, severities["argmax"], strict=True)]
    _, seen = tracked(*make(severity_loss="scaled", severity_weight=0.5))
    scaled = sum((1 + 0.5 * cost) * each for each, cost in rows) / sum(1 + 0.5 * cost for _, cost in rows)
    assert seen["loss_fine"][0] == pytest.approx(scaled, abs=1e-3)
    _, seen = tracked(*make(severity_loss="expected", severity_weight=0.5))

    def cost(y, c):
        same = SUPERCLASSES[y] == SUPERCLASSES[c]
        apart = (SUPERCLASSES[y] == "bird") != (SUPERCLASSES[c] == "bird")
        return 0 if y == c else 1 if same else 10 if apart else 2

    risk = sum(fine[c] / 100 * cost(y, c) for y, fine, *_ in IMAGES for c in range(6)) / 8
    assert seen["loss_fine"][0] == pytest.approx(cross_entropies()[0] + 0.5 * risk, abs=1e-4)
    assert seen["loss_super"][0] == pytest.approx(cross_entropies()[1], abs=1e-4)


def test_losses_of_the_tree_have_the_costs_of_the_task():
    """Within a superclass 2, a group 4 and across 9; the weight is 0.5."""

    def cost(y, c):
        same = SUPERCLASSES[y] == SUPERCLASSES[c]
        apart = (SUPERCLASSES[y] == "bird") != (SUPERCLASSES[c] == "bird")
        return 0 if y == c else 2 if same else 9 if apart else 4

    options = {"costs": (2.0, 4.0, 9.0), "severity_weight": 0.5}
    soft = hierarchical = 0.0
    scales = [3 * math.exp(-0.5 * edges) / sum(math.exp(-0.5 * each) for each in (1, 2, 3)) for edges in (3, 2, 1)]
    for y, fine, *_ in IMAGES:
        total = sum(math.exp(-cost(y, c) / 0.5) for c in range(6))
        soft -= sum(math.exp(-cost(y, c) / 0.5) / total * math.log(fine[c] / 100 + 1e-8) for c in range(6)) / 8
        p = [sum(fine[c] / 100 for c in range(6) if cost(y, c) <= most) for most in (0, 2, 4, 9)]
        hierarchical -= sum(scale * math.log(p[i] / p[i + 1]) for i, scale in enumerate(scales)) / 8
    _, seen = tracked(*make(severity_loss="soft_labels", **options))
    assert seen["loss_fine"][0] == pytest.approx(soft, abs=1e-3)
    _, seen = tracked(*make(severity_loss="hierarchical", **options))
    assert seen["loss_fine"][0] == pytest.approx(hierarchical, abs=1e-3)


def test_soft_labels_reach_all_heads():
    labels = torch.tensor([y for y, *_ in IMAGES])
    hard = torch.nn.functional.one_hot(labels, 6).float()
    loss, seen = tracked(*make(), y=hard)
    assert loss == pytest.approx(sum(cross_entropies()), abs=1e-4)
    mixed = (hard + hard.roll(1, dims=0)) / 2
    _, seen = tracked(*make(severity_loss="scaled"), y=mixed)
    assert math.isfinite(seen["loss"][0])
    assert seen["loss_super"][0] != pytest.approx(cross_entropies()[1], abs=1e-2)


def test_learned_weights_are_trained_and_do_not_decay():
    task, data = make(loss_weights="uncertainty")
    assert tracked(task, data)[0] == pytest.approx(sum(cross_entropies()), abs=1e-4)  # all 1 at the start
    task, data = make(loss_weights="uncertainty")
    trainer = make_trainer(max_epochs=3)
    trainer.fit(task, data)
    assert [group["weight_decay"] for group in trainer.optimizers[0].param_groups] == [0, 0]
    assert len(trainer.optimizers[0].param_groups) == 2
    fine, supers, _ = task.weighting.weights.tolist()
    assert fine < supers < 1  # the greater loss weighs the less
    assert trainer.callback_metrics["train/loss_weight_fine"] < 1
    with pytest.raises(ValueError, match="layer_decay must be 1"):
        make(loss_weights="uncertainty", layer_decay=0.5)


def test_with_and_without_severity_a_seed_gives_the_same_initial_weights():
    def weights(kind):
        torch.manual_seed(3)
        task = MultiTask(TreeData().data_spec, network=lambda n, _: CNN(n, (3, 8, 8), ((4,),), ()), severity_loss=kind)
        return task.network.state_dict()

    first, *others = (weights(kind) for kind in ("none", "scaled", "expected", "soft_labels", "hierarchical"))
    assert all(torch.equal(first[name], each[name]) for each in others for name in first)


def test_the_network_is_exported_with_its_heads():
    task = MultiTask(TreeData().data_spec, network=lambda n, _: CNN(n, (3, 8, 8), ((4,),), ())).eval()
    x = torch.randn(2, 3, 8, 8)
    exported = torch.export.export(task.network, (x,)).module()
    torch.testing.assert_close(exported(x), task.network(x))
    assert exported(x).shape == (2, 6 + 3 + 2)
    torch.testing.assert_close(exported(x)[:, :6], task(x))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss_weights": (1.0, 1.0)}, "loss_weights must be 3 numbers"),
        ({"loss_weights": (1.0, -1.0, 1.0)}, "none negative"),
        ({"loss_weights": (0.0, 0.0, 0.0)}, "one above 0"),
        ({"costs": (1.0, 3.0, 2.0)}, "costs must be 3 increasing numbers"),
        ({"severity_loss": "expected", "severity_weight": -0.1}, "severity_weight must not be negative"),
        ({"decision": "best"}, "decision must be one of argmax, tree, least_severity"),
        ({"severity_loss": "square"}, "severity_loss must be one of none, scaled, expected"),
        ({"loss_weights": "learned"}, "loss_weights must be 3 numbers"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)


def test_data_without_a_tree():
    with pytest.raises(ValueError, match="MultiTask needs classes with superclasses and groups, and eight has none"):
        make(TreeData(groups=None))


def test_a_checkpoint_of_other_groups_is_refused(tmp_path):
    task, data = make()
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again, data = make()
    make_trainer().test(again, data, ckpt_path=tmp_path / "a.ckpt", verbose=False)
    task, data = make(TreeData(groups={"furry": ["dog", "cat"], "wild": ["bird"]}))
    with pytest.raises(ValueError, match="furry"):
        make_trainer().test(task, data, ckpt_path=tmp_path / "a.ckpt", verbose=False)


class TestCommandLine:
    CONFIG = ROOT / "configs/cifar100_multitask.yaml"

    @pytest.fixture
    def words(self, cifar_root):
        return [f"--config={self.CONFIG}", f"--data.root={cifar_root}"]

    @pytest.mark.slow
    def test_predicts_three_answers_and_the_command_line_decides_how(self, words):
        words += ["--data.val_fraction=0.25", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
        words += ["--model.network.stages=[[4],[4],[4]]", "--trainer.enable_progress_bar=false", "--plots=false"]
        run_cli("fit", *words)
        ckpt = ["--ckpt_path", "logs/cifar100_multitask/version_0/checkpoints/last.ckpt"]
        rows = {}
        for version, decision in ((1, "argmax"), (2, "least_severity")):
            chosen = ["--model.decision", decision] if version == 2 else []  # else as the checkpoint says
            cli = run_cli("predict", *words, *ckpt, *chosen)
            assert cli.model.decision == decision
            with open(f"logs/cifar100_multitask/version_{version}/predictions.csv") as file:
                rows[decision] = list(csv.DictReader(file))
        heads = [
            "index",
            "label",
            "fine",
            "fine_probability",
            "super",
            "super_probability",
            "group",
            "group_probability",
        ]
        for table in rows.values():
            assert list(table[0]) == heads
            assert [int(row["index"]) for row in table] == list(range(len(cli.datamodule.test_set)))
        for row in rows["least_severity"]:
            label = cli.datamodule.class_names.index(row["fine"])
            assert row["super"] == cli.datamodule.class_levels["superclass"][label]
            assert row["group"] == cli.datamodule.class_levels["group"][label]
            assert float(row["fine_probability"]) <= float(row["super_probability"]) <= float(row["group_probability"])

    @pytest.mark.slow
    def test_bad_options_are_one_line(self, words, tmp_path, mnist_root):
        def said(*more, status=1):
            return refused(tmp_path, "fit", *words, "--data.val_fraction=0.25", *more, status=status)

        assert "loss_weights must be 3 numbers, none negative" in said("--model.loss_weights=[1,-1,1]")
        assert "one above 0, got [0.0, 0.0, 0.0]" in said("--model.loss_weights=[0,0,0]")
        assert "costs must be 3 increasing numbers above 0" in said("--model.costs=[1,2]")
        assert "costs must be 3 increasing numbers above 0" in said("--model.costs=[-1,2,3]")
        assert "severity_weight must not be negative" in said(
            "--model.severity_loss=scaled", "--model.severity_weight=-1"
        )
        assert "the share of a part must be between 0 and 1" in said("--data.val_fraction=1")
        assert "MultiTask needs classes with superclasses and groups, and CIFAR100 has none here" in said(
            "--data.groups=null"
        )
        other = ["--model=MultiTask", "--model.network=MLP", "--data=MNISTDataModule", f"--data.root={mnist_root}"]
        assert "MNIST has none here" in refused(tmp_path, "fit", *other)


def test_predictions_are_of_both_views_where_those_of_the_test_are():
    options = {"network": lambda outputs, shape: MLP(outputs, shape, (4,)), "test_time_flip": True}
    task = MultiTask(TreeData().data_spec, **options).eval()
    x = torch.rand(5, *task.image_shape)
    fine = (task.network(x) + task.network(x.flip(-1)))[:, : task.num_classes] / 2
    answers, probabilities = task.predict_step((x, None), 0)[0]["fine"]
    assert torch.equal(answers, fine.argmax(dim=1))
    torch.testing.assert_close(probabilities, fine.softmax(dim=1).amax(dim=1))
