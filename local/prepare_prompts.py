#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn the telephone prompts that Debian packages for Asterisk into lhotse manifests.

Usage:   local/prepare_prompts.py [--corpus DIR] [--cache DIR] [--voices "NAME NAME"] OUT_DIR
Example: local/prepare_prompts.py data/manifests

Without --corpus the packages are fetched (local/fetch_debian_packages.sh; no root needed) into the cache.
With it they are taken from DIR/<package>/usr/share/asterisk/sounds/..., or from a machine where they are
installed: DIR is then / or /usr/share/asterisk/sounds.

A prompt (such as `vm-goodbye`) is one utterance. Its part (train, dev or test) depends on its name alone, so
that a prompt and its translations are in the same part in every language and voice. OUT_DIR/prompts_left_out.tsv
names the files that are left out, and why.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from lhotse import AudioSource, Recording, SupervisionSegment

from flowlid.audio.headers import check_file
from flowlid.audio.opening import open_sound
from flowlid.corpora import prompts
from flowlid.corpora.corpus import write_jsonl
from flowlid.corpora.duplicates import Sound, find_repeated, find_shared
from flowlid.files import write_tsv
from flowlid.left_out import MAX_BAD, LeftOut
from flowlid.program import add_max_bad_option, argument_parser, log_provenance, run

logger = logging.getLogger("prepare_prompts")

RATE = 8000
SOUNDS = "usr/share/asterisk/sounds"
# Sounds that every package has, re-scaled or re-coded: tones, noises and monkeys.
NOT_SPEECH = re.compile(
    r"silence/.*|beep|beeperr|ascending-2tone|descending-2tone|confbridge-join|confbridge-leave|tt-monkeys"
)
LEFT_OUT = "prompts_left_out.tsv"
REASONS = ("not_speech", "shared", "repeated", "unreadable")
GSM_FRAME = 33  # bytes, for 160 samples; the first four bits are 1101
FRAME = RATE // 40


@dataclass(frozen=True)
class Voice:
    """One speaker's recordings in one language: a Debian package."""

    name: str
    package: str
    folder: str
    language: str
    speaker: str
    gender: str
    codec: str


_CORE = "asterisk-core-sounds-{}-wav"
VOICES = {
    voice.name: voice
    for voice in (
        # Allison Smith speaks both: between these two, only the language differs.
        Voice("en_allison", _CORE.format("en"), "en_US_f_Allison", "en", "allison", "f", "wav"),
        Voice("es_allison", _CORE.format("es"), "es_MX_f_Allison", "es", "allison", "f", "wav"),
        Voice("fr_june", _CORE.format("fr"), "fr_CA_f_June", "fr", "june", "f", "wav"),
        Voice("it_carlo", _CORE.format("it"), "it_IT_m_Carlo", "it", "carlo", "m", "wav"),
        Voice("ru_ivrvoice", _CORE.format("ru"), "ru_RU_f_IvrvoiceRU", "ru", "ivrvoice", "f", "wav"),
        Voice("es_co", "asterisk-prompt-es-co", "es", "es", "esco", "f", "gsm"),
        Voice("fr_armelle", "asterisk-prompt-fr-armelle", "fr", "fr", "armelle", "f", "gsm"),
        Voice("it_menardi", "asterisk-prompt-it-menardi-wav", "it_IT_f_Menardi", "it", "menardi", "f", "wav"),
    )
}


def utterance_name(voice: Voice, prompt: str) -> str:
    """What the utterance of a prompt is called, such as allison-en-vm-goodbye."""
    return f"{voice.speaker}-{voice.language}-{re.sub(r'[^A-Za-z0-9.-]', '_', prompt)}"


class Clip(Sound):
    """One recorded prompt; `samples` is int16 of shape (n,) at 8 kHz."""

    def __init__(self, voice: Voice, prompt: str, path: Path, samples: np.ndarray) -> None:
        super().__init__(samples, RATE)
        self.voice, self.prompt, self.path = voice, prompt, path


