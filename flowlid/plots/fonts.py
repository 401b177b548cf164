"""Fonts for labels in any script: which installed fonts have the characters that the font of all pictures lacks."""

import functools
import unicodedata
from collections.abc import Iterable

from matplotlib.font_manager import FontEntry, findfont, findSystemFonts, fontManager, get_font

FONT = "DejaVu Sans"  # comes with matplotlib: the same everywhere
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")  # first words of Unicode names


def fallbacks(texts: Iterable[str]) -> tuple[list[str], str]:
    """Names of the fewest installed fonts that have what `FONT` lacks, and the characters that no font has.

    Both are empty where `FONT` has every character.
    """
    characters = {character for character in "".join(texts) if character.isprintable()}
    lacking = characters - _has(findfont(FONT), characters)
    names, without = _fallbacks(frozenset(lacking)) if lacking else ((), "")
    return list(names), without


def boxes_note(texts: Iterable[str]) -> str:
    """A sentence that names the characters of `texts` shown as boxes, and what to install; "" if there are none."""
    without = fallbacks(texts)[1]
    if not without:
        return ""
    packages = {_package(character) for character in without}
    return (
        f"no installed font has the characters {' '.join(without)}: labels show boxes in their place; install a font "
        f"(Debian, Ubuntu: apt-get install {' '.join(sorted(packages))}) and run stage 5 again with --overwrite true"
    )


def _package(character: str) -> str:
    name = unicodedata.name(character, "")
    return "fonts-noto-cjk" if name.startswith(_EAST_ASIAN) else "fonts-noto-core"


@functools.cache
def _fallbacks(lacking: frozenset[str]) -> tuple[tuple[str, ...], str]:
    names, left, entries = [], set(lacking), _installed()
    while left and entries:
        found = {entry.name: _has(entry.fname, left) for entry in entries}
        name = max(found, key=lambda name: len(found[name]))  # of equals the first
        if not found[name]:
            break
        names.append(name)
        left -= found[name]
    return tuple(names), "".join(sorted(left))


def _installed() -> list[FontEntry]:
    """All installed fonts that matplotlib can draw, the regular ones without serifs first."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):  # installed since matplotlib listed them
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError):  # no outlines, as in fonts of coloured pictures
            continue
    # the font named Last Resort has a box for every character
    entries = [entry for entry in fontManager.ttflist if not entry.name.startswith("Last Resort")]
    return sorted(entries, key=_plainness)


def _plainness(entry: FontEntry) -> tuple[bool, bool, bool, str, str]:
    regular = entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular")
    return not regular, "Sans" not in entry.name, "Mono" in entry.name, entry.name, entry.fname


def _has(path: str, characters: Iterable[str]) -> set[str]:
    font = get_font(path)
    return {character for character in characters if font.get_char_index(ord(character))}
