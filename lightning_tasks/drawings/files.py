"""The files of the drawings of a word: how they are called, and where they come from."""

from pathlib import Path
from urllib.parse import quote

ADDRESS = "https://storage.googleapis.com/quickdraw_dataset/full/simplified"


def address_of(word: str) -> str:
    """Say where the simplified drawings of a word are, as the data set spells it."""
    return f"{ADDRESS}/{quote(word)}.ndjson"


def names_of(word: str) -> list[str]:
    """Names that the file of a word may have, the first choice first."""
    return [f"{word}.ndjson", *(f"{start}{word}{end}.npz" for start in ("", "sketchrnn_") for end in (".full", ""))]


def find(folder: Path, word: str) -> Path | None:
    """Give the file of a word, if there is one."""
    return next((folder / name for name in names_of(word) if (folder / name).is_file()), None)
