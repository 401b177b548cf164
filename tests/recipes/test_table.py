"""The recipe egs/table from end to end, by its own command, on a table of recorded speech (the prompts corpus)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lhotse import RecordingSet, SupervisionSet
from tools import ROOT, speech, write_wav

from flowlid.config import load_config, resolve_sets
from flowlid.kaldi.datadir import DataDir, read_table

RECIPE = ROOT / "egs" / "table"
VOICES = "en_allison es_allison ru_ivrvoice"
COLUMNS = "utt_id path speaker language set end gender score prompt".split()
LONGEST = 4.0  # seconds of a prompt that the table takes


def made_up_score(index: int) -> int:
    """1 to 5, by a prompt's place among its set's names: nobody ever rated these recordings."""
    return 1 + index % 5


def rows_of(manifests: Path) -> list[list[str]]:
    """Rows of a table of the prompts: two languages of one voice, some with a made-up score, and a third language."""
    rows = []
    files = {
        item.id: item.sources[0].source
        for path in sorted(manifests.glob("*_recordings_*"))
        for item in RecordingSet.from_jsonl(path)
    }
    for path in sorted(manifests.glob("*_supervisions_*")):
        items = sorted(SupervisionSet.from_jsonl(path), key=lambda item: item.id)
        for index, item in enumerate(items):
            part, score = item.custom["part"], ""
            if item.language == "ru":
                part = "test_unseen" if part == "test" else None
            elif part == "train" and index % 2:
                part = None  # half of it does
            elif part == "test" and index % 2:
                part, score = "test_scored", str(made_up_score(index // 2))
            if part is not None:
                end = f"{LONGEST:g}" if item.duration > LONGEST else ""
                values = [item.id, files[item.id], item.speaker, item.language, part, end, item.gender, score]
                rows.append([*values, item.custom["prompt"]])
    return rows


def run(out: Path, *options: str) -> subprocess.CompletedProcess:
    """The recipe's run.sh, called in `out`, with everything that it writes below `out`."""
    places = ["--data", str(out / "data"), "--exp", str(out / "exp"), "--conf", str(out / "conf")]
    command = [str(RECIPE / "run.sh"), *places, "--nj", "2", "--tsne-frames", "200", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with my.tsv and conf/dnf_120.yaml, reduced; where no package can be had, a skip with the reason."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")) and not os.environ.get("FLOWLID_REQUIRE_CORPUS"):
        pytest.skip("no apt-get or dpkg-deb on this machine to fetch the recorded prompts with")
    out = tmp_path_factory.mktemp("table")
    command = [sys.executable, ROOT / "local/prepare_prompts.py", "--voices", VOICES, out / "prompts/manifests"]
    subprocess.run(command, check=True, capture_output=True)
    rows = rows_of(out / "prompts/manifests")
    (out / "my.tsv").write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n")
    (out / "conf").mkdir()
    config = yaml.safe_load((RECIPE / "conf/dnf_120.yaml").read_text())
    config["data"]["plots"] = []  # of the first test set there are pictures anyway
    config["frames"]["subsampling"] = 4
    config["model"] |= {"blocks": 4, "hidden": 32}
    config["training"] |= {"epochs": 3, "learning_rate": 2.0e-3, "warmup_steps": 20}
    (out / "conf/dnf_120.yaml").write_text(yaml.safe_dump(config))
    return out


@pytest.fixture(scope="module")
def finished(table: Path) -> tuple[Path, dict, str]:
    """A finished run: its directory, its results, and what it said."""
    done = run(table, "--table", "my.tsv", "--allow-shared-speakers", "true")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((table / "exp/results.json").read_text())
    return table, result, (table / "data/log/prepare.log").read_text()


def test_sets_are_those_of_the_table(finished: tuple[Path, dict, str]) -> None:
    out, result, _ = finished
    rows = [line.split("\t") for line in (out / "my.tsv").read_text().splitlines()[1:]]
    for name in ("train", "dev", "test", "test_scored", "test_unseen"):
        DataDir(out / "data" / name).validate(("wav.scp", "segments", "utt2lang", "spk2gender", "feats.scp", "vad.scp"))
        languages = read_table(out / "data" / name / "utt2lang")
        assert languages == {f"table-{row[0]}": row[3] for row in rows if row[4] == name}
    assert sorted(path.parent.name for path in (out / "data").glob("t*/utt2spk")) == sorted(
        {row[4] for row in rows} - {"dev"}
    )
    assert set(result["sets"]) >= {"dev", "test", "test_scored", "test_unseen"}
    assert result["classes"] == ["en", "es"]


def test_an_end_in_the_table_ends_the_utterance(finished: tuple[Path, dict, str]) -> None:
    out, _, _ = finished
    durations = {utt: float(value) for utt, value in read_table(out / "data/train/utt2dur").items()}
    assert max(durations.values()) == LONGEST and min(durations.values()) < LONGEST
    frames = {utt: int(value) for utt, value in read_table(out / "data/train/utt2num_frames").items()}
    assert max(frames.values()) == 1 + (round(8000 * LONGEST) - 200) // 80