def prompt_key(prompt: str) -> str:
    """Name under which a prompt, its variants and its translations fall on the same side of the split.

    The lower-cased prompt without a variant's mark: `x_LOCAL` is `x`, `phonetic/ICAO/a_p` is `phonetic/a_p`
    and `phonetic/k_p2` is `phonetic/k_p`.
    """
    key = re.sub(r"_[A-Z]{3,}$", "", prompt).lower().replace("phonetic/icao/", "phonetic/")
    return re.sub(r"^phonetic/(.)\d?_p\d?$", r"phonetic/\1_p", key)


def part_of(prompt: str) -> str:
    """Part of a prompt, by its key: train, dev or test."""
    return prompts.part_of(prompt_key(prompt))


def find_voices(corpus: Path, voices: Iterable[Voice]) -> dict[Voice, Path]:
    """Folder of each voice in `corpus`.

    Raises:
        ValueError: `corpus` is not a directory, or packages are missing from it; all are named.
    """
    if not corpus.is_dir():
        raise ValueError(f"--corpus {corpus}: there is no such directory")
    found = {voice: folder for voice in voices if (folder := _voice_folder(corpus, voice)) is not None}
    for voice, folder in found.items():
        logger.info("found %s (%s) in %s", voice.package, voice.name, folder)
    missing = [voice for voice in voices if voice not in found]
    if missing:
        packages = " ".join(voice.package for voice in missing)
        names = " ".join(voice.name for voice in missing)
        raise ValueError(
            f"{corpus}: missing packages: {packages}. Unpack each with `dpkg-deb -x FILE.deb {corpus}/PACKAGE`, or "
            f"run without --corpus to fetch them, or leave their voices ({names}) out with --voices"
        )
    return found


def _voice_folder(corpus: Path, voice: Voice) -> Path | None:
    for base in (corpus / voice.package / SOUNDS, corpus / SOUNDS, corpus):
        folder = base / voice.folder
        # An installed /usr/share/asterisk/sounds/es may be a link to another voice in Spanish.
        if folder.is_dir() and not folder.is_symlink() and any(folder.rglob(f"*.{voice.codec}")):
            return folder.absolute()
    return None


def read_audio(path: Path, codec: str) -> np.ndarray:
    """Samples of a WAV or of a headerless GSM 06.10 file, int16 of shape (samples,).

    Raises:
        ValueError: empty, truncated, not what its name says, not mono or not at 8 kHz.
    """
    check_file(path)
    if codec == "gsm":
        data = path.read_bytes()
        if len(data) % GSM_FRAME or any(byte >> 4 != 0b1101 for byte in data[::GSM_FRAME]):
            raise ValueError(f"{len(data)} bytes that are not GSM 06.10 frames of {GSM_FRAME}")
        sound = soundfile.SoundFile(path, "r", RATE, 1, "GSM610", format="RAW")
    else:
        sound = open_sound(path, str(path))
    with sound:
        samples, rate = sound.read(sound.frames, dtype="int16", always_2d=True), sound.samplerate
    if samples.shape[1] != 1 or rate != RATE:
        raise ValueError(f"{samples.shape[1]} channels at {rate} Hz; expected one at {RATE} Hz")
    if len(samples) < FRAME or not samples.any():
        raise ValueError(f"{len(samples)} samples: less than a frame of {FRAME}, or only zeros")
    return samples[:, 0]


def read_voice(voice: Voice, folder: Path) -> tuple[list[Clip], LeftOut]:
    """Read a voice's speech; second, what is left out of it."""
    clips, left_out = [], LeftOut()
    for path in _walk(folder, voice.codec):
        prompt = path.relative_to(folder).with_suffix("").as_posix()
        if NOT_SPEECH.fullmatch(prompt):
            left_out.add("not_speech", path, "tone, noise or silence")
            continue
        try:
            clips.append(Clip(voice, prompt, path, read_audio(path, voice.codec)))
        except (ValueError, OSError) as error:
            why = str(error).removeprefix(f"{path}: ")
            group = (part_of(prompt), voice.language)
            left_out.add_bad("unreadable", path, why, utterance_name(voice, prompt), group)
    return clips, left_out


