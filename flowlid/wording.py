"""The wording that errors share: near names, names that look the same, lists and values cut short."""

import difflib
import unicodedata
from collections.abc import Collection, Iterable, Sequence, Set

SHOWN = 20  # problems, or known names, that one error lists
_JOINERS = "\u200c\u200d"


def closest(word: str, names: Collection[str]) -> str | None:
    """The one of some names that is most like a word, whatever their case; None if none is near."""
    of = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), of, 1)
    return of[close[0]] if close else None


def nearest(word: str, known: Collection[str]) -> str:
    """What an error says after an unknown name: " (did you mean 'x'?)", or the known ones if none is near.

    They keep their order; those of a set are sorted.
    """
    names = sorted(known) if isinstance(known, Set) else list(known)
    close = closest(word, names)
    return f" (did you mean {close!r}?)" if close else f"; known: {some(names, SHOWN, ' ')}"


def some(names: Sequence[object], most: int = 8, separator: str = ", ") -> str:
    """The first of these names, and how many more there are: "a, b and 3 more"."""
    return separator.join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def brief(text: object, most: int = 100) -> str:
    """What is said of a text in an error, `repr` for a string: its beginning, if it is long."""
    return shortened(repr(text) if isinstance(text, str) else str(text), most)


def shortened(text: str, most: int = 100) -> str:
    """The beginning of a text, if it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def one_line(text: str) -> str:
    """A text of several lines as one; tabs are blanks too, so that it can be a column of a table."""
    return " ".join(text.replace("\t", " ").splitlines())


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different names that are the same to a person: the spelling that came first, and another.

    The same are names that differ in case, in how Unicode writes a letter (an accent in it or after it, full or half
    width: NFKC), in blanks, or in characters that nobody sees; as file names most of them are one on a Mac or on
    Windows. The joiners of Indic scripts and Persian are unseen too, but carry meaning: they count.
    """
    first: dict[str, str] = {}
    pairs = []
    for name in dict.fromkeys(names):
        other = first.setdefault(" ".join((name.lower() if name.isascii() else _folded(name)).split()), name)
        if other != name:
            pairs.append((other, name))
    return pairs


def spelling(name: str) -> str:
    """A name as an error shows it that looks like another: in quotes, and where it is not ASCII by its characters."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"


def _folded(name: str) -> str:
    """What names have in common that look the same (Unicode's caseless compatibility match, less unseen characters)."""
    seen = "".join(char for char in name if char in _JOINERS or unicodedata.category(char) != "Cf")
    for _ in range(2):  # folding case may leave what has another normal form
        seen = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", seen).casefold())
    return seen
