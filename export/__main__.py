"""Write a trained classifier or student for use elsewhere, and check it: `python -m export --ckpt logs/dfad_digits`.

The folder gets ONNX in float32 and int8, torch.export, safetensors, and a model card, README.md. All are compared with
PyTorch on the run's test images, which are fetched if need be.
"""

import argparse
import shlex
import sys

from runs.errors import one_line
from runs.paths import user_path


def main() -> None:
    """Export, and print what the card says of size, accuracy and speed."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument(
        "--ckpt", required=True, help="checkpoint, run's or experiment's folder; best or last, of --config"
    )
    parser.add_argument("--config", type=user_path, help="of the experiment whose newest run best and last are of")
    parser.add_argument("--out", type=user_path, help="folder to write to; else export/ beside the run's config")
    parser.add_argument("--ema", action="store_true", help="take the averaged weights (--model.ema_decay)")
    parser.add_argument("--licence", default="not stated", help="for the model card")
    options = parser.parse_args()
    from rich.console import Console
    from rich.markdown import Markdown

    from export.card import table
    from export.export import checkpoint_of_experiment, export  # here: it imports PyTorch, and --help does without

    command = shlex.join(["python", "-m", "export", *sys.argv[1:]])
    source = options.ckpt
    if source in ("best", "last"):
        source = checkpoint_of_experiment(source, options.config)
    folder, facts = export(source, options.out, options.ema, options.licence, command)
    Console().print(Markdown(table(facts)))
    print(f"exported: {folder}")


if __name__ == "__main__":
    one_line(main)
