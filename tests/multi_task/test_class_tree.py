"""The tree of classes: groups as a user writes them, decisions by the tree, and scores of answers, all by hand."""

import itertools
import pickle

import pytest
import torch
import yaml
from helpers.commands import ROOT, refused, superclasses
from helpers.tree_data import GROUPS, SUPERCLASSES

from datamodules import CIFAR100DataModule
from datamodules.class_groups import ClassGroup, group_of_each, require_names
from lightning_tasks.multi_task.class_tree import ClassTree, error_scores, least_severity
from lightning_tasks.multi_task.severity import severity_matrix

GROUPS_FILE = ROOT / "configs/groups/cifar100.yaml"


@pytest.fixture
def tree():
    tree = ClassTree(GROUPS, 6)
    tree.grow(SUPERCLASSES)
    return tree


class TestGroups:
    def test_each_level_of_the_project_s_groups_is_covered_once(self):
        groups = [ClassGroup(**each) for each in yaml.safe_load(GROUPS_FILE.read_text())]
        require_names(groups)
        assert len(groups) == 9
        assert len([name for group in groups for name in group.superclasses]) == 20
        assert all(group.reason.endswith(".") for group in groups)

    @pytest.mark.parametrize(
        ("groups", "said"),
        [
            ([("a", ["x"]), ("b", [])], "group 'b' has no superclass"),
            ([("a", ["x"]), ("a", ["y"])], "group 'a' stands there twice"),
            ([("a", ["x"]), ("b", ["y", "x"])], "superclass 'x' stands there twice"),
        ],
    )
    def test_groups_that_repeat(self, groups, said):
        with pytest.raises(ValueError, match=said):
            require_names([ClassGroup(*each) for each in groups])

    def test_a_misspelt_and_a_missing_superclass(self):
        groups = [ClassGroup("a", ["trees", "fisch"]), ClassGroup("b", ["people"])]
        with pytest.raises(ValueError, match=r"no superclass 'fisch' \(in group 'a'\); the nearest is 'fish'"):
            group_of_each(groups, ["trees", "fish", "people"])
        groups[0].superclasses.pop()
        with pytest.raises(ValueError, match="no group holds 'fish'"):
            group_of_each(groups, ["trees", "fish", "people"])
        assert group_of_each(groups, ["people", "trees"]) == {"trees": "a", "people": "b"}

    def test_the_nearest_is_one_that_is_left_out(self):
        groups = [ClassGroup("vehicles", ["vehicles_1", "vehicles_11"])]
        with pytest.raises(ValueError, match=r"no superclass 'vehicles_11' .* the nearest is 'vehicles_2'"):
            group_of_each(groups, ["vehicles_1", "vehicles_2"])

    def test_the_datamodule_has_both_levels_and_says_so_before_it_reads(self, cifar_root):
        names = superclasses()
        groups = [ClassGroup(f"part {part}", names[part::3]) for part in range(3)]
        data = CIFAR100DataModule(groups, root=str(cifar_root), val_fraction=0.25)
        assert data.data_spec["groups"]["part 2"] == [names[index] for index in (2, 5, 8, 11, 14, 17)]
        assert "groups" not in CIFAR100DataModule(root=str(cifar_root)).data_spec
        data.prepare_data()
        assert list(data.class_levels) == ["superclass", "group"]
        assert data.class_levels["group"] == [f"part {7 * label % 20 % 3}" for label in range(100)]

    @pytest.mark.slow
    def test_bad_groups_on_the_command_line(self, cifar_root, tmp_path):
        groups = yaml.safe_load(GROUPS_FILE.read_text())
        words = ["fit", f"--config={ROOT}/configs/cifar100_multitask.yaml"]
        words += [f"--data.root={cifar_root}", "--data.val_fraction=0.25", "--data.groups"]
        file = tmp_path / "groups.yaml"

        def said(change, **status):
            changed = [{**each, "superclasses": [*each["superclasses"]]} for each in groups]
            change(changed)
            file.write_text(yaml.safe_dump(changed))
            return refused(tmp_path, *words, file, **status)

        def misspell(each):
            each[4]["superclasses"][2] = "treees"

        assert "data.groups: no superclass 'treees' (in group 'plants'); the nearest is 'trees'" in said(misspell)
        assert "no group holds 'fish'" in said(lambda each: each[0]["superclasses"].pop())
        assert "superclass 'fish' stands there twice" in said(lambda each: each[2]["superclasses"].append("fish"))
        assert "'superclases' is not" in said(lambda each: each[0].update(superclases=["fish"]), status=2)
        assert "nowhere.yaml" in refused(tmp_path, *words, tmp_path / "nowhere.yaml", status=2)


