"""Ways to damage a file: its bytes, its lines of text.

A mutation is a function of (random numbers, content) that returns the damaged content. It may return the content
unchanged where it finds nothing to damage; the campaign then counts the case as undamaged.
"""

import re
import unicodedata
from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes], bytes]


# Bytes


def flip_bit(random: Random, data: bytes) -> bytes:
    return _flip(random, data, 0, len(data))


def flip_head(random: Random, data: bytes) -> bytes:
    """A bit of the first 64 bytes, where headers are."""
    return _flip(random, data, 0, min(64, len(data)))


def flip_tail(random: Random, data: bytes) -> bytes:
    """A bit of the last 64 bytes, where zip has its directory and gzip its checksum."""
    return _flip(random, data, max(0, len(data) - 64), len(data))


def _flip(random: Random, data: bytes, first: int, end: int) -> bytes:
    damaged = bytearray(data)
    if end > first:
        damaged[random.randrange(first, end)] ^= 1 << random.randrange(8)
    return bytes(damaged)


def cut(random: Random, data: bytes) -> bytes:
    """Only what is before a random place."""
    return data[: random.randrange(len(data))] if data else data


def cut_end(random: Random, data: bytes) -> bytes:
    """A few bytes less."""
    return data[: -random.randint(1, min(len(data), 16))] if data else data


def cut_start(random: Random, data: bytes) -> bytes:
    return data[random.randint(1, min(len(data), 512)) :] if data else data


def empty(random: Random, data: bytes) -> bytes:
    return b""


def zeros(random: Random, data: bytes) -> bytes:
    """A block of zeros, as a disk leaves one that it could not read."""
    start = random.randrange(len(data)) if data else 0
    length = min(random.choice((4, 64, 512)), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def noise(random: Random, data: bytes) -> bytes:
    """A block of random bytes."""
    start = random.randrange(len(data)) if data else 0
    length = min(random.choice((4, 64, 512)), len(data) - start)
    return data[:start] + random.randbytes(length) + data[start + length :]


def double_block(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data)) if data else 0
    length = random.choice((1, 2, 16, 64, 512))
    return data[: start + length] + data[start:]


def drop_block(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data)) if data else 0
    return data[:start] + data[start + random.choice((1, 2, 16, 64, 512)) :]


def append(random: Random, data: bytes) -> bytes:
    """Bytes after the end that do not belong there."""
    return data + random.choice((bytes(1), bytes(512), random.randbytes(100), b"TAG" + bytes(125), data))


def text_mode(random: Random, data: bytes) -> bytes:
    """As a transfer in text mode leaves a binary file: each line feed becomes two bytes."""
    return data.replace(b"\n", b"\r\n")


def as_text(random: Random, data: bytes) -> bytes:
    """Read and saved as UTF-8 text by an editor."""
    return data.decode("utf-8", "replace").encode()


def other_file(random: Random, data: bytes) -> bytes:
    """What a failed download leaves in the place of a file."""
    page = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    return random.choice((page, pointer, b"\0" * 1000, b"\x1f\x8b\x08" + bytes(20), b"PK\x03\x04" + bytes(40)))


BYTES: tuple[Mutation, ...] = (
    flip_bit, flip_head, flip_tail, cut, cut_end, cut_start, empty, zeros, noise, double_block, drop_block, append,
    text_mode, as_text, other_file,
)  # fmt: skip


# Lines of text, as bytes: not all of it is UTF-8


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def _on_line(change: Callable[[Random, bytes], bytes]) -> Mutation:
    """A mutation of one random line, without its line end."""

    def mutation(random: Random, data: bytes) -> bytes:
        lines = _lines(data)
        if not lines:
            return data
        number = random.randrange(len(lines))
        body = lines[number].rstrip(b"\r\n")
        lines[number] = change(random, body) + lines[number][len(body) :]
        return b"".join(lines)

    mutation.__name__ = change.__name__
    return mutation


def _on_field(change: Callable[[Random, bytes], bytes]) -> Mutation:
    """A mutation of one random field of one random line; fields are what is between separators."""

    def on_line(random: Random, line: bytes) -> bytes:
        parts = re.split(rb"([ \t,;:=\[\]{}]+)", line)
        places = [place for place in range(0, len(parts), 2) if parts[place]]
        if places:
            place = random.choice(places)
            parts[place] = change(random, parts[place])
        return b"".join(parts)

    on_line.__name__ = change.__name__
    return _on_line(on_line)


def drop_line(random: Random, data: bytes) -> bytes:
    lines = _lines(data)
    if lines:
        del lines[random.randrange(len(lines))]
    return b"".join(lines)


def double_line(random: Random, data: bytes) -> bytes:
    lines = _lines(data)
    if lines:
        number = random.randrange(len(lines))
        lines.insert(random.choice((number, len(lines))), lines[number])
    return b"".join(lines)


