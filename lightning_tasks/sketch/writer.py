"""Predicted sketches as files to look at."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from lightning_tasks.drawings.gif import write_gif
from lightning_tasks.drawings.page import Sketch, write_page
from lightning_tasks.drawings.steps import to_drawing
from lightning_tasks.drawings.svg import to_svg
from lightning_tasks.runs.folders import run_folder
from lightning_tasks.sketch.network import SketchMode

if TYPE_CHECKING:
    from lightning_tasks.sketch.task import SketchTask

SIZE = 256  # pixels of a side


class SketchWriter(BasePredictionWriter):
    """Writes the sketches of `predict` into `<log folder>/sketches/`, and all of them on one page, `sketches.html`.

    Of each word the first `per_word` that were made from the word alone, and as many reconstructed from test drawings,
    as `<word>_<number>.svg` and `.gif` and `<word>_<number>_reconstructed.svg` and `.gif`. The page replays them stroke
    by stroke. Works with tasks whose `predict_step` returns sketches, reconstructed drawings and words.

    Args:
        per_word: See above.
    """

    def __init__(self, per_word: int = 12) -> None:
        super().__init__(write_interval="epoch")
        self.per_word = per_word

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write the files."""
        task = cast("SketchTask", pl_module)
        run = run_folder(trainer)
        if not trainer.is_global_zero:
            return
        folder = run / "sketches"
        folder.mkdir(parents=True, exist_ok=True)
        sketches: list[Sketch] = []
        counts: Counter[str] = Counter()
        for generated, reconstructed, words in predictions:
            for index, word in enumerate(task.words[word] for word in words):
                counts[word] += 1
                if counts[word] > self.per_word:
                    continue
                made: dict[SketchMode, np.ndarray] = {"generate": generated[index], "reconstruct": reconstructed[index]}
                for mode, steps in made.items():
                    name = f"{word}_{counts[word]}{'_reconstructed' if mode == 'reconstruct' else ''}"
                    drawing = to_drawing(steps)
                    (folder / f"{name}.svg").write_text(to_svg(drawing, SIZE))
                    write_gif(folder / f"{name}.gif", drawing, SIZE)
                    sketches.append(Sketch(drawing, word, task.temperature, mode))
        write_page(run / "sketches.html", sketches)
        print(f"sketches: {run / 'sketches.html'}")
