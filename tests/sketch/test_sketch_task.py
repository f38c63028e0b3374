"""SketchTask on small files in the official format: losses by hand, metrics, pictures, files, bad input."""

import functools
import json
import math
import shutil
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import ROOT, TINY_TRAINER, few_fast, make_trainer, refusal, refused, run_cli, write_config
from helpers.quickdraw_files import write
from torch.nn import functional as F

from datamodules import QuickDrawDataModule
from lightning_tasks import CNN, MixtureHead, RegressionHead, SketchNetwork, SketchTask
from lightning_tasks.drawings.steps import Pen, to_drawing
from lightning_tasks.sketch.sketcher import Sketcher

WORDS = ("cat", "bus", "sea shell")
SIZES = {"embedding_size": 3, "encoder_size": 4, "decoder_size": 6, "attention_size": 5, "latent_dim": 2}
TINY_DATA = ["--data=QuickDrawDataModule", "--data.root=data", f"--data.words={json.dumps(WORDS)}"]
TINY_DATA += ["--data.val_fraction=0.2", "--data.test_fraction=0.2", "--data.max_length=20"]
TINY_TASK = ["--model=SketchTask", "--model.network=SketchNetwork", "--model.sketches_per_word=3"]
TINY_TASK += [f"--model.network.{name}={size}" for name, size in SIZES.items()]
RECOGNISER = [
    "--model=ClassificationTask",
    "--model.network=CNN",
    "--model.network.stages=[[4]]",
    "--model.network.hidden_sizes=[]",
    "--model.network.average=true",
    *[word.replace("QuickDrawDataModule", "QuickDrawImagesDataModule") for word in TINY_DATA],
    "--data.image_size=16",
    *TINY_TRAINER,
    "--trainer.max_epochs=1",
    "--experiment=recogniser",
]
JUDGED = ["--model.recogniser=CNN", "--model.recogniser.stages=[[4]]", "--model.recogniser.hidden_sizes=[]"]
JUDGED += ["--model.recogniser.average=true", "--model.recogniser_ckpt=logs/recogniser"]


@pytest.fixture(autouse=True)
def drawings(tmp_path):
    return write(tmp_path / "data", WORDS)


def train_recogniser(*words):
    run_cli("fit", *RECOGNISER, *words)


