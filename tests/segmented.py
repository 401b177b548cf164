"""Valid data directories of several speakers, with segments, for the data-directory tools."""

from collections.abc import Callable
from pathlib import Path

from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import invert, write_directory

Tool = Callable[..., list[str]]


def make(path: Path, speakers: dict[str, int], segments: bool = True) -> Path:
    """A valid data directory: speaker -> number of utterances; two utterances to a recording, if segmented."""
    utt2spk = {f"{spk}-{index:02d}": spk for spk, number in speakers.items() for index in range(number)}
    rec = {utt: f"{utt2spk[utt]}_r{int(utt[-2:]) // 2}" for utt in utt2spk}
    seconds = {utt: 1 + (7 * index) % 5 for index, utt in enumerate(utt2spk)}
    tables = {
        "utt2spk": utt2spk,
        "spk2utt": invert(utt2spk),
        "utt2lang": {utt: "en" if spk < "b" else "zh" for utt, spk in utt2spk.items()},
        "utt2dur": {utt: f"{seconds[utt]}.0" for utt in utt2spk},
        "feats.scp": {utt: f"/ark/{utt}.ark:7" for utt in utt2spk},
        "spk2gender": {spk: "f" for spk in speakers},
        "wav.scp": {name: f"/audio/{name}.wav" for name in (rec.values() if segments else utt2spk)},
    }
    if segments:
        tables["segments"] = {utt: f"{rec[utt]} 0 {seconds[utt]}.0" for utt in utt2spk}
    write_directory(path, tables)
    DataDir(path).validate()
    return path


def content(path: Path) -> dict[str, bytes]:
    """The files of a directory, byte for byte; hidden ones and folders left out."""
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name[0] != "."}


def utts(path: Path) -> list[str]:
    """The utterances of a directory, after it was validated."""
    directory = DataDir(path)
    directory.validate(require=["utt2spk", "spk2utt", "wav.scp"])
    return directory.utts
