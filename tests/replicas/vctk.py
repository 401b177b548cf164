"""VCTK in miniature, versions 0.92 and 0.80; sentences and voices invented."""

from pathlib import Path

from replicas.sound import voice, write_flac, write_riff

ACCENTS = {
    "p225": "English", "p226": "English", "p227": "English", "p228": "English", "p229": "English",
    "p294": "American", "p297": "American", "p299": "American", "p300": "American",
    "p280": "Welsh", "p335": "NewZealand", "p364": "Irish", "p266": "Irish", "s5": "Unknown",
}  # fmt: skip


def build(root: Path, version: str = "0.92", sentences: int = 2, seconds: float = 0.6, rate: int = 48000) -> Path:
    """Write a version of the corpus; returns its root.

    p280 has no second microphone, p266 no text, and 0.92 knows the folder of a speaker who is not in the table.
    """
    new = version == "0.92"
    lines = ["ID  AGE  GENDER  ACCENTS  REGION COMMENTS" if new else "ID  AGE  GENDER  ACCENTS  REGION"]
    for number, (name, accent) in enumerate(ACCENTS.items()):
        region = ("", "English Midlands", "Southern  England")[number % 3]
        comment = "  (mic2 files unavailable)" if new and name == "p280" else ""
        lines.append(f"{name if new else name[1:]}  23  {'FM'[number % 2]}    {accent}    {region}{comment}")
        for sentence in range(1, sentences + 1):
            stem = f"{name}_{sentence:03d}"
            sound = voice(name, accent, seconds, rate, sentence)
            if new:
                for mic in (1, 2) if name != "p280" else (1,):
                    write_flac(root / "wav48_silence_trimmed" / name / f"{stem}_mic{mic}.flac", sound, rate)
            else:
                write_riff(root / "wav48" / name / f"{stem}.wav", sound, rate)
            if name != "p266":
                path = root / "txt" / name / f"{stem}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("Seven grey  geese.\n")
    (root / "speaker-info.txt").write_text("\n".join(lines) + "\n")
    if new:
        write_flac(root / "wav48_silence_trimmed/p999/p999_001_mic2.flac", voice("p999", "x", seconds, rate), rate)
        write_flac(root / "wav48_silence_trimmed/p225/notes_mic2.flac", voice("p225", "x", seconds, rate), rate)
    return root
