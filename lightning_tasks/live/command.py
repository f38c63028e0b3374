"""Serve a page on which a trained sketch network draws: `python cli.py live --ckpt logs/quickdraw_mixture`."""

import argparse

from aiohttp import web

from lightning_tasks.runs.program import PROGRAM


def main(args: list[str]) -> None:
    """Load the network and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} live", description=__doc__)
    parser.add_argument(
        "--ckpt", required=True, help="checkpoint, run's folder or experiment's folder of a sketch task"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 lets other machines in too")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(args)
    if not 0 < options.port < 65536:
        parser.error(f"--port must be from 1 to 65535, got {options.port}")
    import torch  # takes seconds, and --help does without

    from lightning_tasks.live.server import make_app
    from lightning_tasks.sketch.sketcher import Sketcher

    torch.set_num_threads(1)  # a step is too small to share out
    web.run_app(make_app(Sketcher.from_checkpoint(options.ckpt), options.host), host=options.host, port=options.port)
