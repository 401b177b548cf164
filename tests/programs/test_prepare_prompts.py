"""local/prepare_prompts.py and local/fetch_debian_packages.sh, on a small replica of the packages, offline."""

import gzip
import hashlib
import json
import logging
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet, SupervisionSet, load_manifest
from tools import ROOT, load

PROGRAM = ROOT / "local" / "prepare_prompts.py"
SOUNDS = "usr/share/asterisk/sounds"
CORE = {"en": "en_US_f_Allison", "es": "es_MX_f_Allison", "fr": "fr_CA_f_June"}
PROMPTS = ("vm-goodbye", "hello-world", "digits/2", "digits/4", "invalid", "phonetic/a_p")
BIG = 90  # further prompts of the voice that also holds five bad files

prompts = load("local/prepare_prompts.py")


def speech(name: str, seconds: float = 0.4) -> np.ndarray:
    """Noise with a random loudness, the same for the same name; int16."""
    rng = np.random.default_rng(int(hashlib.md5(name.encode()).hexdigest()[:8], 16))
    steps = int(seconds * 50)
    loud = np.repeat(rng.uniform(0.05, 1, steps), 160)
    return (8000 * loud * rng.uniform(-1, 1, steps * 160)).astype(np.int16)


def wav(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def gsm(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 8000, format="RAW", subtype="GSM610")


def build(corpus: Path) -> None:
    """English with everything that can be wrong, Spanish, French, and Colombian Spanish in GSM."""
    for language, folder in CORE.items():
        root = corpus / f"asterisk-core-sounds-{language}-wav" / SOUNDS / folder
        for prompt in PROMPTS:
            wav(root / f"{prompt}.wav", speech(f"{language} {prompt}"))
        wav(root / "beep.wav", (9000 * np.sin(np.arange(3000))).astype(np.int16))
        wav(root / "silence" / "1.wav", np.full(8000, 3, np.int16))
        # One recording in all three languages, louder in one and a little longer in another.
        noise = speech("shared", 0.5)
        copy = {"en": noise, "es": noise // 2, "fr": np.concatenate([np.zeros(40, np.int16), noise])}[language]
        wav(root / "conf-sound.wav", copy)
    english = corpus / "asterisk-core-sounds-en-wav" / SOUNDS / CORE["en"]
    for number in range(BIG):
        wav(english / f"letters/extra{number}.wav", speech(f"extra {number}", 0.2 + number % 7 / 10))
    wav(english / "vm-again.wav", speech("en vm-goodbye"))
    # Byte for byte a Spanish recording, under another name.
    es = corpus / "asterisk-core-sounds-es-wav" / SOUNDS / CORE["es"]
    shutil.copy(es / "digits/4.wav", english / "stolen.wav")
    (english / "empty.wav").touch()
    wav(english / "none.wav", np.zeros(0, np.int16))
    wav(english / "rate.wav", speech("rate"), 16000)
    wav(english / "stereo.wav", np.stack([speech("left"), speech("right")], axis=1))
    (english / "cut.wav").write_bytes((english / "vm-goodbye.wav").read_bytes()[:-1000])
    esco = corpus / "asterisk-prompt-es-co" / SOUNDS
    for prompt in ("vm-goodbye", "digits/2", "digits/4"):
        gsm(esco / "es" / f"{prompt}.gsm", speech(f"esco {prompt}"))
    (esco / "digits").mkdir()
    (esco / "digits" / "es").symlink_to("../es/digits")
    (esco / "es" / "again").symlink_to("digits")
    (esco / "es" / "link.gsm").symlink_to("vm-goodbye.gsm")


VOICES = ["en_allison", "es_allison", "fr_june", "es_co"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    build(path)
    return path


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "manifests"
    prompts.prepare(corpus, VOICES, out)
    return out


def supervisions(out: Path, voice: str) -> dict[str, object]:
    return {item.custom["prompt"]: item for item in load_manifest(out / f"prompts_supervisions_{voice}.jsonl.gz")}


def test_speech_is_kept_and_nothing_else(prepared: Path) -> None:
    extra = {f"letters/extra{number}" for number in range(BIG)}
    assert set(supervisions(prepared, "fr_june")) == set(PROMPTS)
    # digits/4 of Spanish is also an English file, and so nobody's.
    assert set(supervisions(prepared, "es_allison")) == set(PROMPTS) - {"digits/4"}
    # Of vm-again and vm-goodbye, one recording, the first by name stays.
    assert set(supervisions(prepared, "en_allison")) == {"vm-again", *PROMPTS, *extra} - {"vm-goodbye"}
    assert set(supervisions(prepared, "es_co")) == {"vm-goodbye", "digits/2", "digits/4"}


def test_every_left_out_file_is_named_with_its_reason(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        prompts.prepare(corpus, VOICES, tmp_path / "manifests")
    path = tmp_path / "manifests" / "prompts_left_out.tsv"
    header, *rows = path.read_text().splitlines()
    assert header == "file\tutterance\treason\tdetail"
    counts = Counter(row.split("\t")[2] for row in rows)
    said = [line for line in caplog.messages if line.startswith("left out")]
    assert said == [f"left out ({reason}): {count}, named in {path}" for reason, count in counts.items()]
    reasons = {Path(row.split("\t")[0]).relative_to(corpus).name: row for row in rows if CORE["en"] in row}
    for name, words in {
        "1.wav": "not_speech",
        "beep.wav": "not_speech",
        "conf-sound.wav": "shared",
        "stolen.wav": "es_allison, as digits/4",
        "vm-goodbye.wav": "same recording as vm-again",
        "empty.wav": "empty, not one byte",
        "none.wav": "0 samples",
        "rate.wav": "16000 Hz",
        "stereo.wav": "2 channels",
        "cut.wav": "cut off, 1000 bytes are missing",
    }.items():
        assert words in reasons.pop(name)
    assert not reasons


def test_lhotse_reads_the_manifests_and_the_audio(corpus: Path, prepared: Path) -> None:
    recordings = load_manifest(prepared / "prompts_recordings_en_allison.jsonl.gz")
    items = load_manifest(prepared / "prompts_supervisions_en_allison.jsonl.gz")
    assert isinstance(recordings, RecordingSet) and isinstance(items, SupervisionSet)
    name = "allison-en-phonetic_a_p"
    item = items[name]
    assert (item.recording_id, item.language, item.speaker, item.gender) == (name, "en", "allison", "f")
    expected = {"prompt": "phonetic/a_p", "part": "train", "voice": "en_allison", "codec": "wav"}
    assert item.custom == {**expected, "slice": int(hashlib.sha1(b"slice of phonetic/a_p").hexdigest(), 16) % 6}
    assert item.start == 0 and item.duration == recordings[name].duration == 0.4
    source = Path(recordings[name].sources[0].source)
    assert source == corpus / "asterisk-core-sounds-en-wav" / SOUNDS / CORE["en"] / "phonetic/a_p.wav"
    audio = recordings[name].load_audio()[0]
    np.testing.assert_array_equal(np.round(audio * 32768).astype(int), speech("en phonetic/a_p"))


def test_gsm_is_decoded_to_wav_beside_the_manifests(corpus: Path, prepared: Path) -> None:
    recording = load_manifest(prepared / "prompts_recordings_es_co.jsonl.gz")["esco-es-digits_2"]
    path = Path(recording.sources[0].source)
    assert path == prepared.parent / "audio" / "es_co" / "digits" / "2.wav"
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 8000, 1)
    # libsndfile's own decoding of the same file, and as loud and quiet as what was encoded.
    raw = corpus / "asterisk-prompt-es-co" / SOUNDS / "es" / "digits" / "2.gsm"
    expected, _ = soundfile.read(raw, samplerate=8000, channels=1, format="RAW", subtype="GSM610", dtype="int16")
    samples, _ = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(samples, expected)
    assert recording.num_samples == raw.stat().st_size // 33 * 160
    loud, truth = (x.astype(float).reshape(-1, 160).std(axis=1) for x in (samples, speech("esco digits/2")))
    assert np.corrcoef(loud, truth)[0, 1] > 0.9


def test_the_same_corpus_gives_the_same_bytes(corpus: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "manifests"
    prompts.prepare(corpus, ["en_allison", "es_allison", "fr_june"], out)
    for path in sorted(out.glob("*.gz")):
        if "es_allison" not in path.name:
            assert path.read_bytes() == (prepared / path.name).read_bytes()
    names = [json.loads(line)["id"] for line in gzip.open(out / "prompts_recordings_fr_june.jsonl.gz")]
    assert len(names) == len(set(names)) == len(PROMPTS)


def test_summary_counts_files_minutes_and_what_was_left_out(prepared: Path) -> None:
    head, *rows = [line.split("\t") for line in (prepared / "summary.tsv").read_text().splitlines()]
    table = {(row[0], row[1]): dict(zip(head, row, strict=True)) for row in rows}
    french = table["fr", "fr_june"]
    assert (french["files"], french["minutes"]) == ("6", "0.04")
    assert [french[reason] for reason in ("not_speech", "shared", "repeated", "unreadable")] == ["2", "1", "0", "0"]
    english = table["en", "en_allison"]
    assert [english[reason] for reason in ("not_speech", "shared", "repeated", "unreadable")] == ["2", "2", "1", "5"]
    assert table["es", "all"]["files"] == str(5 + 3)
    assert table["all", "all"]["files"] == str(6 + BIG + 5 + 6 + 3)


def test_parts_are_fixed_by_the_name() -> None:
    # printf NAME | sha1sum, modulo 100: 29, 64, 73, 76, 84, 49, 68, 16.
    expected = {"vm-goodbye": "train", "hello-world": "train", "digits/2": "dev", "digits/4": "dev"}
    expected |= {"invalid": "test", "phonetic/a_p": "train", "confbridge-begin-leader": "train", "vm-old": "train"}
    assert {prompt: prompts.part_of(prompt) for prompt in expected} == expected
    shares = [prompts.part_of(f"prompt-{number}") for number in range(10000)]
    for part, share in (("train", 0.7), ("dev", 0.1), ("test", 0.2)):
        assert shares.count(part) / len(shares) == pytest.approx(share, abs=0.015)  # 3 standard deviations


@pytest.mark.parametrize(
    ("variant", "prompt"),
    [
        ("vm-Old", "vm-old"),
        ("phonetic/ICAO/a_p", "phonetic/a_p"),
        ("phonetic/k_p2", "phonetic/k_p"),
        ("phonetic/w2_p", "phonetic/w_p"),
        ("confbridge-begin-leader_PRESIDENTE", "confbridge-begin-leader"),
        ("spy-local_LOCAL", "spy-local"),
    ],
)
def test_variants_of_a_prompt_share_its_key(variant: str, prompt: str) -> None:
    assert prompts.prompt_key(variant) == prompts.prompt_key(prompt) == prompt


def test_different_prompts_have_different_keys() -> None:
    names = ["digits/1", "digits/11", "digits/1M", "phonetic/1_p", "phonetic/a_p", "letters/a", "a_p", "vm-old"]
    assert len({prompts.prompt_key(name) for name in names}) == len(names)


def test_translations_stand_on_one_side(prepared: Path) -> None:
    sides: dict[str, set[str]] = {}
    for voice in VOICES:
        for prompt, item in supervisions(prepared, voice).items():
            sides.setdefault(prompt, set()).add(item.custom["part"])
    assert sides["vm-goodbye"] == {"train"} and sides["digits/2"] == {"dev"} and sides["invalid"] == {"test"}
    assert all(len(parts) == 1 for parts in sides.values())


def test_missing_packages_are_all_named(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "manifests"
    monkeypatch.setattr(sys, "argv", ["prepare_prompts.py", "--corpus", str(corpus), str(out)])
    with pytest.raises(ValueError) as error:
        prompts.main()
    for package in ("core-sounds-it-wav", "core-sounds-ru-wav", "prompt-fr-armelle", "prompt-it-menardi-wav"):
        assert f"asterisk-{package}" in str(error.value)
    assert "asterisk-core-sounds-en-wav" not in str(error.value) and "--voices" in str(error.value)
    assert not out.exists()


def test_unknown_voice_names_the_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_prompts.py", "--voices", "en_alison", str(tmp_path)])
    with pytest.raises(ValueError, match=r"en_alison.*en_allison"):
        prompts.main()


def test_an_installed_tree_is_found_in_two_ways(corpus: Path, tmp_path: Path) -> None:
    for package in ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-es-wav"):
        shutil.copytree(corpus / package, tmp_path, symlinks=True, dirs_exist_ok=True)
    sounds = tmp_path / SOUNDS
    voices = [prompts.VOICES[name] for name in ("en_allison", "es_allison")]
    for place in (tmp_path, sounds):
        assert list(prompts.find_voices(place, voices).values()) == [sounds / CORE["en"], sounds / CORE["es"]]
    # Debian's link from `es` to a Spanish voice is not the Colombian one.
    gsm(sounds / CORE["es"] / "invalid.gsm", speech("gsm"))
    (sounds / "es").symlink_to(CORE["es"])
    with pytest.raises(ValueError, match="missing packages: asterisk-prompt-es-co"):
        prompts.find_voices(sounds, [*voices, prompts.VOICES["es_co"]])


def test_a_mostly_unreadable_voice_leaves_earlier_manifests(corpus: Path, tmp_path: Path) -> None:
    package = "asterisk-prompt-es-co"
    shutil.copytree(corpus / package, tmp_path / package, symlinks=True)
    out = tmp_path / "manifests"
    prompts.prepare(tmp_path, ["es_co"], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    damaged = tmp_path / package / SOUNDS / "es" / "vm-goodbye.gsm"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="1 of 3 utterances cannot be used"):
        prompts.prepare(tmp_path, ["es_co"], out)
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert f"{damaged}\t" in after.pop("prompts_left_out.tsv").decode()
    del before["prompts_left_out.tsv"]
    assert after == before


def test_wav_under_a_gsm_name_is_not_decoded_as_gsm(tmp_path: Path) -> None:
    wav(tmp_path / "x.wav", speech("x")[: 33 * 8 - 22])  # 44 bytes of header: a multiple of 33 in all
    (tmp_path / "x.wav").rename(tmp_path / "x.gsm")
    assert (tmp_path / "x.gsm").stat().st_size % 33 == 0
    with pytest.raises(ValueError, match="not GSM"):
        prompts.read_audio(tmp_path / "x.gsm", "gsm")


def test_manifests_of_voices_not_asked_for_go(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifests"
    prompts.prepare(corpus, ["fr_june", "es_co"], out)
    prompts.prepare(corpus, ["fr_june"], out)
    assert sorted(path.name for path in out.glob("*.gz")) == [
        "prompts_recordings_fr_june.jsonl.gz",
        "prompts_supervisions_fr_june.jsonl.gz",
    ]


def test_two_prompts_with_one_utterance_name_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "asterisk-core-sounds-fr-wav" / SOUNDS / CORE["fr"]
    wav(root / "digits" / "a.wav", speech("one"))
    wav(root / "digits_a.wav", speech("two"))
    with pytest.raises(ValueError, match="june-fr-digits_a"):
        prompts.prepare(tmp_path, ["fr_june"], tmp_path / "manifests")


# local/fetch_debian_packages.sh, with an apt-get and a dpkg-deb that need no network.
