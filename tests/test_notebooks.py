"""The notebooks of docs/: their code, run from the first cell to the last."""

import json

import matplotlib.pyplot as plt
import pytest
from helpers.commands import ROOT


def run(name, *changes):
    """Run a notebook and give its names; each change replaces a text that occurs once by a cheaper one."""
    cells = json.loads((ROOT / "docs/notebooks" / name).read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for old, new in changes:
        assert sum(source.count(old) for source in sources) == 1, old
        sources = [source.replace(old, new) for source in sources]
    names: dict = {}
    for source in sources:
        exec(source, names)
    plt.close("all")
    return names


@pytest.mark.slow
def test_a_network_is_distilled(capsys):
    """For one epoch, after which little is learnt yet."""
    cells = json.loads((ROOT / "docs/notebooks/distil.ipynb").read_text())["cells"]
    (ten_lines,) = ["".join(cell["source"]) for cell in cells if "DFADTask(" in "".join(cell["source"])]
    statements = [line for line in ten_lines.splitlines() if line and not line.startswith((" ", "from ", "seed"))]
    assert len(statements) <= 10
    shorter = ("EPOCHS = 0.3, 0.3, 10", "EPOCHS = 0.3, 0.3, 1"), ("range(15)", "range(2)")
    names = run("distil.ipynb", *shorter, ("steps_per_epoch=30", "steps_per_epoch=3"))
    said = capsys.readouterr().out
    assert "my network: " in said
    assert "20% of the parameters" in said
    assert names["task"].trainer.current_epoch == names["EPOCHS"] == 1
    assert not any(parameter.grad is not None for parameter in names["task"].teacher.network.parameters())
    assert all(axis.get_title().startswith("predicted: ") for axis in names["axes"].flat)
    weights = [parameter for parameter in names["my_network"].parameters() if parameter.requires_grad]
    assert len(weights) == 14  # the user's own network is as it was


def test_backpropagation_is_right_and_he_starts_before_random():
    names = run("by_hand.ipynb")
    assert names["by_hand"] == pytest.approx(names["numerical"], rel=1e-5)
    assert names["he"][-1] > 0.95
    assert names["he"][0] > names["random"][0] + 0.3
    assert names["random"][-1] > 0.95


@pytest.mark.slow
def test_shapes_are_learnt():
    """In sixty epochs; of each word most sketches have the strokes and corners that they should."""
    names = run("sketches.ipynb")
    task, torch = names["task"], names["torch"]
    sketches = {
        word: [names["to_drawing"](steps) for steps in task.generate(torch.full((50,), index), 0.3, seed=2)]
        for index, word in enumerate(task.words)
    }
    shapes = {word: [[len(stroke) for stroke in each] for each in drawn] for word, drawn in sketches.items()}
    assert shapes["triangle"].count([4]) > 40
    assert shapes["star"].count([6]) > 40
    assert shapes["house"].count([5, 3]) > 40


@pytest.mark.parametrize("path", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_site_shows_what_a_notebook_prints_and_plots(path):
    """The site does not run them; each cell that prints or plots has its output stored."""
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            kinds = {kind for output in cell["outputs"] for kind in [output["output_type"], *output.get("data", {})]}
            assert ("stream" in kinds) == ("\nprint(" in source), source
            assert ("image/png" in kinds) == ("plt.subplots(" in source), source
