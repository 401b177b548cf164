"""flowlid.left_out: what cannot be used is named and counted, and is an error beyond a share."""

from collections import Counter
from pathlib import Path

import pytest

from flowlid.left_out import LeftOut

HEADER = "file\tutterance\treason\tdetail\n"


def test_a_row_each_and_a_line_per_reason(tmp_path: Path) -> None:
    left_out = LeftOut()
    for file in ("a", "b"):
        left_out.add("stray", Path(file), "of no\n\tspeaker")
    left_out.add_bad("damaged", "c\td", "cut off", "ann-1", ("train", "en"))
    assert left_out.count("stray") == 2 and left_out.count("other") == 0 and left_out.bad.total() == 1
    path = tmp_path / "left_out.tsv"
    assert left_out.write(path) == [f"left out (stray): 2, named in {path}", f"left out (damaged): 1, named in {path}"]
    rows = "a\t\tstray\tof no speaker\nb\t\tstray\tof no speaker\nc d\tann-1\tdamaged\tcut off\n"
    assert path.read_text() == HEADER + rows
    assert LeftOut().write(path) == [] and path.read_text() == HEADER


def bad(count: int, group: tuple[str, str] = ("train", "en")) -> LeftOut:
    left_out = LeftOut()
    for n in range(count):
        left_out.add_bad("damaged", f"{n}.wav", "empty", f"u{n}", group)
    return left_out


@pytest.mark.parametrize(
    ("count", "total", "most", "fails"),
    [
        (0, 60, 0, False), (1, 60, 0, True), (3, 60, 0.05, False), (4, 60, 0.05, True), (5, 60, 0.1, False),
        (29, 100, 0.29, False), (1, 1, 1, True), (1, 5, 0.05, True), (59, 60, 1, False),
        (60, 60, 1, True),
    ],
)  # fmt: skip
def test_more_than_a_share_is_an_error(count: int, total: int, most: float, fails: bool, tmp_path: Path) -> None:
    left_out, path = bad(count), tmp_path / "left_out.tsv"
    everything = Counter({("train", "en"): total})
    if not fails:
        lines = left_out.check(everything, most, "corpus", path)
        assert lines[:1] == ([f"{count} of {total} utterances cannot be used: train en {count}"] if count else [])
        assert not path.exists()
        return
    with pytest.raises(ValueError, match=f"^corpus: {count} of {total} utterances cannot be used, ") as caught:
        left_out.check(everything, most, "corpus", path)
    assert "--max-bad SHARE" in str(caught.value) and str(path) in str(caught.value)
    assert len(path.read_text().splitlines()) == 1 + count and len(str(caught.value).splitlines()) <= 5


def test_sets_and_languages_that_lose_more_are_named() -> None:
    left_out = LeftOut.joined([bad(2), bad(1, ("test", "es"))])
    everything = {("train", "en"): 100, ("train", "es"): 50, ("test", "es"): 10}
    assert left_out.check(everything, 0.05, "corpus", None) == [
        "3 of 160 utterances cannot be used: test es 1, train en 2",
        "1 of 10 utterances cannot be used of set test, more than 0.05 of it",
    ]
