"""VoxLingua107 in miniature: names of videos and files as in the archives, all of them invented."""

from pathlib import Path

from replicas.sound import voice, write_riff

LANGUAGES = ("iw", "jw", "no", "nn", "haw", "et")
VIDEOS = ("-aB3_dEfGh1", "k__U__S9-_0", "Zz9zz-Zz9zz")  # ids may begin with "-", or hold what divides names


def name_of(video: str, start: float, seconds: float, speaker: int = 1) -> str:
    """A file's name, such as "VIDEO__U__S1---0001.000-0002.000.wav"."""
    return f"{video}__U__S{speaker}---{start:08.3f}-{start + seconds:08.3f}.wav"


def build(root: Path, seconds: float = 0.5, dev: str = "dev") -> Path:
    """Write the archives of `LANGUAGES`, two pieces of each video, and the dev set of two languages; returns `root`.

    A training file has the name of a dev file, another is of a dev video, one has a strange name, and a folder is no
    language.

    Args:
        root: where to.
        seconds: of each file.
        dev: folder of the dev set, "dev" or "dev/dev".
    """
    for number, language in enumerate(LANGUAGES):
        for video in VIDEOS:
            for start in (100.25, 200.0):
                path = root / language / name_of(f"{video[:-1]}{number}", start, seconds, 3)
                write_riff(path, voice(video, language, seconds, take=int(start)))
    for language in ("iw", "et"):
        video = f"dev-{language:_<7}"
        for start, length in ((0.0, 2.0), (30.0, 3.5)):
            write_riff(root / dev / language / name_of(video, start, length), voice(video, language, seconds))
    sound = voice("again", "iw", seconds)
    write_riff(root / "iw" / name_of("dev-iw_____", 0.0, 2.0), sound)
    write_riff(root / "iw" / name_of("dev-iw_____", 60.0, 2.0), sound)
    write_riff(root / "et" / "strange.wav", sound)
    write_riff(root / "klingon" / name_of("a", 0.0, 1.0), sound)
    return root
