"""steps/augment_corpus.py: copies with another speed, noise or room, and the sets that may have them."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet
from tools import contents, load, write_wav

from flowlid.audio.headers import open_recording
from flowlid.corpora import augmented
from flowlid.kaldi.datadir import DataDir

RATE = 8000
program, make_data_dirs = load("steps/augment_corpus.py"), load("steps/make_data_dirs.py")
SETS = """
disjoint: prompt
sets:
  train_plain: {part: train}
  train_more: {part: [%s]}
  test_all: {part: %s}
"""


def tone(seconds: float, hertz: float, rate: int = RATE) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def manifest(folder: Path, name: str, samples: np.ndarray, rate: int = RATE) -> Path:
    """A manifest of one recording that is no speech."""
    recording = open_recording(write_wav(folder / f"{name}.wav", samples, rate), name)
    RecordingSet.from_recordings([recording]).to_file(folder / f"{name}_recordings.jsonl.gz")
    return folder / f"{name}_recordings.jsonl.gz"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Manifests of three utterances: a whole recording, a part of one, both of training, and one of the test set."""
    recordings, supervisions = [], []
    for name, part, start, duration in (
        ("ann-bye", "train", 0, 1),
        ("bea-no", "train", 0.25, 0.5),
        ("cid-yes", "test", 0, 1),
    ):
        path = write_wav(tmp_path / "wav" / f"{name}.wav", tone(1, 440))
        recordings.append(open_recording(path, name))
        speaker, prompt = name.split("-")
        fields = {"part": part, "set": part, "prompt": prompt, "voice": speaker}
        supervisions.append(
            SupervisionSegment(
                name, name, start, duration, language="en", speaker=speaker, gender="f", text=prompt, custom=fields
            )
        )
    (tmp_path / "data/manifests").mkdir(parents=True)
    RecordingSet.from_recordings(recordings).to_file(tmp_path / "data/manifests/x_recordings.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(tmp_path / "data/manifests/x_supervisions.jsonl.gz")
    return tmp_path / "data/manifests"


@pytest.fixture
def augment(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, np.ndarray]]:
    """Runs the program; gives the samples of the copies, by id, as a share of full scale."""

    def run(*options: object) -> dict[str, np.ndarray]:
        monkeypatch.setattr(sys, "argv", ["augment_corpus.py", *map(str, options), str(corpus)])
        program.main()
        recordings = RecordingSet.from_file(corpus / "augmented_recordings.jsonl.gz")
        return {recording.id: soundfile.read(recording.sources[0].source)[0] for recording in recordings}

    return run


def sets(corpus: Path, monkeypatch: pytest.MonkeyPatch, parts: str, test: str = "test") -> Path:
    (corpus.parent / "sets.yaml").write_text(SETS % (parts, test))
    arguments = ["--sets", corpus.parent / "sets.yaml", corpus, corpus.parent]
    monkeypatch.setattr(sys, "argv", ["make_data_dirs.py", *map(str, arguments)])
    make_data_dirs.main()
    return corpus.parent


