"""Miniature WSJ0 and WSJ1 (CSR-I and II): discs apart, below package folders, or merged; invented content."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replicas import shorten
from replicas.sound import voice, write_flac, write_riff, write_sphere

LAYOUTS = ("merged", "discs", "packages")
INDEX_LINE = "; an invented comment"
DROPPED = "401"
DROPPED_DISC = "11-2.1"
DAMAGED = "01ic0202"
TEXT = 'The GREEN boat [noise] drifted \\<past\\> "QUOTE ,COMMA for~ *one* hour .PERIOD'
_PACKAGE = {"11": "csr_1_senn", "13": "csr_2_comp/discs"}


@dataclass(frozen=True)
class Set:
    """A set of utterances.

    Attributes:
        place: disc:folder of the recordings.
        speakers: their folders.
        index: disc:path of the index file, "" for none.
        listed: what the index calls the disc.
        dots: disc:folder of the transcripts, "" for beside the recordings.
        suffix: of the index's entries.
    """

    place: str
    speakers: list[str]
    index: str = ""
    listed: str = ""
    dots: str = ""
    suffix: str = ".wv1"


def sets(speakers: int) -> dict[str, Set]:
    """The sets of the replica, with `speakers` in each of the two training sets and two in each of the others."""
    names = [f"{n:02x}" for n in range(1, speakers + 1)]
    return {
        "si84": Set(
            "11-1.1:wsj0/si_tr_s",
            [f"{name}i" for name in names],
            "11-13.1:wsj0/doc/indices/train/tr_s_wv1.ndx",
            "11_1_1",
            "11-4.1:wsj0/transcrp/dots/si_tr_s",
        ),
        "si200": Set(
            "13-1.1:wsj1/si_tr_s",
            [f"{name}a" for name in names],
            "13-34.1:wsj1/doc/indices/si_tr_s.ndx",
            "13_1_1",
            "13-34.1:wsj1/trans/wsj1/si_tr_s",
        ),
        "dev93": Set(
            "13-16.1:wsj1/si_dt_20",  # the disc in upper case
            ["4k0", "4k1"],
            "13-34.1:wsj1/doc/indices/h1_p0.ndx",
            "13_16_1",
            "13-34.1:wsj1/trans/wsj1/si_dt_20",
        ),
        "eval92": Set(
            "11-14.1:wsj0/si_et_20",
            ["440", "441"],
            "11-13.1:wsj0/doc/indices/test/nvp/si_et_20.ndx",
            "11_14_1",
            suffix="",
        ),
        "eval93": Set(
            "13-33.1:wsj1/si_et_h1/wsj64k",
            ["4oa", "4ob"],
            "13-32.1:wsj1/doc/indices/wsj1/eval/h1_p0.ndx",
            "13_32_1",  # the published index names the wrong disc
        ),
        "dev92": Set("11-6.1:wsj0/si_dt_05", ["050", "051"], dots="11-4.1:wsj0/transcrp/dots/si_dt_05"),
    }


def build(
    root: Path,
    layout: str = "merged",
    suffix: str = ".wv1",
    coding: str = "pcm",
    speakers: int = 3,
    utterances: int = 4,
    seconds: float = 1.0,
    indices: bool = True,
    parts: tuple[str, ...] = ("wsj0", "wsj1"),
    with_dropped: bool = True,
    damage: bool = True,
) -> Path:
    """Write the tree, and return `root`, which is given to local/prepare_wsj.py.

    Args:
        root: an empty directory, or none yet.
        layout: merged (wsj0/ and wsj1/), discs (11-1.1 and so on; 13-16.1 in upper case), or packages (the discs
            two levels further down).
        suffix: .wv1, or .wav or .flac for a converted copy.
        coding: of .wv1: pcm, or shorten.
        speakers: of each of the two training sets.
        utterances: of each speaker.
        seconds: of each utterance.
        indices: write the index files.
        parts: wsj0, wsj1 or both.
        with_dropped: the recordings of speaker 401 are there; the index names them anyway.
        damage: cut the second file of a speaker off, and leave stray files.
    """
    tree = _Tree(root, layout)
    for name, own in sets(speakers).items():
        disc, folder = own.place.split(":")
        if folder[:4] not in parts:
            continue
        listed = []
        for speaker in own.speakers + ([DROPPED] if name == "si84" else []):
            disc = DROPPED_DISC if speaker == DROPPED else disc
            stems = [f"{speaker}c02{n:02x}" for n in range(1, utterances + 1)]
            if speaker != DROPPED or with_dropped:
                place = tree.path(f"{disc}:{folder}/{speaker}")
                _write_speech(place, speaker, stems, suffix, coding, seconds)
                _write_dot(tree.path(f"{own.dots}/{speaker}") if own.dots else place, f"{speaker}c0200", stems)
            called = own.listed if speaker != DROPPED else disc.replace("-", "_").replace(".", "_")
            listed += [f"{called}:{' ' * (n % 2)}{folder}/{speaker}/{stem}" for n, stem in enumerate(stems)]
        if indices and own.index:
            _write_lines(tree.path(own.index), [INDEX_LINE, *(entry + own.suffix for entry in listed)])
    _write_speaker_tables(tree, speakers, parts)
    if "wsj0" in parts:
        _add_oddities(tree.path("11-1.1:wsj0/si_tr_s/01i"), suffix, coding, damage)
    if layout != "merged" and "wsj1" in parts:
        _upper_names(tree.path("13-16.1:"))
    return root


class _Tree:
    """Where the files of each disc stand."""

    def __init__(self, root: Path, layout: str) -> None:
        self.root, self.layout = root, layout

    def path(self, place: str) -> Path:
        """Path of disc:path."""
        disc, relative = place.split(":")
        if self.layout == "merged":
            return self.root / relative
        package = _PACKAGE[disc[:2]] if self.layout == "packages" else ""
        return self.root / package / disc / relative


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write_speech(folder: Path, speaker: str, names: list[str], suffix: str, coding: str, seconds: float) -> None:
    speech = np.array_split(voice(speaker, "native", seconds * len(names)), len(names))
    for name, samples in zip(names, speech, strict=True):
        path = folder / f"{name}{suffix}"
        if suffix == ".wav":
            write_riff(path, samples)
        elif suffix == ".flac":
            write_flac(path, samples)
        else:
            write_wv(path, samples, coding)


def write_wv(path: Path, samples: np.ndarray, coding: str = "pcm") -> Path:
    """A recording as on the discs; `coding` pcm or shorten."""
    header = {
        "microphone": "Sennheiser HMD410" if path.suffix == ".wv1" else "a table microphone",
        "recording_site": "SRI",
        "database_id": "wsj0",
        "database_version": "1.0",
        "recording_environment": "quiet office",
        "speaker_session_number": "02",
        "session_utterance_number": path.stem[6:],
        "prompt_id": "invented.1.2.3",
        "utterance_id": path.stem,
        "speaking_mode": "read-common",
        "speaker_id": path.stem[:3],
        "sample_coding": "pcm" if coding == "pcm" else "pcm,embedded-shorten-v1.09",
    }
    return write_sphere(path, samples, header, payload=None if coding == "pcm" else shorten.encode(samples))


def _write_dot(folder: Path, stem: str, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    end = "\r\n" if stem[:3] in ("01i", "4k0") else "\n"
    (folder / f"{stem}.dot").write_bytes("".join(f"{TEXT} ({name}){end}" for name in names).encode())


def _write_speaker_tables(tree: _Tree, speakers: int, parts: tuple[str, ...]) -> None:
    """Tables as on the discs: WSJ0's does not have the training speakers."""
    own = sets(speakers)
    tables = {
        "11-13.1:wsj0/doc/spkrinfo.txt": own["eval92"].speakers + own["dev92"].speakers,
        "13-34.1:wsj1/doc/train/spkrinfo.txt": own["si200"].speakers,
        "13-34.1:wsj1/doc/dev_spok/spkrinfo.txt": own["dev93"].speakers,
        "13-32.1:wsj1/doc/evl_spok/spkrinfo.txt": own["eval93"].speakers,
    }
    for place, names in tables.items():
        if place.split(":")[1][:4] in parts:
            rows = [f"{name.upper()}  {'FM'[n % 2]}  SRI  {30 + n}  NORTHERN" for n, name in enumerate(names)]
            _write_lines(tree.path(place), ["; an invented head", *rows, "zzz  --  --  --  --"])


def _add_oddities(folder: Path, suffix: str, coding: str, damage: bool) -> None:
    if suffix == ".wv1":  # the second microphone
        write_wv(folder / "01ic0201.wv2", voice("01i", "native", 0.5), coding)
    if damage:
        path = folder / f"{DAMAGED}{suffix}"
        whole = path.read_bytes()
        path.write_bytes(whole[: 300 if coding == "shorten" else len(whole) // 2])  # 300: within the header
        shutil.copy(folder / f"01ic0201{suffix}", folder / f"test{suffix}")
        (folder / "Thumbs.db").write_bytes(b"\0" * 16)


def _upper_names(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.upper()))