def test_languages_of_one_voice_are_told_apart_better_than_chance(finished: tuple[Path, dict, str]) -> None:
    for name in ("test", "test_scored"):
        found = finished[1]["sets"][name]
        assert found["utterances"] > 80
        assert found["utt_accuracy"] > 0.75


def test_the_unseen_language_is_marked(finished: tuple[Path, dict, str]) -> None:
    out, result, said = finished
    assert result["sets"]["test_unseen"]["unseen"] == ["ru"]
    assert result["sets"]["test_unseen"]["utt_accuracy"] is None
    assert "unseen to the models: ru" in said
    assert "test_unseen (unseen: ru)" in (out / "exp/RESULTS.md").read_text()


def test_scores_reach_their_set_and_no_other(finished: tuple[Path, dict, str]) -> None:
    out, result, _ = finished
    scores = read_table(out / "data/test_scored/utt2score")
    assert scores.keys() == read_table(out / "data/test_scored/utt2spk").keys()
    assert set(scores.values()) == {"1", "2", "3", "4", "5"}
    assert sorted(path.parent.name for path in (out / "data").glob("*/utt2score")) == ["test_scored"]
    found = {name: numbers["proficiency"] for name, numbers in result["sets"].items() if numbers.get("proficiency")}
    assert list(found) == ["test_scored"] and found["test_scored"]["utterances"] == len(scores)
    assert abs(found["test_scored"]["loglik"]["pearson"]) < 0.4  # with numbers that are made up


def test_report_and_pictures_are_there(finished: tuple[Path, dict, str]) -> None:
    exp = finished[0] / "exp"
    assert "## dnf_120" in (exp / "RESULTS.md").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', (exp / "report.html").read_text())
    pictures = {path.stem for path in (exp / "dnf_120/plots").glob("*.png")}
    assert {"loss_curve", "tsne_train", "first_dims_test", "confusion_utt"} <= pictures


def test_later_stages_need_no_table(finished: tuple[Path, dict, str]) -> None:
    out, _, _ = finished
    scores = out / "exp/dnf_120/score_test/scores"
    before = scores.read_bytes()
    scores.unlink()
    done = run(out, "--stage", "4", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    assert scores.read_bytes() == before


def test_a_speaker_on_both_sides_is_refused_before_anything_is_written(table: Path, tmp_path: Path) -> None:
    done = run(table, "--data", str(tmp_path / "data"), "--table", "my.tsv")
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if "speaker 'allison' is in" in line)
    assert re.search(r"my\.tsv:\d+: .*--allow-shared-speakers true", line)
    assert not (tmp_path / "data/manifests").exists()


def test_without_a_table_the_option_and_the_columns_are_named(tmp_path: Path) -> None:
    done = subprocess.run([RECIPE / "run.sh", "--data", tmp_path / "data"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--table" in done.stderr and "utt_id path speaker language set" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [RECIPE / "run.sh", "--data", tmp_path / "data", "--exp", tmp_path / "exp", "--table", "none.tsv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1 and f"{tmp_path}/none.tsv: there is no such table" in done.stderr


def test_an_explicit_fbank_config_is_used_as_it_is_at_every_stage(tmp_path: Path) -> None:
    rows = [COLUMNS[:5]]
    for number, part in enumerate(("train", "train", "dev", "test")):
        write_wav(tmp_path / f"{number}.wav", speech(1.0, number))
        rows.append([f"u{number}", f"{number}.wav", f"s{number}", ("en", "es")[number % 2], part])
    (tmp_path / "my.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    mine = tmp_path / "my.conf"
    mine.write_text("--sample-frequency=8000\n--num-mel-bins=23\n--frame-length=20\n")
    (tmp_path / "conf").mkdir()
    shutil.copy(RECIPE / "conf/dnf_120.yaml", tmp_path / "conf")
    frames, made = tmp_path / "data/train/utt2num_frames", tmp_path / "data/manifests/fbank.conf"
    given = ["--fbank-config", str(mine)]
    for options in (["--table", "my.tsv", *given], ["--stage", "2", *given], ["--stage", "2"]):
        done = run(tmp_path, *options, "--stop-stage", "2")
        assert done.returncode == 0, done.stderr
        assert set(read_table(frames).values()) == {"99"}  # 1 + (8000 - 160) // 80
        assert made.read_bytes() == mine.read_bytes()
    assert "; up to date" in done.stdout
    assert run(tmp_path, "--table", "my.tsv", "--stop-stage", "2").returncode == 0
    assert set(read_table(frames).values()) == {"98"}  # conf/fbank.conf has windows of 25 ms


@pytest.mark.parametrize("conf", sorted((RECIPE / "conf").glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_take_the_sets_that_a_table_brings(conf: Path, tmp_path: Path) -> None:
    for name in ("train", "train_b", "test", "test_b", "dev_b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "utt2spk").touch()
    data = resolve_sets(load_config(conf), tmp_path).data
    assert (data.train, data.dev, data.tests, data.plots) == ("train", "", ["test", "test_b"], ["test", "test_b"])
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/utt2spk").touch()
    assert resolve_sets(load_config(conf), tmp_path).data.dev == "dev"
