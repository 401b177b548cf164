"""speechocean762 in miniature: its folders, lists and score files; every line is invented."""

import json
from pathlib import Path

from replicas.sound import voice, write_riff

WORDS = ("MILK", "IS", "COLD", "AND", "BREAD", "WARM")
DETAILS = ((0, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, -1, 0, 0))  # what five experts add to an integer score


def build(
    root: Path,
    train: int = 4,
    test: int = 3,
    utterances: int = 3,
    seconds: float = 0.4,
    scores: tuple[str, ...] = ("scores.json", "scores-detail.json"),
    phones: type = list,
) -> Path:
    """Write the corpus, and return `root`.

    Beside what the lists name, WAVE holds a file of SPEAKER0001 and a folder SPEAKER9601 that no list names. The last
    file of the first speaker is cut off.

    Args:
        root: an empty place.
        train, test: speakers of each list; they read `utterances` each, and the first speaker one more.
        seconds: length of an utterance.
        scores: which of the two files stand in resource.
        phones: of a word in scores.json: list, or str as in an early release.
    """
    speakers = [f"{number:04}" for number in range(1, train + test + 1)]
    texts: dict[str, str] = {}
    for place, own in (("train", speakers[:train]), ("test", speakers[train:])):
        utts = {speaker: _utts(speaker, utterances + (speaker == "0001")) for speaker in own}
        texts |= {utt: _text(n) for n, utt in enumerate(utt for group in utts.values() for utt in group)}
        _write_lists(root / place, utts, texts)
        for utt in (utt for group in utts.values() for utt in group):
            sound = voice(f"speechocean {utt[1:5]}", "mandarin", seconds, take=int(utt[-4:]))
            write_riff(_wav(root, utt), sound)
    cut = _wav(root, _utts("0001", utterances + 1)[-1])
    cut.write_bytes(cut.read_bytes()[:-400])
    for stray in ("000019990", "096010010"):
        write_riff(_wav(root, stray), voice("stray", "mandarin", seconds))
    (root / "WAVE/SPEAKER0001/._000010010.WAV").write_bytes(b"\0\5\x16\7")
    _write_resource(root / "resource", texts, scores, phones)
    (root / "README.md").write_text("A replica.\n")
    return root


def level(utt: str) -> int:
    """The total score of an utterance, 1 to 9."""
    return 1 + (int(utt[1:5]) * 3 + int(utt[5:])) % 9


def _utts(speaker: str, count: int) -> list[str]:
    return [f"0{speaker}{number:04}" for number in range(10, 10 + count)]


def _wav(root: Path, utt: str) -> Path:
    return root / f"WAVE/SPEAKER{utt[1:5]}/{utt}.WAV"


def _text(number: int) -> str:
    return " ".join(WORDS[(number + more) % len(WORDS)] for more in range(3))


def _write_lists(folder: Path, utts: dict[str, list[str]], texts: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    all_utts = [(utt, speaker) for speaker, own in utts.items() for utt in own]
    lists = {
        "wav.scp": [f"{utt}\tWAVE/SPEAKER{speaker}/{utt}.WAV" for utt, speaker in all_utts],
        "text": [f"{utt}\t{texts[utt]}" for utt, _ in all_utts],
        "utt2spk": [f"{utt}\t{speaker}" for utt, speaker in all_utts],
        "spk2utt": [f"{speaker} {' '.join(own)}" for speaker, own in utts.items()],
        "spk2gender": [f"{speaker}\t{'mf'[int(speaker) % 2]}" for speaker in utts],
        "spk2age": [f"{speaker}\t{8 + 7 * (int(speaker) % 4)}" for speaker in reversed(utts)],  # not sorted
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def _write_resource(folder: Path, texts: dict[str, str], scores: tuple[str, ...], phones: type) -> None:
    folder.mkdir()
    (folder / "lexicon.txt").write_text("".join(f"{word}\t{word[0]} AH1 {word[-1]}\n" for word in sorted(WORDS)))
    rows = [f"{utt}.{n}\t{w[0]}_B AH1_I {w[-1]}_E" for utt, text in texts.items() for n, w in enumerate(text.split())]
    (folder / "text-phone").write_text("".join(f"{row}\n" for row in rows))
    content = {
        "scores.json": {utt: _scores(utt, text, phones) for utt, text in texts.items()},
        "scores-detail.json": {utt: _details(utt, text) for utt, text in texts.items()},
    }
    for name in scores:
        (folder / name).write_text(json.dumps(content[name], indent=1))


def _scores(utt: str, text: str, phones: type) -> dict[str, object]:
    words = []
    for number, word in enumerate(text.split()):
        sounds = [word[0], "AH0", word[-1]]
        wrong = {"canonical-phone": "AH0", "index": 1, "pronounced-phone": "<unk>"}
        words.append(
            {
                "accuracy": level(utt),
                "stress": 10,
                "total": level(utt),
                "text": word,
                "phones": sounds if phones is list else " ".join(sounds),
                "phones-accuracy": [2.0, 0.4 if number == 0 else 2.0, 1.8],
                "mispronunciations": [wrong] if number == 0 else [],
            }
        )
    total = level(utt)
    sentence = {"accuracy": min(10, total + 1), "completeness": 10.0, "fluency": total, "prosodic": max(0, total - 1)}
    return {"text": text, **sentence, "total": total, "words": words}


def _details(utt: str, text: str) -> dict[str, object]:
    total = level(utt)
    more = DETAILS[int(utt) % 3]
    words = [
        {
            "accuracy": [total] * 5,
            "stress": [10] * 5,
            "total": [total] * 5,
            "text": word,
            "ref-phones": f"{word[0]} AH0 {word[-1]}",
            "phones": [f"{word[0]} {{AH0}} {word[-1]}", f"{word[0]} (AH0) {word[-1]}"] + [f"{word[0]} AH0 [AH0]"] * 3,
        }
        for word in text.split()
    ]
    marks = {"accuracy": total + 1, "fluency": total, "prosodic": total - 1, "total": total}
    sentence = {name: [min(10, max(0, mark + extra)) for extra in more] for name, mark in marks.items()}
    return {"text": text, **sentence, "completeness": [1, 1, 1, 1, 0.5], "words": words}