def swap_lines(random: Random, data: bytes) -> bytes:
    lines = _lines(data)
    if len(lines) > 1:
        a, b = random.sample(range(len(lines)), 2)
        lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def merge_lines(random: Random, data: bytes) -> bytes:
    """Two lines become one."""
    lines = _lines(data)
    if len(lines) > 1:
        number = random.randrange(len(lines) - 1)
        lines[number] = lines[number].rstrip(b"\r\n") + random.choice((b" ", b"", b"\t"))
    return b"".join(lines)


def drop_field(random: Random, line: bytes) -> bytes:
    parts = re.split(rb"([ \t,]+)", line)
    places = [place for place in range(0, len(parts), 2) if parts[place]]
    if places:
        place = random.choice(places)
        del parts[place : place + 2]
    return b"".join(parts)


def more_blanks(random: Random, line: bytes) -> bytes:
    """More white space where there is some, or around the line."""
    blank = random.choice((b" ", b"  ", b"\t"))
    return random.choice((blank + line, line + blank, line.replace(b" ", b" " + blank)))


def tabs_for_blanks(random: Random, data: bytes) -> bytes:
    return data.replace(b" ", b"\t") if b" " in data else data.replace(b"\t", b" ")


def insert_blank(random: Random, line: bytes) -> bytes:
    place = random.randint(0, len(line))
    odd = random.choice((" ", "\t", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", "\v", "\N{LINE SEPARATOR}")).encode()
    return line[:place] + odd + line[place:]


def insert_nul(random: Random, line: bytes) -> bytes:
    place = random.randint(0, len(line))
    return line[:place] + b"\0" + line[place:]


def not_utf8(random: Random, line: bytes) -> bytes:
    place = random.randint(0, len(line))
    return line[:place] + random.choice((b"\xff", b"\xe9", b"\xc3", b"\xed\xa0\x80")) + line[place:]


def windows(random: Random, data: bytes) -> bytes:
    return re.sub(rb"(?<!\r)\n", b"\r\n", data)


def old_mac(random: Random, data: bytes) -> bytes:
    return data.replace(b"\n", b"\r")


def mark(random: Random, data: bytes) -> bytes:
    """A byte-order mark, as Windows editors write it."""
    return b"\xef\xbb\xbf" + data


def utf16(random: Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-16-le", "utf-32")))


def other_form(random: Random, word: bytes) -> bytes:
    """The other Unicode form of a word that has letters with marks."""
    text = word.decode("utf-8", "replace")
    return unicodedata.normalize("NFD" if unicodedata.is_normalized("NFC", text) else "NFC", text).encode()


def other_case(random: Random, word: bytes) -> bytes:
    return word.decode("utf-8", "replace").swapcase().encode()


def long_word(random: Random, word: bytes) -> bytes:
    return word + b"x" * random.choice((300, 5000, 200_000))


def long_line(random: Random, line: bytes) -> bytes:
    return line + b" x" * random.choice((300, 100_000))


def number(random: Random, word: bytes) -> bytes:
    """Another number, sound or not."""
    return random.choice(
        (b"0", b"-1", b"1e30", b"1e400", b"-0.0", b"nan", b"inf", b"-inf", b"1e-320", b"99999999999999999999", b"1,5",
         b"1_0", b"0x10", b"012", b"+3", b"3.0", b".5", b"5.", b"1e3", "\u0663".encode(), b"True", b"null", b"2**9")
    )  # fmt: skip


def misspell(random: Random, word: bytes) -> bytes:
    """Two neighbouring letters swapped, or one left out."""
    place = random.randrange(len(word))
    return (
        word[:place] + random.choice((word[place + 1 : place + 2] + word[place : place + 1], b"")) + word[place + 2 :]
    )


def quotes(random: Random, word: bytes) -> bytes:
    mark = random.choice((b'"', b"'"))
    return random.choice((mark + word + mark, mark + word))


def no_last_line_end(random: Random, data: bytes) -> bytes:
    return data.rstrip(b"\n")


def blank_line(random: Random, data: bytes) -> bytes:
    lines = _lines(data)
    lines.insert(random.randint(0, len(lines)), random.choice((b"\n", b"  \n", b"\t\n")))
    return b"".join(lines)


def comment_line(random: Random, data: bytes) -> bytes:
    return b"# a comment\n" + data


TEXT: tuple[Mutation, ...] = (
    drop_line, double_line, swap_lines, merge_lines, tabs_for_blanks, windows, old_mac, mark, utf16, no_last_line_end,
    blank_line, comment_line, empty, cut, flip_bit, zeros, other_file,
    *(_on_line(change) for change in (drop_field, more_blanks, insert_blank, insert_nul, not_utf8, long_line)),
    *(_on_field(change) for change in (other_form, other_case, long_word, number, misspell, quotes)),
)  # fmt: skip
