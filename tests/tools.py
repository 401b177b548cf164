"""Small data directories to test with, and steps' programs called within the test's own process."""

import functools
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import matplotlib
import numpy as np
import soundfile
from matplotlib.image import imread

from flowlid import program
from flowlid.kaldi.arks import ArkWriter
from flowlid.kaldi.tables import invert, write_table

ROOT = Path(__file__).resolve().parent.parent
SPEECH = Path(__file__).parent / "data"  # en.wav, es.wav, it.wav: recorded speech, 8 kHz

YAML = """\
data: {train: train, tests: [test]}
frames: {context: 1}
model: {type: dnf, blocks: 2, hidden: 8, layers: 1}
training: {epochs: 2, batch_size: 64, warmup_steps: 2}
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status and what it logged."""

    code: int
    log: str


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@functools.cache
def load(path: str) -> ModuleType:
    """A program of the project, such as "steps/train.py", as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def call(name: str, *arguments: object) -> Ended:
    """Run steps/NAME.py with these arguments, as its last line does: a ValueError or OSError ends it with 1."""
    lines, logger = _Lines(), logging.getLogger("flowlid")
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    code = 0
    try:
        with mock.patch.object(sys, "argv", [f"{name}.py", *map(str, arguments)]):
            program.run(load(f"steps/{name}.py").main)
    except SystemExit as ended:
        code = ended.code
    finally:
        logging.captureWarnings(False)
        logger.removeHandler(lines)
        logger.setLevel(level)
    return Ended(code, "\n".join(lines.lines))


def speech(seconds: float, seed: int = 0, rate: int = 8000) -> np.ndarray:
    """Something like speech: a buzz of a few harmonics, four syllables a second, over faint noise; in [-1, 1]."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = generator.uniform(90, 220)
    buzz = sum(np.sin(2 * np.pi * pitch * k * time) * generator.uniform(0.2, 1) / k for k in range(1, 12))
    return 0.1 * buzz * np.abs(np.sin(4 * np.pi * time)) + 1e-4 * generator.normal(size=len(time))


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """Write samples (n,) or (n, channels) as 16-bit WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16", format="WAV")
    return path


def write_tables(path: Path, languages: Mapping[str, str]) -> Path:
    """Write utt2spk, spk2utt and utt2lang; the speaker is what stands before the first "-" of an utterance."""
    utt2spk = {utt: utt.partition("-")[0] for utt in languages}
    write_table(path / "utt2spk", utt2spk)
    write_table(path / "spk2utt", invert(utt2spk))
    write_table(path / "utt2lang", languages)
    return path


def audio_dir(path: Path, languages: Mapping[str, str], seconds: float = 0.3) -> Path:
    """A data directory with wav.scp: speech of `seconds` for each utterance."""
    scp = {utt: str(write_wav(path / "wav" / f"{utt}.wav", speech(seconds, n))) for n, utt in enumerate(languages)}
    write_tables(path, languages)
    write_table(path / "wav.scp", scp)
    return path


def feature_dir(path: Path, languages: Mapping[str, str], dim: int = 3, frames: int = 30, seed: int = 0) -> Path:
    """A data directory with feats.scp and vad.scp; the mean of the features tells the languages apart."""
    generator = np.random.default_rng(seed)
    names = sorted(set(languages.values()))
    write_tables(path, languages)
    with (
        ArkWriter(path / "feats.ark", path / "feats.scp") as write_feats,
        ArkWriter(path / "vad.ark", path / "vad.scp") as write_vad,
    ):
        for utt in sorted(languages):
            x = generator.normal(size=(frames, dim)) + 2 * names.index(languages[utt])
            write_feats(utt, x.astype(np.float32))
            write_vad(utt, (np.arange(frames) % 5 > 0).astype(np.float32))  # 4 of 5 frames are voiced
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones too, with its content."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def check_picture(draw: Callable[[Path], None], place: Path) -> None:
    """`draw` writes a PNG and a PDF whose edges are clear, the same each time, whatever matplotlib's settings are."""
    settings = dict(matplotlib.rcParams)
    draw(place / "once" / "plot.v1")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        draw(place / "again" / "plot.v1")
    assert dict(matplotlib.rcParams) == settings
    assert sorted(path.name for path in (place / "once").iterdir()) == ["plot.v1.pdf", "plot.v1.png"]
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        content = (place / "once" / f"plot.v1.{suffix}").read_bytes()
        assert content.startswith(start)
        assert content == (place / "again" / f"plot.v1.{suffix}").read_bytes()
    pixels = imread(place / "once" / "plot.v1.png")[..., :3]
    assert min(pixels.shape[:2]) > 200 and pixels.min() < 0.2
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert edge.min() > 0.99, "something touches the edge of the picture"


def left_out(path: Path) -> list[str]:
    """The rows of a left_out.tsv, each as "(reason): file: detail"."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header == "file\tutterance\treason\tdetail"
    cells = [row.split("\t") for row in rows]
    return [f"({reason}): {file}: {detail}" for file, _, reason, detail in cells]
