"""Sets scored in parts: the same bits as in one piece, parts that are kept, and parts that do not belong together."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tools import YAML, call, contents, feature_dir

from flowlid.evaluation.parts import Part
from flowlid.files import read_json, write_json

UTTS = {f"{speaker}-{n}": name for speaker, name in (("a", "en"), ("b", "es"), ("c", "it")) for n in range(1, 4)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """`data` with two sets of which one has two utterances only, and a tiny trained experiment `exp`."""
    root = tmp_path_factory.mktemp("parts")
    feature_dir(root / "data/train", {utt: name for utt, name in UTTS.items() if name != "it"})
    feature_dir(root / "data/test", UTTS, frames=150, seed=1)
    feature_dir(root / "data/few", {"a-1": "en", "b-1": "es"}, seed=2)
    (root / "x.yaml").write_text(YAML)
    assert call("train", root / "x.yaml", root / "data", root / "exp").code == 0
    return root


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    return Path(shutil.copytree(trained, tmp_path / "own"))


def score(root: Path, *options: object, exp: str = "exp", code: int = 0) -> str:
    ended = call("score", *options, root / exp, root / "data", "test", "few")
    assert ended.code == code, ended.log
    return ended.log


def score_in_parts(root: Path, count: int, *options: object) -> str:
    for number in range(1, count + 1):
        score(root, *options, "--part", f"{number}/{count}")
    return score(root, *options, "--merge", count)


def scores(place: Path) -> dict[str, object]:
    """All that scoring wrote; of result.json all but the command that wrote it."""
    found: dict[str, object] = {name: text for name, text in contents(place).items() if name != "made_from.json"}
    return found | {"result.json": {**read_json(place / "result.json"), "provenance": None}}


@pytest.mark.parametrize("batch_size", [1, 7, 100, 8192])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_make_the_same_bits(own: Path, batch_size: int, count: int) -> None:
    """A batch size of 100 cuts through utterances of 120 frames; 7 parts are more than `few` has utterances."""
    score(own, "--batch-size", batch_size)
    expected = {name: scores(own / f"exp/score_{name}") for name in ("test", "few")}
    inputs = {name: read_json(own / f"exp/score_{name}/made_from.json")["inputs"] for name in expected}
    for name in expected:
        shutil.rmtree(own / f"exp/score_{name}")
    score_in_parts(own, count, "--batch-size", batch_size)
    for name in expected:
        assert scores(own / f"exp/score_{name}") == expected[name]
        assert read_json(own / f"exp/score_{name}/made_from.json")["inputs"] == inputs[name]
    assert not (own / "exp/.parts").exists()
    assert "score_test: up to date" in score_in_parts(own, 2, "--batch-size", batch_size)


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ([24, 24, 24, 24], [(0, 2), (2, 4)]),
        ([1, 1, 1, 97], [(0, 3), (3, 4)]),
        ([97, 1, 1, 1], [(0, 0), (0, 4)]),
        ([5], [(0, 0), (0, 0), (0, 1)]),
    ],
)
def test_parts_have_each_utterance_once_and_about_as_many_frames(counts: list[int], parts: list) -> None:
    found = [Part(number, len(parts)).utterances(np.array(counts)) for number in range(1, len(parts) + 1)]
    assert found == parts


def test_parts_that_are_whole_are_kept(own: Path) -> None:
    score(own, "--part", "1/2")
    assert "1_of_2: up to date" in score(own, "--part", "1/2")
    assert "up to date" not in score(own, "--overwrite", "true", "--part", "1/2")
    assert "up to date" not in score(own, "--batch-size", 50, "--part", "1/2")


def change(root: Path, **inputs: object) -> None:
    """Have the second of two parts be made from other inputs."""
    score(root, "--part", "2/2")
    made = root / "exp/.parts/test/2_of_2/made_from.json"
    content = read_json(made)
    write_json(made, {**content, "inputs": content["inputs"] | inputs})


def test_parts_that_do_not_belong_together_are_refused(own: Path) -> None:
    assert "part 1 of 2 of test is missing or not whole; run stage 4 again" in score(own, "--merge", 2, code=1)
    score(own, "--part", "1/2")
    assert "part 2 of 2 of test is missing" in score(own, "--merge", 2, code=1)
    for other in ({"model": "x"}, {"frames": "x"}, {"batch_size": 5}, {"part": "1/2"}):
        change(own, **other)
        assert "part 2 of 2 of test was scored with another model, other data" in score(own, "--merge", 2, code=1)
    change(own, precision="float16")
    assert "part 2 of 2 of test was scored in float16, the first in" in score(own, "--merge", 2, code=1)
    assert not (own / "exp/score_test").exists()
    score_in_parts(own, 2)
    assert (own / "exp/score_test/result.json").exists()


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_is_a_number_of_a_number(own: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    score(own, "--part", part, code=2)
    assert f"'{part}' is not a part such as 2/4" in capsys.readouterr().err
