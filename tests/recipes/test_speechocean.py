"""The recipe egs/speechocean from end to end, by its own command, on miniatures of its corpora."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from replicas import arctic, speechocean
from tools import ROOT

RECIPE = ROOT / "egs" / "speechocean"
EXPERIMENTS = ("nf_120", "nf_native_120", "dnf_120")
US = ("bdl", "slt", "clb", "rms")


def reduced(name: str) -> str:
    """The recipe's own experiment with a tiny flow and a training of seconds."""
    config = yaml.safe_load((RECIPE / "conf" / f"{name}.yaml").read_text())
    config["frames"]["subsampling"] = 1
    config["model"] |= {"blocks": 3, "hidden": 16, "layers": 1}
    config["training"] |= {"epochs": 3, "batch_size": 400, "learning_rate": 3e-3, "warmup_steps": 5}
    return yaml.safe_dump(config)


def run(out: Path, *options: str) -> subprocess.CompletedProcess:
    """The recipe's run.sh with everything that it writes below `out`."""
    (out / "conf").mkdir(exist_ok=True)
    for name in EXPERIMENTS:
        (out / "conf" / f"{name}.yaml").write_text(reduced(name))
    places = ["--data", out / "data", "--exp", out / "exp", "--conf", out / "conf", "--nj", "2", "--tsne-frames", "200"]
    command = [RECIPE / "run.sh", *places, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run of all experiments, the plots of one, and what it said."""
    out = tmp_path_factory.mktemp("speechocean")
    speechocean.build(out / "corpus", seconds=1.0)
    arctic.build_cmu(out / "cmu", US, utterances=2, seconds=1.0)
    places = ("--corpus", str(out / "corpus"), "--native", str(out / "cmu"))
    first = run(out, *places, "--experiments", "all", "--stop-stage", "4")
    assert first.returncode == 0, first.stdout + first.stderr
    second = run(out, "--stage", "5", "--experiments", "nf_120")
    assert second.returncode == 0, second.stdout + second.stderr
    return out, first.stdout + first.stderr + second.stdout


@pytest.fixture(scope="module")
def results(finished: tuple[Path, str]) -> dict[str, dict]:
    return {found["experiment"]: found for found in json.loads((finished[0] / "exp/results.json").read_text())}


def listed_for_test() -> list[str]:
    return [f"0{speaker:04}{number:04}" for speaker in (5, 6, 7) for number in (10, 11, 12)]


def table(path: Path) -> dict[str, str]:
    return dict(line.split(None, 1) for line in path.read_text().splitlines())


def test_sets_of_each_experiment(results: dict[str, dict]) -> None:
    learners = {"test_speechocean", "test_score_low", "test_score_high", "test_age_below_16", "test_age_from_16"}
    scored = {name: {key for key, one in found["sets"].items() if one["utterances"]} for name, found in results.items()}
    assert scored == {
        "nf_120": {"dev_speechocean", "test_native", *learners},
        "nf_native_120": {"dev_native", "test_native", *learners},
        "dnf_120": {"dev_accents", "test_accents", *learners},
    }
    assert results["dnf_120"]["classes"] == ["mandarin", "native"]
    assert results["nf_120"]["classes"] == ["mandarin"] and results["nf_native_120"]["classes"] == ["native"]


def test_scores_reach_the_data_directories(finished: tuple[Path, str]) -> None:
    data = finished[0] / "data"
    scores = {utt: float(score) for utt, score in table(data / "test_speechocean/utt2score").items()}
    assert scores == {f"speechocean-{utt[1:5]}-{utt}": speechocean.level(utt) for utt in listed_for_test()}
    low, high = (table(data / f"test_score_{name}/utt2score") for name in ("low", "high"))
    assert {utt for utt, score in scores.items() if score <= 5} == set(low)
    assert {utt for utt, score in scores.items() if score >= 9} == set(high)
    assert not (data / "test_accents/utt2score").exists()  # native speakers have none
    children = {utt.split("-")[1] for utt in table(data / "test_age_below_16/utt2spk")}
    assert children == {"0005"} and len(table(data / "test_age_from_16/utt2spk")) == 6


def test_no_speaker_of_a_training_set_is_tested(finished: tuple[Path, str]) -> None:
    speakers = {path.parent.name: set(table(path).values()) for path in (finished[0] / "data").glob("*_*/utt2spk")}
    trained = set().union(*(found for name, found in speakers.items() if name.startswith("train")))
    others = set().union(*(found for name, found in speakers.items() if name.startswith(("dev", "test"))))
    assert len(trained) >= 5 and len(others) >= 6 and not trained & others


def test_report_and_pictures_are_there(finished: tuple[Path, str]) -> None:
    exp = finished[0] / "exp"
    text = (exp / "RESULTS.md").read_text()
    assert all(f"## {name}\n" in text for name in EXPERIMENTS)
    assert any("test_score_high" in path.name for path in (exp / "nf_120/plots").glob("*.png"))


def test_correlations_with_the_scores_stand_in_the_report(finished: tuple[Path, str], results: dict[str, dict]) -> None:
    found = results["nf_120"]["sets"]["test_speechocean"]["proficiency"]
    assert found["utterances"] == 9 and found["speakers"] == 3
    assert -1 <= found["loglik"]["spearman"] <= 1 and found["llr"] is None
    assert results["nf_120"]["sets"]["test_native"]["proficiency"] is None
    assert "human scores" in (finished[0] / "exp/RESULTS.md").read_text()


def test_a_copy_without_scores_and_native_speech_runs_and_says_what_is_missing(tmp_path: Path) -> None:
    corpus = speechocean.build(tmp_path / "corpus", seconds=1.0, scores=())
    stale = tmp_path / "data/manifests/arctic_supervisions.jsonl.gz"
    stale.parent.mkdir(parents=True)
    stale.touch()
    done = run(tmp_path, "--corpus", str(corpus))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no utterance gets a score" in (tmp_path / "data/log/prepare.log").read_text()
    assert "set test_score_low left out (it is optional)" in (tmp_path / "data/log/make_data_dirs.log").read_text()
    assert sorted(path.name for path in (tmp_path / "data").glob("t*_*")) == [
        "test_age_below_16", "test_age_from_16", "test_speechocean", "train_speechocean",
    ]  # fmt: skip
    assert (tmp_path / "exp/nf_120/score_test_speechocean/result.json").is_file()
    assert not stale.exists()
    assert "no scores in the data directory of test_speechocean" in (tmp_path / "exp/RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "this recipe needs --corpus; its README.md says"),
        (["--experiments", "nf_120 dnf_120"], "dnf_120 needs native English: --native DIR"),
        (["--experiments", "all"], "dnf_120 needs native English: --native DIR"),
    ],
)
def test_what_is_not_given_is_asked_for(tmp_path: Path, options: list[str], told: str) -> None:
    corpus = ["--corpus", str(tmp_path)] if options else []
    done = run(tmp_path, *corpus, *options)
    assert done.returncode == 1 and told in done.stderr
    assert not (tmp_path / "data").exists()


def test_counts_are_checked_if_asked_for(tmp_path: Path) -> None:
    corpus = speechocean.build(tmp_path / "corpus")
    shutil.rmtree(corpus / "resource")
    done = run(tmp_path, "--corpus", str(corpus), "--check-counts", "true")
    assert done.returncode == 1
    assert "utterances of train: 13, but the published corpus has 2500" in done.stderr
