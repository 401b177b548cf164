#!/usr/bin/env -S bash -c '. "${0%/*}/../path.sh" && exec python3 "$0" "$@"'
"""CMU ARCTIC (native English) and L2-ARCTIC (English of six first languages) as lhotse manifests.

Usage:   local/prepare_arctic.py [--arctic DIR] [--l2arctic DIR] [options] OUT_DIR
Example: local/prepare_arctic.py --arctic /corpora/cmu_arctic --l2arctic /corpora/l2arctic_v5 data/manifests

--arctic holds cmu_us_<voice>_arctic/{wav,etc}; --l2arctic holds ABA/wav, ABA/transcript and so on (ABA/ABA/wav will
do). Folders may be at any depth. Recordings of `orig` folders, of voices whose origin is disputed (ahw, fem, rxr)
or unknown, and the spontaneous speech of `suitcase_corpus` are left out.

Accent is "native" for US voices, "canadian", "scottish" or "indian" for others, the first language in L2-ARCTIC.
Of each first language, and of the US voices, half of the speakers are for training and the others by turns for test
and for development; the sexes are spread (see `split`). Voices of other regions are for tests.
"""

import argparse
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from flowlid.corpora.corpus import Corpus, Utterance, order
from flowlid.corpora.layout import check_root, find, walk, wrong_root
from flowlid.files import raise_problems, read_lines, read_text
from flowlid.program import add_corpus_options, argument_parser, log_provenance, run

log = logging.getLogger("flowlid")

# voice or speaker -> sex, accent, published number of recordings
Table = Mapping[str, tuple[str, str, int]]
VOICES: Table = {
    "aew": ("m", "native", 1132), "bdl": ("m", "native", 1131), "clb": ("f", "native", 1132),
    "eey": ("f", "native", 592), "ljm": ("f", "native", 593), "lnh": ("f", "native", 1132),
    "rms": ("m", "native", 1132), "slt": ("f", "native", 1132),
    "jmk": ("m", "canadian", 1114), "awb": ("m", "scottish", 1138),
    "aup": ("m", "indian", 593), "axb": ("f", "indian", 593), "gka": ("m", "indian", 592),
    "ksp": ("m", "indian", 1132), "slp": ("f", "indian", 593),
}  # fmt: skip
DISPUTED = ("ahw", "fem", "rxr")  # of the US in one published table, from elsewhere in others
SPEAKERS: Table = {
    "aba": ("m", "arabic", 1129), "ska": ("f", "arabic", 974), "ybaa": ("m", "arabic", 1130),
    "zhaa": ("f", "arabic", 1132),
    "bwc": ("m", "mandarin", 1130), "lxc": ("f", "mandarin", 1131), "ncc": ("f", "mandarin", 1131),
    "txhc": ("m", "mandarin", 1132),
    "asi": ("m", "hindi", 1131), "rrbi": ("m", "hindi", 1130), "svbi": ("f", "hindi", 1132),
    "tni": ("f", "hindi", 1131),
    "hjk": ("f", "korean", 1131), "hkk": ("m", "korean", 1131), "ydck": ("f", "korean", 1131),
    "ykwk": ("m", "korean", 1131),
    "ebvs": ("m", "spanish", 1007), "erms": ("m", "spanish", 1132), "mbmps": ("f", "spanish", 1132),
    "njs": ("f", "spanish", 1131),
    "hqtv": ("m", "vietnamese", 1132), "pnv": ("f", "vietnamese", 1132), "thv": ("f", "vietnamese", 1132),
    "tlv": ("m", "vietnamese", 1132),
}  # fmt: skip
TESTED_ONLY = ("canadian", "scottish", "indian")
FEW = 10  # recordings that copies of a voice may differ by from the published number
_VOICE = re.compile(r"cmu_us_([a-z]{3})_arctic.*", re.IGNORECASE)
_PROMPT = re.compile(r"arctic_[ab]\d{4}", re.IGNORECASE)
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def prepare_cmu(root: Path, options: argparse.Namespace) -> Corpus:
    """CMU ARCTIC below `root`, with its parts.

    Raises:
        ValueError: no voice of it below `root`, a damaged copy, or (--check-counts) counts other than published.
    """
    expected = "cmu_us_<voice>_arctic/{wav,etc}, such as cmu_us_slt_arctic"
    check_root(root, "CMU ARCTIC", expected)
    corpus = Corpus("arctic", root)
    for name, folder in _voice_folders(root):
        if name in VOICES:
            _add_speaker(corpus, folder, name, VOICES[name], _prompt_texts(corpus, folder.parent))
        else:
            why = "its origin is disputed" if name in DISPUTED else "a voice of unknown sex and accent"
            corpus.left_out.add("voice", folder.parent, why)
    if not corpus.utterances and not corpus.left_out.rows:
        raise wrong_root(root, "CMU ARCTIC", expected)
    _finish(corpus, VOICES, options)
    return corpus


