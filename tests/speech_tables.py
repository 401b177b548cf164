"""Tables of recorded speech to prepare: their text, and a recording of two channels."""

from pathlib import Path

import numpy as np
from tools import speech, write_wav

COLUMNS = "utt_id path speaker language set"
ROWS = """\
ann-1 wav/1.wav ann en train
ben-1 wav/2.wav ben es train
cat-1 wav/3.wav cat en dev
dan-1 wav/4.wav dan es test"""
CALL = "ann-1 wav/call.wav ann en train 0\nann-2 wav/2.wav ann en train -\nben-1 wav/call.wav ben es train 1"


def table(rows: str = ROWS, columns: str = COLUMNS) -> str:
    """A TSV table of rows with blanks between fields ("-" for an empty one), below its columns."""
    lines = [line.split(" ") for line in f"{columns}\n{rows}".splitlines()]
    return "".join("\t".join("" if cell == "-" else cell for cell in cells) + "\n" for cells in lines)


PLAIN = table()


def stereo(corpus: Path) -> np.ndarray:
    samples = np.round(np.stack([speech(0.5, 7), speech(0.5, 8)], axis=1) * 32767).astype(np.int16)
    write_wav(corpus / "wav/call.wav", samples)
    return samples


def one(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    return lines[0]
