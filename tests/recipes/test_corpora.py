"""The recipes of licensed corpora, by the command that a holder of the corpora types, on miniature replicas.

What comes out of replicas is synthetic speech: nothing here is a result.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from replicas import cnceleb, je, timit, voxceleb, wsj
from replicas.sound import voice, write_flac
from tools import ROOT

from flowlid.kaldi.datadir import DataDir, read_table

TINY = {
    "frames": {"subsampling": 1},
    "model": {"blocks": 2, "hidden": 16},
    "training": {"epochs": 8, "batch_size": 400, "learning_rate": 3e-3, "warmup_steps": 5},
}


def build_ce(root: Path, speakers: int = 6, utterances: int = 4, seconds: float = 1.5) -> Path:
    """A private corpus: one table, and FLAC files beside it."""
    rows = ["utt_id\tpath\tspeaker\tlanguage\tset\tgender"]
    for number in range(speakers):
        speaker, part = f"c{number:02}", ("train", "train", "train", "dev", "test", "test")[number % 6]
        for take in range(utterances):
            path = f"audio/{speaker}_{take}.flac"
            write_flac(root / path, voice(speaker, "mandarin", seconds, take=take))
            rows.append(f"{speaker}-{take}\t{path}\t{speaker}\ten\t{part}\tf")
    table = root / "ce.tsv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def tiny_conf(recipe: str, out: Path) -> Path:
    """The recipe's experiments on the same sets, with flows that train in seconds."""
    out.mkdir(parents=True)
    for path in (ROOT / "egs" / recipe / "conf").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        for section, values in TINY.items():
            content[section].update(values)
        (out / path.name).write_text(yaml.safe_dump(content))
    return out


