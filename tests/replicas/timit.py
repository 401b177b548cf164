"""Miniature TIMIT (LDC93S1): the tree shapes in use, SPHERE under .WAV, sentences, speaker table; invented content."""

import shutil
from pathlib import Path

import numpy as np

from replicas.sound import voice, write_riff, write_sphere

SHAPES = ("upper", "lower", "kaggle", "riff")
# part: speaker -> dialect region; the names of test speakers decide their part, those of train speakers are made up
SPEAKERS = {
    "train": {"fabc0": "dr1", "mxyz1": "dr3", "fqqq0": "dr7", "mkkk0": "dr8"},
    "core": {"mdab0": "dr1", "felc0": "dr1", "mtas1": "dr2"},
    "dev": {"faks0": "dr1", "mmdb1": "dr1"},
    "other": {"mzzz0": "dr4"},
}
TEXT = "The green boat drifted past."
DAMAGED = "si1011"  # of the first train speaker


def build(
    root: Path,
    shape: str = "upper",
    sentences: int = 3,
    seconds: float = 1.0,
    speakers: dict[str, dict[str, str]] = SPEAKERS,
    damage: bool = True,
) -> Path:
    """Write the tree, and return the directory to give to local/prepare_timit.py.

    Args:
        root: an empty directory, or none yet.
        shape: upper or lower (case of all names), kaggle (data/, and a RIFF copy beside each SPHERE), riff (upper,
            with RIFF content under .WAV).
        sentences: SX and SI sentences of each speaker, beside SA1 and SA2.
        seconds: of each sentence.
        speakers: train, core, dev, other -> speaker -> dialect region.
        damage: cut one file of train off, and leave stray files.
    """
    top = root / "data" if shape == "kaggle" else root
    for number, (part, own) in enumerate(speakers.items()):
        for place, (speaker, region) in enumerate(own.items()):
            folder = top / ("TRAIN" if part == "train" else "TEST") / region.upper() / speaker.upper()
            _write_speaker(folder, speaker, 1000 * number + 10 * place, sentences, seconds, shape)
    _write_documents(root if shape == "kaggle" else root / "DOC", speakers)
    if shape == "kaggle":
        (root / "train_data.csv").write_text("index,test_or_train,dialect_region,speaker_id,filename\n")
    if damage:
        _damage(top, speakers)
    if shape == "lower":
        _lower_names(root)
    return root


def sentence_names(sentences: int, number: int = 0) -> list[str]:
    """Names of a speaker's sentences: sa1, sa2, then sx and si in turn."""
    return ["sa1", "sa2", *(f"{'si' if n % 2 else 'sx'}{1010 + number + n}" for n in range(sentences))]


def _write_speaker(folder: Path, speaker: str, number: int, sentences: int, seconds: float, shape: str) -> None:
    names = sentence_names(sentences, number)
    speech = np.array_split(voice(speaker, "native", seconds * len(names)), len(names))
    for name, samples in zip(names, speech, strict=True):
        stem, count = folder / name.upper(), len(samples)
        path = stem.with_suffix(".WAV")
        if shape == "riff":
            write_riff(path, samples)
        else:
            header = {"database_id": "TIMIT", "database_version": "1.0", "utterance_id": f"{speaker[1:]}_{name}"}
            write_sphere(path, samples, header)
        if shape == "kaggle":
            write_riff(folder / f"{name.upper()}.WAV.wav", samples)
        stem.with_suffix(".TXT").write_text(f"0 {count} {TEXT}\n")
        stem.with_suffix(".WRD").write_text(f"0 {count // 2} the\n{count // 2} {count} boat\n")
        stem.with_suffix(".PHN").write_text(f"0 {count // 2} h#\n{count // 2} {count} b\n")


def _write_documents(folder: Path, speakers: dict[str, dict[str, str]]) -> None:
    rows = [f";  line {n} of an invented head" for n in range(39)]
    for part, own in speakers.items():
        for speaker, region in own.items():
            born = "??/??/??" if not rows[-1].count("/") else "03/04/60"  # the first has no date
            use = "TRN" if part == "train" else "TST"
            cells = [speaker[1:].upper(), speaker[0].upper(), region[2:], use, "01/02/86", born, "5'05\"", "WHT", "BS"]
            rows.append("  ".join(cells))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SPKRINFO.TXT").write_text("\n".join(rows) + "\n")
    (folder / "PROMPTS.TXT").write_text("; invented head\nSome sentence here. (sx9)\n")


def _damage(top: Path, speakers: dict[str, dict[str, str]]) -> None:
    speaker, region = next(iter(speakers["train"].items()))
    folder = top / "TRAIN" / region.upper() / speaker.upper()
    path = folder / f"{DAMAGED.upper()}.WAV"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shutil.copy(folder / "SA1.WAV", folder.parent / "TONE.WAV")
    (folder / "Thumbs.db").write_bytes(b"\0" * 16)


def _lower_names(root: Path) -> None:
    for path in sorted(root.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.lower()))
