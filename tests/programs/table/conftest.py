"""What the tests of local/prepare_table.py share: a directory with recordings, and the program run in it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from speech_tables import PLAIN
from tools import load, speech, write_wav

program = load("local/prepare_table.py")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with wav/1.wav to wav/6.wav, half a second at 8 kHz each, as the current one."""
    for number in range(1, 7):
        write_wav(tmp_path / f"wav/{number}.wav", speech(0.5, number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def prepare(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the program on a table's text or bytes, or on a directory, with more options; returns OUT_DIR."""

    def run(what: str | bytes | Path = PLAIN, *options: object, name: str = "my.tsv") -> Path:
        if not isinstance(what, Path):
            Path(name).write_bytes(what if isinstance(what, bytes) else what.encode())
            what = Path(name)
        arguments = [*map(str, options), str(what), "data/manifests"]
        monkeypatch.setattr(sys, "argv", ["prepare_table.py", *arguments])
        program.main()
        return corpus / "data/manifests"

    return run


@pytest.fixture
def errors(prepare: Callable[..., Path], corpus: Path) -> Callable[..., list[str]]:
    """The problems that the program ends with, all of them; it wrote nothing but, if they are many, their list."""

    def run(*arguments: object, **more: object) -> list[str]:
        with pytest.raises(ValueError) as caught:
            prepare(*arguments, **more)
        first, *lines = str(caught.value).splitlines()
        listed = corpus / "data/manifests/table_problems.txt"
        if lines[-1] == f"all of them are in data/manifests/{listed.name}":
            lines = listed.read_text(encoding="utf-8").splitlines()
            listed.unlink()
        assert not any(path.is_file() for path in (corpus / "data").rglob("*"))
        assert f"{len(lines)} error" in first
        return lines

    return run
