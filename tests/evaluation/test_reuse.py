"""What is whole and up to date is not made again; everything else is."""

from pathlib import Path

import pytest

from flowlid.evaluation.reuse import MADE_FROM, digest, make_unless_up_to_date


def makes(place: Path, inputs: dict, overwrite: bool = False) -> bool:
    """Whether the directory was made (again)."""
    made = []

    def make(out: Path) -> None:
        made.append(out)
        (out / "a").write_text("content")

    make_unless_up_to_date(place, inputs, make, overwrite)
    assert (place / "a").read_text() == "content"
    return bool(made)


def test_the_same_inputs_are_used_once(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    place, inputs = tmp_path / "score_x", {"model": "1", "shift": 0.01, "tests": ["a", "b"], "max": None}
    assert makes(place, inputs) and "up to date" not in messages.text
    assert not makes(place, dict(inputs)) and "score_x: up to date" in messages.text
    assert makes(place, inputs, overwrite=True)
    assert makes(place, {**inputs, "shift": 0.02}) and makes(place, {"model": "1"})


def test_what_is_not_whole_is_made_again(tmp_path: Path) -> None:
    place, inputs = tmp_path / "score_x", {"model": "1"}
    assert makes(place, inputs)
    (place / "a").write_text("cut")
    assert makes(place, inputs)
    (place / "a").unlink()
    assert makes(place, inputs)
    (place / MADE_FROM).write_text("{")
    assert makes(place, inputs)
    (place / MADE_FROM).unlink()
    assert makes(place, inputs) and not makes(place, inputs)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "score_x"
    assert makes(place, {"model": "1"})

    def fails(out: Path) -> None:
        (out / "a").write_text("half")
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        make_unless_up_to_date(place, {"model": "2"}, fails)
    assert (place / "a").read_text() == "content" and [path.name for path in tmp_path.iterdir()] == ["score_x"]
    assert not makes(place, {"model": "1"})


def test_digests_tell_texts_files_and_their_order_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    found = [
        digest(tmp_path / "a"), digest(tmp_path / "b"), digest(tmp_path / "a", tmp_path / "b"),
        digest(tmp_path / "b", tmp_path / "a"), digest(tmp_path / "a", tmp_path / "none"), digest("a", "bc"),
        digest("ab", "c"), digest(),
    ]  # fmt: skip
    assert len(set(found)) == len(found) and {len(each) for each in found} == {32}
    (tmp_path / "c").write_text("one")
    assert digest(tmp_path / "c") == found[0]
