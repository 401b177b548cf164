"""flowlid.files: strict YAML, near names, and problems in one error."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from damage import full_disk
from tools import ROOT

from flowlid import files
from flowlid.files import atomic_directory, atomic_write, raise_problems, read_json, read_lines, read_text, read_yaml
from flowlid.wording import closest, look_alikes, nearest, some


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
        ("a: 1\nb: {c: 1,\n  c: 2}", "3: key 'c' is in line 2 too; remove one of the two"),
        ("a: 1\na: 1", "2: key 'a' is in line 1 too"),
        ("'a': 1\na: 1", "2: key 'a' is in line 1 too"),
        ("classes:\n  no: [x]", "2: key 'no' is not a name to YAML; put it in quotes"),
        ("3: 4", "1: key '3' is not a name"),
        ("? [a, b]\n: 1", "1: key 'of several values' is not a name"),
        ("a: no", "1: YAML reads no as False; put it in quotes if it is a name"),
        ("a:\n- x\n- On", "3: YAML reads On as True"),
        ("a: 012", "1: YAML reads 012 as 10; put it in quotes"),
        ("a: 0x1F", "1: YAML reads 0x1F as 31"),
        ("a: 1:30", "1: YAML reads 1:30 as 90"),
        ("a: 2020-03-01", "1: YAML reads 2020-03-01 as 2020-03-01; put it in quotes"),
        (f"a: {chr(57) * 5000}", r"1: YAML reads 9{100}\.\.\. as a number or date, but Exceeds the limit"),
        (f"a: {'9' * 5000}", r"1: YAML reads 9{100}\.\.\. as a number or date, but Exceeds"),
        ("a: {b: 1\n", "2: not a YAML file: .*; correct the line"),
        ("a: [1", "1: not a YAML file"),
        ("a: b: c", "1: not a YAML file"),
        ("a: \x00", "1: a NUL byte; the file is damaged"),
        ("a: !!python/object/apply:os.system [true]", "1: not a YAML file: .*could not determine a constructor"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{tmp_path}/x\.yaml:{message}"):
        yaml_of(tmp_path, text)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    for read in (read_yaml, read_text, read_json, read_lines):
        with pytest.raises(ValueError, match=r"x\.yaml: UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8"):
            read(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xe9")
    for read in (read_yaml, read_text):
        with pytest.raises(ValueError, match=r"x\.yaml: not UTF-8 .*; convert it with iconv -t UTF-8"):
            read(tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'\xef\xbb\xbf{"a":\r\n"b\xc2\x85\xe2\x80\xa8c"}\r\n')
    assert read_text(path) == '{"a":\n"b\x85\u2028c"}\n'
    assert read_lines(path) == ['{"a":', '"b\x85\u2028c"}']
    assert read_json(path) == {"a": "b\x85\u2028c"}
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(path) == {"a": 1, "b": 2}
    path.write_bytes(b"\xef\xbb\xbf")
    assert read_lines(path) == [] and read_text(path) == "" and read_yaml(path) is None


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


def problems_of(*arguments: object, **options: object) -> list[str]:
    with pytest.raises(ValueError) as caught:
        raise_problems(*arguments, **options)
    return str(caught.value).splitlines()


def test_problems_make_one_error(tmp_path: Path) -> None:
    raise_problems([], "heading")
    words = [f"{chr(97 + n)}: is wrong" for n in range(3)]
    assert problems_of(words, "heading") == ["heading", *words]
    different = ["".join(chr(97 + n) for _ in range(3)) for n in range(25)]
    assert problems_of(different, "heading") == ["heading", *different[:20], "... and 5 more problems"]
    assert problems_of(different, most=2, full_list=tmp_path / "all")[2:] == [
        "... and 23 more problems", f"all of them are in {tmp_path / 'all'}",
    ]  # fmt: skip
    assert read_lines(tmp_path / "all") == different


def test_a_thousand_problems_of_one_cause_are_a_handful_of_lines(tmp_path: Path) -> None:
    missing = [f"my.tsv:{n}: no audio file '/wav/{n}.wav'; correct the path" for n in range(1000)]
    other = "my.tsv:7: no language"
    lines = problems_of([*missing, other], full_list=tmp_path / "all")
    assert lines == [*missing[:3], "... and 997 more of this kind", other, f"all of them are in {tmp_path / 'all'}"]
    assert read_lines(tmp_path / "all") == [*missing, other]
    assert len(problems_of(missing)) == 4, "and no file is named that was not asked for"


WRITER = """
import sys, time
from pathlib import Path
from flowlid.files import atomic_directory, atomic_write
path = Path(sys.argv[2])
with {"file": atomic_write, "directory": atomic_directory}[sys.argv[1]](path) as made:
    if sys.argv[1] == "file":
        made.write("half")
        made.flush()
    else:
        (made / "part").write_text("half")
    Path(sys.argv[3]).touch()
    time.sleep(60)
