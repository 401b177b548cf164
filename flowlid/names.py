"""Names that a user mistyped, and what may have been meant."""

import difflib
from collections.abc import Collection, Set

_SHOWN = 20


def nearest(word: str, known: Collection[str]) -> str:
    """What an error says after an unknown name: " (did you mean 'x'?)", or the known ones if none is near.

    They stand in their order; those of a set are sorted.
    """
    names = sorted(known) if isinstance(known, Set) else list(known)
    close = difflib.get_close_matches(word, names, 1)
    return f" (did you mean {close[0]!r}?)" if close else f"; known: {' '.join(names[:_SHOWN])}"
