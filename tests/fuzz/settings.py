"""What a user writes by hand: the corpus table, sets.yaml, experiments, fbank.conf and vad.conf."""

import importlib.util
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import yaml
from lhotse import RecordingSet, SupervisionSet

from flowlid.config import flatten, load_config
from flowlid.corpora.sets import read_sets
from flowlid.features.fbank import FbankOptions, FeatureExtractor
from flowlid.features.vad import VadOptions, energy_vad
from flowlid.kaldi.options import read_options

from .kinds import Kind, alike, tone
from .mutations import TEXT

ROOT = Path(__file__).resolve().parent.parent.parent
HARMLESS = "windows old_mac mark utf16 no_last_line_end blank_line comment_line"

# The corpus table

ROWS = """\
utt_id path speaker language set start end gender note
u1 w/1.wav ana pt train - - f olá
u2 w/2.wav ana pt train 0.1 0.4 f -
u3 w/3.wav bé fr train - - m -
u4 w/4.wav bé fr train - 0.45 m -
u5 w/5.wav zoë pt test - - - -
u6 w/6.wav ulf fr test 0.05 - - -
"""


@cache
def _program(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _make_table(separator: str, place: Path) -> None:
    (place / "w").mkdir()
    for index in range(1, 7):
        soundfile.write(place / f"w/{index}.wav", tone(0.5, index), 8000, subtype="PCM_16")
    text = ROWS.replace(" ", separator).replace("-", "")
    (place / ("my.csv" if separator == "," else "my.tsv")).write_text(text, encoding="utf-8")


def _read_table(name: str, place: Path) -> list[tuple[Any, ...]]:
    """The utterances that stage 0 makes of a table."""
    program, out = _program("local/prepare_table.py"), place / "data/manifests"
    arguments = ["prepare_table.py", "--write-sets", "--nj", "1", str(place / name), str(out)]
    with mock.patch.object(sys, "argv", arguments):
        program.main()
    recordings = {item.id: item for path in sorted(out.glob("*recordings*")) for item in RecordingSet.from_jsonl(path)}
    found = []
    for path in sorted(out.glob("*supervisions*")):
        for item in SupervisionSet.from_jsonl(path):
            source = recordings[item.recording_id].sources[0].source
            custom = json.dumps(item.custom, sort_keys=True)
            found.append((item.id, item.speaker, item.language, item.gender, item.start, item.duration, source, custom))
    return sorted(found)


def _check_table(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    """As many utterances as the table has lines, of the languages that are there."""
    (path,) = place.glob("my.*")
    text = path.read_bytes().decode("utf-8-sig")
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip(" \t,;")]
    rows = [line for line in lines if not line.lstrip().startswith("#")]
    if len(value) != len(rows) - 1:
        return f"{len(value)} utterances of {len(rows) - 1} lines"
    for _, speaker, language, *_ in value:
        if language not in text or speaker.removeprefix("table-") not in text:
            return f"speaker {speaker}, language {language} are not in the table"
    return alike(language for _, _, language, *_ in value) or alike(speaker for _, speaker, *_ in value)


# YAML

EXPERIMENT = """\
# one experiment
data: {train: train, dev: dev, tests: [test, "test_*"]}
frames:
  context: 2
  cmvn: speaker
  vad: true
model:
  type: dnf
  blocks: 4
  hidden: 64
  class_variance: 2.5
training:
  epochs: 5
  batch_size: 100
  learning_rate: 1.0e-3
  clip_norm: null
"""

SETS = """\
disjoint: speaker
label: accent
classes: {native: [native, mixed], "no": norwegian}
optional: [test_poor]
sets:
  train_a: {corpus: [a, b], part: train}
  test_poor: {corpus: b, score: {min: 1, below: 2.5}}
  test_a: {corpus: a, part: test}
  test_all: [test_a, test_poor]
"""


def _make_text(name: str, text: str, place: Path) -> None:
    (place / name).write_text(text, encoding="utf-8")


def _plain_yaml(path: Path) -> Any:  # noqa: ANN401  (any YAML)
    return yaml.safe_load(path.read_bytes().decode("utf-8-sig"))


def _check_experiment(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    """Every key of the file is in the configuration, with its value."""
    for section, content in (_plain_yaml(place / "a.yaml") or {}).items():
        for key, wanted in (content or {}).items():
            got = value[f"{section}.{key}"]
            if got != wanted and not (isinstance(got, float) and got == float(wanted)):
                return f"{section}.{key} became {got!r} where the file says {wanted!r}"
    return None


def _check_sets(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    plain = _plain_yaml(place / "sets.yaml")
    if list(value["sets"]) != [str(name) for name in plain["sets"]]:
        return f"sets {' '.join(value['sets'])}"
    return None if value["disjoint"] == plain.get("disjoint") else f"disjoint is {value['disjoint']}"


def _read_sets(place: Path) -> dict[str, Any]:
    found = read_sets(place / "sets.yaml")
    sets = {name: str(selection) for name, selection in found.sets.items()}
    return {"sets": sets, "disjoint": found.disjoint, "label": found.label, "classes": dict(found.classes),
            "optional": found.optional}  # fmt: skip


# Options in Kaldi's form

FBANK = """\
# as Kaldi has it
--sample-frequency=8000
--frame-length=25
--frame-shift=10   # ms
--num-mel-bins=23
--low-freq=20
--high-freq=-200
--window-type=hamming
--dither=0
--snip-edges=true
"""
VAD = """\
--vad-energy-threshold=5.5
--vad-energy-mean-scale=0.5
--vad-frames-context=2
--vad-proportion-threshold=0.12
"""


def _read_fbank(place: Path) -> dict[str, Any]:
    """The options, and features of half a second with them."""
    options = read_options(place / "fbank.conf", FbankOptions)
    feats, energy = FeatureExtractor(options)(tone(0.5, 1).astype(np.float32))
    return {**vars(options), "": bool(np.isfinite(feats).all() and np.isfinite(energy).all())}


def _read_vad(place: Path) -> dict[str, Any]:
    options = read_options(place / "vad.conf", VadOptions)
    return {**vars(options), "": len(energy_vad(np.arange(20.0), options)) == 20}


def _check_options(place: Path, value: Any, undamaged: Any, mutations: Sequence[str]) -> str | None:  # noqa: ANN401
    if not value[""]:
        return "features that are not finite"
    (path,) = place.iterdir()
    for word in shlex.split(path.read_bytes().decode("utf-8-sig"), comments=True):
        name, _, text = word.removeprefix("--").partition("=")
        got = value[name.replace("-", "_")]
        wanted = {"true": True, "false": False}.get(text) if isinstance(got, bool) else type(got)(text)
        if got != wanted:
            return f"{name} became {got!r} where the file says {text!r}"
    return None


def _kind(name: str, text: str, read: Callable[[Path], Any], check: Callable[..., str | None]) -> Kind:
    exact = [("*", HARMLESS), ("*", "other_file not_utf8 insert_nul")]
    return Kind(name, partial(_make_text, name, text), read, {name: TEXT}, exact, check)


def _table_kind(name: str, separator: str) -> Kind:
    exact = [("*", f"{HARMLESS} swap_lines double_line merge_lines empty other_file not_utf8 insert_nul")]
    read = partial(_read_table, name)
    return Kind(f"table {name}", partial(_make_table, separator), read, {name: TEXT}, exact, _check_table)


KINDS = [
    _table_kind("my.tsv", "\t"),
    _table_kind("my.csv", ","),
    _kind("a.yaml", EXPERIMENT, lambda place: flatten(load_config(place / "a.yaml")), _check_experiment),
    _kind("sets.yaml", SETS, _read_sets, _check_sets),
    _kind("fbank.conf", FBANK, _read_fbank, _check_options),
    _kind("vad.conf", VAD, _read_vad, _check_options),
]
