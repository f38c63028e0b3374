"""What the page may ask for: JSON messages, read and checked."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_tasks.drawings.steps import Drawing


@dataclass(frozen=True)
class Limits:
    """What one server and one request may take.

    Attributes:
        connections: Pages at a time.
        characters: Length of a message.
        strokes: Number of strokes of a drawing.
        points: Number of points of a drawing, over all strokes.
        coordinate: Greatest absolute value, in drawing units; a drawing is some 255 wide.
        frames: Drawings of a morph.
        temperature: Least and greatest.
        speed: Least and greatest, in points a second.
        seconds: Duration of a request, from its first step to its last point.
    """

    connections: int = 32
    characters: int = 64 * 1024
    strokes: int = 200
    points: int = 2000
    coordinate: float = 10_000
    frames: int = 25
    temperature: tuple[float, float] = (0.01, 2)
    speed: tuple[float, float] = (10, 500)
    seconds: float = 120


@dataclass(frozen=True)
class Draw:
    """A drawing of a word, or what follows on `start`, its first strokes."""

    id: int
    word: str
    temperature: float
    speed: float
    seed: int | None
    start: Drawing


@dataclass(frozen=True)
class Morph:
    """Drawings of a word, `frames` in number, on the way from the first to the second."""

    id: int
    word: str
    temperature: float
    speed: float
    seed: int | None
    first: Drawing
    second: Drawing
    frames: int


@dataclass(frozen=True)
class Stop:
    """An end of what is under way."""

    id: int


Request = Draw | Morph | Stop


def parse(text: str, words: tuple[str, ...], limits: Limits) -> Request:
    """Read a message.

    Args:
        text: A JSON object, of the "type" draw, continue, morph or stop and with the fields of Draw, Morph or Stop.
        words: Words that can be drawn.
        limits: Limits of a request.

    Raises:
        ValueError: If it is none, in a sentence for whoever looks at the page.
    """
    if len(text) > limits.characters:
        raise ValueError(f"The message is too long: {len(text)} characters; {limits.characters} are allowed.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("The message is no JSON.") from error
    if not isinstance(message, dict):
        raise ValueError("The message is no JSON object.")
    kind = message.get("type")
    number = int(_number(message, "id", (0, 2**53), whole=True))
    if kind == "stop":
        return Stop(number)
    if kind not in ("draw", "continue", "morph"):
        raise ValueError(f"The type must be draw, continue, morph or stop, got {_short(kind)}.")
    word = _word(message.get("word"), words)
    temperature = _number(message, "temperature", limits.temperature)
    speed = _number(message, "speed", limits.speed)
    seed = None if message.get("seed") is None else int(_number(message, "seed", (0, 2**53), whole=True))
    if kind == "morph":
        first, second = (_drawing(message, name, limits) for name in ("first", "second"))
        frames = int(_number(message, "frames", (2, limits.frames), whole=True))
        return Morph(number, word, temperature, speed, seed, first, second, frames)
    start = _drawing(message, "strokes", limits) if kind == "continue" else []
    return Draw(number, word, temperature, speed, seed, start)


def _word(value: Any, words: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in words:
        return value
    near = difflib.get_close_matches(value[:40], words) if isinstance(value, str) else []
    offer = f"the nearest: {', '.join(near)}" if near else f"known are {', '.join(words[:10])}"
    raise ValueError(f"There is no word {_short(value)}; {offer}{', ...' if not near and len(words) > 10 else ''}.")


def _number(message: dict[str, Any], name: str, allowed: tuple[float, float], whole: bool = False) -> float:
    value = message.get(name)
    kinds = int if whole else (int, float)
    # False for NaN, true of no infinity, and exact for whole numbers of any length.
    if isinstance(value, bool) or not isinstance(value, kinds) or not allowed[0] <= value <= allowed[1]:
        kind = "whole number" if whole else "number"
        raise ValueError(f"The {name} must be a {kind} from {allowed[0]} to {allowed[1]}, got {_short(value)}.")
    return value


def _drawing(message: dict[str, Any], name: str, limits: Limits) -> Drawing:
    strokes = message.get(name)
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) for stroke in strokes):
        raise ValueError(f"The {name} must be lists of points, got {_short(strokes)}.")
    if not 1 <= len(strokes) <= limits.strokes:
        raise ValueError(f"The {name} must be 1 to {limits.strokes} in number, got {len(strokes)}.")
    if (count := sum(map(len, strokes))) > limits.points:
        raise ValueError(f"The {name} may have {limits.points} points, got {count}.")
    for stroke in strokes:
        if len(stroke) < 2:
            raise ValueError(f"Each stroke must have two points or more, got {_short(stroke)}.")
        for point in stroke:
            if not isinstance(point, list) or len(point) != 2 or not all(_is_place(each, limits) for each in point):
                raise ValueError(
                    f"Each point must be two numbers from {-limits.coordinate} to {limits.coordinate},"
                    f" got {_short(point)}."
                )
    return [np.array(stroke, dtype=np.float32) for stroke in strokes]


def _is_place(value: Any, limits: Limits) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= limits.coordinate


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]} ..."
