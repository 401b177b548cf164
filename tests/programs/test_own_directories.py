"""What belongs to the user stays as it is: data directories, experiments, and what else is in --exp."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tools import ROOT, YAML, audio_dir, feature_dir

from flowlid.files import read_json
from flowlid.kaldi.datadir import DataDir

SPEAKERS = {"train": ("en1", "es1"), "test": ("en2", "es2")}


def snapshot(path: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file below a directory, and the directories."""
    return {
        str(file.relative_to(path)): (file.stat().st_mtime_ns, file.read_bytes() if file.is_file() else b"")
        for file in sorted(path.rglob("*"))
    }


def run(user: Path, exp: Path, *options: str) -> subprocess.CompletedProcess:
    places = ["--data", str(user / "data"), "--conf", str(user / "conf"), "--exp", str(exp), "--experiments", "mine"]
    command = [str(ROOT / "run.sh"), *places, "--device", "cpu", "--nj", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories with sound and features of their own (3 dims), and an experiment with its fbank.conf."""
    path = tmp_path_factory.mktemp("user")
    for name, speakers in SPEAKERS.items():
        utts = {f"{speaker}-{number}": speaker[:2] for speaker in speakers for number in range(3)}
        feature_dir(path / "data" / name, utts)
        audio_dir(path / "data" / name, utts, seconds=0.5)
    (path / "conf").mkdir()
    (path / "conf/mine.yaml").write_text(YAML)
    (path / "conf/fbank.conf").write_text("--sample-frequency=8000\n--num-mel-bins=23\n")
    return path


def test_a_run_from_the_sound_on_works_on_copies(user: Path, tmp_path: Path) -> None:
    before = snapshot(user)
    done = run(user, tmp_path / "exp", "--stage", "2", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    assert snapshot(user) == before
    assert f"2 sets of {user}/data, which stays as it is: worked on in {tmp_path}/exp/_data" in done.stdout
    assert f"there is no {user}/conf/vad.conf: options are those of" in done.stdout
    assert read_json(tmp_path / "exp/mine/score_test/result.json")["utterances"] == 6
    data = DataDir(tmp_path / "exp/_data/train")
    assert data.feats("en1-0").shape[1] == data.frame_shift * 2300 == 23  # by the user's own fbank.conf
    assert "fbank.num-mel-bins: '23'" in (tmp_path / "exp/mine/config.yaml").read_text()
    # the same features in the next run, and the user's own in a place where stage 2 has not made any
    done = run(user, tmp_path / "exp", "--stage", "3", "--stop-stage", "3")
    assert done.returncode == 0 and "trained already" in done.stdout, done.stderr
    done = run(user, tmp_path / "other", "--stage", "3", "--stop-stage", "3")
    assert done.returncode == 0, done.stderr
    assert "dim: '3'" in (tmp_path / "other/mine/config.yaml").read_text()
    assert snapshot(user) == before


def test_stages_0_and_1_do_not_write_where_others_have_theirs(user: Path, tmp_path: Path) -> None:
    before = snapshot(user)
    done = run(user, tmp_path / "exp")
    assert done.returncode == 1
    assert f"would write into {user}/data, which has data directories that it did not make (test train)" in done.stderr
    assert run(user, tmp_path / "exp", "--status").stdout == "mine: not at work; no epoch yet\n"
    assert "--stage 2 (their sound) or 3 (their features), or give another --data" in done.stderr
    assert snapshot(user) == before and not (tmp_path / "exp").exists()


def test_a_directory_of_something_else_is_no_experiment(user: Path, tmp_path: Path) -> None:
    (tmp_path / "exp/mine").mkdir(parents=True)
    (tmp_path / "exp/mine/thesis.tex").write_text("years of work")
    done = run(user, tmp_path / "exp", "--stage", "3", "--stop-stage", "3")
    assert (
        done.returncode == 1 and "exp/mine has files of something else than an experiment (thesis.tex)" in done.stderr
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["exp", "mine", "thesis.tex"]


def test_a_set_of_ones_own_beside_those_of_the_recipe(user: Path, tmp_path: Path) -> None:
    """It is used with them, and not written to either."""
    data = Path(shutil.copytree(user / "data", tmp_path / "user/data"))
    shutil.copytree(user / "conf", tmp_path / "user/conf")
    (data / "sets.tsv").write_text("set\tutterances\ntrain\t6\n")
    before = snapshot(data / "test")
    done = run(tmp_path / "user", tmp_path / "exp", "--stage", "3", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    assert snapshot(data / "test") == before
    assert read_json(tmp_path / "exp/mine/score_test/result.json")["utterances"] == 6
