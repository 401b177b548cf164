"""CN-Celeb 1 and 2 in miniature, both releases and converted copies. All lists are invented."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from replicas.sound import voice, write_flac, write_riff

# an underscore in one of them; in the order in which speakers use them
GENRES = (
    "singing", "live_broadcast", "interview", "speech", "vlog", "movie", "drama", "play", "recitation",
    "entertainment", "advertisement",
)  # fmt: skip
ROOTS = {
    "flac": ("CN-Celeb_flac", "CN-Celeb2_flac", ".flac"),
    "wav": ("CN-Celeb_wav", "CN-Celeb2_wav", ".wav"),
    "first": ("CN-Celeb", "CN-Celeb2", ".wav"),
}


def build(
    root: Path,
    release: str = "flac",
    speakers: int = 3,
    tests: int = 2,
    utterances: int = 2,
    seconds: float = 1.0,
    test_seconds: float = 3.4,
    second: bool = True,
    odd: bool = True,
) -> Path:
    """Write `root`/CN-Celeb_flac and `root`/CN-Celeb2_flac, or as the release names them.

    Args:
        root: of the replica.
        release: "flac", "wav" (converted) or "first" (WAV, no evaluation speakers in data/).
        speakers: development speakers of CN-Celeb1, and speakers of CN-Celeb2.
        tests: evaluation speakers.
        utterances: of each speaker, at most 99.
        seconds: of each utterance in data/.
        test_seconds: of each in eval/test.
        second: whether there is CN-Celeb2.
        odd: stray and hidden files, lists that name what is not there, and one damaged file.
    """
    root = Path(root)
    name, name2, suffix = ROOTS[release]
    own = [f"id{n:05d}" for n in range(speakers)]
    evaluation = [f"id{800 + n:05d}" for n in range(tests)]
    _data(root / name / "data", own + (evaluation if release != "first" else []), utterances, seconds, suffix)
    _lines(root / name / "dev" / "dev.lst", own + (["id00099"] if odd else []))
    _eval(root / name / "eval", evaluation, utterances, test_seconds, suffix, odd)
    if odd:
        _odd(root / name / "data" / own[0], suffix, damaged=True)
    if second:
        others = [f"id{10000 + n}" for n in range(speakers)]
        _data(root / name2 / "data", others, utterances, seconds, suffix)
        _lines(root / name2 / "spk.lst", others)
        if odd:
            _odd(root / name2 / "data" / others[0], suffix, damaged=False)
    return root


def _write(suffix: str) -> Callable[[Path, np.ndarray], Path]:
    return write_flac if suffix == ".flac" else write_riff


def _names(speaker: str, count: int) -> Iterator[str]:
    """Names of a speaker's utterances: two of a genre, the next genre, and so on."""
    first = int(speaker.removeprefix("id")) % 800 % len(GENRES)
    for number in range(count):
        genre = GENRES[(first + number // 2) % len(GENRES)]
        yield f"{genre}-{number // 2 + 1:02d}-{number % 2 + 1:03d}"


def _data(folder: Path, speakers: list[str], utterances: int, seconds: float, suffix: str) -> None:
    for speaker in speakers:
        for take, name in enumerate(_names(speaker, utterances)):
            _write(suffix)(folder / speaker / f"{name}{suffix}", voice(speaker, "mandarin", seconds, take=take))


def _eval(folder: Path, speakers: list[str], utterances: int, seconds: float, suffix: str, odd: bool) -> None:
    """The evaluation: the lists say .wav whatever the suffix is, as those of the FLAC release do."""
    enroll, sources, test, trials = [], [], [], []
    for speaker in speakers:
        long = voice(speaker, "mandarin", seconds, take=99)
        _write(suffix)(folder / "enroll" / f"{speaker}-enroll{suffix}", long)
        enroll.append(f"{speaker}-enroll enroll/{speaker}-enroll.wav")
        sources.append(f"{speaker}-enroll {' '.join(f'{speaker}/{name}.wav' for name in _names(speaker, utterances))}")
        for take, name in enumerate(_names(speaker, utterances)):
            samples = voice(speaker, "mandarin", seconds, take=take)
            _write(suffix)(folder / "test" / f"{speaker}-{name}{suffix}", samples)
            test.append(f"test/{speaker}-{name}.wav")
            trials += [f"{one}-enroll test/{speaker}-{name}.wav {int(one == speaker)}" for one in speakers]
    if odd:
        test.append(f"test/{speakers[0]}-drama-09-009.wav")
    for name, lines in {"enroll.lst": enroll, "enroll.map": sources, "test.lst": test, "trials.lst": trials}.items():
        _lines(folder / "lists" / name, lines)


def _odd(folder: Path, suffix: str, damaged: bool) -> None:
    """A file of another name, one that a Mac left behind, one that is no sound; and one cut off."""
    whole = min(folder.glob(f"*{suffix}")).read_bytes()
    if damaged:
        (folder / f"drama-09-009{suffix}").write_bytes(whole[: len(whole) // 2])
    (folder / f"sample{suffix}").write_bytes(whole)
    (folder / f"._singing-01-001{suffix}").write_bytes(b"Mac OS X")
    (folder / "notes.txt").write_text("Invented.\n", encoding="utf-8")


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
