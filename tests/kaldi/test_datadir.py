"""Tables, data directories and archives, against hand-made files, kaldiio's and lhotse's readers, and sort(1)."""

import os
import pickle
import struct
import subprocess
from pathlib import Path

import kaldiio
import lhotse.kaldi
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlid.kaldi.arks import ArkWriter, is_pipe, read_matrix, read_vector
from flowlid.kaldi.datadir import DataDir, read_table
from flowlid.kaldi.tables import invert, write_table

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) - 5.5


def put(path: Path, text: str | bytes) -> Path:
    """Write a file, as bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A valid data directory of two speakers and three utterances, cut from two recordings."""
    files = {
        "wav.scp": "r1 /audio/r1.wav\nr2 /audio/r2.wav\n",
        "segments": "a-1 r1 0 1.5\na-2 r1 1.5 2\nb-1 r2 0.25 1\n",
        "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
        "spk2utt": "a a-1 a-2\nb b-1\n",
        "utt2lang": "a-1 en\na-2 en\nb-1 zh\n",
        "utt2dur": "a-1 1.5\na-2 0.5\nb-1 0.75\n",
        "spk2gender": "a f\nb m\n",
        "text": "a-1 good morning\na-2 yes\nb-1 你好\n",
    }
    for name, text in files.items():
        put(tmp_path / "data" / name, text)
    return tmp_path / "data"


# Tables


def test_read_table_keeps_all_but_the_key(tmp_path: Path) -> None:
    path = put(tmp_path / "text", "a  good   morning \nb\tx\u3000y\n")
    assert read_table(path) == {"a": "good   morning", "b": "x\u3000y"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", "", r"text: empty; .*stage"),
        ("text", "a x\nb\n", r"text:2: key 'b' has no value; mend"),
        ("text", "a x\n\nb y\n", r"text:2: empty line; mend"),
        ("text", "a x\na x\n", r"text:2: duplicate key 'a'; run utils/fix_data_dir.py"),
        ("text", "a x\nb y\na z\n", r"text:3: duplicate key 'a' with another value 'z'"),
        ("text", "b x\na y\n", r"text:2: not sorted in C order, 'a' after 'b'; run utils/fix_data_dir.py"),
        ("text", b"a x\nb \xff\n", r"text:2: not UTF-8 .*iconv"),
        ("text", "a x\r\n", r"text:1: Windows line end; .*sed"),
        ("utt2spk", "a s t\n", r"utt2spk:1: 's t' is not one speaker"),
        ("utt2lang", "a en\nb en us\n", r"utt2lang:2: 'en us' is not one language"),
        ("utt2dur", "a 0.0\n", r"utt2dur:1: '0.0' is not a positive number of seconds"),
        ("utt2dur", "a nan\n", r"utt2dur:1: 'nan' is not a positive number"),
        ("utt2num_frames", "a 1.5\n", r"utt2num_frames:1: '1.5' is not a positive number of frames"),
        ("spk2gender", "a x\n", r"spk2gender:1: 'x' is not m or f"),
        ("segments", "a r 2 1\n", r"segments:1: 'r 2 1' is not RECORDING START END"),
        ("segments", "a r -1 1\n", r"segments:1: 'r -1 1' is not"),
        ("segments", "a r 1 -1\n", r"segments:1: 'r 1 -1' is not"),
        ("segments", "a r 0 inf\n", r"segments:1: 'r 0 inf' is not"),
        ("segments", "a r 0 1 2\n", r"segments:1: 'r 0 1 2' is not"),
    ],
)
def test_read_table_refuses(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(put(tmp_path / name, content))


def test_missing_table_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"feats.scp: no such file; make it with run.sh --stage 2"):
        read_table(tmp_path / "feats.scp")
    with pytest.raises(FileNotFoundError, match=r"utt2spk: no such file; make it with run.sh --stage 1"):
        read_table(tmp_path / "utt2spk")
    with pytest.raises(FileNotFoundError, match="no such data directory"):
        DataDir(tmp_path / "none")


KEYS = st.text(st.sampled_from("aAzZ019-_.é你\U0001f600"), min_size=1, max_size=6)


