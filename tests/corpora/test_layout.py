"""flowlid.corpora.layout: the files below a corpus's root, and roots that are another corpus."""

from pathlib import Path

import pytest

from flowlid.corpora.layout import check_root, find, walk, wrong_root


def test_walk_knows_endings_in_any_case_and_passes_over_hidden_files(tmp_path: Path) -> None:
    for name in ("b/Y.WAV", "b/x.wav", "a/z.flac", "a/note.txt", "._x.wav", ".git/x.wav", "c.wav/x.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in walk(tmp_path, ".wav", ".flac")] == [
        "a/z.flac", "b/Y.WAV", "b/x.wav",
    ]  # fmt: skip
    assert len(list(walk(tmp_path))) == 5
    assert list(walk(tmp_path / "nowhere")) == []


def test_walk_follows_links_once(tmp_path: Path) -> None:
    (tmp_path / "disc" / "a").mkdir(parents=True)
    (tmp_path / "disc" / "a" / "x.wav").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "corpus").symlink_to(tmp_path / "disc")
    (tmp_path / "disc" / "a" / "up").symlink_to(tmp_path / "disc")
    assert list(walk(tmp_path / "root", ".wav")) == [tmp_path / "root" / "corpus" / "a" / "x.wav"]


def test_find_takes_names_in_any_case_and_the_exact_one_first(tmp_path: Path) -> None:
    for name in ("TIMIT/DOC/SPKRINFO.TXT", "timit/doc/other.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert find(tmp_path, "TIMIT/doc/spkrinfo.txt") == tmp_path / "TIMIT/DOC/SPKRINFO.TXT"
    assert find(tmp_path, "timit/DOC/Other.txt") == tmp_path / "timit/doc/other.txt"
    assert find(tmp_path, "timit/doc/SPKRINFO.TXT") is None
    assert find(tmp_path, "timit/doc/other.txt/more") is None
    assert find(tmp_path / "nowhere", "x") is None


def test_a_root_that_is_none_is_named_with_what_should_be_there(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    for number in range(12):
        (tmp_path / "full" / f"file{number:02d}").touch()
    check_root(tmp_path, "XYZ", "xyz/*.wav")
    for root, words in (("nowhere", "no such directory"), ("full/file00", "no such directory")):
        with pytest.raises(ValueError, match=rf"{root}: {words}; expected the root of XYZ: xyz/\*.wav"):
            check_root(tmp_path / root, "XYZ", "xyz/*.wav")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="bare: an empty directory"):
        check_root(tmp_path / "bare", "XYZ", "xyz/*.wav")
    message = str(wrong_root(tmp_path / "full", "XYZ", "xyz/*.wav"))
    assert "this is not XYZ: expected xyz/*.wav, but it holds file00, file01" in message
    assert "file07 and 4 more" in message and "file08" not in message
