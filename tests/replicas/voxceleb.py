"""VoxCeleb 1 and 2 in miniature, in every layout that copies of it have. All metadata are invented."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replicas.sound import voice, write_flac, write_riff

NATIONALITIES = ("New Zealand", "Norway", "India", "USA")
_VIDEOS = ("-abcdefgh0{}", "_ij-klmno_{}", "Pq7rstuvwx{}")  # 11 characters, the first two as bad as they come


@dataclass(frozen=True)
class Speaker:
    """A speaker as the tables and the directories name him."""

    id: str
    name: str
    gender: str
    nationality: str
    set: str


def speakers1(dev: int, test: int) -> list[Speaker]:
    """Speakers of VoxCeleb1: dev from id10001, test from id10270."""
    ids = [(f"id{10001 + n}", "dev") for n in range(dev)] + [(f"id{10270 + n}", "test") for n in range(test)]
    return [
        Speaker(
            name,
            f"Invented_{chr(65 + n // 26)}{chr(97 + n % 26)}",
            "mf"[n % 2],
            NATIONALITIES[n % len(NATIONALITIES)],
            part,
        )
        for n, (name, part) in enumerate(ids)
    ]


def speakers2(dev: int, test: int) -> list[Speaker]:
    """Speakers of VoxCeleb2: its test speakers stand among the others."""
    total = dev + test
    return [
        Speaker(f"id{12 + 5 * n:05d}", f"n{99 + n:06d}", "fm"[n % 2], "", "dev" if n < dev else "test")
        for n in range(total)
    ]


def has_ffmpeg() -> bool:
    """Whether real AAC can be written and read here."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def write_aac(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """AAC in an .m4a file, by ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = ["-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", "-"]
    command = ["ffmpeg", "-v", "error", "-y", *raw, "-c:a", "aac", "-b:a", "48k", str(path.absolute())]
    subprocess.run(command, input=samples.astype("<i2").tobytes(), check=True, capture_output=True)
    return path


def build(
    root: Path,
    layout1: str | None = "split",
    layout2: str | None = "converted",
    speakers: int = 3,
    tests: int = 1,
    utterances: int = 2,
    seconds: float = 1.0,
    odd: bool = True,
) -> Path:
    """Write `root`/vox1 and `root`/vox2.

    Args:
        root: of the replica.
        layout1: "split" (dev/wav and test/wav), "merged" (wav), "first" (names as directories); None: no vox1.
        layout2: "aac" (dev/aac and test/aac, needs ffmpeg), "unpacked" (the same with the test archive's aac/ in
            the root), "converted" (dev/wav and test/wav), "flac"; None: no vox2.
        speakers: dev speakers of each release.
        tests: test speakers of each release.
        utterances: of each speaker.
        seconds: of each utterance.
        odd: a stray file and a hidden one in each release, and one damaged file, of the first speaker: copies of
            which more than 5% is damaged are refused, and a miniature has few files.
    """
    root = Path(root)
    if layout1:
        _build1(root / "vox1", layout1, speakers1(speakers, tests), utterances, seconds)
        if odd:
            folder = {"split": "dev/wav", "merged": "wav", "first": "voxceleb1_wav"}[layout1]
            _odd(root / "vox1", folder, damaged=True)
    if layout2:
        _build2(root / "vox2", layout2, speakers2(speakers, tests), utterances, seconds)
        if odd:
            folder = {"converted": "dev/wav", "flac": "dev/wav"}.get(layout2, "dev/aac")
            _odd(root / "vox2", folder, damaged=not layout1)
    return root


def _utterances(count: int) -> Iterator[tuple[str, int]]:
    """Video and number in the video of each utterance of a speaker: two in a video."""
    for number in range(count):
        video = number // 2
        yield _VIDEOS[video % len(_VIDEOS)].format(video % 10), number % 2 + 1


def _build1(root: Path, layout: str, speakers: list[Speaker], utterances: int, seconds: float) -> None:
    for speaker in speakers:
        for take, (video, number) in enumerate(_utterances(utterances)):
            if layout == "first":
                path = root / "voxceleb1_wav" / speaker.name / f"{video}_{number:07d}.wav"
            else:
                folder = root / speaker.set / "wav" if layout == "split" else root / "wav"
                path = folder / speaker.id / video / f"{number:05d}.wav"
            write_riff(path, voice(speaker.id, "english", seconds, take=take))
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]]
    rows += [[one.id, one.name, one.gender, one.nationality, one.set] for one in speakers]
    (root / "vox1_meta.csv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def _build2(root: Path, layout: str, speakers: list[Speaker], utterances: int, seconds: float) -> None:
    write, kind, suffix = {"converted": (write_riff, "wav", ".wav"), "flac": (write_flac, "wav", ".flac")}.get(
        layout, (write_aac, "aac", ".m4a")
    )
    for speaker in speakers:
        flat = layout == "unpacked" and speaker.set == "test"
        folder = root / kind if flat else root / speaker.set / kind
        for take, (video, number) in enumerate(_utterances(utterances)):
            path = folder / speaker.id / video / f"{number:05d}{suffix}"
            write(path, voice(speaker.id, "english", seconds, take=take))
    rows = [["VoxCeleb2 ID", "VGGFace2 ID", "Gender", "Set"]]
    rows += [[one.id, one.name, one.gender, one.set] for one in speakers]
    text = "".join(" ,".join(row) + " \n" for row in rows)
    (root / "vox2_meta.csv").write_text(text, encoding="utf-8")


def _odd(root: Path, folder: str, damaged: bool) -> None:
    """A file beside the speakers, one that a Mac left behind, and the first utterance cut off as 00099 (0000099)."""
    first = min(path for path in (root / folder).rglob("*") if path.is_file())
    content = first.read_bytes()
    if damaged:
        number = "0000099" if folder == "voxceleb1_wav" else "00099"
        name = first.stem[: -len(number)] + number + first.suffix
        first.with_name(name).write_bytes(content[: len(content) // 2])
    (first.parent / f"._{first.name}").write_bytes(b"Mac OS X")
    (root / folder / f"noise{first.suffix}").write_bytes(content)
    (root / "readme.txt").write_text("Invented.\n", encoding="utf-8")
