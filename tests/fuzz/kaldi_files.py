"""Kaldi's files: archives, and data directories with features, with recordings, and to be fixed."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import kaldiio
import numpy as np
import soundfile

from flowlid.config import FramesConfig
from flowlid.features.extract import Job, Unusable
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.pool import write_options
from flowlid.features.vad import VadOptions
from flowlid.frames.agreement import features_of
from flowlid.frames.frameset import load_frames
from flowlid.kaldi.arks import ArkWriter, read_matrix
from flowlid.kaldi.cmvn import cmvn_stats
from flowlid.kaldi.datadir import DataDir, fix_directory
from flowlid.kaldi.tables import invert, parse_segment, read_table, write_table

from .fields import Field, set_field
from .kinds import Kind, alike, tone
from .mutations import BYTES, TEXT

UTT2LANG = {f"{speaker}-{n}": language for speaker, language in (("ana", "pt"), ("bé", "fr")) for n in (1, 2, 3)}
UTT2SPK = {utt: utt.partition("-")[0] for utt in UTT2LANG}
FRAMES, DIM = 20, 4
# Damage after which a table says the same, and damage that tables must not have.
HARMLESS = (
    "swap_lines double_line more_blanks tabs_for_blanks windows old_mac mark utf16 no_last_line_end blank_line "
    "comment_line"
)
BROKEN = "drop_line merge_lines empty other_file not_utf8 insert_nul"


def _matrix(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(FRAMES, DIM)).astype(np.float32) + 2 * (number % 2)


# Archives


def _make_ark(place: Path, dtype: type = np.float32, **options: object) -> None:
    matrices = {utt: _matrix(number).astype(dtype) for number, utt in enumerate(UTT2LANG)}
    kaldiio.save_ark(str(place / "feats.ark"), matrices, scp=str(place / "feats.scp"), **options)
    scp = (place / "feats.scp").read_text().splitlines()
    scp[0] += f"[0:{FRAMES // 2}]"
    (place / "feats.scp").write_text("\n".join(sorted(scp)) + "\n")


def _read_ark(place: Path) -> dict[str, Any]:
    table = read_table(place / "feats.scp")
    found = {utt: read_matrix(value, f"{place}/feats.scp: utterance {utt}") for utt, value in table.items()}
    return {utt: (array.shape, array.tobytes()) for utt, array in found.items()}


def _check_ark(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    """Matrices of the shapes that were written, unless their very sizes were damaged; their numbers may be others."""
    if {"field", "flip_head"} & set(mutations) or len(mutations) > 1:
        return None  # without checksums beside it a matrix of 10 rows and 8 columns is as good as one of 20 and 4
    whole = {(rows, DIM) for rows in range(1, FRAMES + 1)}
    strange = [f"{utt} is of shape {shape}" for utt, (shape, _) in value.items() if shape not in whole]
    return strange[0] if strange else None


def _ark_fields(data: bytes) -> list[Field]:
    """Sizes and numbers of rows and columns of each matrix."""
    fields, place = [], 0
    while (place := data.find(b"\0B", place)) >= 0:
        place += 5
        fields += [(place, 1, "little"), (place + 1, 4, "little"), (place + 5, 1, "little"), (place + 6, 4, "little")]
    return fields


def scp_number(random: Random, data: bytes) -> bytes:
    """Another offset or range in an scp file."""
    found = list(re.finditer(rb"(?<=[:\\[])\d+", data))
    if not found:
        return data
    match = random.choice(found)
    new = random.choice((0, 1, int(match[0]) + 1, max(0, int(match[0]) - 1), len(data), 2**31, 2**63, 10**30))
    return data[: match.start()] + b"%d" % new + data[match.end() :]


# Data directories


def plain_table(path: Path) -> dict[str, str] | None:
    """A table as anybody would read it: words of lines, with a blank between them; None where it is no text."""
    lines = [line.split() for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()]
    try:
        return {words[0].decode(): b" ".join(words[1:]).decode() for words in lines if words}
    except ValueError:
        return None


def _tables(place: Path, names: str) -> dict[str, dict[str, str]]:
    data = DataDir(place)
    return {name: {key: " ".join(value.split()) for key, value in data.table(name).items()} for name in names.split()}


def _differs(place: Path, tables: dict[str, dict[str, str]]) -> str | None:
    for name, table in tables.items():
        plain = plain_table(place / name)
        if table != plain:
            return f"{name} was read as {str(table)[:200]}, and says {str(plain)[:200]}"
    return alike([*tables["utt2lang"].values(), *tables["utt2spk"].values()])


FEATURE_TABLES = "utt2spk spk2utt utt2lang utt2dur utt2num_frames feats.scp vad.scp cmvn.scp"


def _make_features(place: Path) -> None:
    write_table(place / "utt2spk", UTT2SPK)
    write_table(place / "spk2utt", invert(UTT2SPK))
    write_table(place / "utt2lang", UTT2LANG)
    write_table(place / "utt2dur", dict.fromkeys(UTT2LANG, "0.215"))
    write_table(place / "utt2num_frames", dict.fromkeys(UTT2LANG, str(FRAMES)))
    write_options(place, 0.01, {"fbank.num-mel-bins": "4", "vad.vad-frames-context": "2"})
    arks = {name: ArkWriter(place / f"{name}.ark", place / f"{name}.scp") for name in ("feats", "vad", "cmvn")}
    with arks["feats"] as feats, arks["vad"] as vad, arks["cmvn"] as cmvn:
        for number, utt in enumerate(sorted(UTT2LANG)):
            feats(utt, _matrix(number))
            vad(utt, (np.arange(FRAMES) % 5 > 0).astype(np.float32))
        for speaker in sorted(set(UTT2SPK.values())):
            cmvn(speaker, cmvn_stats(_matrix(len(speaker))))


def _read_features(place: Path) -> dict[str, Any]:
    """Frames as training and scoring load them."""
    data = DataDir(place)
    frames = load_frames(data, FramesConfig(cmvn="speaker"))
    batch = next(frames.batches(1000))[0].numpy()
    owners = dict(zip(frames.utts, zip(frames.languages, frames.speakers, strict=True), strict=True))
    return {"tables": _tables(place, FEATURE_TABLES), "owners": owners, "shift": data.frame_shift,
            "options": features_of(data), "frames": (batch.shape, batch.tobytes())}  # fmt: skip


def _check_features(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    if value["owners"].keys() != undamaged["owners"].keys():
        return "other utterances"
    tables = value["tables"]
    for utt, (language, speaker) in value["owners"].items():
        if (language, speaker) != (tables["utt2lang"][utt], tables["utt2spk"][utt]):
            return f"{utt} became {language}, {speaker}"
    if value["options"] != plain_table(place / "feature_options"):
        return f"feature_options became {value['options']}"
    return _differs(place, tables)


def _read_fixed(place: Path) -> dict[str, Any]:
    """A directory after utils/fix_data_dir.py."""
    before = plain_table(place / "utt2spk") or {}
    kept, dropped = fix_directory(place)
    DataDir(place).validate()
    named = {utt for utts in dropped.values() for utt in utts}
    lost = before.keys() - named - set(DataDir(place).utts)
    return {"tables": _tables(place, FEATURE_TABLES), "kept": kept, "dropped": dropped, "lost": sorted(lost)}


def _check_fixed(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    if value["lost"]:
        return f"{value['lost']} dropped without a word"
    for name in ("utt2spk", "utt2lang"):
        plain = plain_table(place / ".backup" / name)
        for utt, owner in value["tables"][name].items():
            if plain is None or plain.get(utt) != owner:
                return f"{name}: {utt} became {owner}"
    return None


SOUND_TABLES = "utt2spk spk2utt utt2lang wav.scp segments reco2dur utt2dur spk2gender text"


def _make_sounds(place: Path) -> None:
    recordings = sorted(set(UTT2SPK.values()))
    for number, name in enumerate(recordings):
        soundfile.write(place / f"{name}.wav", tone(1.2, number), 8000, subtype="PCM_16")
    times = {utt: 0.4 * (int(utt[-1]) - 1) for utt in UTT2SPK}
    tables = {
        "utt2spk": UTT2SPK,
        "spk2utt": invert(UTT2SPK),
        "utt2lang": UTT2LANG,
        "wav.scp": {name: str(place / f"{name}.wav") for name in recordings},
        "segments": {utt: f"{UTT2SPK[utt]} {start:.2f} {start + 0.4:.2f}" for utt, start in times.items()},
        "reco2dur": dict.fromkeys(recordings, "1.200"),
        "utt2dur": dict.fromkeys(UTT2SPK, "0.400"),
        "spk2gender": {name: "fm"[number] for number, name in enumerate(recordings)},
        "text": {utt: f"às {utt} palavras" for utt in UTT2SPK},
    }
    for name, table in tables.items():
        write_table(place / name, table)


def _read_sounds(place: Path) -> dict[str, Any]:
    """Features of a directory of recordings, as stage 2 extracts them."""
    data = DataDir(place)
    data.validate(("utt2spk", "spk2utt", "wav.scp"))
    job = Job(data, FeatureExtractor(FbankOptions(sample_frequency=8000)), VadOptions(), allow_pipes=False)
    feats = {}
    for utt, found in job.run():
        if isinstance(found, Unusable):  # named in left_out.tsv
            raise ValueError(found.detail)
        feats[utt] = (found.feats.shape, found.feats.tobytes())
    return {"tables": _tables(place, SOUND_TABLES), "feats": feats}


def _check_sounds(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    if value["feats"].keys() != undamaged["feats"].keys():
        return "other utterances"
    for utt, (shape, _) in value["feats"].items():
        segment = parse_segment(value["tables"]["segments"][utt])
        seconds = min(segment.end or 1.2, 1.2) - segment.start
        if shape != (max(0, 1 + (round(seconds * 8000) - 200) // 80), 40):
            return f"{utt}: {shape[0]} frames of {seconds} s"
    return _differs(place, value["tables"])


# Keys and speakers are in several tables, which must agree; a case or a form of a letter is no other name.
_RENAMED = "misspell insert_blank other_case other_form long_word flip_bit"
_EXACT = [("*", HARMLESS), ("*", BROKEN), ("*2spk", _RENAMED), ("spk2utt", _RENAMED)]

KINDS = [
    *(
        Kind(
            f"ark of {name}",
            partial(_make_ark, **options),
            _read_ark,
            {"feats.ark": (*BYTES, *(4 * (set_field(_ark_fields),))), "feats.scp": (*TEXT, *(4 * (scp_number,)))},
            [
                ("feats.scp", "windows old_mac mark utf16 no_last_line_end"),
                ("feats.ark", "empty other_file"),
            ],
            _check_ark,
        )
        for name, options in (
            ("floats", {}),
            ("doubles", {"dtype": np.float64}),
            ("compressed", {"compression_method": 2}),
            ("text", {"text": True}),
        )
    ),
    Kind(
        "directory with features",
        _make_features,
        _read_features,
        {
            **{name: TEXT for name in FEATURE_TABLES.split()},
            "frame_shift": TEXT,
            "feature_options": TEXT,
            "*.ark": BYTES,
            "*.crc": (*BYTES, *TEXT),
        },
        [*_EXACT, ("*.ark", "*"), ("*.crc", "*")],
        _check_features,
    ),
    Kind(
        "directory to fix",
        _make_features,
        _read_fixed,
        {name: TEXT for name in FEATURE_TABLES.split() if name != "cmvn.scp"},
        [("spk2utt", "*"), ("*", HARMLESS), ("*", "empty other_file not_utf8 insert_nul")],
        _check_fixed,
    ),
    Kind(
        "directory with recordings",
        _make_sounds,
        _read_sounds,
        {name: TEXT for name in SOUND_TABLES.split()},
        _EXACT,
        _check_sounds,
    ),
]
