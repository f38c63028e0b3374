"""Names that users give their classes, as pictures show them: plain text, in letters that a font has."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from helpers.commands import image_folder, run_cli
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from lightning_tasks.callbacks.confusion import draw_confusion
from lightning_tasks.callbacks.tsne import draw_points
from lightning_tasks.runs.atomic_writes import write_table
from lightning_tasks.runs.plot_style import drawable, save_plot, styled

NAMES = ["$5_new$", "$x^{$", "_under", "猫"]


@pytest.fixture
def han(tmp_path):
    """A font of the one letter U+732B, a black square, known to matplotlib for the test."""
    pen = TTGlyphPen(None)
    for move, *points in [("moveTo", (0, 0)), ("lineTo", (0, 1000)), ("lineTo", (1000, 1000)), ("lineTo", (1000, 0))]:
        getattr(pen, move)(*points)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "cat"])
    font.setupCharacterMap({0x732B: "cat"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "han.ttf")
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "han.ttf")
    yield
    font_manager.fontManager.addfont(tmp_path / "han.ttf")  # by which it forgets what it has found
    font_manager.fontManager.ttflist[:] = before


@pytest.fixture
def no_han(monkeypatch):
    """No fallback is installed."""
    monkeypatch.setattr("lightning_tasks.runs.plot_style.FALLBACKS", ())


@pytest.mark.usefixtures("no_han")
@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("$5_new$", "$5_new$"),
        ("Löwe, größer als 5 °C", "Löwe, größer als 5 °C"),
        ("猫 and dog", r"\u732b and dog"),
        ("тигр", "тигр"),
        ("two\nlines", r"two\nlines"),
        ("not \udcff UTF-8", r"not \udcff UTF-8"),
    ],
)
def test_what_no_font_has_is_escaped(name, drawn):
    assert drawable(name) == drawn


@pytest.mark.usefixtures("han")
def test_what_a_font_has_is_drawn_in_it(tmp_path):
    assert drawable("猫") == "猫"
    assert drawable("犬") == r"\u72ac"

    @styled
    def draw():
        figure = Figure(figsize=(1, 1))
        figure.text(0.5, 0.5, "猫", size=20)
        return figure

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a letter that no font has
        save_plot(draw(), tmp_path / "a.png", dpi=72)
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert 300 < (pixels < 128).sum() < 500  # a square of 20 points


def test_a_class_that_begins_with_an_underscore_stands_in_the_legend():
    figure = draw_points(np.eye(4)[:, :2], np.arange(4), NAMES, "title")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == NAMES


def test_dollars_are_dollars(tmp_path):
    figure = draw_confusion(np.array([[3, 1], [2, 2]]), ["$5_new$", "$x^{$"])
    save_plot(figure, tmp_path / "a.png", dpi=50)  # an error in TeX if it were one
    texts = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert texts == ["$5_new$", "$x^{$"]
    assert not any(label.get_parse_math() for label in figure.axes[0].get_xticklabels())


@pytest.mark.slow
@pytest.mark.usefixtures("no_han")
@pytest.mark.filterwarnings("error:.*Glyph")
def test_all_pictures_of_a_run(tmp_path):
    image_folder(Path("photos"), {"train": 4, "test": 4}, NAMES, size=(16, 16))
    image_folder(Path("more"), {"猫$": 2}, ["$"], size=(16, 16))
    words = [
        "--model=ClassificationTask",
        "--model.network=ResNet",
        "--model.network.depth=10",
        "--model.network.width=4",
        "--data=ImageFolderDataModule",
        "--data.folder=photos",
        "--data.batch_size=8",
        "--data.val_fraction=0.5",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--experiment=names",
        "--plot_id=$_$",
    ]
    drawing = [
        "ConfusionPlot",
        "PredictionsPlot",
        "ReliabilityPlot",
        "CurvesPlot",
        "{class_path: TSNEPlot, init_args: {layer: network.layer1}}",
        "{class_path: ActivationPlot, init_args: {layers: [network.layer1]}}",
    ]
    run_cli("fit", *words, "--trainer.max_epochs=1", f"--trainer.callbacks=[{','.join(drawing)}]")
    run_cli(
        "predict", *words, "--ckpt_path=last", "--data.predict=more/猫$/$", "--trainer.callbacks=[PredictionWriter]"
    )
    figures = {path.name for path in Path("logs").rglob("*.png")}
    wanted = {"confusion.png", "predictions.png", "reliability.png", "curves.png", "tsne_network.layer1_0001.png"}
    assert wanted <= figures, figures


def test_a_name_that_is_no_text_is_written_as_it_is(tmp_path):
    write_table(tmp_path / "a.csv", [[b"caf\xe9.png".decode("utf-8", "surrogateescape"), 1]])
    assert (tmp_path / "a.csv").read_bytes() == b"caf\xe9.png,1\n"
