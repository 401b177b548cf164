"""flowlid.corpora.corpus: fixed splits and selections, and the way of any corpus to manifests."""

import gzip
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import Recording, RecordingSet, SupervisionSet, load_manifest

from flowlid.audio.headers import MissingDecoder
from flowlid.corpora.corpus import (
    Corpus,
    Utterance,
    order,
    split_speakers,
    take_hours,
)

RATE = 8000

# seconds of the utterances of each speaker
speakers = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.lists(st.floats(0.5, 60), min_size=1, max_size=6),
    min_size=3,
    max_size=12,
)


def made_up(seconds: Mapping[str, list[float]]) -> list[Utterance]:
    return [
        Utterance(f"x-{speaker}-{number}", Path(f"{speaker}/{number}.wav"), speaker, "en", None, "all", duration=length)
        for speaker, lengths in seconds.items()
        for number, length in enumerate(lengths)
    ]


def wav(path: Path, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


def utterance(path: Path, name: str, **fields: object) -> Utterance:
    values = {"speaker": "x-a", "language": "en", "accent": "native", "part": "train", **fields}
    return Utterance(f"x-a-{name}", path, **values)


def written(corpus: Corpus, out: Path) -> tuple[RecordingSet, SupervisionSet]:
    corpus.write(out)
    return tuple(load_manifest(out / f"{corpus.name}_{kind}.jsonl.gz") for kind in ("recordings", "supervisions"))


# Splits and selections


def test_the_order_of_names_is_that_of_their_sha1() -> None:
    # printf NAME | sha1sum
    assert order("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d"


@given(speakers)
def test_a_split_is_by_speaker_and_every_part_has_one(seconds: dict[str, list[float]]) -> None:
    shares = {"train": 0.8, "dev": 0.1, "test": 0.1}
    utterances = made_up(seconds)
    split = split_speakers(utterances, shares)
    assert [replace(utt, part="all") for utt in split] == utterances
    part_of = {utt.speaker: utt.part for utt in split}
    assert all(part_of[utt.speaker] == utt.part for utt in split)
    assert set(part_of.values()) == set(shares)
    total, longest = sum(map(sum, seconds.values())), max(map(sum, seconds.values()))
    for part, share in shares.items():
        assert sum(utt.duration for utt in split if utt.part == part) <= share * total + longest + 1e-6


@given(speakers, st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order(seconds: dict[str, list[float]], chance: object) -> None:
    utterances = made_up(seconds)
    shuffled = utterances[:]
    chance.shuffle(shuffled)
    shares = {"train": 0.9, "dev": 0.1}
    parts = {utt.id: utt.part for utt in split_speakers(utterances, shares)}
    assert {utt.id: utt.part for utt in split_speakers(shuffled, shares)} == parts


def test_a_split_of_many_speakers_has_the_shares() -> None:
    utterances = made_up({f"s{number}": [1 + number % 7] for number in range(400)})
    split = split_speakers(utterances, {"train": 0.95, "dev": 0.05})
    dev = sum(utt.duration for utt in split if utt.part == "dev") / sum(utt.duration for utt in split)
    assert dev == pytest.approx(0.05, abs=0.005)


def test_a_split_needs_a_speaker_for_each_part() -> None:
    with pytest.raises(ValueError, match="1 speakers are too few for the parts train, dev"):
        split_speakers(made_up({"a": [1, 2, 3]}), {"train": 0.5, "dev": 0.5})


@given(speakers, st.floats(0, 0.1), st.floats(0, 0.1), st.randoms(use_true_random=False))
def test_a_selection_is_fixed_even_and_grows(
    seconds: dict[str, list[float]], hours: float, more: float, chance: object
) -> None:
    utterances = made_up(seconds)
    taken = take_hours(utterances, hours)
    total, whole = (sum(utt.duration for utt in some) for some in (taken, utterances))
    longest = max(utt.duration for utt in utterances)
    assert total <= hours * 3600 + 1e-6
    assert len(taken) == len(utterances) or total > min(hours * 3600, whole) - longest - 1e-6
    chance.shuffle(utterances)
    assert take_hours(utterances, hours) == taken
    assert {utt.id for utt in taken} <= {utt.id for utt in take_hours(utterances, hours + more)}
    counts = Counter(utt.speaker for utt in taken)
    most = max(counts.values(), default=0)
    assert all(counts[speaker] >= min(most - 1, len(lengths)) for speaker, lengths in seconds.items())


def test_a_selection_is_shuffled() -> None:
    utterances = made_up({"a": [1 + number / 100 for number in range(40)]})
    first = sorted(utterances, key=lambda utt: order(utt.id))[:10]
    taken = take_hours(utterances, (sum(utt.duration for utt in first) + 0.001) / 3600)
    assert taken == sorted(first, key=lambda utt: utt.id)


def test_all_is_taken_if_there_are_fewer_hours() -> None:
    utterances = made_up({"b": [3, 4], "a": [5]})
    assert [utt.id for utt in take_hours(utterances, 1)] == ["x-a-0", "x-b-0", "x-b-1"]
    assert take_hours([], 1) == []


# Recordings


def test_utterances_get_their_length_and_whole_files_the_utterances_name(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    corpus.add(utterance(wav(tmp_path / "a" / "1.wav", 0.5), "one"))
    long = wav(tmp_path / "a" / "2.wav", 2)
    corpus.add(utterance(long, "two-0", start=0.5, duration=0.5))
    corpus.add(utterance(long, "two-1", start=1.25))
    corpus.open(2)
    assert [(utt.start, utt.duration) for utt in corpus.utterances] == [(0, 0.5), (0.5, 0.5), (1.25, 0.75)]
    assert {path.name: recording.id for path, recording in corpus.recordings.items()} == {
        "1.wav": "x-a-one", "2.wav": "x-a-2",
    }  # fmt: skip


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_file_may_be_whole_and_in_windows(tmp_path: Path, whole_first: bool) -> None:
    path = wav(tmp_path / "0800-singing.wav", 1)
    parts = [utterance(path, "s", part="test"), utterance(path, "s-1s0000", part="test_1s", duration=0.4)]
    corpus = Corpus("x", tmp_path)
    for utt in parts if whole_first else parts[::-1]:
        corpus.add(utt)
    corpus.add(utterance(wav(tmp_path / "other.wav"), "other"))
    corpus.open(1)
    recordings, items = written(corpus, tmp_path / "out")
    assert len({recording.id for recording in recordings}) == len(recordings) == 2
    assert {items[name].recording_id for name in ("x-a-s", "x-a-s-1s0000")} == {"x-a-0800-singing"}
    assert (items["x-a-s"].duration, items["x-a-s-1s0000"].duration) == (1.0, 0.4)


def test_windows_may_be_added_after_the_files_are_open(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    corpus.add(utterance(wav(tmp_path / "1.wav", 1), "1", part="test"))
    corpus.open(1)
    corpus.add(replace(corpus.utterances[0], id="x-a-1-1s0000", part="test_1s", start=0.5, duration=0.5))
    recordings, items = written(corpus, tmp_path / "out")
    assert [recording.id for recording in recordings] == ["x-a-1"]
    assert {item.recording_id for item in items} == {"x-a-1"}


def test_files_of_one_name_in_several_folders_have_ids_of_their_own(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    for folder in ("day 1", "day 2"):
        path = wav(tmp_path / folder / "talk one.wav", 1)
        for number in range(2):
            corpus.add(utterance(path, f"{folder[-1]}-{number}", start=number / 2, duration=0.5))
    corpus.open(2)
    names = {recording.id for recording in corpus.recordings.values()}
    assert len(names) == 2 and all(name.startswith("x-a-talk_one-") and " " not in name for name in names)


def test_damaged_files_are_named_and_their_utterances_left_out(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    for number in range(3):
        corpus.add(utterance(wav(tmp_path / f"{number}.wav", 1), f"{number}-a", duration=0.5))
        corpus.add(utterance(tmp_path / f"{number}.wav", f"{number}-b", start=0.5))
    (tmp_path / "1.wav").write_bytes((tmp_path / "1.wav").read_bytes()[:-100])
    corpus.open(2, max_bad=0.4)
    assert {utt.id for utt in corpus.utterances} == {"x-a-0-a", "x-a-0-b", "x-a-2-a", "x-a-2-b"}
    recordings, _ = written(corpus, tmp_path / "out")
    assert len(recordings) == 2
    assert (tmp_path / "out" / "x_left_out.tsv").read_text() == (
        "file\tutterance\treason\tdetail\n"
        f"{tmp_path}/1.wav\tx-a-1-a\tdamaged\tcut off, 100 bytes are missing; fetch the file again\n"
        f"{tmp_path}/1.wav\tx-a-1-b\tdamaged\tcut off, 100 bytes are missing; fetch the file again\n"
    )


@pytest.mark.parametrize(
    ("files", "damaged", "sound"), [(1, 0, True), (5, 1, True), (5, 2, False), (40, 2, True), (40, 3, False)]
)
def test_more_than_a_twentieth_damaged_is_an_error(tmp_path: Path, files: int, damaged: int, sound: bool) -> None:
    corpus, good = Corpus("x", tmp_path), wav(tmp_path / "good.wav").read_bytes()
    for number in range(files):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(good[:60] if number < damaged else good)
        corpus.add(utterance(path, str(number)))
    if sound:
        corpus.open(4)
        assert len(corpus.utterances) == files - damaged
    else:
        with pytest.raises(ValueError, match=f"{damaged} of {files} utterances cannot be used") as error:
            corpus.open(4)
        assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == [
            f"{tmp_path}/{number}.wav" for number in range(damaged)
        ]


def test_a_decoder_that_is_not_installed_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = Corpus("x", tmp_path)
    for number in range(50):
        corpus.add(utterance(tmp_path / f"{number}.wv1", str(number)))

    def coded(path: Path, name: str) -> Recording:
        raise MissingDecoder(f"{path}: install sph2pipe")

    with pytest.raises(ValueError, match=r"0\.wv1: install sph2pipe"):
        corpus.open(1, coded)
    assert "damaged" not in caplog.text and not corpus.left_out.rows


def test_a_corpus_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    corpus.add(utterance(tmp_path / "gone.wav", "gone"))
    with pytest.raises(ValueError, match=r"1 of 1 utterances cannot be used.*\n.*gone\.wav; correct the path"):
        corpus.open(1)


def test_no_speech_and_two_of_one_name_are_errors(tmp_path: Path) -> None:
    corpus = Corpus("x", tmp_path)
    with pytest.raises(ValueError, match="no speech of x found"):
        corpus.open(1)
    for folder in "ab":
        corpus.add(utterance(wav(tmp_path / folder / "1.wav"), "1"))
    with pytest.raises(ValueError, match=r"1 utterance ids are there twice, such as x-a-1 \(.*a/1.wav, .*b/1.wav\)"):
        corpus.open(1)


# Manifests


def three(tmp_path: Path, *numbers: int) -> Corpus:
    corpus = Corpus("x", tmp_path)
    for number in numbers:
        corpus.add(
            replace(
                utterance(wav(tmp_path / f"{number}.wav", 0.25 * number), str(number)),
                speaker=f"x-{'abb'[number - 1]}",
                part=("train", "test", "test")[number - 1],
                language=("en", "fr", "en")[number - 1],
                accent=("native", "german", None)[number - 1],
                gender=("Male", "f", None)[number - 1],
                text="hello" if number == 1 else None,
                custom={"score": float(number), "site": None if number == 2 else "w"},
            )
        )
    corpus.open(2)
    return corpus


def test_lhotse_reads_what_was_written(tmp_path: Path) -> None:
    recordings, items = written(three(tmp_path, 1, 2, 3), tmp_path / "out")
    one, two, last = (items[f"x-a-{number}"] for number in (1, 2, 3))
    assert (one.recording_id, one.start, one.duration) == ("x-a-1", 0, 0.25)
    assert (one.speaker, one.language, one.gender, one.text) == ("x-a", "en", "m", "hello")
    assert one.custom == {"corpus": "x", "part": "train", "accent": "native", "score": 1.0, "site": "w"}
    assert two.custom == {"corpus": "x", "part": "test", "accent": "german", "score": 2.0}
    assert (two.gender, last.gender, last.text) == ("f", None, None) and "accent" not in last.custom
    for item in items:
        audio = recordings[item.recording_id].load_audio()
        expected, _ = soundfile.read(tmp_path / f"{item.id[-1]}.wav", dtype="float32")
        np.testing.assert_array_equal(audio[0], expected)


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    three(tmp_path, 1, 2, 3).write(tmp_path / "one")
    three(tmp_path, 3, 1, 2).write(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["x_left_out.tsv", "x_recordings.jsonl.gz", "x_summary.tsv", "x_supervisions.jsonl.gz"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_summary_counts_each_part(tmp_path: Path) -> None:
    corpus = three(tmp_path, 1, 2, 3)
    corpus.utterances = [replace(utt, duration=1800.0 * number) for number, utt in enumerate(corpus.utterances, 1)]
    corpus.write(tmp_path / "out")
    assert (tmp_path / "out" / "x_summary.tsv").read_text() == (
        "part\tutterances\tspeakers\thours\tlanguages\taccents\n"
        "test\t2\t1\t2.500\ten fr\tgerman\n"
        "train\t1\t1\t0.500\ten\tnative\n"
        "all\t3\t2\t3.000\ten fr\tgerman native\n"
    )


def test_a_recording_that_no_utterance_needs_is_not_written(tmp_path: Path) -> None:
    corpus = three(tmp_path, 1, 2, 3)
    corpus.utterances = corpus.utterances[:1]
    recordings, items = written(corpus, tmp_path / "out")
    assert [recording.id for recording in recordings] == [item.id for item in items] == ["x-a-1"]


def test_a_gender_that_is_none_names_the_utterance_and_leaves_no_manifest(tmp_path: Path) -> None:
    corpus = three(tmp_path, 1, 2)
    corpus.utterances[1] = replace(corpus.utterances[1], gender="x")
    with pytest.raises(ValueError, match=r"utterance x-a-2: gender 'x' is none of f female m male"):
        corpus.write(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*supervisions*"))


def test_words_of_any_script_are_kept(tmp_path: Path) -> None:
    corpus = three(tmp_path, 1)
    corpus.utterances = [replace(corpus.utterances[0], text="日本語 ä", custom={"site": "東京"})]
    _, items = written(corpus, tmp_path / "out")
    assert (items["x-a-1"].text, items["x-a-1"].custom["site"]) == ("日本語 ä", "東京")
    assert "日本語" in gzip.open(tmp_path / "out" / "x_supervisions.jsonl.gz", "rt", encoding="utf-8").read()


def test_counts_other_than_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = Corpus("x", tmp_path)
    with caplog.at_level(logging.INFO, "flowlid"):
        corpus.check_count("speakers", 5, 5, strict=True)
        corpus.check_count("files", 4, 5, strict=False)
        corpus.check_count("hours", 3, 5, strict=True, fatal=False)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in levels] == ["INFO", "WARNING", "WARNING"]
    assert "speakers: 5, as published" in levels[0][1]
    assert "files: 4, but the published corpus has 5; --check-counts true makes this an error" in levels[1][1]
    assert levels[2][1].endswith("hours: 3, but the published corpus has 5")
    with pytest.raises(ValueError, match=r"files: 4, but the published corpus has 5; .*--check-counts false"):
        corpus.check_count("files", 4, 5, strict=True)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = three(tmp_path, 1)
    with caplog.at_level(logging.INFO, "flowlid"):
        for name in ("a", "b"):
            corpus.left_out.add("stray", name, "of no speaker")
        corpus.left_out.add("missing", "c", "listed\tthere")
        corpus.write(tmp_path / "out")
    path = tmp_path / "out" / "x_left_out.tsv"
    assert [line for line in caplog.messages if "left out" in line] == [
        f"x: left out (stray): 2, named in {path}",
        f"x: left out (missing): 1, named in {path}",
    ]
    assert path.read_text() == (
        "file\tutterance\treason\tdetail\n"
        "a\t\tstray\tof no speaker\nb\t\tstray\tof no speaker\nc\t\tmissing\tlisted there\n"
    )
