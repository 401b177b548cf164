"""The recipe egs/arctic from end to end, by its own command, on a miniature of both corpora."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from replicas import arctic
from tools import ROOT

RECIPE = ROOT / "egs" / "arctic"
CMU = ("bdl", "slt", "clb", "rms", "awb", "ahw")
L1 = ("arabic", "hindi", "korean", "mandarin", "spanish", "vietnamese")


def reduced(name: str) -> str:
    """The recipe's own experiment with a tiny flow and a training of seconds."""
    config = yaml.safe_load((RECIPE / "conf" / f"{name}.yaml").read_text())
    config["frames"]["subsampling"] = 1
    config["model"] |= {"blocks": 3, "hidden": 16, "layers": 1}
    config["training"] |= {"epochs": 3, "batch_size": 400, "learning_rate": 3e-3, "warmup_steps": 5}
    return yaml.safe_dump(config)


def run(out: Path, *options: str) -> str:
    """What the recipe's run.sh says, with everything that it writes below `out`."""
    places = ["--data", out / "data", "--exp", out / "exp", "--conf", out / "conf"]
    command = [RECIPE / "run.sh", *places, "--arctic", out / "cmu", "--l2arctic", out / "l2", *options]
    command += ["--nj", "2", "--tsne-frames", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return "".join([done.stdout, done.stderr, *(path.read_text() for path in sorted(out.glob("data/log/*.log")))])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run of all three experiments, the plots of one, and what it said."""
    out = tmp_path_factory.mktemp("arctic")
    arctic.build_cmu(out / "cmu", CMU, utterances=2, seconds=1.0)
    arctic.build_l2(out / "l2", utterances=2, seconds=1.0)
    (out / "conf").mkdir()
    for name in ("dnf_120", "dnf2_120", "nf_120"):
        (out / "conf" / f"{name}.yaml").write_text(reduced(name))
    said = run(out, "--stop-stage", "4")
    return out, said + run(out, "--stage", "5", "--experiments", "nf_120")


@pytest.fixture(scope="module")
def results(finished: tuple[Path, str]) -> dict[str, dict]:
    return {found["experiment"]: found for found in json.loads((finished[0] / "exp/results.json").read_text())}


def test_every_experiment_has_its_sets_and_only_those_whose_voices_were_given(results: dict[str, dict]) -> None:
    assert results["dnf_120"]["classes"] == sorted([*L1, "native"])
    assert results["dnf2_120"]["classes"] == ["mandarin", "native"]
    assert results["nf_120"]["classes"] == ["native"]
    scored = {
        name: {key for key, found in result["sets"].items() if found["utterances"]} for name, result in results.items()
    }
    l1 = {f"test_l1_{name}" for name in L1}
    assert scored == {
        "dnf_120": {"dev_7", "test_7", "test_region_scottish"},
        "dnf2_120": {"dev_2", "test_2", "test_region_scottish", *l1},
        "nf_120": {"dev_native", "test_native", "test_region_scottish", *l1},
    }


def test_seen_and_unseen_accents(results: dict[str, dict]) -> None:
    two = results["dnf2_120"]["sets"]
    assert two["test_2"]["unseen"] == [] and two["test_2"]["utt_accuracy"] is not None
    assert two["test_l1_arabic"]["unseen"] == ["arabic"] and two["test_l1_arabic"]["utt_accuracy"] is None
    assert two["test_l1_mandarin"]["unseen"] == []
    assert results["dnf_120"]["sets"]["test_region_scottish"]["unseen"] == ["scottish"]
    assert set(results["dnf_120"]["sets"]["test_7"]["utt_confusion"]) == {*L1, "native"}
    assert results["nf_120"]["sets"]["test_l1_korean"]["utt_accuracy"] is None


def test_no_speaker_of_a_training_set_is_tested(finished: tuple[Path, str]) -> None:
    speakers = {
        path.parent.name: {line.split()[1] for line in path.read_text().splitlines()}
        for path in (finished[0] / "data").glob("t*/utt2spk")
    }
    tested = set().union(*(found for name, found in speakers.items() if name.startswith("test")))
    trained = set().union(*(found for name, found in speakers.items() if name.startswith("train")))
    assert len(tested) > 7 and len(trained) > 7 and not tested & trained


def test_both_rates_end_in_features_of_one_rate(finished: tuple[Path, str]) -> None:
    out, said = finished
    frames = dict(line.split() for line in (out / "data/train_2/utt2num_frames").read_text().splitlines())
    assert {name.split("-")[0] for name in frames} == {"arctic", "l2arctic"}
    assert set(frames.values()) == {"98"}  # a second at 16 kHz: (16000 - 400) // 160 + 1
    assert f"resampled {24 * 2 - 1} utterances from 44100 to 16000 Hz" in said  # one of L2-ARCTIC is damaged


def test_report_and_pictures_are_there(finished: tuple[Path, str]) -> None:
    exp = finished[0] / "exp"
    text = (exp / "RESULTS.md").read_text()
    assert all(f"## {name}\n" in text for name in ("dnf_120", "dnf2_120", "nf_120"))
    assert "test_l1_hindi (unseen: hindi)" in text
    assert any("test_l1_mandarin" in path.name for path in (exp / "nf_120/plots").glob("*.png"))


def test_one_corpus_alone_is_refused_with_the_options(tmp_path: Path) -> None:
    places = ["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp")]
    done = subprocess.run(
        [RECIPE / "run.sh", *places, "--arctic", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "this recipe needs --l2arctic" in done.stderr
    assert not list(tmp_path.iterdir())
