"""Write a trained classifier or student for use elsewhere, and check it.

The folder gets ONNX in float32 and int8, torch.export, safetensors, and a model card, README.md. All are compared with
PyTorch on the run's test images, which are fetched if need be.
"""

import argparse
import shlex

from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.program import PROGRAM


def main(args: list[str]) -> None:
    """Export, and print what the card says of size, accuracy and speed."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} export", description=__doc__)
    parser.add_argument(
        "--ckpt", required=True, help="checkpoint, run's or experiment's folder; best or last, of --config"
    )
    parser.add_argument("--config", type=user_path, help="config of the experiment that best and last refer to")
    parser.add_argument("--out", type=user_path, help="folder to write to; else export/ beside the run's config")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights (--model.ema_decay)")
    parser.add_argument("--licence", default="not stated", help="for the model card")
    options = parser.parse_args(args)
    from rich.console import Console
    from rich.markdown import Markdown

    from lightning_tasks.export.card import table
    from lightning_tasks.export.export import (  # here: it imports PyTorch, and --help does without
        checkpoint_of_experiment,
        export,
    )

    command = f"{PROGRAM} export {shlex.join(args)}"
    source = options.ckpt
    if source in ("best", "last"):
        source = checkpoint_of_experiment(source, options.config)
    folder, facts = export(source, options.out, options.ema, options.licence, command)
    Console().print(Markdown(table(facts)))
    print(f"exported: {folder}")
