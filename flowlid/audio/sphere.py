"""NIST SPHERE: its header, and whether a plain file is whole. Shorten-coded files need a decoder (`decoders`)."""

from typing import BinaryIO

Header = dict[str, str | int | float]
_TAIL = 512  # bytes after the samples, such as padding


def read_header(file: BinaryIO) -> Header:
    """Fields of a NIST SPHERE header, and its size in bytes as `header_size`.

    Line 1 is NIST_1A, line 2 the header's size, then `name -type value` to `end_head`; -i is a whole number, -r
    a real one, -sN a string of N characters.

    Raises:
        ValueError: a header that breaks off or cannot be read, or has no sample_rate.
    """
    try:
        file.seek(8)
        size = int(file.read(8))
        lines = file.read(size - 16).decode("latin-1").splitlines()
        fields: Header = {"header_size": size}
        for line in lines[: lines.index("end_head")]:
            field, kind, value = line.split(None, 2)
            fields[field] = int(value) if kind == "-i" else float(value) if kind == "-r" else value.strip()
        for field in ("sample_rate", "sample_count", "channel_count", "sample_n_bytes"):
            if field in fields:
                fields[field] = int(fields[field])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its SPHERE header cannot be read ({error}); fetch the file again") from error
    if "sample_rate" not in fields:
        raise ValueError("its SPHERE header has no 'sample_rate'; fetch the file again")
    if min(fields["sample_rate"], fields.get("channel_count", 1), fields.get("sample_n_bytes", 1)) < 1:
        raise ValueError("its SPHERE header has a rate, channels or bytes below 1; fetch the file again")
    return fields


def is_shorten(header: Header) -> bool:
    """Whether the samples are coded by Shorten."""
    return "shorten" in str(header.get("sample_coding", "pcm"))


def sample_count(header: Header) -> int | None:
    """Samples per channel that the header promises; None if it has no count, or one that no file can have."""
    count = header.get("sample_count", 0)
    return count if 0 < count < 2**31 - 512 else None


def mended(file: BinaryIO, size: int) -> bytes | None:
    """A plain file without what follows its samples; None if it ends with them, or has no count: libsndfile reads it.

    Raises:
        ValueError: a sample or more is missing of what the header promises, much more follows, or a header that
            cannot be read.
    """
    header = read_header(file)
    count = sample_count(header)
    if count is None:
        return None
    frame = header.get("channel_count", 1) * header.get("sample_n_bytes", 2)
    end = header["header_size"] + count * frame
    if end - size >= frame:
        raise ValueError(f"cut off, {end - size} bytes are missing; fetch the file again")
    if size - end > max(_TAIL, count * frame // 10):
        raise ValueError(
            f"damaged: its header promises {count} samples, and {size - end} more bytes follow them; "
            "write the file again"
        )
    file.seek(0)
    return file.read(end) if size > end else None
