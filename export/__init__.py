"""Trained networks for use elsewhere: `python -m export --ckpt logs/dfad_digits`, and `export.load(folder)` to use one.

Importing this package needs neither Lightning nor PyTorch.
"""

from export.loading import ExportedModel, load

__all__ = ["ExportedModel", "load"]
