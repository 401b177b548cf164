#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""Turn the words and phrases that two games for children have recorded into lhotse manifests, one voice per speaker.

Usage:   local/prepare_voices.py [--corpus DIR] [--cache DIR] OUT_DIR
Example: local/prepare_voices.py data/manifests

Without --corpus the packages are fetched (local/fetch_debian_packages.sh; no root needed) into the cache. With it they
are taken from DIR/<package>/usr/share/..., or from DIR/usr/share/... where they are installed (DIR is then /).

tuxpaint-stamps-default describes pictures in many languages: here the Spanish, French and Russian of the one speaker
that its changelog names for each. ktuberling-data names objects: here one group of recordings per language, whose
speakers no file names; all of it is for tests. Recordings become mono WAV files of 8 kHz in OUT_DIR/../audio.

The part of a description (train, dev or test) depends on the first word of its file's name alone, so that a word, its
variants and its translations are in one part. Digits and letters are in the part that they have in the Asterisk
prompts (local/prepare_prompts.py). OUT_DIR/voices_left_out.tsv names what is left out, and why.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import Recording

from flowlid.audio.channels import MIX, ChannelMeter
from flowlid.audio.headers import open_recording
from flowlid.audio.samples import read_audio
from flowlid.corpora import prompts
from flowlid.corpora.corpus import Corpus, Utterance
from flowlid.corpora.duplicates import Sound, find_repeated, find_shared
from flowlid.corpora.layout import walk
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

RATE = 8000
SOUNDS = (".ogg", ".wav", ".opus")
STAMPS, POTATO = "tuxpaint-stamps-default", "ktuberling-data"
FOLDERS = {STAMPS: "usr/share/tuxpaint/stamps", POTATO: "usr/share/ktuberling/sounds"}
SHORTEST = RATE // 40  # samples: a frame
LEFT_IS_EMPTY = "channel 0 is silent"


@dataclass(frozen=True)
class Voice:
    """Recordings of a language in a package that are one speaker's, or, where nobody is named, one group's.

    Attributes:
        files: pattern of their paths below the package's folder; its group `name` names the description.
        gender: "f", "m", or None: not known.
        left_is_empty: whether the speaker's recordings are those with an empty left channel.
    """

    name: str
    package: str
    files: str
    language: str
    speaker: str
    gender: str | None = None
    left_is_empty: bool = False


# Of the Russian sounds of ktuberling, those of the woman: the man of the others may be the one of the stamps.
_RUSSIAN = r"ru/(?!tv_(?:bicycle|car|cyclist|train|tree)\.)(?P<name>(?:tv|xmas)_.*|tux-.*|.*-tux)\.ogg"
VOICES = (
    Voice("es_ortiz", STAMPS, r"(?P<name>.*)_desc_es\.ogg", "es", "ortiz", "f"),
    Voice("fr_paulk", STAMPS, r"(?P<name>.*)_desc_fr\.ogg", "fr", "paulk", "m", left_is_empty=True),
    Voice("ru_veber", STAMPS, r"(?P<name>.*)_desc_ru\.ogg", "ru", "veber", "m"),
    Voice("es_ktuberling", POTATO, r"es/(?P<name>.*)\.\w+", "es", "ktes"),
    Voice("fr_ktuberling", POTATO, r"fr/(?P<name>.*)\.\w+", "fr", "ktfr"),
    Voice("it_ktuberling", POTATO, r"it/(?P<name>.*)\.\w+", "it", "ktit"),
    Voice("ru_ktuberling", POTATO, _RUSSIAN, "ru", "ktru", "f"),
)


class Clip(Sound):
    """Samples of a recording at 8 kHz, and whether its left channel is empty."""

    def __init__(self, samples: np.ndarray, left_is_empty: bool) -> None:
        super().__init__(samples, RATE)
        self.left_is_empty = left_is_empty


def word_of(name: str) -> str:
    """What the description of a picture is about: the first word of its file's name, without numbers beside it.

    "animals/birds/heron_greatblue_flying" is "heron", "symbols/money/us/coins/001penny" is "penny"; numbers and
    letters are named as prompts are, "symbols/math/3" is "digits/3" and "A_filled" is "letters/a".
    """
    stem = name.rpartition("/")[2].lower()
    words = re.findall(r"[^\W\d_]+", stem) or re.findall(r"\d+", stem) or [stem]
    kind = "digits/" if words[0].isdecimal() else "letters/" if len(words[0]) == 1 else ""
    return kind + words[0]


def find_folders(corpus: Path) -> dict[str, Path]:
    """Folder of each package's sounds in `corpus`.

    Raises:
        ValueError: `corpus` is not a directory, or packages are missing from it; all are named.
    """
    if not corpus.is_dir():
        raise ValueError(f"--corpus {corpus}: there is no such directory")
    places = {name: (corpus / name / folder, corpus / folder) for name, folder in FOLDERS.items()}
    found = {name: place for name, tried in places.items() for place in tried[::-1] if place.is_dir()}
    missing = [name for name in FOLDERS if name not in found]
    if missing:
        raise ValueError(
            f"{corpus}: missing packages: {' '.join(missing)}. Unpack each with `dpkg-deb -x FILE.deb "
            f"{corpus}/PACKAGE`, or run without --corpus to fetch them"
        )
    return found