def frequency(samples: np.ndarray) -> float:
    """Of the strongest tone, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * RATE))
    return spectrum.argmax() / 8


def test_speed_changes_length_and_pitch(augment: Callable[..., dict[str, np.ndarray]]) -> None:
    found = augment("--speed", "0.9 1.25")
    seconds = {name: len(samples) / RATE for name, samples in found.items()}
    expected = {"ann-bye-sp0.9": 1 / 0.9, "ann-bye-sp1.25": 0.8, "bea-no-sp0.9": 0.5 / 0.9, "bea-no-sp1.25": 0.4}
    assert seconds == pytest.approx(expected, abs=0.001)
    for name, samples in found.items():
        assert frequency(samples) == pytest.approx(440 * float(name.split("sp")[1]), abs=1)


def test_noise_has_the_ratio_asked_for(augment: Callable[..., dict[str, np.ndarray]], tmp_path: Path) -> None:
    hiss = np.random.default_rng(1).normal(0, 1000, 3000).astype(np.int16)  # shorter than the utterances
    found = augment("--noise", manifest(tmp_path, "hiss", hiss, 16000), "--snr", "10 10")
    assert sorted(found) == ["ann-bye-noise", "bea-no-noise"]
    speech = tone(1, 440) / 32768
    for name, samples in found.items():
        clean = speech if name.startswith("ann") else speech[2000:6000]
        assert len(samples) == len(clean)
        assert 10 * np.log10((clean**2).mean() / ((samples - clean) ** 2).mean()) == pytest.approx(10, abs=0.05)


def test_rooms_are_convolved_and_the_energy_stays(
    augment: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    room = np.zeros(400, np.int16)
    room[[0, 40, 399]] = 16000, 8000, -4000
    found = augment("--rir", manifest(tmp_path, "room", room))
    clean = tone(1, 440) / 32768
    expected = np.convolve(clean, room / 16000)[: len(clean)]
    expected *= np.sqrt((clean**2).mean() / (expected**2).mean())
    assert found["ann-bye-reverb"] == pytest.approx(expected, abs=2e-4)


def test_loud_copies_are_quieter_not_cut_off(augment: Callable[..., dict[str, np.ndarray]], tmp_path: Path) -> None:
    found = augment("--noise", manifest(tmp_path, "hum", tone(1, 50)), "--snr", "-20 -20")
    hum = found["ann-bye-noise"]
    assert 0.99 < np.abs(hum).max() <= 1 and frequency(hum) == pytest.approx(50, abs=1)
    assert (np.abs(hum) > 0.999).mean() < 0.1  # a clipped one would be there most of the time


def test_copies_keep_the_fields_and_only_sets_that_ask_have_them(
    augment: Callable[..., object], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment("--speed", "0.9")
    copies = {item.id: item for item in SupervisionSet.from_file(corpus / "augmented_supervisions.jsonl.gz")}
    copy = copies["bea-no-sp0.9"]
    assert (copy.speaker, copy.language, copy.gender, copy.text, copy.start) == ("bea", "en", "f", "no", 0)
    assert copy.custom == {
        "part": "train-sp0.9", "set": "train-sp0.9", "prompt": "no", "voice": "bea", "copy_of": "bea-no",
    }  # fmt: skip
    data = sets(corpus, monkeypatch, "train, train-sp0.9")
    assert DataDir(data / "train_plain").utts == ["ann-bye", "bea-no"]
    more = DataDir(data / "train_more")
    more.validate(("wav.scp", "segments", "utt2spk", "spk2utt", "utt2lang", "utt2dur"))
    assert more.table("utt2spk") == {
        "ann-bye": "ann", "ann-bye-sp0.9": "ann", "bea-no": "bea", "bea-no-sp0.9": "bea",
    }  # fmt: skip
    assert DataDir(data / "test_all").utts == ["cid-yes"]


def test_the_same_call_makes_the_same_copies_and_another_replaces_them(
    augment: Callable[..., object], corpus: Path, tmp_path: Path
) -> None:
    hiss = manifest(tmp_path, "hiss", np.random.default_rng(1).normal(0, 1000, 9000).astype(np.int16))
    augment("--noise", hiss, "--nj", 1)
    first = contents(corpus.parent)
    augment("--noise", hiss, "--nj", 3)
    assert contents(corpus.parent) == first
    augment("--noise", hiss, "--seed", 2)
    assert contents(corpus.parent) != first
    augment("--speed", "1.1")
    sounds = sorted(path.name for path in (corpus.parent / "audio/augmented").iterdir())
    assert sounds == ["ann-bye-sp1.1.wav", "bea-no-sp1.1.wav"]


def test_a_run_that_is_killed_between_two_manifests_can_be_repeated(
    augment: Callable[..., dict[str, np.ndarray]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment("--speed", "0.9")
    write = augmented.write_jsonl

    def killed(path: Path, items: Iterable[dict]) -> None:
        if "supervisions" in path.name:
            raise KeyboardInterrupt
        write(path, items)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(augmented, "write_jsonl", killed)
        augment("--speed", "1.1")
    assert sorted(augment("--speed", "1.1")) == ["ann-bye-sp1.1", "bea-no-sp1.1"]


@pytest.mark.parametrize(
    ("part", "test", "message"),
    [
        ("train", "[test, train-sp0.9]", "set test_all has copies, which only train sets may: ann-bye-sp0.9"),
        ("train-sp0.9", "[test, train]", "leak: train_more has copies of utterances of test_all: ann-bye, bea-no"),
    ],
)
def test_sets_that_leak_by_copies_are_refused(
    part: str,
    test: str,
    message: str,
    augment: Callable[..., object],
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    augment("--speed", "0.9")
    with pytest.raises(ValueError, match=message):
        sets(corpus, monkeypatch, part, test)


def test_a_copy_whose_original_is_tested_is_a_leak_whatever_else_is_disjoint(
    augment: Callable[..., object], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment("--speed", "0.9")
    monkeypatch.setattr(f"{__name__}.SETS", SETS.replace("disjoint: prompt", ""))
    with pytest.raises(ValueError, match=r"leak: train_more has copies of utterances of test_all: ann-bye, bea-no"):
        sets(corpus, monkeypatch, "train-sp0.9", "[test, train]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to do: give --speed, --noise or --rir"),
        (["--speed", "1"], "speed 1: a factor from 0.5 to 2 other than 1"),
        (["--speed", "9"], "speed 9: a factor from 0.5 to 2 other than 1"),
        (["--speed", "0.9 0.90"], "sp0.9: a kind of copy that is asked for twice"),
        (["--speed", "0.9", "--part", "test"], "part 'test': only training is augmented"),
        (["--speed", "0.9", "--part", "train_b"], "no utterance has part 'train_b'; there are test train"),
        (["--noise", "none.jsonl.gz"], "none.jsonl.gz: not a lhotse manifest of recordings"),
        (["--noise", "HISS", "--snr", "20 5"], "20 to 5 dB: give the lower one first"),
        (["--noise", "HISS", "--snr", "5 inf"], "5 to inf dB: give the lower one first"),
        (["--noise", "HISS", "--snr", "20"], "--snr: give the lowest and the highest"),
        (["--noise", "SILENCE"], "recording silence: silent; take it out of its manifest"),
        (["--rir", "SILENCE"], "recording silence: silent; take it out of its manifest"),
        (["--rir", "GONE"], "recording gone: cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(
    options: list[str], message: str, augment: Callable[..., object], tmp_path: Path
) -> None:
    sounds = {
        "HISS": manifest(tmp_path, "hiss", tone(1, 50)),
        "SILENCE": manifest(tmp_path, "silence", np.zeros(100, np.int16)),
        "GONE": manifest(tmp_path, "gone", tone(1, 50)),
    }
    (tmp_path / "gone.wav").unlink()
    with pytest.raises(ValueError, match=message):
        augment(*(sounds.get(option, option) for option in options))