@settings(deadline=None, max_examples=30)
@given(keys=st.sets(KEYS, min_size=1))
def test_write_table_sorts_as_sort_does(tmp_path_factory: pytest.TempPathFactory, keys: set[str]) -> None:
    path = tmp_path_factory.mktemp("sort") / "text"
    table = {key: f"of {key}" for key in keys}
    write_table(path, table)
    assert read_table(path) == table
    checked = subprocess.run(["sort", "-c", "-k1,1", path], env={"LC_ALL": "C"}, check=False)
    assert checked.returncode == 0


def test_c_order_is_not_the_order_of_a_dictionary(tmp_path: Path) -> None:
    write_table(tmp_path / "text", dict.fromkeys(["b", "é", "a_1", "B", "a-1", "你", "a1", "Z"], "x"))
    assert list(read_table(tmp_path / "text")) == ["B", "Z", "a-1", "a1", "a_1", "b", "é", "你"]


@pytest.mark.parametrize("table", [{}, {"a b": "x"}, {"": "x"}, {"a": " "}, {"a": "x\ny"}])
def test_write_table_refuses_what_it_could_not_read(tmp_path: Path, table: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"text: .*; a"):
        write_table(tmp_path / "text", table)
    assert list(tmp_path.iterdir()) == []


def test_invert() -> None:
    assert list(invert({"b2": "b", "a1": "a", "b1": "b"}).items()) == [("a", "a1"), ("b", "b1 b2")]


# Data directories


def test_valid_directory(data: Path) -> None:
    directory = DataDir(data)
    directory.validate(require=["wav.scp", "utt2lang"])
    assert directory.utts == ["a-1", "a-2", "b-1"]
    assert directory.segments() == {"a-1": ("r1", 0, 1.5), "a-2": ("r1", 1.5, 2), "b-1": ("r2", 0.25, 1)}
    assert directory.table("utt2lang")["b-1"] == "zh"
    assert directory.has("text") and not directory.has("feats.scp")


def test_tables_are_read_once(data: Path) -> None:
    directory = DataDir(data)
    before = directory.table("utt2lang"), directory.segments()
    (data / "utt2lang").unlink()
    assert directory.table("utt2lang") is before[0] and directory.segments() is before[1]


def test_without_segments_utterances_are_recordings(data: Path) -> None:
    (data / "segments").unlink()
    with pytest.raises(ValueError, match=r"wav.scp: 3 recordings of the utterances missing, the first 'a-1'"):
        DataDir(data).validate()
    put(data / "wav.scp", "a-1 x.wav\na-2 x.wav\nb-1 x.wav\n")
    DataDir(data).validate()
    assert DataDir(data).segments() == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utt2lang", "a-1 en\na-2 en\n", r"utt2lang: 1 utterances of utt2spk missing, the first 'b-1'; run utils/fix"),
        ("text", "a-1 x\na-2 x\nb-1 x\nb-2 x\n", r"text:4: 'b-2' is not one of the utterances of utt2spk"),
        ("spk2gender", "a f\n", r"spk2gender: 1 speakers of utt2spk missing, the first 'b'"),
        ("spk2utt", "a a-1\nb a-2 b-1\n", r"spk2utt:1: speaker 'a' has other utterances"),
        ("segments", "a-1 r1 0 1\na-2 r9 0 1\nb-1 r2 0 1\n", r"wav.scp: 1 recordings of the utterances missing.*'r9'"),
        ("wav.scp", "r1 x\nr2 x\nr3 x\n", r"wav.scp:3: 'r3' is not one of the recordings"),
        ("utt2spk", "a-1 b\na-2 a\nb-1 b\n", r"utt2spk:2: sorted by utterance, but speaker 'a' comes after 'b'"),
    ],
)
def test_validate_names(data: Path, name: str, content: str, message: str) -> None:
    put(data / name, content)
    with pytest.raises(ValueError, match=message):
        DataDir(data).validate()


def test_validate_lists_all_problems_of_all_files(data: Path) -> None:
    put(data / "text", "b-1 x\na-1 y\n")
    put(data / "segments", "a-1 r1 0 1\na-2 r1 3 2\nb-1 r2 0 1\n")
    (data / "spk2utt").unlink()
    with pytest.raises(ValueError) as caught:
        DataDir(data).validate(require=["spk2utt", "feats.scp"])
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{data}/").split(";")[0] for line in lines] == [
        "feats.scp: no such file",
        "segments:2: 'r1 3 2' is not RECORDING START END with 0 <= START < END, in seconds",
        "spk2utt: no such file",
        "text:2: not sorted in C order, 'a-1' after 'b-1'",
    ]


