"""CommonLanguage in miniature: layout and odd places of the published archive; sentences and voices invented."""

from pathlib import Path

from replicas.sound import voice, write_riff

LANGUAGES = ("Japanese", "Chinese_China", "Chinese_Hongkong", "Chinese_Taiwan", "Mangolian", "English")
SHORT = {"train": "trn", "dev": "dev", "test": "tst"}
HEADER = "\tclient_id\tpath\tsentence\tage\tgender"


def build(root: Path, speakers: int = 2, utterances: int = 2, seconds: float = 0.6, traps: bool = True) -> Path:
    """Write `root`/common_voice_kpd; returns `root`.

    Args:
        root: where to.
        speakers: of each language and part.
        utterances: of each speaker.
        seconds: of each utterance.
        traps: noise/ and rir/ beside the languages, a folder of another language, a row without audio, a file without
            a row, a short and an over-long file, one at 48 kHz, and a quote in a sentence.
    """
    place = root / "common_voice_kpd"
    for language in LANGUAGES:
        for part, short in SHORT.items():
            rows = []
            for speaker in range(1, speakers + 1):
                name = f"{language[:3].lower()}_{short}_sp_{speaker}"
                for take in range(utterances):
                    file = f"common_voice_{language[:2].lower()}_{len(rows):08d}.wav"
                    write_riff(place / language / part / name / file, voice(name, language, seconds, take=take))
                    rows.append(f'{len(rows)}\t{name}\t{file}\tSaid "so.\ttwenties\t{("male", "other")[take % 2]}')
            _table(place / language / f"{part}.csv", rows)
    if traps:
        _traps(place)
    return root


def _table(path: Path, rows: list[str]) -> None:
    path.write_bytes("\n".join([HEADER, *rows, ""]).encode("utf-16"))


def _traps(place: Path) -> None:
    for name in ("noise", "rir"):
        write_riff(place / name / "a.wav", voice(name, name, 0.3))
    for part in SHORT:
        write_riff(place / "Klingon" / part / "kli_sp_1" / "a.wav", voice("k", "k", 0.3))
    folder = place / "Japanese" / "test" / "jap_tst_sp_9"
    write_riff(folder / "common_voice_ja_90000001.wav", voice("s", "Japanese", 0.02))
    write_riff(folder / "common_voice_ja_90000002.wav", voice("s", "Japanese", 0.6, rate=48000), 48000)
    table = place / "Japanese" / "test.csv"
    rows = table.read_bytes().decode("utf-16").rstrip("\n").split("\n")[1:]
    _table(table, [*rows, "8\tx\tcommon_voice_ja_90000003.wav\tGone.\t\t", "9\tonly three\tcells"])