"""


@contextmanager
def writing(kind: str, path: Path, begun: Path) -> Iterator[subprocess.Popen]:
    """A process that is in the middle of a save of `path`."""
    command = [sys.executable, "-c", WRITER, kind, path, begun]
    with subprocess.Popen(command, cwd=ROOT) as running:
        deadline = time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.02)
        try:
            yield running
        finally:
            running.kill()


def save(kind: str, path: Path, text: str) -> None:
    if kind == "file":
        with atomic_write(path) as file:
            file.write(text)
    else:
        with atomic_directory(path) as new:
            (new / "part").write_text(text)


def saved(kind: str, path: Path) -> str:
    return (path if kind == "file" else path / "part").read_text()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_a_killed_save_left_goes_with_the_next_one(kind: str, tmp_path: Path) -> None:
    path, place = tmp_path / "place" / "x.pt", tmp_path / "place"
    save(kind, path, "old, and longer than the half")
    with writing(kind, path, tmp_path / "begun") as running:
        running.kill()
    assert saved(kind, path) == "old, and longer than the half" and len(list(place.iterdir())) > 1
    save(kind, path, "new")
    assert saved(kind, path) == "new" and list(place.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_a_living_process_writes_is_left_alone(kind: str, tmp_path: Path) -> None:
    path, place = tmp_path / "place" / "x.pt", tmp_path / "place"
    with writing(kind, path, tmp_path / "begun") as running:
        theirs = {file: file.stat().st_ino for file in place.rglob("*")}
        save(kind, path, "new")
        assert saved(kind, path) == "new"
        assert {file: file.stat().st_ino for file in place.rglob("*") if file.name[0] == "."}.items() <= theirs.items()
        assert all(file.stat().st_ino == inode for file, inode in theirs.items())
        running.kill()
        running.wait()
    save(kind, path, "newer")
    assert saved(kind, path) == "newer" and list(place.iterdir()) == [path]


def test_files_of_other_hosts_are_left_alone(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x.pt") as file:
        ours = Path(f"/proc/self/fd/{file.fileno()}").readlink()
    theirs = ours.with_name(ours.name.replace(files._HOST, "00000000"))
    theirs.write_text("half")
    with atomic_write(tmp_path / "x.pt") as file:
        file.write("x")
    assert sorted(tmp_path.iterdir()) == [theirs, tmp_path / "x.pt"]


def test_what_cannot_be_taken_over_is_left_and_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_write(tmp_path / "x.pt") as file:
        first = Path(f"/proc/self/fd/{file.fileno()}").readlink()
    first.mkdir()
    save("file", tmp_path / "x.pt", "new")
    assert sorted(tmp_path.iterdir()) == [first, tmp_path / "x.pt"] and saved("file", tmp_path / "x.pt") == "new"

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=r"y\.pt"):
        save("file", tmp_path / "y.pt", "new")


def test_saves_of_one_path_at_the_same_time_are_each_whole(tmp_path: Path) -> None:
    """Many threads save one file: nobody takes a temporary file that another has, or the final one."""
    path, texts = tmp_path / "x", [str(number) * 5000 for number in range(10)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda number: save("file", path, texts[number % 10]), range(200)):
            assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_files_and_directories_reach_the_disk_before_and_after_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace, rename = os.fsync, os.replace, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: events.append(Path(f"/proc/self/fd/{fd}").readlink().name) or sync(fd))
    monkeypatch.setattr(os, "replace", lambda old, new: events.append("replace") or replace(old, new))
    monkeypatch.setattr(os, "rename", lambda old, new: events.append("rename") or rename(old, new))
    save("file", tmp_path / "x", "a")
    assert [event if event[0] != "." else "temporary" for event in events] == ["temporary", "replace", tmp_path.name]
    events.clear()
    save("directory", tmp_path / "d", "a")
    assert events == ["part", "new", "rename", tmp_path.name]


def test_a_failed_save_leaves_nothing_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with full_disk(1000), pytest.raises(OSError, match="x"), atomic_write(tmp_path / "x") as file:
        file.write("new" * 1000)
    with pytest.raises(KeyboardInterrupt), atomic_directory(tmp_path / "d") as new:
        (new / "part").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "x"] and (tmp_path / "x").read_text() == "old"


def test_a_saved_file_has_the_rights_that_others_have(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        save("file", tmp_path / "x", "a")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("constant", ["NaN", "-Infinity"])
def test_json_has_no_nan(tmp_path: Path, constant: str) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": [{constant}]}}')
    with pytest.raises(ValueError, match=rf"x\.json: not a JSON file \({constant} in it\)"):
        read_json(tmp_path / "x.json")
