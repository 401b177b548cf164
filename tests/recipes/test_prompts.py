"""The default recipe from end to end, reduced, on recorded speech."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tools import ROOT, SPEECH

from flowlid.flow.checkpoint import load_model
from flowlid.frames.frameset import load_model_frames
from flowlid.kaldi.datadir import DataDir

TINY = """\
data: {{train: {train}, dev: {dev}, tests: [{tests}]}}
frames: {{context: 1, subsampling: 4, cmvn: {cmvn}}}
model: {{type: {type}, blocks: 4, hidden: 32, normalization: {norm}}}
training: {{epochs: 3, batch_size: 500, learning_rate: 2.0e-3, warmup_steps: 20}}
"""
TESTS = "test_en_es, test_es_co, test_ru"


def run(out: Path, *options: str) -> subprocess.CompletedProcess:
    """The recipe's run.sh with everything that it writes below `out`."""
    places = ["--data", str(out / "data"), "--exp", str(out / "exp"), "--conf", str(out / "conf")]
    command = [str(ROOT / "run.sh"), *places, "--tsne-frames", "300", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished reduced run (its directory, its output); where no package can be had, a skip with the reason."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")) and not os.environ.get("FLOWLID_REQUIRE_CORPUS"):
        pytest.skip("no apt-get or dpkg-deb on this machine to fetch the recorded prompts with")
    out = tmp_path_factory.mktemp("prompts")
    (out / "conf").mkdir()
    two = {"train": "train_en_es", "dev": "dev_en_es", "tests": TESTS, "type": "dnf"}
    one = {"train": "train_en", "dev": "dev_en", "tests": "test_en, test_es", "type": "nf"}
    (out / "conf/dnf_tiny.yaml").write_text(TINY.format(**two, norm="actnorm", cmvn="utterance"))
    (out / "conf/nf_tiny.yaml").write_text(TINY.format(**one, norm="batchnorm", cmvn="global"))
    done = run(out, "--experiments", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def results(out: Path) -> dict[str, dict]:
    return {result["experiment"]: result for result in json.loads((out / "exp/results.json").read_text())}


def test_languages_of_one_voice_are_told_apart_better_than_chance(recipe: tuple[Path, str]) -> None:
    found = results(recipe[0])["dnf_tiny"]["sets"]["test_en_es"]
    assert found["utterances"] > 150
    assert found["utt_accuracy"] > 0.65
    assert found["eer"] < 0.35


def test_saved_models_are_the_trained_ones(recipe: tuple[Path, str]) -> None:
    for name, allowed in (("dnf_tiny", 0.01), ("nf_tiny", 0.5)):
        train = results(recipe[0])[name]["train"]
        assert abs(train["loglik_train"] - train["loglik_eval"]) < allowed


def test_the_line_that_the_run_ends_with_identifies_a_recording(recipe: tuple[Path, str], tmp_path: Path) -> None:
    (line,) = re.findall(r"^to identify recordings: (\S+ \S+) FILE\.\.\.$", recipe[1], flags=re.MULTILINE)
    assert line.split()[1] == str(recipe[0] / "exp/dnf_tiny/model")  # the normal flow decides nothing
    shutil.copy(SPEECH / "es.wav", tmp_path / "from elsewhere.wav")
    command = [*line.split(), "--json", str(tmp_path / "from elsewhere.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["language"] in ("en", "es", "unknown") and answer["calibrated"] and answer["speech"] > 0.5
    card = (recipe[0] / "exp/dnf_tiny/model/card.md").read_text()
    assert "Allison Smith, English and Spanish | CC BY-SA 3.0" in card and "- es: 0.35 hours, 1 speaker" in card


@torch.no_grad()
def test_bfloat16_keeps_likelihoods_and_decisions_of_recorded_speech(recipe: tuple[Path, str]) -> None:
    model = load_model(recipe[0] / "exp/dnf_tiny/final.pt")
    frames = load_model_frames(model, DataDir(recipe[0] / "data/test_en_es"))
    x = frames.batch(torch.arange(len(frames)))
    single = model.flow.log_prob(x)
    model.flow.set_precision("bfloat16")
    low = model.flow.log_prob(x)
    exact = model.flow.double().log_prob(x.double())
    assert len(x) > 50000
    assert not torch.equal(low, single)
    assert float((low.argmax(1) == single.argmax(1)).double().mean()) >= 0.995
    assert abs(float((low.double() - exact).mean())) < 0.05


def test_unseen_languages_are_marked_and_a_normal_flow_decides_nothing(recipe: tuple[Path, str]) -> None:
    found = results(recipe[0])
    assert found["dnf_tiny"]["sets"]["test_ru"]["unseen"] == ["ru"]
    assert found["dnf_tiny"]["sets"]["test_ru"]["utt_accuracy"] is None
    assert found["nf_tiny"]["sets"]["test_es"]["utt_accuracy"] is None
    assert "test_ru (unseen: ru)" in recipe[1]


def test_report_and_pictures_are_there(recipe: tuple[Path, str]) -> None:
    exp = recipe[0] / "exp"
    html = (exp / "report.html").read_text()
    assert html.count("data:image/png;base64,") == len(list(exp.glob("*/plots/*.png"))) >= 20
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "## dnf_tiny" in (exp / "RESULTS.md").read_text()
    assert f"stage 6  report: {exp}/report.html, {exp}/RESULTS.md" in recipe[1]


def test_scoring_alone_gives_the_same_scores(recipe: tuple[Path, str]) -> None:
    out, _ = recipe
    scores = out / "exp/dnf_tiny/score_test_es_co/scores"
    before = scores.read_bytes()
    model = (out / "exp/dnf_tiny/final.pt").stat().st_mtime_ns
    scores.unlink()
    done = run(out, "--stage", "4", "--stop-stage", "4", "--experiments", "dnf_tiny")
    assert done.returncode == 0, done.stderr
    assert scores.read_bytes() == before
    assert (out / "exp/dnf_tiny/final.pt").stat().st_mtime_ns == model
    assert "stage 4" in done.stdout and "stage 3" not in done.stdout and "stage 5" not in done.stdout


def test_a_run_killed_while_training_can_be_repeated_with_the_same_result(recipe: tuple[Path, str]) -> None:
    out, _ = recipe
    exp = out / "exp/dnf_tiny"
    before = (exp / "score_test_en_es/utt2loglik").read_bytes()
    first_epoch = "epoch 1 of 3"
    script = f"""
        cd {ROOT}
        ./run.sh --data {out}/data --exp {out}/exp --conf {out}/conf --experiments dnf_tiny --stage 3 --stop-stage 3 \
          --overwrite true &
        pid=$!
        while ! grep -qs '{first_epoch}' {exp}/log/train.log; do sleep 0.1; done
        kill -TERM "$pid"
        wait "$pid" || [ $? -eq 143 ]
        ! pgrep -f "[s]teps/train.py.*{out}"    # nothing of it runs on
    """
    (exp / "log/train.log").unlink()
    (exp / "final.pt").unlink()
    subprocess.run(["bash", "-c", script], check=True, capture_output=True, timeout=300)
    assert (exp / "checkpoint.pt").exists()
    assert "interrupted after epoch" in (exp / "log/train.log").read_text()
    done = run(out, "--stage", "3", "--stop-stage", "4", "--experiments", "dnf_tiny")
    assert done.returncode == 0, done.stderr
    assert "going on after epoch" in (exp / "log/train.log").read_text()
    assert (exp / "score_test_en_es/utt2loglik").read_bytes() == before


def test_a_changed_configuration_is_refused_with_the_difference(recipe: tuple[Path, str]) -> None:
    out, _ = recipe
    conf = out / "conf/nf_tiny.yaml"
    text = conf.read_text()
    conf.write_text(text.replace("epochs: 3", "epochs: 4"))
    try:
        done = run(out, "--stage", "3", "--stop-stage", "3", "--experiments", "nf_tiny")
    finally:
        conf.write_text(text)
    assert done.returncode != 0
    assert "training.epochs: 3 -> 4" in done.stderr
    assert "--overwrite true" in done.stderr


def test_an_experiment_that_does_not_exist_is_refused(recipe: tuple[Path, str]) -> None:
    done = run(recipe[0], "--experiments", "dnf_tiny nope")
    assert done.returncode == 1
    assert "no experiment nope" in done.stderr and "nf_tiny.yaml" in done.stderr


def test_help_lists_every_option_with_its_default() -> None:
    done = subprocess.run([ROOT / "run.sh", "--help"], capture_output=True, text=True, check=True)
    for option in ("--stage", "--stop-stage", "--experiments", "--nj", "--device", "--corpus", "--recipe", "--exp"):
        assert re.search(rf"^  {option} +\[.*\] +\w", done.stdout, flags=re.MULTILINE), option
    assert re.search(r"--experiments +\[dnf_120 dnf_120_floor nf_120\]", done.stdout)


def test_an_unknown_option_is_refused() -> None:
    done = subprocess.run([ROOT / "run.sh", "--stag", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--stag" in done.stderr
