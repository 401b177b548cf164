"""What is to be identified: files, directories, lists, Kaldi data directories."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from flowlid.corpora.layout import walk
from flowlid.corpora.speech_table_audio import AUDIO
from flowlid.identify.recording import Source
from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import Segment


class Inputs:
    """The recordings that arguments name, one after the other.

    Attributes:
        skipped: how many files without a suffix of sound were passed over in directories; known at the end.
    """

    def __init__(self, arguments: Iterable[str], listed: Iterable[str] = ()) -> None:
        """`arguments` are paths, or "-" for the paths in `listed`, one per line."""
        self.arguments, self.listed, self.skipped = arguments, listed, 0

    def __iter__(self) -> Iterator[Source | tuple[str, str]]:
        """Each recording; or the name of an argument that gives none and the reason why."""
        for argument in self.arguments:
            if argument != "-":
                yield from self._recordings(argument)
                continue
            for line in self.listed:
                path = line.rstrip("\r\n")
                if path.strip():
                    yield from self._recordings(path)

    def _recordings(self, path: str) -> Iterator[Source | tuple[str, str]]:
        place = Path(path)
        try:
            if not place.is_dir():
                yield Source(path, path)
            elif (place / "wav.scp").is_file():
                yield from _of_data_dir(DataDir(place))
            else:
                yield from self._of_directory(path)
        except (ValueError, OSError) as error:
            yield path, str(error)

    def _of_directory(self, path: str) -> Iterator[Source | tuple[str, str]]:
        found = 0
        for file in walk(path):
            if file.suffix.lower() in AUDIO:
                found += 1
                yield Source(str(file), str(file))
            else:
                self.skipped += 1
        if not found:
            yield path, f"{path}: no sound file in it; they end in {' '.join(AUDIO)}"


def _of_data_dir(data: DataDir) -> Iterator[Source]:
    """The utterances of a Kaldi data directory: segments, or whole recordings where there is no such file."""
    recordings, table = data.table("wav.scp"), str(data.path / "wav.scp")
    segments = data.segments() or {name: Segment(name) for name in recordings}
    missing = [utt for utt, segment in segments.items() if segment.recording not in recordings]
    if missing:
        recording = segments[missing[0]].recording
        raise ValueError(
            f"{table}: no recording {recording!r}, which segments has; run utils/fix_data_dir.py {data.path}"
        )
    for utt, (recording, start, end, channel) in segments.items():
        yield Source(utt, recordings[recording], start, end, channel, table)
