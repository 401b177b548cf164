"""The frame shift of a data directory: its own file, or what Kaldi's get_frame_shift.sh makes of its tables."""

from pathlib import Path

import pytest

from flowlid.kaldi.datadir import DataDir
from flowlid.kaldi.tables import write_table


@pytest.mark.parametrize(("text", "shift"), [("0.01\n", 0.01), ("0.0125", 0.0125), ("1e-2\n", 0.01)])
def test_the_file_says_it(text: str, shift: float, tmp_path: Path) -> None:
    write_table(tmp_path / "utt2dur", {"a": "4.0"})
    write_table(tmp_path / "utt2num_frames", {"a": "100"})
    (tmp_path / "frame_shift").write_text(text)
    assert DataDir(tmp_path).frame_shift == shift


@pytest.mark.parametrize("text", ["", "0", "-0.01", "ten", "nan", "0.01 s"])
def test_a_file_that_says_no_seconds_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "frame_shift").write_text(text)
    with pytest.raises(
        ValueError, match=r"frame_shift: .* is not a number of seconds above 0; correct it, or run stage 2"
    ):
        _ = DataDir(tmp_path).frame_shift


def test_without_the_file_it_is_that_of_ten_utterances(tmp_path: Path) -> None:
    assert DataDir(tmp_path).frame_shift == 0.01
    names = [f"u{number:02}" for number in range(12)]
    write_table(tmp_path / "utt2num_frames", {**dict.fromkeys(names, "100"), "u10": "1", "u11": "1"})
    assert DataDir(tmp_path).frame_shift == 0.01
    write_table(tmp_path / "utt2dur", dict.fromkeys(names, "1.26"))
    assert DataDir(tmp_path).frame_shift == pytest.approx(0.0126)
    write_table(tmp_path / "utt2dur", dict.fromkeys(names, "1.015"))  # 2% above 10 ms are the frames cut off at the end
    assert DataDir(tmp_path).frame_shift == 0.01
