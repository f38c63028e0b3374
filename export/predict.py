"""Answer image files with an exported network: `python -m export.predict logs/dfad_digits/version_0/export photos`.

The table has a row a file, with the five likeliest classes and their probabilities, as `cli.py predict` writes it.
"""

import argparse
import os
from pathlib import Path

from runs.errors import one_line
from runs.paths import user_path

BATCH = 500


def main() -> None:
    """Answer, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m export.predict", description=__doc__)
    parser.add_argument("folder", type=user_path, help="what python -m export has written")
    parser.add_argument("files", nargs="+", help="image files, folders or patterns")
    parser.add_argument("--out", type=user_path, help="the table; else predictions.csv in the folder")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32", help="of the network")
    options = parser.parse_args()
    table = predict(options.folder, options.files, options.out, options.precision)
    print(f"predictions: {os.path.relpath(table)}")


def predict(folder: Path, places: list[str], table: Path | None = None, precision: str = "float32") -> Path:
    """Answer files with the network of a folder.

    Args:
        folder: See export.load.
        places: Files, folders and patterns.
        table: Where to write; None for `predictions.csv` in the folder.
        precision: See export.load.

    Returns:
        The path of the table.

    Raises:
        FileNotFoundError: If there is no exported network, or a place has no images.
    """
    import torch  # here, since --help does without

    from datamodules.image_files import ImageFiles, find_images
    from export.loading import load
    from lightning_tasks.callbacks.predictions import answer_rows, warn_of_unreadable
    from runs.whole_files import write_table

    model = load(folder, precision)
    files = find_images(places, "files")
    images = ImageFiles(files, tuple(model.facts["image_shape"]))
    batches = (images.__getitems__(indices.tolist()) for indices in torch.arange(len(files)).split(BATCH))
    answers = [(torch.from_numpy(model.probabilities(x.numpy())), labels) for x, labels in batches]
    warn_of_unreadable(files, answers)
    table = table or folder / "predictions.csv"
    write_table(table, answer_rows(answers, files, model.classes, {}), line_end="\r\n")
    return table


if __name__ == "__main__":
    one_line(main)