def test_validate_shows_twenty_problems_and_the_count(data: Path) -> None:
    put(data / "text", "\n" * 50)
    with pytest.raises(ValueError) as caught:
        DataDir(data).validate()
    lines = str(caught.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "... and 30 more problems"


# Archives


def write_ark(folder: Path, arrays: dict[str, np.ndarray], **options: int) -> dict[str, str]:
    """Write arrays with kaldiio itself, and return the scp table."""
    kaldiio.save_ark(str(folder / "k.ark"), arrays, scp=str(folder / "k.scp"), **options)
    return read_table(folder / "k.scp")


@pytest.mark.parametrize("method", [None, 1, 2, 3, 4, 5, 6, 7])
def test_reads_what_kaldi_compresses(tmp_path: Path, method: int | None) -> None:
    wave = np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4)  # inside the range of every method
    matrix = np.round(wave * 200) if method in (4, 6) else wave  # these two hold whole numbers
    specifier = write_ark(tmp_path, {"u": matrix}, **({"compression_method": method} if method else {}))["u"]
    found = read_matrix(specifier, "feats.scp: utterance u")
    assert found.dtype == np.float32 and found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_allclose(found, matrix, atol=0.02 if method else 0)


def test_reads_double_and_ranges(tmp_path: Path) -> None:
    table = write_ark(tmp_path, {"m": MATRIX.astype(np.float64), "v": np.array([0.0, 1.0, 1.0])})
    np.testing.assert_array_equal(read_matrix(table["m"], "x"), MATRIX)
    np.testing.assert_array_equal(read_matrix(table["m"] + "[1:2]", "x"), MATRIX[1:3])
    np.testing.assert_array_equal(read_matrix(table["m"] + "[:,0:1]", "x"), MATRIX[:, :2])
    np.testing.assert_array_equal(read_matrix(table["m"] + "[2:6]", "x"), MATRIX[2:])  # Kaldi allows 3 rows more
    np.testing.assert_array_equal(read_vector(table["v"], "x"), [0, 1, 1])
    for bad in ("[2:7]", "[4:4]", "[0:1,0:3]", "[1]", "[2:1]", "[0:0,0:0,0:0]"):
        with pytest.raises(ValueError, match=r"^x: .*mend it"):
            read_matrix(table["m"] + bad, "x")


def test_relative_archive_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kaldiio.save_ark("r.ark", {"u": MATRIX})
    np.testing.assert_array_equal(read_matrix("r.ark:2", "x"), MATRIX)


@pytest.mark.parametrize("array", [MATRIX, MATRIX[:, 0], MATRIX.astype(np.float64)])
def test_every_truncation_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    kaldiio.save_ark(str(tmp_path / "k.ark"), {"u": array})
    whole = (tmp_path / "k.ark").read_bytes()
    read = read_matrix if array.ndim == 2 else read_vector
    for size in range(len(whole)):
        put(tmp_path / "cut.ark", whole[:size])
        with pytest.raises(ValueError, match=r"^feats.scp: utterance u: .*cut.ark.*run stage 2 again"):
            read(f"{tmp_path}/cut.ark:2", "feats.scp: utterance u")


@pytest.mark.parametrize("method", [1, 2, 3, 5])
def test_truncated_compressed_archive_is_refused(tmp_path: Path, method: int) -> None:
    write_ark(tmp_path, {"u": MATRIX}, compression_method=method)
    whole = (tmp_path / "k.ark").read_bytes()
    for size in range(len(whole)):
        put(tmp_path / "cut.ark", whole[:size])
        with pytest.raises(ValueError, match=r"cut.ark.*run stage 2 again"):
            read_matrix(f"{tmp_path}/cut.ark:2", "x")


