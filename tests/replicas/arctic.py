"""Miniature CMU ARCTIC and L2-ARCTIC: layout, names and rates of the real ones; sentences and voices invented."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from replicas.sound import voice, write_riff

# of each corpus: some voices with what they speak like
CMU = {
    "bdl": "native", "slt": "native", "clb": "native", "rms": "native", "eey": "native",
    "jmk": "canadian", "awb": "scottish", "ksp": "indian", "ahw": "native",
}  # fmt: skip
L2 = {
    "ABA": "arabic", "SKA": "arabic", "YBAA": "arabic", "ZHAA": "arabic",
    "BWC": "mandarin", "LXC": "mandarin", "NCC": "mandarin", "TXHC": "mandarin",
    "ASI": "hindi", "RRBI": "hindi", "SVBI": "hindi", "TNI": "hindi",
    "HJK": "korean", "HKK": "korean", "YDCK": "korean", "YKWK": "korean",
    "EBVS": "spanish", "ERMS": "spanish", "MBMPS": "spanish", "NJS": "spanish",
    "HQTV": "vietnamese", "PNV": "vietnamese", "THV": "vietnamese", "TLV": "vietnamese",
}  # fmt: skip
SENTENCES = ("Seven grey geese crossed the quiet harbour.", "Nobody asked why the lamp was lit, did they?")
_TIER = """\
        class = "IntervalTier"
        name = "{name}"
        xmin = 0
        xmax = 1
        intervals: size = {size}
{intervals}"""


@cache
def _sound(speaker: str, accent: str, seconds: float, rate: int, take: int) -> np.ndarray:
    return voice(speaker, accent, seconds, rate, take)


def prompts(utterances: int) -> list[str]:
    """Names of this many prompts, one in four of them of part b."""
    of_b = utterances // 4
    a = [f"arctic_a{number:04}" for number in range(1, utterances - of_b + 1)]
    return a + [f"arctic_b{number:04}" for number in range(1, of_b + 1)]


def build(root: Path, utterances: int = 4, seconds: float = 0.5, traps: bool = True) -> Path:
    """Both corpora, all voices of the tables above, in `root`/cmu_arctic and `root`/l2arctic."""
    build_cmu(root / "cmu_arctic", utterances=utterances, seconds=seconds, traps=traps)
    build_l2(root / "l2arctic", utterances=utterances, seconds=seconds, traps=traps)
    return root


def build_cmu(
    root: Path, voices: Sequence[str] = tuple(CMU), utterances: int = 4, seconds: float = 0.5, traps: bool = True
) -> Path:
    """CMU ARCTIC as its archives unpack.

    Args:
        root: where to.
        voices: of `CMU`; "eey" has part a alone, "ahw" is one of the disputed ones.
        utterances: of each voice.
        seconds: of each utterance.
        traps: whether the first voice has an `orig` folder (32 kHz, two channels), the second a prompt without
            audio and a recording without prompt, and the third a recording cut off and stray files.
    """
    for name in voices:
        folder = root / f"cmu_us_{name}_arctic"
        own = [prompt for prompt in prompts(utterances) if name != "eey" or "_a" in prompt]
        for take, prompt in enumerate(own):
            write_riff(folder / "wav" / f"{prompt}.wav", _sound(name, CMU[name], seconds, 16000, take))
            write_text(folder / "lab" / f"{prompt}.lab", "#\n0.2500 100 pau\n")
        lines = [f'( {prompt} "{SENTENCES[number % 2]}" )' for number, prompt in enumerate(own)]
        write_text(folder / "etc" / "txt.done.data", "\n".join(lines) + "\n")
        write_text(folder / "README", "invented\n")
    if traps:
        _cmu_traps(root, voices, seconds)
    return root


def _cmu_traps(root: Path, voices: Sequence[str], seconds: float) -> None:
    first, second, third = (root / f"cmu_us_{name}_arctic" for name in voices[:3])
    stereo = np.stack([_sound(voices[0], CMU[voices[0]], seconds, 32000, 0)] * 2, axis=1)
    write_riff(first / "orig" / "arctic_a0001.wav", stereo, 32000)
    data = second / "etc" / "txt.done.data"
    lines = [*data.read_text().splitlines()[1:], '( arctic_b0539 "Nothing was ever recorded here." )', "", "junk"]
    write_text(data, "\n".join(lines) + "\n")  # arctic_a0001 has lost its prompt
    cut = third / "wav" / "arctic_a0002.wav"
    cut.write_bytes(cut.read_bytes()[:-1000])
    write_riff(third / "wav" / "test.wav", _sound(voices[2], CMU[voices[2]], seconds, 16000, 0))
    write_text(third / "wav" / "._arctic_a0001.wav", "what a Mac leaves")
    write_text(third / "wav" / "notes.txt", "stray")


def build_l2(
    root: Path, speakers: Sequence[str] = tuple(L2), utterances: int = 4, seconds: float = 0.5, traps: bool = True
) -> Path:
    """L2-ARCTIC with its 24 archives unpacked.

    Args:
        root: where to.
        speakers: of `L2`.
        utterances: of each speaker.
        seconds: of each utterance.
        traps: whether the first speaker stands one level deeper (ABA/ABA/wav), the second lacks a transcript and has
            one without audio, the third has a file that is no audio, and there are stray files and a suitcase set
            without SKA and ASI.
    """
    for number, name in enumerate(speakers):
        folder = root / name / name if traps and number == 0 else root / name
        for take, prompt in enumerate(prompts(utterances)):
            write_riff(folder / "wav" / f"{prompt}.wav", _sound(name, L2[name], seconds, 44100, take), 44100)
            write_text(folder / "transcript" / f"{prompt}.txt", SENTENCES[take % 2])
            write_text(folder / "textgrid" / f"{prompt}.TextGrid", textgrid(["S", "EH1"]))
        write_text(
            folder / "annotation" / "arctic_a0001.TextGrid", textgrid(["S", "TH, S, s", "T, sil, d", "sil,ah0,a "])
        )
    for name in ("LICENSE", "PROMPTS", "README.md", "README.pdf"):
        write_text(root / name, "invented\n")
    if traps:
        _l2_traps(root, speakers, seconds)
    return root


def _l2_traps(root: Path, speakers: Sequence[str], seconds: float) -> None:
    second, third = root / speakers[1], root / speakers[2]
    (second / "transcript" / "arctic_a0001.txt").unlink()
    write_text(second / "transcript" / "arctic_b0539.txt", "Nothing was ever recorded here.")
    (third / "wav" / "arctic_a0002.wav").write_bytes(b"not audio")
    write_text(root / "notes.txt", "stray")
    write_text(second / "transcript" / "notes.txt", "stray")
    write_text(second / "wav" / "Thumbs.db", "stray")
    suitcase = root / "suitcase_corpus"
    for name in (name for name in speakers if name not in ("SKA", "ASI")):
        write_riff(suitcase / "wav" / f"{name.lower()}.wav", _sound(name, L2[name], seconds, 44100, 99), 44100)
        write_text(suitcase / "transcript" / f"{name.lower()}.txt", SENTENCES[0])
        write_text(suitcase / "annotation" / f"{name.lower()}.TextGrid", textgrid(["S"]))


def textgrid(phones: Sequence[str]) -> str:
    """A Praat TextGrid of a second with a tier `phones`."""
    step = 1 / len(phones)
    intervals = [
        f"        intervals [{number + 1}]:\n            xmin = {number * step}\n"
        f'            xmax = {(number + 1) * step}\n            text = "{phone}"'
        for number, phone in enumerate(phones)
    ]
    tier = _TIER.format(name="phones", size=len(phones), intervals="\n".join(intervals))
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\ntiers? <exists>\nsize = 1\n'
    return f"{head}item []:\n    item [1]:\n{tier}\n"


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