def _walk(folder: Path, codec: str) -> Iterator[Path]:
    """Files of a codec below `folder`, in order, but not the links to others of them."""
    real = folder.resolve()
    for root, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(root, name) for name in sorted(files)):
            if path.suffix == f".{codec}" and not (path.is_symlink() and path.resolve().is_relative_to(real)):
                yield path


def select(clips: dict[str, list[Clip]], left_out: dict[str, LeftOut]) -> dict[str, list[Clip]]:
    """Drop from each voice what another voice also has, and the second and later copies of a recording."""
    everything = [clip for group in clips.values() for clip in group]
    pairs = find_shared(everything, lambda clip: clip.voice, lambda clip: prompt_key(clip.prompt))
    shared = {clip: f"also in {other.voice.name}, as {other.prompt}" for clip, other in pairs.items()}
    kept = {}
    for name, group in clips.items():
        repeated = find_repeated(group, lambda clip: clip.prompt)
        # A copy of a shared recording is shared too, whichever of the two was found in the other voice.
        for clip, first in repeated.items():
            if clip in shared or first in shared:
                shared.setdefault(clip, f"same as {first.prompt}")
                shared.setdefault(first, f"same as {clip.prompt}")
        for clip in group:
            if clip in shared:
                left_out[name].add("shared", clip.path, shared[clip])
            elif clip in repeated:
                left_out[name].add("repeated", clip.path, f"same recording as {repeated[clip].prompt}")
        kept[name] = [clip for clip in group if clip not in shared and clip not in repeated]
        if not kept[name]:
            raise ValueError(f"{VOICES[name].package}: no speech in it; unpack it again")
    return kept


def make_manifests(voice: Voice, clips: list[Clip], out_dir: Path) -> tuple[list[Recording], list[SupervisionSegment]]:
    """Recordings and supervisions of a voice; GSM is decoded to WAV in `out_dir`/../audio/<voice>.

    Raises:
        ValueError: two prompts whose utterances would have one name.
    """
    recordings: dict[str, Recording] = {}
    supervisions = []
    for clip in clips:
        name = utterance_name(voice, clip.prompt)
        if name in recordings:
            raise ValueError(f"{clip.path}: its utterance {name} is another file's too; rename one of the two")
        path = clip.path if voice.codec == "wav" else _decoded(clip, out_dir.absolute().parent / "audio")
        length = len(clip.samples)
        source = AudioSource(type="file", channels=[0], source=str(path))
        recordings[name] = Recording(name, [source], RATE, length, length / RATE)
        custom = {"prompt": clip.prompt, "part": part_of(clip.prompt), "voice": voice.name, "codec": voice.codec}
        custom["slice"] = prompts.slice_of(prompt_key(clip.prompt))
        supervisions.append(
            SupervisionSegment(
                id=name,
                recording_id=name,
                start=0.0,
                duration=length / RATE,
                language=voice.language,
                speaker=voice.speaker,
                gender=voice.gender,
                custom=custom,
            )
        )
    return list(recordings.values()), supervisions


def _decoded(clip: Clip, audio: Path) -> Path:
    path = audio / clip.voice.name / f"{clip.prompt}.wav"
    prompts.write_wav(path, clip.samples, RATE)
    return path