@settings(deadline=None, max_examples=60)
@given(junk=st.binary(max_size=40), kind=st.sampled_from([b"", b"\0BFM ", b"\0BFV ", b"\0BCM ", b"\0BCM2 ", b"\0B\4"]))
def test_junk_gives_an_array_or_value_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, kind: bytes) -> None:
    path = put(tmp_path_factory.mktemp("junk") / "j.ark", kind + junk)
    try:
        assert np.isfinite(read_matrix(str(path), "x")).all()
    except ValueError as error:
        assert str(error).startswith("x: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut before byte 0"),
        (b"hello world", "no Kaldi matrix or vector at byte 0"),
        (b" [\n 1 2\n 3 4 ]\n", "a text archive"),
        (b"\0B\4\2\0\0\0\4\1\0\0\0\4\1\0\0\0", "no Kaldi matrix"),
        (b"\0BFM \4" + struct.pack("<i", -1) + b"\4" + struct.pack("<i", 3), "cut|damaged"),
        (b"\0BFM \4" + struct.pack("<i", 2**31 - 1) + b"\4" + struct.pack("<i", 2**31 - 1), "cut"),
        (b"\0BFM \4" + struct.pack("<i", 0) + b"\4" + struct.pack("<i", 0), "empty"),
        (b"\0BFM \5" + struct.pack("<i", 1) + b"\4" + struct.pack("<i", 1) + b"\0" * 4, "damaged"),
    ],
)
def test_what_is_no_archive(tmp_path: Path, content: bytes, message: str) -> None:
    path = put(tmp_path / "a.ark", content)
    with pytest.raises(ValueError, match=rf"^feats.scp: utterance u: .*a.ark:0: .*({message}).*run stage 2 again"):
        read_matrix(f"{path}:0", "feats.scp: utterance u")