def run(recipe: str, out: Path, places: Mapping[str, object], *options: str) -> subprocess.CompletedProcess:
    """`cd egs/RECIPE && ./run.sh --CORPUS PLACE ...`, with what it writes below `out`."""
    command = ["./run.sh", "--data", str(out / "data"), "--exp", str(out / "exp"), "--nj", "2", "--tsne-frames", "200"]
    command += options
    for option, place in places.items():
        command += [f"--{option}", str(place)]
    return subprocess.run(
        command, cwd=ROOT / "egs" / recipe, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def results(out: Path) -> dict[str, dict]:
    return {result["experiment"]: result for result in json.loads((out / "exp/results.json").read_text())}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A replica of each corpus, by the recipes' options."""
    root = tmp_path_factory.mktemp("corpora")
    vox = voxceleb.build(root / "vox", speakers=8, tests=2, utterances=4, seconds=1.2, odd=False)
    cn = cnceleb.build(root / "cn", speakers=8, tests=3, utterances=3, seconds=1.2, odd=False)
    return {
        "wsj": wsj.build(root / "wsj", speakers=6, utterances=4, seconds=1.5),
        "ce": build_ce(root / "ce"),
        "je": je.build(root / "je", students=8, sentences=4, seconds=1.0),
        "timit": timit.build(root / "timit", seconds=1.0),
        "voxceleb1": vox / "vox1",
        "voxceleb2": vox / "vox2",
        "cnceleb1": cn / "CN-Celeb_flac",
        "cnceleb2": cn / "CN-Celeb2_flac",
    }


def only(corpora: Mapping[str, Path], *names: str) -> dict[str, Path]:
    return {name: corpora[name] for name in names}


@pytest.fixture(scope="module")
def wsj_ce(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of egs/wsj_ce with all of its corpora, the plots of one experiment: where it wrote, and what it printed."""
    out = tmp_path_factory.mktemp("wsj_ce")
    conf = tiny_conf("wsj_ce", out / "conf")
    places = only(corpora, "wsj", "ce", "je", "timit", "voxceleb1", "voxceleb2")
    said = ""
    for options in (("dnf_120 dnf_440_c400", "--stop-stage", "4"), ("dnf_440_c400", "--stage", "5")):
        done = run("wsj_ce", out, places, "--conf", str(conf), "--experiments", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout + done.stderr
    return out, said


def test_wsj_ce_has_the_notebooks_sets(wsj_ce: tuple[Path, str]) -> None:
    out, _ = wsj_ce
    made = {line.split("\t")[0] for line in (out / "data/sets.tsv").read_text().splitlines()[1:]}
    wanted = "train_wsj_ce dev_wsj_ce test_wsj_ce test_timit test_je test_wsj_ce_je test_wsj_ce_timit"
    assert set(f"{wanted} test_wsj_ce_timit_je test_voxceleb test_english test_je_1_2 test_je_native".split()) <= made
    languages = read_table(out / "data/test_wsj_ce_timit_je/utt2lang").values()
    assert set(languages) == {"native", "mandarin", "japanese"}
    train, test = DataDir(out / "data/train_wsj_ce"), DataDir(out / "data/test_wsj_ce_timit_je")
    assert not set(train.table("spk2utt")) & set(test.table("spk2utt"))
    scores = read_table(out / "data/test_je_1_2/utt2score").values()
    assert scores and all(float(score) < 2.5 for score in scores)


def test_wsj_ce_reports_beside_the_notebook(wsj_ce: tuple[Path, str]) -> None:
    out, _ = wsj_ce
    found = results(out)["dnf_120"]
    assert found["classes"] == ["mandarin", "native"]
    assert found["sets"]["test_je"]["unseen"] == ["japanese"]
    assert found["sets"]["test_wsj_ce"]["utt_accuracy"] > 0.6
    text = (out / "exp/RESULTS.md").read_text()
    ours = found["sets"]["test_english"]["utt_accuracy"]
    row = next(line for line in text.splitlines() if "utterance accuracy, English (wsj+timit)" in line)
    assert "0.9969" in row and f"{ours:.4f}" in row and f"{ours - 0.9969:.4f}" in row
    assert results(out)["dnf_440_c400"]["class_dim"] == 400


def test_wsj_ce_draws_each_union(wsj_ce: tuple[Path, str]) -> None:
    plots = {path.stem for path in (wsj_ce[0] / "exp/dnf_440_c400/plots").glob("*.png")}
    unions = ("train", "test", "test_wsj_ce_je", "test_wsj_ce_timit", "test_wsj_ce_timit_je")
    assert {f"{kind}_{union}" for kind in ("first_dims", "tsne", "histograms") for union in unions} <= plots
    assert "loss_curve" in plots


def test_corpora_that_were_not_given_again_are_left_out(
    wsj_ce: tuple[Path, str], corpora: dict[str, Path], tmp_path: Path
) -> None:
    places = only(corpora, "wsj", "ce")
    for given in ({**places, "timit": corpora["timit"]}, places):
        done = run("wsj_ce", tmp_path, given, "--stop-stage", "1")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "data/test_timit").is_dir() == ("timit" in given)
    assert "timit was not given this time" in (tmp_path / "data/log/prepare.log").read_text()
    assert "set test_timit left out" in (tmp_path / "data/log/make_data_dirs.log").read_text()


def test_a_corpus_that_must_be_given_is_named(tmp_path: Path) -> None:
    done = run("wsj_ce", tmp_path, {"wsj": tmp_path})
    assert done.returncode == 1 and "this recipe needs --ce; its README.md" in done.stderr
    done = run("vox_cn", tmp_path, {})
    assert done.returncode == 1 and "--voxceleb1 or --voxceleb2 --cnceleb1;" in done.stderr


def test_places_may_have_blanks_in_their_names(corpora: dict[str, Path], tmp_path: Path) -> None:
    places = {}
    for name in ("wsj", "timit", "je"):
        places[name] = tmp_path / "my corpora" / name
        places[name].parent.mkdir(exist_ok=True)
        places[name].symlink_to(corpora[name])
    halves = f"{corpora['wsj']}/wsj0 {corpora['wsj']}/wsj1"
    for wsj_places in (places["wsj"], halves):
        given = {**places, "wsj": wsj_places, "ce": corpora["ce"]}
        done = run("wsj_ce", tmp_path / "out", given, "--stop-stage", "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert {"wsj", "timit", "je"} <= {
            path.name.split("_")[0] for path in (tmp_path / "out/data/manifests").iterdir()
        }


def test_all_places_that_are_not_there_are_told_before_any_is_read(corpora: dict[str, Path], tmp_path: Path) -> None:
    given = {"wsj": corpora["wsj"], "ce": tmp_path / "ce.tsv", "voxceleb1": tmp_path / "a vox"}
    done = run("wsj_ce", tmp_path, given)
    assert done.returncode == 1
    for option in ("ce", "voxceleb1"):
        assert f"there is no --{option} {given[option]}\n" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_corpus_without_a_side_of_the_split_is_refused(corpora: dict[str, Path], tmp_path: Path) -> None:
    table = corpora["ce"].with_name("ce_without_dev.tsv")
    table.write_text(corpora["ce"].read_text().replace("\tdev\t", "\ttest\t"))
    done = run("wsj_ce", tmp_path, {"wsj": corpora["wsj"], "ce": table}, "--stop-stage", "1")
    assert done.returncode == 1
    assert "set dev_ce: empty, no utterance has all of corpus ce, part dev" in done.stderr


def test_another_corpus_in_its_place_is_refused(corpora: dict[str, Path], tmp_path: Path) -> None:
    done = run("wsj_ce", tmp_path, {"wsj": corpora["timit"], "ce": corpora["ce"]})
    assert done.returncode == 1 and str(corpora["timit"]) in done.stderr
    assert not (tmp_path / "data/sets.tsv").exists()


def test_vox_cn_from_end_to_end(corpora: dict[str, Path], tmp_path: Path) -> None:
    conf = tiny_conf("vox_cn", tmp_path / "conf")
    places = only(corpora, "voxceleb1", "voxceleb2", "cnceleb1", "cnceleb2", "wsj", "je", "ce")
    for stages in (("--stop-stage", "4"), ("--stage", "6")):  # the plots of a recipe are tested with wsj_ce
        done = run("vox_cn", tmp_path, places, "--conf", str(conf), *stages)
        assert done.returncode == 0, done.stdout + done.stderr
    found = results(tmp_path)["dnf_120"]
    assert found["classes"] == ["en", "zh"]
    wanted = {"test_voxceleb", "test_cnceleb", "test_wsj", "test_je", "test_ce", "test_cn_1s", "test_cn_3s"}
    assert wanted <= set(found["sets"])
    assert found["sets"]["test_vox_cn"]["utt_accuracy"] > 0.6
    assert set(read_table(tmp_path / "data/test_cn_1s/utt2dur").values()) == {"1.000"}
    assert re.search(r"frames of ce called Chinese \| +0.5344", (tmp_path / "exp/RESULTS.md").read_text())


@pytest.mark.parametrize(("recipe", "required"), [("wsj_ce_je", "wsj ce je"), ("wsj_nf", "wsj")])
def test_the_other_recipes_up_to_features(recipe: str, required: str, corpora: dict[str, Path], tmp_path: Path) -> None:
    done = run(recipe, tmp_path, only(corpora, *required.split()), "--stop-stage", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    held = f"train_{recipe}" if recipe == "wsj_ce_je" else "train_wsj"
    assert read_table(tmp_path / "data" / held / "feats.scp")
    languages = {"wsj_ce_je": {"native", "mandarin", "japanese"}, "wsj_nf": {"native"}}[recipe]
    assert set(read_table(tmp_path / "data" / held / "utt2lang").values()) == languages


def test_the_normal_flow_scores_what_it_was_trained_on(corpora: dict[str, Path], tmp_path: Path) -> None:
    conf = tiny_conf("wsj_nf", tmp_path / "conf")
    done = run("wsj_nf", tmp_path, only(corpora, "wsj", "ce", "je"), "--conf", str(conf))
    assert done.returncode == 0, done.stdout + done.stderr
    sets = results(tmp_path)["nf_120"]["sets"]
    assert {"train_wsj", "test_wsj", "test_ce", "test_je", "test_je_1_2"} <= set(sets)
    assert all(found["utt_accuracy"] is None for found in sets.values())
    assert sets["train_wsj"]["loglik"] > sets["test_ce"]["loglik"]
    plots = {path.stem for path in (tmp_path / "exp/nf_120/plots").glob("*.png")}
    assert {f"histograms_{name}" for name in ("train", "test", "test_ce", "test_je", "test_je_1_2")} <= plots


def test_every_recipe_of_the_notebook_has_its_figures() -> None:
    for recipe in ("wsj_ce", "wsj_ce_je", "vox_cn", "wsj_nf"):
        content = yaml.safe_load((ROOT / "egs" / recipe / "reference.yaml").read_text())
        experiments = {path.stem for path in (ROOT / "egs" / recipe / "conf").glob("*.yaml")}
        assert content["figures"] and set(content["figures"]) <= experiments