def write_summary(clips: dict[str, list[Clip]], left_out: dict[str, LeftOut], out_dir: Path) -> None:
    """Log, and write to `out_dir`/summary.tsv, files and minutes of each voice and language."""
    rows = [["language", "voice", "files", "minutes", "train", "dev", "test", *REASONS]]
    languages = sorted({VOICES[name].language for name in clips})
    for language in [*languages, "all"]:
        names = [name for name in clips if language in (VOICES[name].language, "all")]
        groups = [(name, [name]) for name in names if language != "all"] + [("all", names)]
        for label, group in groups:
            minutes: Counter[str] = Counter()
            for clip in (clip for name in group for clip in clips[name]):
                minutes[part_of(clip.prompt)] += len(clip.samples) / RATE / 60
            lengths = [minutes.total(), minutes["train"], minutes["dev"], minutes["test"]]
            lost = sum((left_out[name].counts() for name in group), Counter())
            files = sum(len(clips[name]) for name in group)
            cells = [*(f"{value:.2f}" for value in lengths), *(str(lost[reason]) for reason in REASONS)]
            rows.append([language, label, str(files), *cells])
    write_tsv(out_dir / "summary.tsv", rows)
    logger.info("minutes, and files left out:\n%s", "\n".join("\t".join(row).expandtabs(13) for row in rows))


def check_readable(corpus: Path, read: Iterable[Clip], left_out: LeftOut, max_bad: float, out_dir: Path) -> None:
    """Log how many prompts cannot be read, by part and language; ValueError if more than `max_bad` of all."""
    everything = Counter((part_of(clip.prompt), clip.voice.language) for clip in read) + left_out.bad
    for line in left_out.check(everything, max_bad, corpus, out_dir / LEFT_OUT):
        logger.warning("%s", line)


def prepare(corpus: Path, names: list[str], out_dir: Path, max_bad: float = MAX_BAD) -> None:
    """Write the manifests of the voices `names`, and remove older ones of other voices.

    Raises:
        ValueError: missing packages, too many unreadable files, a voice without speech or two utterances
            of one name; the manifests are as they were.
    """
    clips, left_out = {}, {}
    for voice, folder in find_voices(corpus, [VOICES[name] for name in names]).items():
        clips[voice.name], left_out[voice.name] = read_voice(voice, folder)
    unreadable = LeftOut.joined(left_out.values())
    check_readable(corpus, (clip for own in clips.values() for clip in own), unreadable, max_bad, out_dir)
    clips = select(clips, left_out)
    manifests = {name: make_manifests(VOICES[name], group, out_dir) for name, group in clips.items()}
    for name in VOICES:
        for number, kind in enumerate(("recordings", "supervisions")):
            path = out_dir / f"prompts_{kind}_{name}.jsonl.gz"
            if name in manifests:
                write_jsonl(path, (item.to_dict() for item in manifests[name][number]))
            elif path.exists():
                logger.info("removing %s: its voice was not asked for", path)
                path.unlink()
    write_summary(clips, left_out, out_dir)
    for line in LeftOut.joined(left_out.values()).write(out_dir / LEFT_OUT):
        logger.info("%s", line)


def fetch(cache: Path, names: list[str]) -> Path:
    """Fetch the packages of the voices `names` into `cache`/prompts, and return that place.

    Raises:
        ValueError: they could not be fetched; the log says what to do.
    """
    script = Path(__file__).resolve().parent / "fetch_debian_packages.sh"
    return prompts.fetch_packages(script, cache / "prompts", [VOICES[name].package for name in names])


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argument_parser(__doc__)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go: data/manifests")
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="packages unpacked or installed; nothing is fetched")
    cache = os.environ.get("FLOWLID_CACHE") or "~/.cache/flowlid"
    parser.add_argument("--cache", metavar="DIR", default=cache, help="where to fetch to")
    parser.add_argument("--voices", default=" ".join(VOICES), help="which to prepare")
    add_max_bad_option(parser)
    args = parser.parse_args()
    names = list(dict.fromkeys(args.voices.split()))
    unknown = [name for name in names if name not in VOICES]
    if unknown or not names:
        raise ValueError(f"--voices {args.voices!r}: unknown {unknown}; choose from {' '.join(VOICES)}")
    log_provenance()
    prepare(args.corpus or fetch(Path(args.cache).expanduser(), names), names, args.out_dir, args.max_bad)


if __name__ == "__main__":
    run(main)