@pytest.mark.real_data
class TestRealTree:
    def test_the_tree_is_the_official_one_on_every_image(self, real_data):
        groups = [ClassGroup(**each) for each in yaml.safe_load(GROUPS_FILE.read_text())]
        data = CIFAR100DataModule(groups, root=str(real_data))
        data.prepare_data()
        tree = ClassTree(data.data_spec["groups"], 100)
        tree.grow(data.class_levels["superclass"])
        assert tree.sizes == (100, 20, 9)
        assert torch.bincount(tree.ancestors[0]).tolist() == [5] * 20
        assert torch.bincount(tree.ancestors[1]).tolist() == [10, 20, 15, 5, 15, 15, 5, 5, 10]
        for part in ("train", "test"):
            with open(real_data / "cifar-100-python" / part, "rb") as file:
                content = pickle.load(file, encoding="latin1")
            coarse, _ = tree.coarse(torch.tensor(content["fine_labels"]))
            assert coarse.tolist() == content["coarse_labels"]  # numbers and all
        names = dict(zip(data.class_names, tree.ancestors[1].tolist(), strict=True))
        chosen = {name: tree.names["group"][names[name]] for name in ("whale", "shrew", "spider", "rose", "train")}
        expected = ["sea_animals", "land_mammals", "crawling_animals", "plants", "vehicles"]
        assert list(chosen.values()) == expected


class TestClassTree:
    def test_numbers_and_names(self, tree):
        assert tree.sizes == (6, 3, 2)
        assert tree.names == {"super": ["bird", "cat", "dog"], "group": ["pets", "wild"]}
        assert tree.ancestors.tolist() == [[2, 0, 1, 2, 0, 0], [0, 1, 0, 0, 1, 1]]

    def test_data_of_another_tree(self):
        with pytest.raises(ValueError, match="are not those of their groups"):
            ClassTree(GROUPS, 6).grow([*SUPERCLASSES[:-1], "fish"])
        with pytest.raises(ValueError, match="are not those of their groups"):
            ClassTree(GROUPS, 6).grow(SUPERCLASSES[:-1])
        with pytest.raises(ValueError, match="are not those of their groups"):
            ClassTree(GROUPS, 6).grow(["dog", "bird", "dog", "dog", "bird", "bird"])

    def test_coarse_labels_hard_and_soft(self, tree):
        coarse, groups = tree.coarse(torch.tensor([3, 1, 2]))
        assert coarse.tolist() == [2, 0, 1]
        assert groups.tolist() == [0, 1, 0]
        soft = torch.tensor([[0.1, 0.2, 0.3, 0.05, 0.15, 0.2]], dtype=torch.bfloat16)
        coarse, groups = tree.coarse(soft)
        assert coarse.dtype == torch.float32
        assert coarse[0].tolist() == pytest.approx([0.55, 0.3, 0.15], abs=2e-3)
        assert groups[0].tolist() == pytest.approx([0.45, 0.55], abs=2e-3)

    def test_sums_over_levels_are_those_of_a_loop(self, tree):
        p = torch.rand(7, 6).softmax(dim=1)
        fine, supers, groups = tree.levels(p)
        assert torch.equal(fine, p)
        for row, (index, name) in itertools.product(range(7), enumerate(("bird", "cat", "dog"))):
            members = [label for label, its in enumerate(SUPERCLASSES) if its == name]
            assert supers[row, index].item() == pytest.approx(sum(p[row, label].item() for label in members), abs=1e-6)
        torch.testing.assert_close(groups[:, 1], supers[:, 0])

    def test_a_decision_that_respects_the_tree(self, tree):
        """Argmax says class 1 (wild), but the pets are together likelier, of them the dogs, of those class 3."""
        p = torch.tensor([[0.15, 0.35, 0.2, 0.18, 0.06, 0.06], [0.1, 0.3, 0.1, 0.1, 0.1, 0.3]])
        assert tree.respecting(p).tolist() == [3, 1]
        assert tree.respecting(torch.eye(6)).tolist() == list(range(6))

    def test_paths_of_the_tree(self, tree):
        fine = torch.tensor([0, 0, 0, 1])
        supers = torch.tensor([2, 1, 2, 0])
        groups = torch.tensor([0, 0, 1, 1])
        assert tree.consistent([fine, supers, groups]).tolist() == [True, False, False, True]