def utterances_of(voice: Voice, folder: Path) -> list[Utterance]:
    """A voice's recordings, not yet opened.

    Raises:
        ValueError: there is none.
    """
    found = []
    for path in walk(folder, *SOUNDS):
        match = re.fullmatch(voice.files, path.relative_to(folder).as_posix())
        if match is None:
            continue
        name = match["name"]
        word = word_of(name) if voice.package == STAMPS else f"ktuberling/{name}"
        part = prompts.part_of(word) if voice.package == STAMPS else "test"
        custom = {"prompt": word, "voice": voice.name, "codec": path.suffix[1:], "slice": prompts.slice_of(word)}
        utt = f"{voice.speaker}-{voice.language}-{re.sub(r'[^A-Za-z0-9.-]', '_', name)}"
        found.append(Utterance(utt, path, voice.speaker, voice.language, None, part, voice.gender, custom=custom))
    if not found:
        raise ValueError(f"{folder}: no recording of {voice.name} in it; unpack the package {voice.package} again")
    return found


def read_clip(path: Path) -> Clip:
    """A recording of any rate and number of channels as int16 at 8 kHz: its channels' mean, or the right one alone.

    Raises:
        ValueError: damaged, shorter than a frame, or only zeros.
    """
    meter = ChannelMeter()
    samples, _ = read_audio(str(path), "", RATE, downsample=True, of_several=MIX, meter=meter)
    left_is_empty = meter.verdict() == LEFT_IS_EMPTY
    if left_is_empty:
        samples, _ = read_audio(str(path), "", RATE, downsample=True, channel=1)
    samples = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    if len(samples) < SHORTEST or not samples.any():
        raise ValueError(f"{path}: {len(samples)} samples: less than a frame of {SHORTEST}, or only zeros")
    return Clip(samples, left_is_empty)


def select(corpus: Corpus, clips: dict[Path, Clip], left_empty: set[str]) -> None:
    """Leave out recordings of another session than the voice's, and those that repeat another one.

    Args:
        corpus: opened.
        clips: of its recordings.
        left_empty: speakers whose recordings are those with an empty left channel.
    """
    own = []
    for utt in corpus.utterances:
        if utt.speaker in left_empty and not clips[utt.path].left_is_empty:
            why = "not of the session whose left channel is empty: other speakers are among these"
            corpus.left_out.add("other session", utt.path, why, utt.id)
        else:
            own.append(utt)
    of_clip = {clips[utt.path]: utt for utt in own}
    speakers = dict.fromkeys(utt.speaker for utt in own)
    copies = find_shared(of_clip, lambda clip: of_clip[clip].speaker, lambda clip: of_clip[clip].id)
    for speaker in speakers:
        same = [clip for clip, utt in of_clip.items() if utt.speaker == speaker]
        copies |= find_repeated(same, lambda clip: of_clip[clip].id)
    for clip, other in copies.items():
        utt = of_clip[clip]
        corpus.left_out.add("repeated", utt.path, f"same recording as {of_clip[other].id}", utt.id)
    corpus.utterances = [utt for clip, utt in of_clip.items() if clip not in copies]


def prepare(root: Path, out_dir: Path, jobs: int, max_bad: float) -> None:
    """Write the manifests.

    Raises:
        ValueError: missing packages, a voice without recordings, too many unreadable files.
    """
    folders, corpus, clips = find_folders(root), Corpus("voices", root), {}
    for voice in VOICES:
        for utt in utterances_of(voice, folders[voice.package]):
            corpus.add(utt)
    voice_of = {utt.path: utt.custom["voice"] for utt in corpus.utterances}

    def decoded(path: Path, name: str) -> Recording:
        clip = clips[path] = read_clip(path)
        wav = out_dir.absolute().parent / "audio" / str(voice_of[path]) / f"{name}.wav"
        prompts.write_wav(wav, clip.samples, RATE)
        return open_recording(wav, name)

    corpus.open(jobs, decoded, max_bad, out_dir)
    select(corpus, clips, {voice.speaker for voice in VOICES if voice.left_is_empty})
    corpus.write(out_dir)


def main() -> None:
    """Parse the command line and prepare the voices."""
    parser = argument_parser(__doc__)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go: data/manifests")
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="packages unpacked or installed; nothing is fetched")
    cache = os.environ.get("FLOWLID_CACHE") or "~/.cache/flowlid"
    parser.add_argument("--cache", metavar="DIR", default=cache, help="where to fetch to")
    add_corpus_options(parser)
    args = parser.parse_args()
    log_provenance()
    root = args.corpus
    if root is None:
        script = Path(__file__).resolve().parent / "fetch_debian_packages.sh"
        root = prompts.fetch_packages(script, Path(args.cache).expanduser() / "voices", list(FOLDERS))
    prepare(root, args.out_dir, args.nj, args.max_bad)


if __name__ == "__main__":
    run(main)
