"""flowlid.kaldi.arks: archives read, refused and written."""

import os
import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlid.kaldi.arks import ArkWriter, is_pipe, read_matrix, read_vector
from flowlid.kaldi.datadir import read_table

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) - 5.5


def put(path: Path, text: str | bytes) -> Path:
    """Write a file, as bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


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
        with pytest.raises(ValueError, match=r"^x: .*correct it"):
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


def test_an_archive_cut_at_the_end_of_a_record_lacks_the_next_one_alone(tmp_path: Path) -> None:
    kaldiio.save_ark(str(tmp_path / "k.ark"), {"u": MATRIX, "v": MATRIX + 1}, scp=str(tmp_path / "k.scp"))
    first, second = (line.split()[1] for line in (tmp_path / "k.scp").read_text().splitlines())
    whole = (tmp_path / "k.ark").read_bytes()
    put(tmp_path / "k.ark", whole[: int(second.rpartition(":")[2]) - len("v ")])
    np.testing.assert_array_equal(read_matrix(first, "x"), MATRIX)
    with pytest.raises(ValueError, match=r"^feats.scp: utterance v: .*k.ark.*run stage 2 again"):
        read_matrix(second, "feats.scp: utterance v")


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
    with pytest.raises(
        ValueError, match=rf"^x: no archive none.ark \(looked for {os.getcwd()}/none.ark\); run stage 2"
    ):
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
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ark", "a.ark.crc", "a.scp"]
    np.testing.assert_array_equal(kaldiio.load_scp(str(tmp_path / "a.scp"))["u"], MATRIX)


def test_old_offsets_are_never_beside_a_new_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ark", "a.ark.crc"]


def write_checked(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Write arrays with their checksums, and return the scp table."""
    with ArkWriter(folder / "a.ark", folder / "a.scp") as writer:
        for utt, array in arrays.items():
            writer(utt, array)
    return read_table(folder / "a.scp")


@pytest.mark.parametrize("array", [MATRIX, MATRIX[:, 0], MATRIX.astype(np.float64)])
def test_every_flipped_bit_of_an_array_is_found(tmp_path: Path, array: np.ndarray) -> None:
    table = write_checked(tmp_path, {"u1": array, "u2": array})
    read = read_matrix if array.ndim == 2 else read_vector
    whole = (tmp_path / "a.ark").read_bytes()
    for byte in range(int(table["u1"].rpartition(":")[2]), len(whole) // 2):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[byte] ^= 1 << bit
            put(tmp_path / "a.ark", bytes(flipped))
            with pytest.raises(
                ValueError, match=r"^feats.scp: utterance u1: .*a.ark:3: .*run stage 2 again .*--overwrite"
            ):
                read(table["u1"], "feats.scp: utterance u1")
            np.testing.assert_array_equal(read(table["u2"], "x"), array)


def test_checksums_belong_to_the_archive_whatever_names_it(tmp_path: Path) -> None:
    specifier = write_checked(tmp_path, {"u1": MATRIX, "u2": MATRIX + 1})["u2"]
    content = bytearray((tmp_path / "a.ark").read_bytes())
    content[-1] ^= 1
    put(tmp_path / "a.ark", bytes(content))
    for form in (specifier, f"{specifier}[0:1]", f" {specifier}"):
        with pytest.raises(
            ValueError, match=r"^data/other/feats.scp: utterance x: .*is not what was written \(by .*crc\)"
        ):
            read_matrix(form, "data/other/feats.scp: utterance x")
    (tmp_path / "a.ark.crc").unlink()  # as of a foreign archive: nothing to check it against
    assert read_matrix(specifier, "x")[3, 2] != MATRIX[3, 2] + 1


@pytest.mark.parametrize("checksums", ["", "3 00000000\n", "x y\n", "3\n", "\xff\n"])
def test_damaged_checksums_are_no_checksums_that_fit(tmp_path: Path, checksums: str) -> None:
    specifier = write_checked(tmp_path, {"u1": MATRIX})["u1"]
    put(tmp_path / "a.ark.crc", checksums.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^x: .*a.ark:3: .*damaged.*run stage 2 again"):
        read_matrix(specifier, "x")


def test_an_archive_written_anew_has_its_new_checksums(tmp_path: Path) -> None:
    for array in (MATRIX, MATRIX + 1, MATRIX[:2]):
        specifier = write_checked(tmp_path, {"u1": array})["u1"]
        np.testing.assert_array_equal(read_matrix(specifier, "x"), array)
