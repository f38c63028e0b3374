"""Which drawings of Quick, Draw! there are and how they are divided."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
from filelock import FileLock
from pytorch_lightning.utilities import rank_zero_warn

from datamodules.download import fetch_file
from datamodules.groups import grouped_split
from lightning_tasks.drawings.collection import BadLines, Collection, describe, join
from lightning_tasks.drawings.duplicates import near_duplicates
from lightning_tasks.drawings.files import address_of, find, names_of
from lightning_tasks.runs.data_spec import positions
from lightning_tasks.runs.seed import require_seed

MISSING = (403, 404)  # what the official server says of a word that it does not have


@dataclass
class QuickDrawSplits:
    """The files of some words in `<root>/quickdraw`, how their drawings are divided, and where they are cut.

    Args:
        words: What is drawn; their order is that of the classes.
        root: See BaseDataModule.
        max_length: Steps of a drawing, its END included; longer ones are cut.
        val_fraction: Share of the validation split.
        test_fraction: Share of the test split.
        recogniser_fraction: Share that is kept for a recogniser.
        split_seed: Seed of the division; it is apart from `seed_everything`.
        drawings_per_word: Use this many of each word, drawn by `split_seed`; all if not given. The official files hold
            more than 100,000.
        recognized_only: Use only drawings that the game guessed.
        bad_lines: Share of the lines of a file that may be unusable; they are skipped and named.

    Raises:
        ValueError: If an option is out of range.
    """

    words: tuple[str, ...]
    root: Path
    max_length: int = 300
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    recogniser_fraction: float = 0.2
    split_seed: int = 0
    drawings_per_word: int | None = None
    recognized_only: bool = False
    bad_lines: float = 0.01

    def __post_init__(self) -> None:
        require_seed(self.split_seed, "split_seed")
        if self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, a step and END, got {self.max_length}")
        self.words = tuple(self.words)
        self.folder = self.root / "quickdraw"
        if not self.words or len(set(self.words)) < len(self.words):
            raise ValueError(f"words must be one or more, each once, got {list(self.words)}")
        for word in self.words:
            if not word.strip() or word.startswith(".") or set(word) & set("/\\\0"):
                raise ValueError(f"words: {word!r} is no name of a word")
        fractions = {name: getattr(self, name) for name in ("val_fraction", "test_fraction", "recogniser_fraction")}
        for name, value in fractions.items():
            if not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        if sum(fractions.values()) >= 1:
            raise ValueError(f"{', '.join(fractions)} must leave something for training, got {sum(fractions.values())}")
        if self.drawings_per_word is not None and self.drawings_per_word < 1:
            raise ValueError(f"drawings_per_word must be at least 1, got {self.drawings_per_word}")
        if not 0 <= self.bad_lines <= 1:
            raise ValueError(f"bad_lines must be a share in [0, 1], got {self.bad_lines}")

    @property
    def described(self) -> str:
        """Say which drawings are in which split, for those that must not have learnt from each other's."""
        shares = f"{self.val_fraction:g}, {self.test_fraction:g}, {self.recogniser_fraction:g}"
        which = f"{self.drawings_per_word or 'all'} {'recognized ' if self.recognized_only else ''}drawings a word"
        return f"{which}, shares {shares}, seed {self.split_seed}"

    def order(self, words: Sequence[str]) -> bool:
        """Put the words in another order, from which all labels and divisions follow; says whether that changed any."""
        if tuple(words) == self.words or positions(words, self.words) is None:
            return False
        self.words = tuple(words)
        return True

    def download(self) -> None:
        """Fetch the files that are not there, one process at a time.

        Raises:
            ValueError: If the data set does not have a word.
            OSError: If a file is not to be had.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".QuickDraw.lock"):
            for word in self.words:
                if find(self.folder, word) is None:
                    self._fetch(word)

    def _fetch(self, word: str) -> None:
        try:
            fetch_file(address_of(word), self.folder / f"{word}.ndjson")
        except OSError as error:
            known = sorted({path.stem for path in self.folder.glob("[!.]*.ndjson")})
            nearest = get_close_matches(word, known, n=3)
            hint = f"; nearest names there: {', '.join(nearest)}" if nearest else ""
            if isinstance(error, HTTPError) and error.code in MISSING:
                raise ValueError(
                    f"words: QuickDraw has no word {word!r}, and {self.folder.resolve()} has no file of it{hint}"
                ) from error
            raise OSError(
                f"QuickDraw: no {word}.ndjson in {self.folder.resolve()} and the download failed"
                f" ({type(error).__name__}: {error}){hint}"
            ) from error

    def read(self) -> tuple[Collection, np.ndarray, Sequence[np.ndarray]]:
        """Read all words and divide their drawings.

        Warns in one line of the lines that were skipped.

        Returns:
            The drawings, word by word; the index of the word of each, shape (N,), int64; and the indices of those for
            training generators, for validation, for the test, and for training a recogniser, which then has seen none
            of the drawings that generators were trained on.

        Raises:
            OSError: If a file is not there.
            ValueError: If more lines than `bad_lines` allows are bad, or a word has too few drawings.
        """
        found, skipped = [], {}
        for word in self.words:
            drawings, name, bad = self._read_word(word)
            found.append(drawings)
            if bad:
                skipped[name] = bad
        if skipped:
            rank_zero_warn(
                f"QuickDraw: {sum(map(len, skipped.values()))} lines of {len(skipped)} files in {self.folder.resolve()}"
                f" are skipped: {describe(skipped)}"
            )
        labels = np.repeat(np.arange(len(found)), [len(drawings) for drawings in found])
        drawings = join(found)
        apart = self.val_fraction, self.test_fraction, self.recogniser_fraction
        splits = grouped_split(labels, near_duplicates(drawings), (1 - sum(apart), *apart), self.split_seed)
        for split, option in zip(splits, ("", "val_fraction", "test_fraction", "recogniser_fraction"), strict=True):
            counts = np.bincount(labels[split], minlength=len(self.words))
            if not counts.all():
                word = self.words[counts.argmin()]
                what = f"{option} {getattr(self, option):g}" if option else "the share for training"
                raise ValueError(
                    f"{what} leaves no drawing of {word!r} for its split; it has {(labels == counts.argmin()).sum()}"
                )
        return drawings, labels, splits

    def _read_word(self, word: str) -> tuple[Collection, str, BadLines]:
        path = find(self.folder, word)
        if path is None:
            raise FileNotFoundError(f"QuickDraw: no {word}.ndjson in {self.folder.resolve()}")
        if others := [name for name in names_of(word) if (self.folder / name).is_file() and name != path.name]:
            rank_zero_warn(f"QuickDraw: {path} is read, and not {' or '.join(others)} beside it")
        from lightning_tasks.drawings.cache import read_file  # here: it needs an extra

        drawings, bad = read_file(path, word)
        if len(bad) > self.bad_lines * bad.lines:
            raise ValueError(
                f"bad_lines: {len(bad)} of {bad.lines} lines of {path} cannot be used, more than a share of"
                f" {self.bad_lines:g}: {describe({path.name: bad})}"
            )
        if self.recognized_only:
            if len(drawings) and (drawings.recognized < 0).all():
                raise ValueError(f"recognized_only: no line of {path} says whether its drawing was recognized")
            drawings = drawings.select(np.flatnonzero(drawings.recognized == 1))
        wanted = self.drawings_per_word or 1
        if len(drawings) < wanted:
            raise ValueError(f"drawings_per_word: {path} has {len(drawings)} drawings that can be used, not {wanted}")
        if self.drawings_per_word is not None:
            random = np.random.default_rng(self.split_seed)
            drawings = drawings.select(np.sort(random.permutation(len(drawings))[:wanted]))
        return drawings, path.name, bad
