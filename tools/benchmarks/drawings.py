"""Reading drawings: NDJSON against json.loads and lists, batches against padding each drawing in a Dataset."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules import QuickDrawDataModule
from datamodules.sketches import SketchSet
from lightning_tasks.drawings.ndjson import parse
from lightning_tasks.drawings.steps import Pen
from tools.benchmarks.measure import REPEATS, Comparison, compare, seconds

WORDS = 10  # files that are parsed


def run(root: str) -> list[Comparison]:
    """Measure both on the real drawings, where they are."""
    folder = Path(root) / "quickdraw"
    files = sorted(folder.glob("[!.]*.ndjson"))[:WORDS]
    if not files:
        return []
    return [_parsing(files), *_batches(root)]


def plain_parse(lines: list[bytes], word: str) -> list[list[list[float]]]:
    """Read drawings as most public code does, without looking for bad lines."""
    drawings = []
    for line in lines:
        record = json.loads(line)
        assert record["word"] == word
        steps = []
        before: tuple[float, float] | None = None
        for x_axis, y_axis in record["drawing"]:
            for index, (x, y) in enumerate(zip(x_axis, y_axis, strict=True)):
                if before is not None:
                    lifted = float(index == len(x_axis) - 1)
                    steps.append([float(x - before[0]), float(y - before[1]), lifted])
                before = x, y
        drawings.append(steps)
    return drawings


def _parsing(files: list[Path]) -> Comparison:
    contents = {file.stem: file.read_bytes().splitlines(keepends=True) for file in files}
    count = sum(map(len, contents.values()))
    ours, theirs = [], []
    for _ in range(REPEATS + 1):
        ours.append(count / seconds(lambda: [parse(lines, word) for word, lines in contents.items()]))
        theirs.append(count / seconds(lambda: [plain_parse(lines, word) for word, lines in contents.items()]))
    name = "parsing NDJSON (at least 20,000 drawings/s)"
    return compare(name, "json.loads and lists, nothing checked", "drawings/s", ours, theirs, 1.3, more_is_better=True)


class PlainSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Drawings padded one at a time to the longest that is allowed, for PyTorch's own collation."""

    def __init__(self, data: SketchSet, offset_std: float) -> None:
        self.steps = [torch.from_numpy(data.steps(index)) for index in range(len(data))]
        self.words = data.words
        self.max_length = data.max_length
        self.offset_std = offset_std

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        steps = self.steps[index][: self.max_length]
        padded = torch.zeros(self.max_length, 3)
        padded[: len(steps), :2] = steps[:, :2] / self.offset_std
        padded[: len(steps), 2] = steps[:, 2]
        padded[len(steps) :, 2] = Pen.END
        return padded, self.words[index]


def _batches(root: str) -> list[Comparison]:
    rows = []
    for options, what, bar in (({}, "", 4.0), ({"random_scale": 0.15, "point_drop": 0.1}, ", augmented", 1.5)):
        data = QuickDrawDataModule(root=root, **options)  # type: ignore[arg-type]
        data.prepare_data()
        assert data.train_set is not None
        loader = data.train_dataloader()
        plain = DataLoader(PlainSet(data.train_set, data.offset_std), data.batch_size, shuffle=True)
        ours, theirs = [], []
        for _ in range(REPEATS + 1):
            ours.append(len(loader) / seconds(lambda loader=loader: _drain(loader)))  # type: ignore[misc]
            theirs.append(len(plain) / seconds(lambda plain=plain: _drain(plain)))  # type: ignore[misc]
        name = f"QuickDraw loader{what}, batch {data.batch_size}"
        other = "padded to 300 one by one, not augmented, default collation"
        rows.append(compare(name, other, "batches/s", ours, theirs, bar, more_is_better=True))
    return rows


def _drain(batches: Any) -> None:
    for _ in batches:
        pass