def prepare_l2(root: Path, options: argparse.Namespace) -> Corpus:
    """L2-ARCTIC below `root`, with its parts.

    Raises:
        ValueError: no speaker of it below `root`, archives not unpacked, a damaged copy, or (--check-counts) counts
            other than published.
    """
    expected = "a folder for each speaker with wav and transcript: ABA/wav, ABA/transcript, ..."
    check_root(root, "L2-ARCTIC", expected)
    corpus = Corpus("l2arctic", root)
    found = set()
    for folder in _speaker_folders(corpus, root):
        name = folder.parent.name.lower()
        found.add(name)
        _add_speaker(corpus, folder, name, SPEAKERS[name], _transcripts(corpus, folder.parent))
    packed = [path for path in walk(root, ".zip") if path.stem.lower() in SPEAKERS.keys() - found]
    if packed:
        raise ValueError(f"{packed[0]}: not unpacked, and {len(packed) - 1} more; unzip them where they are")
    if not corpus.utterances:
        raise wrong_root(root, "L2-ARCTIC", expected)
    _finish(corpus, SPEAKERS, options)
    return corpus


def _voice_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Each voice and its wav folder; `root` may be a voice itself."""
    folders = Counter(path.parent for path in walk(root, ".wav"))
    wavs = sorted(folder for folder in folders if folder.name.lower() == "wav")
    others = folders.total() - sum(folders[folder] for folder in wavs)
    if others:
        log.info("%s: %d recordings outside of folders `wav`, such as those of `orig`, stay unread", root, others)
    for folder in wavs:
        match = _VOICE.fullmatch(folder.absolute().parent.name)
        if match:
            yield match.group(1).lower(), folder


def _speaker_folders(corpus: Corpus, root: Path) -> Iterator[Path]:
    """The wav folder of each speaker; the files of the suitcase set are left out."""
    folders: dict[Path, list[Path]] = {}
    for path in walk(root, ".wav"):
        folders.setdefault(path.parent, []).append(path)
    for folder, paths in sorted(folders.items()):
        owner = folder.absolute().parent.name.lower()
        if owner == "suitcase_corpus":
            for path in paths:
                corpus.left_out.add("suitcase", path, "a minute of spontaneous speech, no prompt")
        elif folder.name.lower() == "wav" and owner in SPEAKERS:
            yield folder
        else:
            corpus.left_out.add("stray", folder, f"{len(paths)} recordings of no known speaker")


def _prompt_texts(corpus: Corpus, voice: Path) -> dict[str, str]:
    """Prompt -> sentence of a voice's etc/txt.done.data: lines of ( arctic_a0001 "Some text." )."""
    path = find(voice, "etc/txt.done.data")
    if path is None:
        log.warning("%s: no etc/txt.done.data; the voice has no transcripts", voice)
        return {}
    texts = {}
    for number, line in enumerate(read_lines(path), 1):
        match = _LINE.fullmatch(line.strip())
        if match:
            texts[match.group(1).lower()] = match.group(2).replace('\\"', '"')
        elif line.strip():
            corpus.left_out.add("line", f"{path}:{number}", 'not of the form ( arctic_a0001 "Text." )')
    return texts


def _transcripts(corpus: Corpus, speaker: Path) -> dict[str, str]:
    """Prompt -> sentence of a speaker's folder `transcript`, with a text file for each."""
    folder = find(speaker, "transcript")
    if folder is None:
        log.warning("%s: no folder transcript; the speaker has no transcripts", speaker)
        return {}
    texts = {}
    for path in walk(folder, ".txt"):
        if _PROMPT.fullmatch(path.stem):
            texts[path.stem.lower()] = " ".join(read_text(path).split())
        else:
            corpus.left_out.add("stray", path, "no name of a prompt")
    return texts


