"""CRC-32 of files that are written or read in pieces at once: by several jobs, by several threads."""

import functools
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_POLYNOMIAL = 0xEDB88320  # of CRC-32; bit 31 is the coefficient of x^0, bit 0 that of x^31
_ONE, _X8 = 1 << 31, 1 << 23
_PIECE = 2**24  # bytes that a thread reads at once
_MOST_THREADS = 16


def joined(first: int, second: int, length: int) -> int:
    """CRC-32 of two contents one after the other, from that of each and the bytes of the second.

    crc(a b) = crc(a) x^(8 length) + crc(b), in polynomials over GF(2) modulo that of CRC-32.
    """
    return _product(_shift(length), first) ^ second


def _product(a: int, b: int) -> int:
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@functools.lru_cache
def _shift(length: int) -> int:
    """x^(8 length) by repeated squaring."""
    power, square = _ONE, _X8
    while length:
        if length & 1:
            power = _product(power, square)
        square, length = _product(square, square), length >> 1
    return power


def checksum(path: Path, header: int) -> str:
    """CRC-32 of a file's data and then of its first `header` bytes, which are written last; 8 hexadecimal digits.

    Read by as many threads as this process has processors: a disk or network that is faster than one of them limits.
    """
    size = os.stat(path).st_size
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    with open(path, "rb", buffering=0) as file, ThreadPoolExecutor(threads) as pool:

        def piece(start: int) -> tuple[int, int]:
            content = os.pread(file.fileno(), min(_PIECE, size - start), start)
            return zlib.crc32(content), len(content)

        crc, done = 0, header
        for found, length in pool.map(piece, range(header, size, _PIECE)):
            crc, done = joined(crc, found, length), done + length
        first = os.pread(file.fileno(), header, 0)
    return f"{zlib.crc32(first, crc):08x}"
