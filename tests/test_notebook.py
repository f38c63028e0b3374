"""The notebook of docs/: its code, run from the first cell to the last."""

import json

import matplotlib.pyplot as plt
import pytest
from helpers.commands import ROOT


@pytest.mark.slow
def test_it_runs_and_distils(monkeypatch, capsys):
    """For one epoch, after which little is learnt yet."""
    cells = json.loads((ROOT / "docs/distil.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (ten_lines,) = [source for source in sources if "DFADTask(" in source]
    statements = [line for line in ten_lines.splitlines() if line and not line.startswith((" ", "from ", "seed"))]
    assert len(statements) <= 10
    sources[0] = sources[0].replace("EPOCHS = 0.3, 0.3, 10", "EPOCHS = 0.3, 0.3, 1")
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict = {}
    for source in sources:
        exec(source.replace("range(15)", "range(2)").replace("steps_per_epoch=30", "steps_per_epoch=3"), names)
    plt.close("all")
    said = capsys.readouterr().out
    assert "my network: " in said
    assert "20% of the parameters" in said
    assert names["task"].trainer.current_epoch == names["EPOCHS"] == 1
    assert not any(parameter.grad is not None for parameter in names["task"].teacher.network.parameters())
    assert all(axis.get_title().startswith("taken for ") for axis in names["axes"].flat)
    weights = [parameter for parameter in names["my_network"].parameters() if parameter.requires_grad]
    assert len(weights) == 14  # the user's own network is as it was