def fit(*words):
    return run_cli("fit", *TINY_TASK, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", *words)


def make_task(head=RegressionHead, **options):
    torch.manual_seed(0)
    data = QuickDrawDataModule(WORDS, root="data", max_length=20, batch_size=8)
    data.prepare_data()
    task = SketchTask(data.data_spec, lambda words: SketchNetwork(words, head, **SIZES, dropout=0.0), **options)
    task.offset_std.fill_(data.offset_std)
    return task, data


# Losses


@pytest.mark.parametrize(("every", "floor"), [(1, 0.0), (3, 0.0), (3, 10.0)])
def test_training_loss_by_hand(every, floor):
    task, data = make_task(reconstruct_every=every, kl_weight=0.3, kl_start=0.5, kl_decay=0.9, kl_floor=floor)
    losses = []
    task.on_train_batch_end = lambda outputs, batch, index: losses.append((batch, outputs["loss"].item()))
    task.configure_optimizers = lambda: torch.optim.SGD(task.parameters(), lr=0.0)
    task.on_train_epoch_start = lambda: torch.manual_seed(7)
    make_trainer(max_epochs=1).fit(task, data)
    torch.manual_seed(7)
    assert len(losses) > 3
    for step, (batch, loss) in enumerate(losses):
        whole, latent = task.network.encode(batch)
        z = latent.mean + (latent.log_variance / 2).exp() * torch.randn_like(latent.mean)
        kl = 0.5 * (latent.mean**2 + latent.log_variance.exp() - 1 - latent.log_variance).mean()
        weight = 0.3 * (1 - 0.5 * 0.9**step)
        expected = weight * kl.clamp(min=floor)
        words = task.network.word_memory(batch.words)
        trained = [whole, words] if step % every == 0 else [words]
        for memory in trained:
            described, logits = task.network.decode(batch, z, memory)
            offsets, pens = [], []
            for row, length in enumerate(batch.lengths.tolist()):
                for column in range(length):
                    pens.append(F.cross_entropy(logits[row, column], batch.pens[row, column]))
                    if batch.pens[row, column] != Pen.END:
                        offsets.append(((described[row, column] - batch.offsets[row, column]) ** 2).mean())
            expected = expected + (sum(offsets) / len(offsets) + sum(pens) / len(pens)) / len(trained)
        assert loss == pytest.approx(expected.item(), rel=1e-4)


def test_likelihood_of_a_step_counts_offsets_and_pens_of_real_steps():
    task, data = make_task(MixtureHead, sketches_per_word=2)
    trainer = make_trainer()
    (measured,) = trainer.test(task, data, verbose=False)
    parts = measured["test/loss_offset"] + measured["test/loss_pen"]
    assert measured["test/loss"] == pytest.approx(parts + 0.5 * max(measured["test/divergence"], 0.2))
    batch = data.test_set.__getitems__(list(range(len(data.test_set))))
    task.eval()
    with torch.no_grad():
        whole, latent = task.network.encode(batch)
        for suffix, memory in (("", task.network.word_memory(batch.words)), ("_reconstruct", whole)):
            described, logits = task.network.decode(batch, latent.mean, memory)
            real = batch.mask
            pens = F.cross_entropy(logits[real], batch.pens[real], reduction="sum")
            drawn = real & (batch.pens != Pen.END)
            offsets = task.network.offset.score(described[drawn], batch.offsets[drawn]).sum()
            assert measured[f"test/nll{suffix}"] == pytest.approx(((pens + offsets) / real.sum()).item(), rel=1e-4)
            right = (logits.argmax(dim=-1) == batch.pens)[real].float().mean().item()
            assert measured[f"test/pen_acc{suffix}"] == pytest.approx(right)


def test_learns_to_redraw(tmp_path):
    task, data = make_task(optimizer=lambda params: torch.optim.Adam(params, lr=1e-2), sketches_per_word=1)
    trainer = make_trainer(max_epochs=8, limit_val_batches=1.0)
    before = trainer.validate(task, data, verbose=False)[0]["val/loss_pen_reconstruct"]
    trainer.fit(task, data)
    assert trainer.validate(task, data, verbose=False)[0]["val/loss_pen_reconstruct"] < 0.7 * before


# Drawing


def test_sketches_repeat_themselves_and_end_where_they_say():
    task, _ = make_task(MixtureHead)
    words = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    first, again, other = task.generate(words), task.generate(words), task.generate(words, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    for steps in first:
        assert (steps[:-1, 2] != Pen.END).all()
        assert len(steps) == 20 or steps[-1, 2] == Pen.END
    assert {len(steps) for steps in first} != {20}


def test_offsets_come_back_in_the_units_of_drawings():
    task, _ = make_task()
    scaled = task.generate(torch.tensor([0]))[0]
    task.offset_std.fill_(1.0)
    plain = task.generate(torch.tensor([0]))[0]
    np.testing.assert_allclose(scaled[:, :2], plain[:, :2] * make_task()[0].offset_std.item(), rtol=1e-5)


@pytest.mark.slow
def test_sketcher_draws_what_the_task_draws(tmp_path):
    fit("--experiment=sketch")
    sketcher = Sketcher.from_checkpoint("logs/sketch")
    assert sketcher.words == WORDS
    points = list(sketcher.draw("bus", 0.5, seed=3))
    assert points == list(sketcher.draw("bus", 0.5, seed=3))
    assert points[0] == (0, 0, Pen.DOWN)
    assert len(points) <= 21
    steps = sketcher.task.generate(torch.tensor([1]), 0.5, seed=3)[0]
    drawn = steps[steps[:, 2] != Pen.END, :2].cumsum(0)
    np.testing.assert_allclose([point[:2] for point in points[1:] if point.pen != Pen.END], drawn, rtol=1e-4, atol=1e-3)
    mine = [np.array([[10, 10], [50, 60], [100, 10]], np.float32)]
    goes_on = list(sketcher.draw("bus", 0.5, mine, seed=3))
    assert len(goes_on) <= 20 - 2
    latent = sketcher.encode("bus", mine)
    assert latent.shape == (2,)
    assert list(sketcher.draw("bus", 0.5, latent=latent, seed=3)) != points


def test_latent_vectors_in_between_lie_on_the_sphere():
    first, second = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_allclose(Sketcher.between(first, second, 0.5), [math.sqrt(0.5)] * 2)
    np.testing.assert_allclose(Sketcher.between(first, second, 1 / 3), [math.cos(math.pi / 6), 0.5])
    np.testing.assert_allclose(Sketcher.between(first, 3 * first, 0.5), [2, 0])


# Runs


@pytest.mark.slow
def test_run_with_a_recogniser_has_its_figures_and_pictures():
    train_recogniser()
    fit(
        "--experiment=sketch",
        *JUDGED,
        "--plots=true",
        "--trainer.callbacks=SketchPlot",
        "--trainer.callbacks+=CurvesPlot",
    )
    card = json.loads(Path("logs/sketch/version_0/run.json").read_text())
    for name in (
        "recognised",
        "recognised_real",
        "recognised_redrawn",
        "recognised_reconstructed",
        "precision",
        "recall",
    ):
        assert 0 <= card["metrics"][f"test/{name}"] <= 1
    theirs = json.loads(Path("logs/recogniser/version_0/run.json").read_text())
    assert card["metrics"]["test/recognised_real"] == pytest.approx(theirs["metrics"]["test/acc"])
    assert len(card["recogniser_sha256"]) == 64
    assert Path("logs/sketch/version_0/figures/sketches_0001.png").is_file()
    assert Path("logs/sketch/version_0/figures/curves.png").is_file()


@pytest.mark.slow
def test_resumes_to_the_bit():
    whole = fit("--experiment=whole", "--trainer.max_epochs=2", "--data.point_drop=0.2", "--data.random_scale=0.1")
    part = ["--experiment=part", "--data.point_drop=0.2", "--data.random_scale=0.1"]
    fit(*part)
    resumed = fit(*part, "--trainer.max_epochs=2", "--ckpt_path=last")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_missing_recogniser_is_trained_once_the_rest_can_be_built(tmp_path, children):
    write_config("recogniser", RECOGNISER)
    words = ["fit", *TINY_TASK, *TINY_DATA, *TINY_TRAINER, *JUDGED, "--experiment=sketch", "--trainer.max_epochs=1"]
    assert "error: max_length must be at least 2" in children.run([*words, "--data.max_length=1"], tmp_path).err
    assert not Path("logs").exists()
    assert run_cli(*words).trainer.callback_metrics["test/recognised"] >= 0


CONFIGS = sorted((ROOT / "configs").glob("quickdraw*.yaml"))


@pytest.mark.parametrize("config", few_fast({"quickdraw_recogniser"}, CONFIGS, attrgetter("stem")))
def test_config_is_fitted_tested_and_predicted(config, tmp_path):
    options = yaml.safe_load(config.read_text())
    write(tmp_path / "data", options["data"]["init_args"]["words"])
    limits = [f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test", "predict")]
    words = [f"--config={config}", *limits, *TINY_TRAINER, "--trainer.max_epochs=1", "--data.batch_size=4"]
    words += ["--data.val_fraction=0.2", "--data.test_fraction=0.2"]
    if "recogniser_ckpt" in options["model"]["init_args"]:
        of_recogniser = ROOT / "configs/quickdraw_recogniser.yaml"
        run_cli("fit", f"--config={of_recogniser}", "--plots=false", *words[1:], "--data.augment=[]")
        words += ["--model.sketches_per_word=2", "--data.max_length=12"]
    run_cli("fit", *words, *([] if "sketches_per_word" in str(words) else ["--data.augment=[]"]))
    best = f"--ckpt_path=logs/{config.stem}/version_0/checkpoints/best.ckpt"
    predicted = run_cli("predict", *words, best)
    made = "sketches.html" if "recogniser_ckpt" in options["model"]["init_args"] else "predictions.csv"
    assert Path(predicted.trainer.log_dir, made).is_file()


@pytest.mark.slow
def test_predict_writes_sketches_of_each_word():
    fit("--experiment=sketch")
    best = "--ckpt_path=logs/sketch/version_0/checkpoints/best.ckpt"
    done = run_cli("predict", *TINY_TASK, *TINY_DATA, *TINY_TRAINER, "--experiment=sketch", best)
    folder = Path(done.trainer.log_dir, "sketches")
    expected = {
        f"{word}_{n}{how}.{kind}"
        for word in WORDS
        for n in range(1, 9)
        for how in ("", "_reconstructed")
        for kind in ("svg", "gif")
    }
    assert {path.name for path in folder.iterdir()} == expected


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.temperature=0"], "temperature must be positive"),
        (["--model.kl_decay=1.5"], "kl_start and kl_decay must be in [0, 1]"),
        (["--model.kl_floor=-1"], "kl_weight and kl_floor not negative"),
        (["--model.recogniser=CNN"], "recogniser and recogniser_ckpt must be given together"),
        (
            ["--model.network.head=MixtureHead", "--model.network.head.num_mixtures=0"],
            "num_mixtures must be at least 1",
        ),
        (["--data.words=[]"], "words must be one or more"),
        (["--model.scheduler=StepLR", "--model.scheduler.step_size=1"], "it is given total_steps, as OneCycleLR"),
    ],
)
def test_bad_options(tmp_path, words, said):
    assert said in refusal(tmp_path, "fit", *TINY_TASK, *TINY_DATA, *TINY_TRAINER, *words)


def test_a_recogniser_computes_where_it_is_sent():
    train_recogniser("--data.val_fraction=0.1", "--data.test_fraction=0.1")
    network = functools.partial(CNN, stages=((4,),), hidden_sizes=(), average=True)
    task, data = make_task(recogniser=network, recogniser_ckpt="logs/recogniser")
    steps = [data.test_set.steps(index) for index in range(3)]
    judge = task.recogniser
    assert judge.answer(judge.features(steps)).device.type == "cpu"
    with pytest.raises(
        ValueError, match=r"best\.ckpt was trained with words cat, bus, sea shell; this run has bus, cat, "
    ):
        task.match_class_order(task.data_spec | {"words": ("bus", "cat", "sea shell")}, "ckpt_path: it was trained")
    assert judge.to(torch.device("meta")).features(steps).device.type == "meta"


@pytest.mark.slow
def test_a_recogniser_of_other_words_or_parts_is_refused(tmp_path):
    train_recogniser()
    words = ["fit", *TINY_TASK, *TINY_DATA, *TINY_TRAINER, *JUDGED]
    assert "was trained with words" in refused(tmp_path, *words, '--data.words=["bus", "cat", "sea shell"]')
    assert "was trained with parts" in refused(tmp_path, *words, "--data.split_seed=1")


@pytest.mark.slow
def test_words_take_the_order_of_the_checkpoint(tmp_path):
    """The parts are divided as in the training then."""
    trained = fit()
    expected = {name: value for name, value in trained.trainer.callback_metrics.items() if name.startswith("test/")}
    words = [*TINY_TASK, *TINY_DATA, *TINY_TRAINER, '--data.words=["bus", "sea shell", "cat"]']
    tested = run_cli("test", *words, "--ckpt_path=last")
    assert tested.model.words == tuple(tested.datamodule.class_names) == WORDS
    assert {name: tested.trainer.callback_metrics[name] for name in expected} == expected


def test_sketcher_refuses_another_task(tmp_path):
    train_recogniser()
    with pytest.raises(ValueError, match="is no checkpoint of a SketchTask"):
        Sketcher.from_checkpoint("logs/recogniser")


def test_sketches_are_drawings():
    task, _ = make_task(MixtureHead)
    for steps in task.generate(torch.tensor([0, 1, 2])):
        for stroke in to_drawing(steps):
            assert stroke.shape[1] == 2
            assert np.isfinite(stroke).all()


def test_another_recogniser_is_refused_on_resume():
    for seed in (1, 2):
        train_recogniser(f"--seed_everything={seed}", "--test_after_fit=false")
    words = [word for word in JUDGED if not word.startswith("--model.recogniser_ckpt")]
    words += ["--experiment=sketch", "--test_after_fit=false"]
    first, second = (f"--model.recogniser_ckpt=logs/recogniser/version_{number}" for number in (0, 1))
    fit(*words, first)
    with pytest.raises(ValueError, match=r"\(model.recogniser_ckpt \S+version_0 there, \S+version_1 here\)"):
        fit(*words, second, "--ckpt_path=last")
    shutil.copytree("logs/recogniser/version_0", "elsewhere")
    fit(*words, "--model.recogniser_ckpt=elsewhere", "--ckpt_path=last")
    assert not Path("logs/sketch/version_1").exists()
