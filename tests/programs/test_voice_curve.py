"""local/voice_curve.py: its choices of voices, the sets and experiments it writes, and what it makes of results."""

import logging
import math
from collections import Counter
from pathlib import Path

import pytest
from calibrating import write_calibrated_set
from tools import ROOT, load

from flowlid.config import config_from_dict
from flowlid.corpora.sets import read_sets
from flowlid.files import read_yaml
from flowlid.kaldi.tables import write_table

curve = load("local/voice_curve.py")
CURVE = ROOT / "egs/voices/curve"


def test_every_large_voice_is_new_in_a_run_with_one_voice_and_each_of_three_in_one_with_two() -> None:
    runs = curve.choices()
    new = {number: Counter(v for run in runs if run.voices == number for v in run.new) for number in (1, 2, 3)}
    large = {voice for own in curve.LARGE.values() for voice in own}
    assert large < new[1].keys()
    assert {v for v in new[2] if v in large} == {*curve.LARGE["es"], *curve.LARGE["fr"]}
    assert new[3].keys() == set(curve.SMALL)
    for run in runs:
        assert sorted(run.known + run.new) == sorted(large | set(curve.SMALL))
        assert not set(run.known) & set(run.new)
        counts = [len(own) for own in run.train]
        assert counts == [min(run.voices, len(own)) for own in curve.LARGE.values()]
    assert len({run.train for run in runs}) == len(runs)


def test_sets_give_each_of_n_voices_every_nth_slice(tmp_path: Path) -> None:
    assert curve.write_plan(["dnf"], CURVE, tmp_path) == [f"dnf_{run.name}" for run in curve.choices()]
    sets = read_sets(tmp_path / "sets.yaml")
    assert sets.disjoint == "prompt"
    for run in curve.choices():
        slices = {}
        for piece in sets.sets[f"train_{run.name}"]:
            selection = sets.sets[piece]
            assert selection["part"].texts == ("train",)
            slices |= dict.fromkeys(selection["voice"].texts, selection["slice"].texts)
        assert sorted(slices) == sorted(run.known)
        for own in run.train:  # together the voices of a language give each slice once
            assert sorted(number for voice in own for number in slices[voice]) == list("012345")
        assert sets.sets[f"test_{run.name}_new"]["voice"].texts == tuple(run.new)
        config = config_from_dict(read_yaml(tmp_path / f"conf/dnf_{run.name}.yaml"), run.name)
        assert (config.data.train, config.data.dev) == (f"train_{run.name}", f"dev_{run.name}")
        assert config.model.type == "dnf"


@pytest.mark.parametrize("path", sorted(CURVE.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_models_of_the_recipe_are_experiments_but_for_their_data(path: Path) -> None:
    config = config_from_dict({"data": {"train": "train_x"}, **read_yaml(path)}, str(path))
    assert config.model.type != "nf"


def test_models_without_a_file_and_with_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*dnff.yaml; choose from .*dnf"):
        curve.write_plan(["dnff"], CURVE, tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {train: train_x}\nmodel: {type: dnf}\n")
    with pytest.raises(ValueError, match="remove its section data"):
        curve.write_plan(["mine"], tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r"first run \./run\.sh --stop-stage 0"):
        curve.run_experiments(["dnf_all"], tmp_path, tmp_path / "out", [])


def write_results(out: Path) -> None:
    """Scores as if every model were right about Spanish, with 15/16, and wrong about all else with 1/32 or 1/64."""
    classes = list(curve.LARGE)
    row = (0.9375, 0.03125, 0.015625, 0.015625)
    for run in curve.choices():
        for which, own in (("known", run.known), ("new", run.new)):
            name = f"test_{run.name}_{which}"
            languages = {f"{voice}-u": voice[:2] for voice in sorted(own)}
            each = dict.fromkeys(languages, row)
            write_calibrated_set(out / f"exp/dnf_{run.name}", name, languages, each, each, classes)
            (out / "data" / name).mkdir(parents=True)
            write_table(out / "data" / name / "utt2spk", {utt: utt.removesuffix("-u") for utt in languages})


def test_results_become_a_table_and_a_figure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_results(tmp_path)
    with caplog.at_level(logging.INFO):
        curve.draw(["dnf"], tmp_path)
    bits = (math.log2(16 / 15) + 5 + 6 + 6) / 4
    for number in (1, 2, 3):
        # all voices of a language are alike, so the interval is the mean itself
        expected = [cell if number == 3 else f"{cell} [{cell}, {cell}]" for cell in ("0.25", f"{bits:.2f}", "0.75")]
        assert f"| dnf | {number} | {' | '.join(expected)} |" in caplog.text
    lines = [line.split("\t") for line in (tmp_path / "voices.tsv").read_text().splitlines()]
    assert lines[0] == ["model", "voices", "new", "language", "speaker", "utterances", *curve.MEANS]
    new = [line for line in lines if line[1:3] == ["1", "new"]]
    assert len(new) == 14
    assert {(line[3], *line[6:]) for line in new} == {
        ("es", "1.0000", "0.0931", "1.0000", "0.0000"), ("fr", "0.0000", "5.0000", "1.0000", "1.0000"),
        ("it", "0.0000", "6.0000", "1.0000", "1.0000"), ("ru", "0.0000", "6.0000", "1.0000", "1.0000"),
    }  # fmt: skip
    assert (tmp_path / "voices.png").stat().st_size > 10000