class TestDecisionsAndScores:
    def test_least_severity_by_hand_and_by_loop(self, tree):
        """Class 1 is the likeliest at 0.4, but a dog is wrong by 1 at most with 0.6."""
        severity = severity_matrix(tree.ancestors, (1, 2, 10))
        p = torch.tensor([[0.3, 0.4, 0.0, 0.3, 0.0, 0.0], [0.1, 0.8, 0.0, 0.1, 0.0, 0.0]])
        assert least_severity(p, severity).tolist() == [0, 1]  # 0.4 * 10 + 0.3 against 0.6 * 10; of two equal the first
        p = torch.rand(20, 6).softmax(dim=1)
        for row, answer in zip(p, least_severity(p, severity).tolist(), strict=True):
            risks = [sum(float(row[k] * severity[k, c]) for k in range(6)) for c in range(6)]
            assert risks[answer] == pytest.approx(min(risks), abs=1e-6)

    def test_least_severity_under_mixed_precision(self, tree):
        severity = severity_matrix(tree.ancestors, (1, 2, 10))
        p = torch.rand(200, 6).softmax(dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(least_severity(p, severity), (p.double() @ severity.double()).argmin(dim=1))

    def test_scores_by_hand(self, tree):
        """Twelve samples: 5 right, 3 in the superclass, 1 in the group, 3 across groups."""
        confusion = torch.zeros(6, 6, dtype=torch.long)
        confusion[0, 0], confusion[1, 1], confusion[5, 5] = 2, 2, 1
        confusion[0, 3], confusion[4, 1] = 1, 2  # dog for dog, bird for bird
        confusion[2, 3] = 1  # cat for dog
        confusion[2, 4], confusion[1, 0] = 2, 1  # cat for bird, bird for dog
        severity = severity_matrix(tree.ancestors, (1, 2, 10))
        scores = {name: value.item() for name, value in error_scores(confusion, tree.ancestors, severity).items()}
        assert scores == pytest.approx(
            {
                "acc_fine": 5 / 12,
                "acc_super": 8 / 12,
                "acc_group": 9 / 12,
                "severity": (3 * 1 + 1 * 2 + 3 * 10) / 7,
                "cost": (3 * 1 + 1 * 2 + 3 * 10) / 12,
                "same_super": 3 / 7,
                "same_group": 1 / 7,
                "across": 3 / 7,
            }
        )

    def test_without_errors(self, tree):
        scores = error_scores(torch.eye(6), tree.ancestors, severity_matrix(tree.ancestors, (1, 2, 3)))
        assert [scores[name].item() for name in ("acc_fine", "severity", "cost", "across")] == [1, 0, 0, 0]