def test_missing_archive_and_wrong_rank(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^x: no archive /nowhere/a.ark; run stage 2 again"):
        read_matrix("/nowhere/a.ark:5", "x")
    with pytest.raises(ValueError, match=r"^x: no archive none.ark \(from /"):
        read_matrix("none.ark:5", "x")
    table = write_ark(tmp_path, {"m": MATRIX, "v": MATRIX[0]})
    with pytest.raises(ValueError, match="a vector where a matrix is wanted"):
        read_matrix(table["v"], "x")
    with pytest.raises(ValueError, match="a matrix where a vector is wanted"):
        read_vector(table["m"], "x")


def test_nan_is_refused_with_its_row(tmp_path: Path) -> None:
    bad = MATRIX.copy()
    bad[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"^x: .*k.ark:2: NaN or Inf in row 2; "):
        read_matrix(write_ark(tmp_path, {"u": bad})["u"], "x")
    huge = np.full((2, 2), 1e300)  # finite on the disk, not in float32
    with pytest.raises(ValueError, match="NaN or Inf in row 0"):
        read_matrix(write_ark(tmp_path, {"u": huge})["u"], "x")


def test_commands_run_only_where_allowed(tmp_path: Path) -> None:
    kaldiio.save_mat(str(tmp_path / "m"), MATRIX)
    witness = tmp_path / "witness"
    for command in (f"touch {witness}; cat {tmp_path}/m |", f"| touch {witness}; cat {tmp_path}/m"):
        assert is_pipe(command)
        with pytest.raises(ValueError, match=r"^x: .* is a command, .*--allow-pipes true"):
            read_matrix(command, "x")
        assert not witness.exists()
        np.testing.assert_array_equal(read_matrix(command, "x", allow_pipes=True), MATRIX)
        assert witness.exists()
        witness.unlink()
    with pytest.raises(ValueError, match="ended with 3"):
        read_matrix("exit 3 |", "x", allow_pipes=True)
    assert not is_pipe("a.ark:5")


class _Witness:
    """Unpickling an object of this class makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_and_numpy_files_are_never_loaded(tmp_path: Path) -> None:
    path = put(tmp_path / "p.ark", b"PKL" + pickle.dumps(_Witness(tmp_path / "witness")))
    for allow in (False, True):
        with pytest.raises(ValueError, match="no Kaldi matrix or vector"):
            read_matrix(f"{path}:0", "x", allow_pipes=allow)
    kaldiio.save_ark(str(path), {"u": MATRIX}, write_function="numpy")
    with pytest.raises(ValueError, match="no Kaldi matrix or vector"):
        read_matrix(f"{path}:2", "x")
    assert not (tmp_path / "witness").exists()


def test_written_archive_is_kaldis(tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("ü2", MATRIX)
        writer("u1", np.array([True, False]))
        writer("s", np.ones((2, 2)))
    lines = (tmp_path / "a.scp").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["ü2", "u1", "s"]
    assert lines[0] == f"ü2 {tmp_path}/a.ark:4"
    loaded = kaldiio.load_scp(str(tmp_path / "a.scp"))
    np.testing.assert_array_equal(loaded["ü2"], MATRIX)
    np.testing.assert_array_equal(loaded["u1"], np.array([1, 0], np.float32))
    assert loaded["u1"].dtype == np.float32 and loaded["s"].dtype == np.float64
    header = (tmp_path / "a.ark").read_bytes()[4:19]
    assert header == b"\0BFM \4\4\0\0\0\4\3\0\0\0"


@pytest.mark.parametrize(
    ("utt", "array", "message"),
    [
        ("u", np.array([[1, np.nan]]), "NaN or Inf"),
        ("u", np.empty((0, 3)), r"shape \(0, 3\)"),
        ("u", np.zeros((1, 1, 1)), r"shape \(1, 1, 1\)"),
        ("first", MATRIX, "written twice"),
        ("a b", MATRIX, "white space"),
    ],
)
def test_archive_writer_leaves_nothing_of_a_failure(tmp_path: Path, utt: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message), ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("first", MATRIX)
        writer(utt, array)
    assert list(tmp_path.iterdir()) == []


def test_failed_rewrite_keeps_the_old_archive(tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("u", MATRIX)
    with pytest.raises(KeyboardInterrupt), ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("u", MATRIX + 1)
        raise KeyboardInterrupt
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ark", "a.scp"]
    np.testing.assert_array_equal(kaldiio.load_scp(str(tmp_path / "a.scp"))["u"], MATRIX)


def test_old_offsets_never_stand_beside_a_new_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("u", MATRIX)
    rename = os.replace

    def stop_at_scp(old: str, new: Path) -> None:
        if new.suffix == ".scp":
            raise OSError("power cut")
        rename(old, new)

    monkeypatch.setattr(os, "replace", stop_at_scp)
    with pytest.raises(OSError, match="power cut"), ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer("longer", MATRIX)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ark"]


def test_feats_and_vad_of_a_directory(data: Path, tmp_path: Path) -> None:
    for name, array in (("feats", MATRIX), ("vad", np.array([1.0, 0, 0, 1]))):
        with ArkWriter(tmp_path / f"{name}.ark", data / f"{name}.scp") as writer:
            writer("a-1", array)
            writer("a-2", array * 2)
    directory = DataDir(data)
    np.testing.assert_array_equal(directory.feats("a-1"), MATRIX)
    vad = directory.vad("a-1")
    assert vad.dtype == bool and vad.tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match=r"data/vad.scp: utterance a-2: .*values other than 0 and 1"):
        directory.vad("a-2")
    with pytest.raises(ValueError, match=r"data/feats.scp: no utterance 'b-1'; run stage 2 again"):
        directory.feats("b-1")


@pytest.mark.parametrize("with_segments", [True, False])
def test_lhotse_loads_the_directory(data: Path, tmp_path: Path, with_segments: bool) -> None:
    recordings = ["r1", "r2"] if with_segments else ["a-1", "a-2", "b-1"]
    for recording in recordings:
        soundfile.write(tmp_path / f"{recording}.wav", np.zeros(2 * 16000, np.int16), 16000)
    write_table(data / "wav.scp", {recording: f"{tmp_path}/{recording}.wav" for recording in recordings})
    with ArkWriter(tmp_path / "f.ark", data / "feats.scp") as writer:
        for utt in ("a-1", "a-2", "b-1"):
            writer(utt, MATRIX)
    if not with_segments:
        (data / "segments").unlink()
    DataDir(data).validate(require=["feats.scp"])
    found, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(data, sampling_rate=16000)
    assert [recording.id for recording in found] == recordings
    assert [(one.id, one.speaker, one.language, one.text) for one in supervisions] == [
        ("a-1", "a", "en", "good morning"), ("a-2", "a", "en", "yes"), ("b-1", "b", "zh", "你好"),
    ]  # fmt: skip
    assert [one.duration for one in supervisions] == ([1.5, 0.5, 0.75] if with_segments else [2, 2, 2])