def _add_speaker(corpus: Corpus, wavs: Path, name: str, known: tuple[str, str, int], texts: Mapping[str, str]) -> None:
    """Add the recordings of a speaker; prompts without a recording are left out."""
    gender, accent, _ = known
    speaker, heard = f"{corpus.name}-{name}", set()
    hand = {path.stem.lower() for path in walk(wavs.parent / "annotation", ".textgrid")}  # checked by hand
    for path in walk(wavs, ".wav"):
        prompt = path.stem.lower()
        if not _PROMPT.fullmatch(prompt):
            corpus.left_out.add("stray", path, "no name of a prompt")
            continue
        heard.add(prompt)
        corpus.add(
            Utterance(
                id=f"{speaker}-{prompt}",
                path=path,
                speaker=speaker,
                language="en",
                accent=accent,
                part="",
                gender=gender,
                text=texts.get(prompt),
                custom={"prompt": prompt, "annotated": "yes" if prompt in hand else None},
            )
        )
    for prompt in sorted(texts.keys() - heard):
        corpus.left_out.add("no recording", f"{wavs.parent}: {prompt}", "a prompt without audio")
    if heard - texts.keys():
        log.info("%s: %d recordings without a transcript", wavs.parent, len(heard - texts.keys()))


def _finish(corpus: Corpus, known: Table, options: argparse.Namespace) -> None:
    """Open the recordings, check the counts and settle the parts."""
    if not corpus.utterances:
        raise_problems(
            [f"{file}: {detail}" for file, _, _, detail in corpus.left_out.rows],
            f"{corpus.root}: no voice that can be used; give another copy:",
        )
    corpus.open(options.nj, max_bad=options.max_bad, out_dir=options.out_dir)
    counts = Counter(utt.speaker.removeprefix(f"{corpus.name}-") for utt in corpus.utterances)
    missing = [name for name in known if name not in counts]
    log.info("%s: found %s; missing: %s", corpus.root, " ".join(sorted(counts)), " ".join(missing) or "none")
    if corpus.name == "l2arctic":
        corpus.check_count("speakers", len(counts), len(known), options.check_counts == "true")
    other = [f"{name} {n} of {known[name][2]}" for name, n in sorted(counts.items()) if abs(n - known[name][2]) > FEW]
    if other:
        log.warning("%s: not as many recordings as published: %s", corpus.root, ", ".join(other))
    parts = split({f"{corpus.name}-{name}": known[name][:2] for name in counts})
    corpus.utterances = [replace(utt, part=parts[utt.speaker]) for utt in corpus.utterances]


def split(speakers: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Part of each speaker, from (sex, accent): half of an accent for training, the rest by turns for test and dev.

    The speakers of an accent are taken in a fixed order, women and men by turns, so that no accent is trained on one
    sex alone, where sex could pass for accent; which sex is first, also in test, alternates between the accents.
    An accent of `TESTED_ONLY` is for tests as a whole. The same speakers always give the same parts.
    """
    parts = {}
    for number, accent in enumerate(sorted({accent for _, accent in speakers.values()})):
        own = sorted((name for name, (_, of) in speakers.items() if of == accent), key=order)
        sexes = [[name for name in own if speakers[name][0] == sex] for sex in ("fm", "mf")[number % 2]]
        turns = [name for turn in range(len(own)) for sex in sexes for name in sex[turn : turn + 1]]
        if accent in TESTED_ONLY:
            sides = ["test"] * len(own)
        else:
            trained = max(1, min((len(own) + 1) // 2, len(own) - 2))
            sides = ["train"] * trained + [("test", "dev")[turn % 2] for turn in range(len(own) - trained)]
            if len(own) < 3:
                log.warning("%s: %d speakers make no train, test and dev part", accent, len(own))
        chosen = dict(zip(turns, sides, strict=True))
        log.info("%s: %s", accent, ", ".join(f"{name} ({speakers[name][0]}) {part}" for name, part in chosen.items()))
        parts |= chosen
    return parts


def main() -> None:
    """Parse the command line and prepare one corpus or both."""
    parser = argument_parser(__doc__)
    parser.add_argument("--arctic", metavar="DIR", type=Path, help="CMU ARCTIC, unpacked")
    parser.add_argument("--l2arctic", metavar="DIR", type=Path, help="L2-ARCTIC, unpacked")
    add_corpus_options(parser, counts="insist on all 24 speakers")
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="where the manifests go: data/manifests")
    args = parser.parse_args()
    if not (args.arctic or args.l2arctic):
        raise ValueError("no corpus: give --arctic DIR, --l2arctic DIR, or both")
    log_provenance()
    corpora = [prepare_cmu(args.arctic, args)] if args.arctic else []
    corpora += [prepare_l2(args.l2arctic, args)] if args.l2arctic else []
    for corpus in corpora:
        corpus.write(args.out_dir)


if __name__ == "__main__":
    run(main)
