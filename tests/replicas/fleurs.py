"""FLEURS in miniature, in each layout that copies of it have; sentences and voices invented."""

from pathlib import Path

from replicas.sound import voice, write_riff

LANGUAGES = ("en_us", "cmn_hans_cn", "es_419")
LAYOUTS = ("hub", "early", "lhotse")


def places(root: Path, layout: str, language: str, part: str) -> tuple[Path, Path]:
    """The table of a part, and the folder of its recordings."""
    if layout == "lhotse":
        return root / f"fleurs/metadata/{language}/{part}.tsv", root / f"fleurs/{language}/{part}"
    top = root / "data" / language if layout == "hub" else root / language
    return top / f"{part}.tsv", top / "audio" / part


def build(root: Path, layout: str = "hub", sentences: int = 2, seconds: float = 0.6, traps: bool = True) -> Path:
    """Write the tables and recordings; each sentence is read by two people. Returns `root`.

    With `traps`, en_us has in test an unpaired quote, a row of six fields, one without audio, one twice, and a
    recording without a row.
    """
    for language in LANGUAGES:
        for number, part in enumerate(("train", "dev", "test")):
            table, folder = places(root, layout, language, part)
            rows = []
            for sentence in range(sentences):
                for reader in range(2):
                    name = f"{1000 * (number + 1) + 2 * sentence + reader}.wav"
                    sound = voice(f"{language}{part}{reader}", language, seconds, take=sentence)
                    write_riff(folder / name, sound)
                    gender = ("MALE", "OTHER")[reader]
                    rows.append(f"{100 * number + sentence}\t{name}\tA text.\ta text\ta |\t{len(sound)}\t{gender}")
            if traps and (language, part) == ("en_us", "test"):
                rows += ["9\t99.wav\tNo audio.\tno\tn |\t1\tMALE", "8\tsix.wav\tSix.\tsix\ts |\t1", rows[0]]
                rows[1] = rows[1].replace("A text", 'A "text')
                write_riff(folder / "unnamed.wav", voice("x", language, seconds))
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root
