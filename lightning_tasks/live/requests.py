"""What the page may ask for: JSON messages, read and checked."""

import difflib
from typing import Annotated

import msgspec
from msgspec import Meta

CHARACTERS = 64 * 1024  # of a message
POINTS = 2000  # of a drawing, over all strokes
TEMPERATURES = (0.01, 2.0)
SPEEDS = (10.0, 500.0)  # points a second

Whole = Annotated[int, Meta(ge=0, le=2**53)]
Coordinate = Annotated[float, Meta(ge=-10_000, le=10_000)]  # in drawing units; a drawing is some 255 wide
Strokes = Annotated[
    list[Annotated[list[tuple[Coordinate, Coordinate]], Meta(min_length=2)]], Meta(min_length=1, max_length=200)
]


class Stop(msgspec.Struct, tag="stop", frozen=True):
    """An end of what is under way."""

    id: Whole


class Draw(msgspec.Struct, tag="draw", frozen=True, kw_only=True):
    """A drawing of a word."""

    id: Whole
    word: str
    temperature: Annotated[float, Meta(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
    speed: Annotated[float, Meta(ge=SPEEDS[0], le=SPEEDS[1])]
    seed: Whole | None = None


class Continue(Draw, tag="continue", frozen=True, kw_only=True):
    """What follows on the first strokes of a drawing."""

    strokes: Strokes


class Morph(Draw, tag="morph", frozen=True, kw_only=True):
    """Drawings of a word, `frames` in number, on the way from the first to the second."""

    first: Strokes
    second: Strokes
    frames: Annotated[int, Meta(ge=2, le=25)]


Request = Stop | Draw | Continue | Morph


def parse(text: str, words: tuple[str, ...]) -> Request:
    """Read a message.

    Args:
        text: A JSON object, of the "type" draw, continue, morph or stop and with the fields of that class.
        words: Words that can be drawn.

    Raises:
        ValueError: If it is none, in a sentence for whoever looks at the page.
    """
    if len(text) > CHARACTERS:
        raise ValueError(f"The message is too long: {len(text)} characters; {CHARACTERS} are allowed.")
    try:
        request = msgspec.json.decode(text, type=Request)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"The message is not understood: {error}.") from error
    if isinstance(request, Stop):
        return request
    if request.word not in words:
        near = difflib.get_close_matches(request.word[:40], words)
        offer = f"the nearest: {', '.join(near)}" if near else f"known are {', '.join(words[:10])}"
        more = ", ..." if not near and len(words) > 10 else ""
        raise ValueError(f"There is no word {request.word[:40]!r}; {offer}{more}.")
    for name in ("strokes", "first", "second"):
        if (count := sum(map(len, getattr(request, name, ())))) > POINTS:
            raise ValueError(f"The {name} may have {POINTS} points, got {count}.")
    return request
