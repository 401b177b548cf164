"""local/prepare_table.py on what users have: several channels, damaged files, names that look the same, odd tables."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet
from speech_tables import COLUMNS, ROWS, one, table
from tools import left_out, speech, write_wav

ONE, OTHER = speech(0.5, 7), speech(0.5, 8)
KINDS = {
    "same": [ONE, 0.8 * ONE],
    "left": [0 * ONE, ONE],  # the left channel is empty
    "phase": [ONE, -ONE],
    "call": [ONE, OTHER],
}


@pytest.fixture
def several(corpus: Path) -> str:
    """A table whose files have two channels, but for one; returns its rows."""
    for name, channels in KINDS.items():
        write_wav(corpus / f"wav/{name}.wav", np.stack(channels, axis=1))
    rows = [f"{name}-1 wav/{name}.wav {name} {'es' if name == 'call' else 'en'} train" for name in KINDS]
    return "\n".join([*rows, "mono-1 wav/1.wav mono es train"])


def recordings(manifests: Path) -> dict[str, np.ndarray]:
    """Samples of each recording."""
    found = RecordingSet.from_jsonl(manifests / "table_recordings.jsonl.gz")
    assert all(item.num_channels == 1 for item in found)
    return {item.id.split("-")[1]: soundfile.read(item.sources[0].source, dtype="float32")[0] for item in found}


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    return len(found) == len(expected) and np.abs(found - expected).max() < 2e-4  # 16 bits


@pytest.mark.parametrize(
    ("channel", "lost"), [("0", {"left": "channel 0"}), ("1", {}), ("mix", {"phase": "channel mix"})]
)
def test_a_channel_for_all_files_with_several(
    channel: str, lost: dict[str, str], several: str, prepare: Callable[..., Path], messages: pytest.LogCaptureFixture
) -> None:
    manifests = prepare(table(several), "--channel", channel, "--max-bad", "0.2")
    found = recordings(manifests)
    assert set(found) == {*KINDS, "mono"} - set(lost)
    for name, samples in found.items():
        both = KINDS.get(name)
        expected = speech(0.5, 1) if both is None else np.mean(both, axis=0) if channel == "mix" else both[int(channel)]
        assert near(samples, expected), name
    rows = left_out(manifests / "table_left_out.tsv")
    for row, what in zip(rows, lost.values(), strict=True):
        assert row.startswith("(silent channel): ") and f"nothing on {what}, though another has sound" in row
    (told,) = [text for text in messages.messages if "hold different sound" in text]
    assert told.startswith("3 of 4 files with several channels hold different sound in them: ")
    for words in ("channel 0 is silent 1", "opposite phase 1", "different sound 1", "by language: en 2, es 1"):
        assert words in told
    header, *lines = (manifests / "table_channels.tsv").read_text().splitlines()
    assert header == "file\tlanguages\tchannels\tdifference" and len(lines) == 3
    assert not any("same.wav" in line for line in lines)


def test_the_column_wins_and_may_say_mix(several: str, prepare: Callable[..., Path]) -> None:
    rows = several.replace("call es train", "call es train mix").replace("left en train", "left en train 1")
    rows = "\n".join(line if line[-1] in "x1" else f"{line} -" for line in rows.splitlines())
    found = recordings(prepare(table(rows, f"{COLUMNS} channel"), "--channel", "0"))
    assert near(found["call"], (ONE + OTHER) / 2) and near(found["left"], ONE) and near(found["same"], ONE)


def test_no_channel_is_one_error_for_all(
    several: str, errors: Callable[..., list[str]], prepare: Callable[..., Path]
) -> None:
    line = one(errors(table(several)))
    assert "4 of 5 files have several channels, and their rows name none: " in line and "and 1 more; say which" in line
    with pytest.raises(ValueError, match=r'--channel: channel \'left\'; write a number from 0, or "mix"'):
        prepare(table(several), "--channel", "left")


def test_samples_above_full_scale_are_not_clipped(corpus: Path, prepare: Callable[..., Path]) -> None:
    loud = np.stack([3 * ONE / np.abs(ONE).max(), OTHER], axis=1).astype(np.float32)
    soundfile.write(corpus / "wav/loud.wav", loud, 8000, subtype="FLOAT")
    found = recordings(prepare(table("loud-1 wav/loud.wav loud en train"), "--channel", "0"))
    assert (found["loud"] == loud[:, 0]).all() and np.abs(found["loud"]).max() > 2.9


def many(corpus: Path, bad: int, count: int = 60) -> str:
    for number in range(count):
        path = write_wav(corpus / f"wav/m{number}.wav", speech(0.1, number))
        if number < bad:
            path.write_bytes(b"")
    return "\n".join(
        f"s{number}-1 wav/m{number}.wav s{number} {'en' if number % 2 else 'es'} train" for number in range(count)
    )


def test_a_few_damaged_files_are_left_out_and_counted(
    corpus: Path, prepare: Callable[..., Path], messages: pytest.LogCaptureFixture
) -> None:
    manifests = prepare(table(many(corpus, 2)))
    assert len(list(SupervisionSet.from_jsonl(manifests / "table_supervisions.jsonl.gz"))) == 58
    header, *rows = (manifests / "table_left_out.tsv").read_text().splitlines()
    assert header == "file\tutterance\treason\tdetail"
    assert [row.split("\t")[:3] for row in rows] == [
        [str(Path("wav") / f"m{number}.wav"), f"s{number}-1", "damaged"] for number in range(2)
    ]
    assert "2 of 60 utterances cannot be used: train en 1, train es 1" in messages.text


def test_many_damaged_files_are_an_error_unless_allowed(
    corpus: Path, prepare: Callable[..., Path], errors: Callable[..., list[str]]
) -> None:
    rows = table(many(corpus, 5))
    share, *lines = errors(rows)
    assert "5 of 60 utterances cannot be used, more than 0.05 of all; mend or remove them" in share
    assert len(lines) == 5 and all("empty, not one byte" in line for line in lines)
    assert len(recordings(prepare(rows, "--max-bad", "0.1"))) == 55
    with pytest.raises(SystemExit):
        prepare(rows, "--max-bad", "5")


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("cat en dev", "cat EN dev", ("language 'EN' is 'en' in line 2",)),
        ("dan-1 wav/4.wav dan", "Ann-1 wav/4.wav Ann", ("speaker 'Ann' is 'ann'",)),
        ("es test", "es Train", ("set 'Train'",)),
    ],
)
def test_names_that_are_the_same_to_a_person(
    old: str, new: str, lines: tuple[str, ...], errors: Callable[..., list[str]]
) -> None:
    found = errors(table(ROWS.replace(old, new)))
    for line in lines:
        assert any(line in text for text in found), found


def test_ids_may_differ_in_case_alone(prepare: Callable[..., Path]) -> None:
    """As those of videos do."""
    manifests = prepare(table(ROWS.replace("ben-1", "ann-x").replace("cat-1", "ann-X")))
    assert len(list(SupervisionSet.from_jsonl(manifests / "table_supervisions.jsonl.gz"))) == 4


def test_names_in_two_unicode_forms(errors: Callable[..., list[str]]) -> None:
    name = "andr\u00e9"
    rows = ROWS.replace("ann", name).replace("dan", unicodedata.normalize("NFD", name))
    found = "\n".join(errors(table(rows)))
    assert "speaker" in found and "in line 2: names that differ only in case or in how Unicode writes them" in found


@pytest.mark.parametrize("name", ["zh+en", "en/US", "a|b", "x,y", "$x"])
def test_languages_that_no_later_stage_could_write(name: str, errors: Callable[..., list[str]]) -> None:
    line = one(errors(table(ROWS.replace("cat en", f"cat {name}"))))
    assert line.startswith(f"my.tsv:4: language {name!r} has ") and "rename it" in line


def test_folders_of_a_tree_keep_their_names(corpus: Path, prepare: Callable[..., Path]) -> None:
    hindi, kinnauri = "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0915\u093f\u0928\u094d\u0928\u094c\u0930\u0940"
    for language in (hindi, kinnauri):
        for speaker in range(3):
            write_wav(corpus / "tree" / language / f"s{speaker}{language}" / "1.wav", speech(0.2, speaker))
    found = SupervisionSet.from_jsonl(prepare(corpus / "tree") / "table_supervisions.jsonl.gz")
    assert {item.language for item in found} == {hindi, kinnauri} and len(found) == 6


def test_folders_with_blanks_are_to_be_renamed(corpus: Path, errors: Callable[..., list[str]]) -> None:
    for language in ("en US", "en_US"):
        for speaker in "abc":
            write_wav(corpus / "tree" / language / f"{speaker}{language[:2]}" / "1.wav", speech(0.2))
    found = "\n".join(errors(corpus / "tree"))
    assert "language 'en US' has blanks or unprintable characters" in found and "such as en_US" in found


def test_a_tsv_whose_every_field_is_quoted(prepare: Callable[..., Path]) -> None:
    """R's and some spreadsheets' default; in other tables with tabs a quote is a letter."""
    quoted = "".join(
        "\t".join(f'"{cell}"' for cell in line.split("\t")) + "\n" for line in table().splitlines()
    ).replace('"ann"', '"an""n"')
    speakers = {item.speaker for item in SupervisionSet.from_jsonl(prepare(quoted) / "table_supervisions.jsonl.gz")}
    assert speakers == {'table-an"n', "table-ben", "table-cat", "table-dan"}
    plain = table().replace("\tann\t", '\tan"n\t')
    assert {
        item.speaker for item in SupervisionSet.from_jsonl(prepare(plain) / "table_supervisions.jsonl.gz")
    } == speakers


def test_tabs_that_an_editor_stripped(prepare: Callable[..., Path]) -> None:
    columns = f"{COLUMNS} gender score"
    text = "".join(line.rstrip("\t") + "\n" for line in table(ROWS.replace("train", "train f 3"), columns).splitlines())
    assert "dev\n" in text and "\tf\t3" in text
    found = SupervisionSet.from_jsonl(prepare(text) / "table_supervisions.jsonl.gz")
    assert [item.gender for item in sorted(found, key=lambda item: item.id)] == ["f", "f", None, None]
    text = table(ROWS, "utt_id path language set speaker").replace("\tdev", "")
    with pytest.raises(ValueError, match="4 fields, but the header names 5"):  # a speaker is needed
        prepare(text)


def test_what_cannot_be_used_is_counted_once_and_half_may_be_lost(
    prepare: Callable[..., Path], corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (3, 4):
        (corpus / f"wav/{number}.wav").write_bytes(b"")
    manifests = prepare(table(), "--max-bad", "0.5")
    told = [line for line in caplog.messages if "utterances cannot be used: " in line]
    assert told == ["2 of 4 utterances cannot be used: dev en 1, test es 1"]
    assert len(left_out(manifests / "table_left_out.tsv")) == 2
