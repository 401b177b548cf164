"""flowlid.files: strict YAML, near names, problems in one error, and what is left out."""

from pathlib import Path

import pytest

from flowlid.files import LeftOut, closest, look_alikes, nearest, raise_problems, read_text, read_yaml, some


def yaml_of(folder: Path, text: str) -> object:
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return read_yaml(folder / "x.yaml")


def test_plain_yaml_is_read_as_yaml_reads_it(tmp_path: Path) -> None:
    text = "a: {b: [1, 1.5, true, null, x-1, -3, 1_000, .inf]}\nc: 'no'\nd: &d {e: 1}\nf: {<<: *d, e: 2}\n1e-4: 1e-4\n"
    assert yaml_of(tmp_path, text) == {
        "a": {"b": [1, 1.5, True, None, "x-1", -3, 1000, float("inf")]},
        "c": "no", "d": {"e": 1}, "f": {"e": 2}, "1e-4": "1e-4",
    }  # fmt: skip
    assert yaml_of(tmp_path, "# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}", "3: key 'c' is there twice; remove one of the two"),
        ("a: 1\na: 1", "2: key 'a' is there twice"),
        ("'a': 1\na: 1", "2: key 'a' is there twice"),
        ("classes:\n  no: [x]", "2: key 'no' is not a name to YAML; put it in quotes"),
        ("3: 4", "1: key '3' is not a name"),
        ("? [a, b]\n: 1", "1: key 'of several values' is not a name"),
        ("a: no", "1: YAML reads no as False; put it in quotes if it is a name"),
        ("a:\n- x\n- On", "3: YAML reads On as True"),
        ("a: 012", "1: YAML reads 012 as 10; put it in quotes"),
        ("a: 0x1F", "1: YAML reads 0x1F as 31"),
        ("a: 1:30", "1: YAML reads 1:30 as 90"),
        ("a: 2020-03-01", "1: YAML reads 2020-03-01 as 2020-03-01; put it in quotes"),
        ("a: {b: 1\n", "2: not a YAML file: .*; correct the line"),
        ("a: [1", "1: not a YAML file"),
        ("a: b: c", "1: not a YAML file"),
        ("a: \x00", " not a YAML file"),
        ("a: !!python/object/apply:os.system [true]", "1: not a YAML file: .*could not determine a constructor"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{tmp_path}/x\.yaml:{message}"):
        yaml_of(tmp_path, text)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    for read in (read_yaml, read_text):
        with pytest.raises(ValueError, match=r"x\.yaml: not UTF-8 .*; convert it with iconv -t UTF-8"):
            read(tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")


def test_near_names() -> None:
    assert closest("Speeker", ["path", "speaker"]) == "speaker"
    assert closest("speaker", ["path", "SPEAKER"]) == "SPEAKER"
    assert closest("xyz", ["path"]) is None
    assert nearest("langage", {"language", "speaker"}) == " (did you mean 'language'?)"
    assert nearest("xyz", {"b", "a"}) == "; known: a b"
    assert nearest("xyz", [str(n) for n in range(21)]).endswith("18 19 and 1 more")
    assert some("abc") == "a, b, c" and some("abc", 1) == "a and 2 more"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EN", "en"),
        ("enm1", "Enm1"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAFE\u0301", "caf\u00e9"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u0958\u0932\u092e", "\u0915\u093c\u0932\u092e"),  # Hindi, its nukta in the letter or after it
        ("\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),  # Korean, syllables or their parts
        ("\uff45\uff4e", "EN"),  # of full width
        ("\u03a3\u03bf\u03c6\u03cc\u03c2", "\u03c3\u03bf\u03c6\u03cc\u03c3"),  # Greek, a final sigma
        ("en", "e\u200bn"),
        ("en US", "en\u00a0US"),
        ("en", "en "),
    ],
)
def test_names_that_are_the_same_to_a_person(one: str, other: str) -> None:
    assert look_alikes(["x", one, "y", other, one]) == [(one, other)]
    assert look_alikes([other, one]) == [(other, one)]


def test_names_that_only_share_letters_are_different() -> None:
    hindi, marathi = "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u0941\u0928\u0926\u093e"
    joined = "\u0915\u094d\u200d\u0937"  # what a joiner shows otherwise is another word
    assert (
        look_alikes([hindi, marathi, joined, joined.replace("\u200d", ""), "en_US", "en-US", "en US", "e", "\u00e9"])
        == []
    )
    assert look_alikes(["a", "A", "\u00e4", "\u00c4", "A\u0308"]) == [
        ("a", "A"), ("\u00e4", "\u00c4"), ("\u00e4", "A\u0308"),
    ]  # fmt: skip


def test_problems_make_one_error() -> None:
    raise_problems([], "heading")
    with pytest.raises(ValueError) as caught:
        raise_problems([f"line {n}" for n in range(25)], "heading")
    assert str(caught.value).splitlines() == ["heading", *(f"line {n}" for n in range(20)), "... and 5 more problems"]


def test_left_out_items_have_a_row_each_and_a_line_per_reason(tmp_path: Path) -> None:
    left_out = LeftOut()
    for item in ("a", "b"):
        left_out.add("stray", Path(item), "of no\n\tspeaker")
    left_out.add("damaged", "c", "cut off")
    assert left_out.count("stray") == 2 and left_out.count("other") == 0
    path = tmp_path / "left_out.tsv"
    assert left_out.write(path) == [f"left out (stray): 2, named in {path}", f"left out (damaged): 1, named in {path}"]
    assert path.read_text() == (
        "item\treason\tdetail\na\tstray\tof no speaker\nb\tstray\tof no speaker\nc\tdamaged\tcut off\n"
    )
    assert LeftOut().write(path) == [] and path.read_text() == "item\treason\tdetail\n"
