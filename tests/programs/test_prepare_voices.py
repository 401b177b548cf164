"""local/prepare_voices.py on a small replica of the two packages, and the recipe's sets of what comes of it."""

import hashlib
import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import SupervisionSegment, load_manifest
from tools import ROOT, load

from flowlid.corpora.data_dirs import make_sets, read_manifests
from flowlid.corpora.sets import read_sets

voices = load("local/prepare_voices.py")
prompts = load("local/prepare_prompts.py")

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
POTATO = "ktuberling-data/usr/share/ktuberling/sounds"
# printf WORD | sha1sum, modulo 100, for `part_of`: train, train, train, dev, test
WORDS = ("animals/cat", "food/fruit/apple_red", "food/fruit/apple", "symbols/math/2", "clothes/hat")


def speech(name: str, seconds: float = 0.3, rate: int = 44100) -> np.ndarray:
    """Noise whose loudness changes, the same for the same name."""
    rng = np.random.default_rng(int(hashlib.md5(name.encode()).hexdigest()[:8], 16))
    steps = round(seconds * 50)
    return np.repeat(rng.uniform(0.02, 0.5, steps), rate // 50) * rng.uniform(-1, 1, steps * (rate // 50))


def sound(path: Path, samples: np.ndarray, rate: int = 44100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1)


def build(corpus: Path) -> None:
    """Every kind of recording that the packages have, three or more of each."""
    for name in WORDS:
        for language in ("es", "ru"):
            sound(corpus / STAMPS / f"{name}_desc_{language}.ogg", stereo(*[speech(f"{language} {name}")] * 2))
        right = speech(f"fr {name}")
        sound(corpus / STAMPS / f"{name}_desc_fr.ogg", stereo(0 * right, right))
        sound(corpus / STAMPS / f"{name}_desc_ro.ogg", speech(f"ro {name}"))
    sound(corpus / STAMPS / "symbols/A_desc_fr.ogg", stereo(*[speech("another speaker")] * 2))
    sound(corpus / STAMPS / "animals/cat.ogg", speech("miaow"))
    again = (corpus / STAMPS / "animals/cat_desc_es.ogg").read_bytes()
    (corpus / STAMPS / "animals/cat-2_desc_es.ogg").write_bytes(again)
    for language in ("es", "fr", "it"):
        for number, rate in enumerate((8000, 22050, 44100)):
            path = corpus / POTATO / language / f"thing{number}.{'wav' if number else 'ogg'}"
            sound(path, speech(f"{language} {number}", rate=rate), rate)
    for name in ("tux-apple", "guard-tux", "xmas_star", "tv_lion", "tv_car", "egypt_road", "hat"):
        sound(corpus / POTATO / "ru" / f"{name}.ogg", stereo(*[speech(f"ru {name}")] * 2))
    sound(corpus / POTATO / "de" / "hat.ogg", speech("de hat"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    build(path)
    return path


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "manifests"
    voices.prepare(corpus, out, 2, 0)
    return out


def items(out: Path) -> dict[str, list[SupervisionSegment]]:
    found = defaultdict(list)
    for item in load_manifest(out / "voices_supervisions.jsonl.gz"):
        found[item.custom["voice"]].append(item)
    return found


def test_a_voice_has_the_recordings_of_its_speaker_alone(prepared: Path) -> None:
    counts = {name: len(own) for name, own in items(prepared).items()}
    assert counts == {
        "es_ortiz": 5, "fr_paulk": 5, "ru_veber": 5,
        "es_ktuberling": 3, "fr_ktuberling": 3, "it_ktuberling": 3, "ru_ktuberling": 4,
    }  # fmt: skip
    russian = {item.id for item in items(prepared)["ru_ktuberling"]}
    assert russian == {f"ktru-ru-{name}" for name in ("tux-apple", "guard-tux", "xmas_star", "tv_lion")}
    for own in items(prepared).values():
        assert len({(item.speaker, item.language, item.gender) for item in own}) == 1


def test_what_is_left_out_is_named_with_its_reason(prepared: Path) -> None:
    rows = [line.split("\t") for line in (prepared / "voices_left_out.tsv").read_text().splitlines()[1:]]
    assert {(Path(row[0]).name, row[2]) for row in rows} == {
        ("A_desc_fr.ogg", "other session"),
        ("cat-2_desc_es.ogg", "repeated"),
    }
    assert rows[1][3] == "same recording as ortiz-es-animals_cat"


def test_sound_is_mono_at_8_khz_and_that_of_the_channel_that_has_it(corpus: Path, prepared: Path) -> None:
    recordings = load_manifest(prepared / "voices_recordings.jsonl.gz")
    assert {(item.sampling_rate, item.num_channels) for item in recordings} == {(8000, 1)}
    for name, channel in (("paulk-fr-animals_cat", 1), ("veber-ru-animals_cat", 0)):
        source = Path(recordings[name].sources[0].source)
        assert source.parent.parent == prepared.parent / "audio"
        samples, _ = soundfile.read(source)
        language = name.split("-")[1]
        full, rate = soundfile.read(corpus / STAMPS / f"animals/cat_desc_{language}.ogg")
        spectrum = np.abs(np.fft.rfft(full[:, channel])) ** 2 / len(full)
        below = spectrum[: round(3600 / rate * len(full))].sum() * 2 / len(full)  # power below 3.6 kHz
        own = np.abs(np.fft.rfft(samples)) ** 2 / len(samples)
        assert own[: round(3600 / 8000 * len(samples))].sum() * 2 / len(samples) == pytest.approx(below, rel=0.02)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("animals/birds/heron_greatblue_flying", "heron"),
        ("animals/frog-1", "frog"),
        ("symbols/money/us/coins/001penny", "penny"),
        ("symbols/math/3", "digits/3"),
        ("symbols/alphabets/english/filled/uppercase/A_filled", "letters/a"),
        ("symbols/alphabets/spanish/ñ_outline", "letters/ñ"),
    ],
)
def test_what_a_description_is_about(name: str, word: str) -> None:
    assert voices.word_of(name) == word


def test_words_are_in_one_part_in_every_language_and_digits_in_that_of_the_prompts(prepared: Path) -> None:
    found = items(prepared)
    parts = {voice: {item.custom["prompt"]: item.custom["part"] for item in own} for voice, own in found.items()}
    assert parts["es_ortiz"] == parts["fr_paulk"] == parts["ru_veber"]
    assert parts["es_ortiz"]["digits/2"] == prompts.part_of("digits/2") == "dev"
    slices = {(item.custom["prompt"], item.custom["slice"]) for item in found["es_ortiz"] + found["ru_veber"]}
    assert len(slices) == len(parts["es_ortiz"]) and {number for _, number in slices} <= set(range(6))
    for name in ("es", "fr", "it", "ru"):
        assert set(parts[f"{name}_ktuberling"].values()) == {"test"}


def test_the_same_packages_give_the_same_manifests(corpus: Path, prepared: Path) -> None:
    before = {path.name: path.read_bytes() for path in prepared.iterdir()}
    voices.prepare(corpus, prepared, 1, 0)
    assert {path.name: path.read_bytes() for path in prepared.iterdir()} == before


def test_damage_and_absence_are_named(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="there is no such directory"):
        voices.find_folders(tmp_path / "none")
    (tmp_path / "packages" / STAMPS).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"missing packages: ktuberling-data\. Unpack"):
        voices.find_folders(tmp_path / "packages")
    build(tmp_path / "bad")
    whole = corpus / POTATO / "it/thing1.wav"
    (tmp_path / "bad" / POTATO / "it/thing1.wav").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "bad" / POTATO / "it/thing2.wav").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        voices.prepare(tmp_path / "bad", tmp_path / "manifests", 1, 0.1)
    assert "2 of 30 utterances cannot be used: test it 2" in caplog.text
    with pytest.raises(ValueError, match=r"2 of 30 utterances cannot be used.*--max-bad"):
        voices.prepare(tmp_path / "bad", tmp_path / "other", 1, 0.05)


def test_the_recipes_sets_split_voices(prepared: Path) -> None:
    sets = read_sets(ROOT / "egs/voices/sets.yaml")
    everybody = {voice.name for voice in voices.VOICES} | {name for name in prompts.VOICES if name != "en_allison"}
    for name in ("one", "two", "all"):
        known = sets.sets[f"dev_{name}"]["voice"].texts
        assert known == sets.sets[f"test_{name}_known"]["voice"].texts
        assert sorted(known + sets.sets[f"test_{name}_new"]["voice"].texts) == sorted(everybody)
    only = replace(sets, sets={"test_all_new": sets.sets["test_all_new"]})  # the others need the prompts' voices
    tables, _ = make_sets(only, *read_manifests(prepared))
    assert len(tables["test_all_new"]["utt2spk"]) == 13
