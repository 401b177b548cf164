"""English of Common Voice in miniature, with the columns of each release, and CommonAccent's lists; all invented."""

from pathlib import Path

from replicas.sound import voice, write_mp3

CODES = ("us", "england", "indian", "wales")
LABELS = {
    "us": "United States English",
    "england": "England English",
    "indian": "India and South Asia (India, Pakistan, Sri Lanka)",
    "wales": "Welsh English",
}
_FIRST, _VOTES = "client_id path", "up_votes down_votes age gender"
COLUMNS = {  # of each release
    7: f"{_FIRST} sentence {_VOTES} accent locale segment",
    8: f"{_FIRST} sentence {_VOTES} accents locale segment",
    12: f"{_FIRST} sentence {_VOTES} locale segment",
    13: f"{_FIRST} sentence {_VOTES} accents variant locale segment",
    17: f"{_FIRST} sentence_id sentence sentence_domain {_VOTES} accents variant locale segment",
}


def client(accent: str, number: int) -> str:
    """The client_id of an invented person."""
    return f"{accent}{number}".encode().hex().ljust(128, "0")


def build(root: Path, release: int = 13, clients: int = 3, clips: int = 2, seconds: float = 0.6) -> Path:
    """Write `root`/en with validated.tsv and clips/, 48 kHz MP3; returns `root`.

    Wales has one person. Further clips: one with two accents joined, one with an empty accent, one of free text, one
    that is missing (its path lacks .mp3), and one by which england's first person speaks indian.
    """
    rows = []

    def add(person: str, label: str, accent: str, sound: bool = True, suffix: str = ".mp3") -> None:
        name = f"common_voice_en_{len(rows) + 1}"
        values = {"client_id": person, "path": name + suffix, "sentence": 'A "word', "gender": "male_masculine"}
        rows.append(values | {"accent": label, "accents": label, "locale": "en"})
        if sound:
            clip = voice(person, accent, seconds, 48000, len(rows))
            write_mp3(root / "en" / "clips" / f"{name}.mp3", clip, 48000)

    labels = dict.fromkeys(CODES) if release < 8 else LABELS
    for accent in CODES:
        for number in range(1 if accent == "wales" else clients):
            for _ in range(clips):
                add(client(accent, number), labels[accent] or accent, accent)
    add(client("us", 0), "England English,United States English", "us")
    add(client("us", 0), "", "us")
    add(client("us", 1), "a mix of everything", "us")
    add(client("us", 2), labels["us"] or "us", "us", sound=False, suffix="")
    add(client("england", 0), labels["indian"] or "indian", "indian")
    names = COLUMNS[release].split()
    lines = ["\t".join(names), *("\t".join(row.get(name, "") for name in names) for row in rows)]
    (root / "en" / "validated.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def build_lists(folder: Path, clips: int = 2, clients: int = 3) -> Path:
    """CommonAccent's lists for what `build` makes: the first clip of a person is trained on, the second a test.

    The third is for dev, where there is one.
    """
    folder.mkdir(parents=True)
    accents = [accent for accent in CODES[:3] for _ in range(clients * clips)]
    for part, rest in (("train", 0), ("test", 1), ("dev", 2)):
        lines = ["ID,utt_id,wav,wav_format,text,duration,accent"]
        for number, accent in enumerate(accents):
            if number % clips == rest:
                name = f"common_voice_en_{number + 1}"
                lines.append(f'{number},{name},/data/{name}.mp3,mp3,"A ""word""",0.6,{accent}')
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return folder
