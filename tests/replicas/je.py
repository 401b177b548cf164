"""UME-ERJ, English read by Japanese students, in miniature: layout, names and lists; the sentences are invented."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replicas.sound import voice, write_riff

SITES = ("DOS", "HIR")
KINDS = (("S_PH_B_1", "segmental"), ("S_PR_R_1", "rhythm"), ("S_PR_V_1", "intonation"))
TIMES = ("at dawn", "at noon", "at dusk", "at night", "in May", "in June", "on Monday", "on Friday")
PEOPLE = ("bakers", "sailors", "tailors", "porters", "miners", "weavers", "joiners", "coopers")


@dataclass(frozen=True)
class Item:
    """One reading of one student: recording name, selection name, category, text, and the student."""

    site: str
    student: str
    recording: str
    selection: str
    category: str
    text: str

    def path(self, names: str) -> str:
        """Below wav/JE, by its recording or its selection name."""
        return f"{self.site}/{self.student}/{self.recording if names == 'recording' else self.selection}.wav"


def items(students: int, sentences: int, words: int) -> list[Item]:
    """What the students read: student k stands at site k mod 2 and reads sentence set k mod 8 + 1."""
    found = []
    for k in range(students):
        site, student = SITES[k % 2], f"{'FM'[k // 2 % 2]}{k // 4 + 1:02}"
        sheet = k % 8 + 1
        for i in range(1, sentences + 1):
            prefix, kind = KINDS[(i - 1) % 3]
            number = (sheet - 1) * sentences + i
            text = f"The {PEOPLE[i % 8]} met {number} times {TIMES[sheet - 1]}."
            names = f"S{sheet}_{i:03}", f"{prefix}_{number:03}"
            found.append(Item(site, student, *names, f"sentence/{kind}", text))
        for i in range(1, words + 1):
            names = f"W{k % 5 + 1}_{i:03}", f"W_PH_B_1_{k % 5 * words + i:03}"
            found.append(Item(site, student, *names, "word/segmental", PEOPLE[i % 8][:-1]))
    return found


def ratings(item: Item, row: int) -> str:
    """The ratings of a row of scores.lst: four and a 0 or a -1, or three alone."""
    level = 1 + (row + int(item.student[1:])) % 5
    higher = min(5, level + 1)
    rows = ((level, level, 0, higher, level), (level, higher, level, level, -1), (level, higher, level))
    return " ".join(map(str, rows[row % 3]))


def build(
    root: Path,
    students: int = 6,
    sentences: int = 4,
    words: int = 1,
    americans: int = 3,
    seconds: float = 0.4,
    names: str = "recording",
    scored: str = "recording",
    apart: bool = False,
    lower: bool = False,
) -> Path:
    """Write the corpus, and return `root`.

    The first sentence of the first student is rated in two categories, the second by zeros alone, and the last of
    each student not at all. One more file of DOS/F01 is cut off, one bears no known name.

    Args:
        root: an empty place.
        students, sentences, words: how many, and of each how many.
        americans: native speakers with `sentences` each, and one more repeated after the model.
        seconds: length of an utterance.
        names: by which JE's files go: "recording" or "selection".
        scored: by which the rows of scores.lst go.
        apart: volumes UME-ERJ_1 (doc, lbl, DOS), UME-ERJ_2 (HIR), UME-ERJ_3 (AE, MDL) below `root`.
        lower: all names on the disk in lower case.
    """

    def place(volume: int, relative: str) -> Path:
        path = f"UME-ERJ_{volume}/{relative}" if apart else relative
        file = root / (path.lower() if lower else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    read = items(students, sentences, words)
    for number, item in enumerate(read):
        sound = voice(f"{item.site} {item.student}", "japanese", seconds, take=number)
        write_riff(place(1 + SITES.index(item.site), f"wav/JE/{item.path(names)}"), sound)
    cut = place(1, "wav/JE/DOS/F01/S1_120.wav" if names == "recording" else "wav/JE/DOS/F01/S_PH_B_1_460.wav")
    whole = write_riff(cut, voice("DOS F01", "japanese", seconds)).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    write_riff(place(1, "wav/JE/DOS/F01/noise.wav"), voice("noise", "noise", seconds))
    place(1, "wav/JE/DOS/F01/._S1_001.wav").write_bytes(b"\0\5\x16\7")
    place(2, "wav/JE/HIR/Thumbs.db").write_bytes(b"stray")
    for k in range(americans):
        speaker = f"{'FM'[k % 2]}{k // 2 + 1:02}"
        readings = [f"{item.selection}.wav" for item in read[:sentences]] + [f"{read[0].selection}_R.wav"]
        for take, name in enumerate(readings):
            write_riff(place(3, f"wav/AE/{speaker}/{name}"), voice(f"AE {speaker}", "native", seconds, take=take))
    write_riff(place(3, "wav/MDL/M01/S_PH_B_1_001.wav"), voice("MDL M01", "native", seconds))
    _write_docs(place, read)
    _write_scores(place, read, scored)
    return root


def _write_docs(place: Callable[[int, str], Path], read: list[Item]) -> None:
    """Tables in Shift-JIS with Windows line ends, the second of a kind nearly the same as the first."""
    for kind in ("sentence", "word"):
        # students who read the same set share its rows
        rows = {item.recording: item for item in read if item.category.startswith(kind)}
        for version in ("1", "2"):
            lines = ["# 録音名  選択名  文"]
            for item in rows.values():
                text = item.text.replace(".", "…") if version == "1" else item.text
                lines.append(f"{item.recording}.wav   {item.selection}.wav  {text}")
            file = place(1, f"doc/JEcontent/tab/{kind}{version}.tab")
            file.write_bytes("".join(f"{line}\r\n" for line in lines).encode("cp932"))
    for name in ("tebiki.txt", "JElabel/label.txt", "JErecord/record.txt", "AErecord/record.txt"):
        place(1, f"doc/{name}").write_bytes("録音の手引き\r\n".encode("cp932"))


def _write_scores(place: Callable[[int, str], Path], read: list[Item], scored: str) -> None:
    rows: dict[str, list[str]] = {}
    by_student: dict[tuple[str, str, str], list[Item]] = {}
    for item in read:
        by_student.setdefault((item.site, item.student, item.category[:4]), []).append(item)
    for k, own in enumerate(by_student.values()):
        for i, item in enumerate(own):
            if item.category.startswith("sentence") and i == len(own) - 1:
                continue
            kind, name = item.category.split("/")
            sex = {"F": "female", "M": "male"}[item.student[0]]
            marks = "0 0 0 0 0" if (k, i) == (0, 1) else ratings(item, k + i)
            rows.setdefault(f"{sex}-{kind}/{name}", []).append(f"{item.path(scored)} {marks}")
            if kind == "sentence" and (k, i) == (0, 0):
                rows.setdefault(f"{sex}-{kind}/rhythm", []).append(f"{item.path(scored)} 5 5 4 5 5")
    for folder, lines in rows.items():
        text = "".join(f"{line}\r\n" for line in ["# 評価 1 (poor) .. 5 (good)", *lines, "", "# end"])
        place(1, f"lbl/{folder}/scores.lst").write_bytes(text.encode("cp932"))
