"""Trained networks for use elsewhere: `python cli.py export --ckpt logs/dfad_digits`.

The folder that it writes needs nothing of this project: its `predict.py` loads the network.
"""

from lightning_tasks.export.predict import ExportedModel, load

__all__ = ["ExportedModel", "load"]
