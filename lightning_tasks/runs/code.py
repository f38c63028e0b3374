"""The code of this project, as far as it can change what a run does."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Nothing else can change what a run does; its config is in the card.
CODE = ("datamodules", "lightning_tasks")


def code_hash() -> str:
    """Hash the code on disk, as hexadecimal digits."""
    found = [path for name in CODE for path in (ROOT / name, *sorted((ROOT / name).rglob("*.py"))) if path.is_file()]
    digest = hashlib.sha256()
    for path in found:
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
