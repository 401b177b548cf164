"""Sounds in archives, trees of recordings, and what a run keeps beside the tables of its data directories."""

import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

from flowlid.audio.samples import read_audio
from flowlid.corpora.data_dirs import write_dirs
from flowlid.kaldi.copies import copy_directories
from flowlid.kaldi.tables import invert, read_table

from .kaldi_files import _make_features, scp_number
from .kinds import Kind, alike, tone
from .mutations import BYTES, TEXT
from .settings import _read_table

SECONDS, RATE = 0.25, 8000

# Sounds in an archive


def _make_ark(place: Path) -> None:
    """A WAV file as Kaldi's wav-copy writes it, a FLAC file as kaldiio does; both of the same length."""
    lines = []
    with open(place / "sounds.ark", "wb") as ark:
        for number, (utt, form) in enumerate((("u1", "WAV"), ("u2", "FLAC"))):
            content = io.BytesIO()
            soundfile.write(content, tone(SECONDS, number, RATE), RATE, format=form, subtype="PCM_16")
            data = content.getvalue()
            ark.write(f"{utt} ".encode())
            lines.append(f"{utt} {place}/sounds.ark:{ark.tell()}\n")
            ark.write(data if form == "WAV" else b"AUDIO\4" + len(data).to_bytes(4, "little") + data)
    (place / "wav.scp").write_text("".join(lines))


def _read_ark(place: Path) -> dict[str, Any]:
    table = read_table(place / "wav.scp")
    found = {utt: read_audio(value, f"{place}/wav.scp: utterance {utt}", RATE) for utt, value in table.items()}
    return {utt: (len(samples), samples.tobytes()) for utt, (samples, _) in found.items()}


def _check_ark(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    short = [f"{utt} has {count} samples" for utt, (count, _) in value.items() if count < round(SECONDS * RATE) - 1]
    return short[0] if short else None


# A tree of recordings; names.txt says how its files are called

NAMES = "".join(
    f"{language}/{language[0]}{speaker}/1.wav\n" for language in ("pt", "zé") for speaker in ("ana", "Bo", "ci", "dö")
)


def _make_tree(place: Path) -> None:
    (place / "names.txt").write_text(NAMES, encoding="utf-8")
    soundfile.write(place / "1.wav", tone(SECONDS, 1, RATE), RATE, subtype="PCM_16")


def _read_tree(place: Path) -> list[tuple[Any, ...]]:
    for path in _paths(place):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / "1.wav", path)
    return _read_table("tree", place)


def _paths(place: Path) -> list[Path]:
    """Where the recordings go; names on Linux are bytes, and not all of them are UTF-8."""
    names = (place / "names.txt").read_bytes().replace(b"\0", b"").splitlines()
    return [place / "tree" / os.fsdecode(name.lstrip(b"/")) for name in names]


def _check_tree(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    """An utterance of each file that has a sound's name, of the language and speaker that its folders say."""
    files = {path.relative_to(place / "tree") for path in _paths(place) if path.suffix.lower() == ".wav"}
    if len(value) != len(files):
        return f"{len(value)} utterances of {len(files)} files"
    owners = {(path.parts[0], path.parts[1]) for path in files}
    found = {(language, speaker.removeprefix("table-")) for _, speaker, language, *_ in value}
    if owners != found:
        return f"languages and speakers {sorted(found ^ owners)}"
    return alike(language for language, _ in found) or alike(speaker for _, speaker in found)


# What a run writes beside its tables


def _make_copy(place: Path) -> None:
    (place / "theirs/train").mkdir(parents=True)
    _make_features(place / "theirs/train")
    copy_directories(place / "theirs", ["train"], place / "ours", features=True)


def _read_copy(place: Path) -> dict[str, Any]:
    copy_directories(place / "theirs", ["train"], place / "ours", features=True)
    return _contents(place)


def _contents(place: Path) -> dict[str, Any]:
    """What the files hold, but hidden ones."""
    found = {}
    for path in place.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            found[str(path.relative_to(place))] = json.loads(content) if path.suffix == ".json" else content
    return found


def _make_sets(place: Path) -> None:
    """Two sets that stage 1 made, one that it made before, and a directory of the user's."""
    soundfile.write(place / "1.wav", tone(SECONDS, 1, RATE), RATE)
    _write_sets(place, "train", "test", "test_old")
    (place / "data/mine").mkdir()
    (place / "data/mine/notes").write_text("mine\n")


def _write_sets(place: Path, *names: str) -> None:
    tables = {}
    for name in names:
        utts = {f"{name}-{number}": name for number in (1, 2)}
        tables[name] = {
            "utt2spk": utts,
            "spk2utt": invert(utts),
            "utt2lang": dict.fromkeys(utts, "pt"),
            "utt2dur": dict.fromkeys(utts, "0.25"),
            "wav.scp": dict.fromkeys(utts, str(place / "1.wav")),
        }
    heads = [["set", "utterances", "speakers", "hours", "languages"]]
    write_dirs(tables, heads + [[name, "2", "1", "0.000", "pt"] for name in names], place / "data")


def _read_sets(place: Path) -> dict[str, Any]:
    """What is there after stage 1 ran again; a damaged list may keep what it would have removed."""
    _write_sets(place, "train", "test")
    return {name: content for name, content in _contents(place).items() if not name.startswith("data/test_old/")}


KINDS = [
    Kind(
        "ark of sounds",
        _make_ark,
        _read_ark,
        {"sounds.ark": BYTES, "wav.scp": (*TEXT, *(4 * (scp_number,)))},
        [("wav.scp", "windows old_mac mark utf16 no_last_line_end"), ("sounds.ark", "empty other_file")],
        _check_ark,
    ),
    Kind("tree", _make_tree, _read_tree, {"names.txt": TEXT}, (), _check_tree),
    Kind("copied_from.json", _make_copy, _read_copy, {"copied_from.json": (*BYTES, *TEXT)}, [("*", "*")]),
    Kind("sets.tsv", _make_sets, _read_sets, {"sets.tsv": TEXT}, [("*", "*")]),
]
