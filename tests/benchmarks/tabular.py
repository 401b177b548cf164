"""The five data sets of Papamakarios et al. (2017), prepared as they did it, and log-likelihoods published on them.

The files are those of the archive https://zenodo.org/records/1161203, unpacked; what is done to them follows the
description in appendix D of "Masked Autoregressive Flow for Density Estimation", arXiv 1705.07057, and the authors'
published programs. The archive is not part of flowlid.
"""

import csv
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # training, validation and test frames, each (N, D)

_CORRELATED = 0.98  # of two GAS sensors whose correlation is higher, one is left out
_REPEATED = 5  # a HEPMASS feature whose smallest value comes more often than this is discrete
ARCHIVE = "https://zenodo.org/records/1161203"
_AGAIN = f"unpack {ARCHIVE} again"


def read_set(folder: str | Path, name: str) -> Parts:
    """Training, validation and test frames of a data set, float32.

    Raises:
        FileNotFoundError: a file of the set is not there.
        ValueError: it is not what it should be, or the library that reads it is not installed.
    """
    files, prepare = SETS[name]
    paths = [Path(folder) / file for file in files]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{name}: no {', '.join(missing)}; unpack the archive of {ARCHIVE} and give the folder that holds "
            f"{files[0].partition('/')[0]}/, or leave the set out with --sets"
        )
    parts = prepare(*paths)
    dims = {part.shape[1] for part in parts}
    if min(map(len, parts)) < 2 or len(dims) != 1:
        raise ValueError(f"{paths[0]}: parts of {[part.shape for part in parts]} values; {_AGAIN}")
    return tuple(np.ascontiguousarray(part, dtype=np.float32) for part in parts)


def _power(path: Path) -> Parts:
    """Household electricity: rows shuffled, two columns dropped, and the rounding of the meters filled with noise."""
    values, draw = _load(path, 8), np.random.RandomState(42)  # the published split depends on this generator
    draw.shuffle(values)
    count, values = len(values), np.delete(values, (1, 3), axis=1)
    voltage, active = 0.01 * draw.rand(count, 1), 0.001 * draw.rand(count, 1)
    values += np.hstack([active, voltage, draw.rand(count, 3), np.zeros((count, 1))])
    return _standardized(*_cut(values))


def _gas(path: Path) -> Parts:
    """Sensors in gas mixtures: concentrations and time dropped, and sensors that say what another says."""
    table = _library("pandas", path).read_pickle(path)  # runs what the file tells it to: use the authors' own
    table = table.drop(columns=["Meth", "Eth", "Time"])
    values = uncorrelated(np.asarray(table, dtype=np.float64))
    return _cut((values - values.mean(0)) / values.std(0, ddof=1))


def uncorrelated(values: np.ndarray) -> np.ndarray:
    """Columns of (N, D), less the first of those whose correlation with another is above 0.98, again and again."""
    while True:
        related = (np.corrcoef(values, rowvar=False) > _CORRELATED).sum(0) > 1
        if not related.any():
            return values
        values = np.delete(values, related.argmax(), axis=1)


def _hepmass(train_path: Path, test_path: Path) -> Parts:
    """Particle collisions: signal events, less discrete features; the training file says which columns there are."""
    train, test = (_signal(path, _columns(train_path)) for path in (train_path, test_path))
    mean, std = train.mean(0), train.std(0, ddof=1)
    smooth = [column for column in range(train.shape[1]) if _smallest_count(train[:, column]) <= _REPEATED]
    train, test = ((values[:, smooth] - mean[smooth]) / std[smooth] for values in (train, test))
    held = len(train) // 10
    return train[:-held], train[-held:], test


def _columns(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return len(next(csv.reader(file), []))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: no table of text: {error}; {_AGAIN}") from error


def _signal(path: Path, columns: int) -> np.ndarray:
    """Features of the events whose label, the first column, is 1; what lies beyond the columns is left out."""
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(columns), ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {_AGAIN}") from error
    return rows[rows[:, 0] == 1, 1:]


def _smallest_count(values: np.ndarray) -> int:
    return int((values == values.min()).sum())


def _miniboone(path: Path) -> Parts:
    """Neutrino events; the archive's file has no outliers and no discrete features any more."""
    return _standardized(*_cut(_load(path, 43)))


def _bsds300(path: Path) -> Parts:
    """Patches of 8 x 8 pixels, less their mean and the last pixel, in the archive's own parts."""
    with _library("h5py", path).File(path, "r") as file:
        try:
            return tuple(np.asarray(file[part]) for part in ("train", "validation", "test"))
        except KeyError as error:
            raise ValueError(f"{path}: {error}; {_AGAIN}") from error


def _library(name: str, path: Path) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"{path}: {name} reads this file and is not installed (pip install {name})") from error


def _load(path: Path, columns: int) -> np.ndarray:
    try:
        values = np.load(path)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: no array of numbers: {error}; {_AGAIN}") from error
    if values.ndim != 2 or values.shape[1] != columns or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{path}: {values.dtype}, {values.shape}; rows of {columns} numbers are wanted; {_AGAIN}")
    return values.astype(np.float64)


def _cut(values: np.ndarray) -> Parts:
    """The last tenth is the test set, the last tenth of the rest the validation set."""
    test = len(values) // 10
    held = (len(values) - test) // 10
    return values[: -test - held], values[-test - held : -test], values[-test:]


def _standardized(train: np.ndarray, held: np.ndarray, test: np.ndarray) -> Parts:
    """By the moments of the training and the validation set together."""
    both = np.concatenate([train, held])
    mean, std = both.mean(0), both.std(0)
    return (train - mean) / std, (held - mean) / std, (test - mean) / std


SETS: dict[str, tuple[tuple[str, ...], Callable[..., Parts]]] = {
    "POWER": (("power/data.npy",), _power),
    "GAS": (("gas/ethylene_CO.pickle",), _gas),
    "HEPMASS": (("hepmass/1000_train.csv", "hepmass/1000_test.csv"), _hepmass),
    "MINIBOONE": (("miniboone/data.npy",), _miniboone),
    "BSDS300": (("BSDS300/BSDS300.hdf5",), _bsds300),
}

_MAF = "arXiv 1705.07057, table 1"
_FFJORD = "arXiv 1810.01367, table 2"
_SPLINES = "arXiv 1906.04032, table 1"
# test log-likelihood in nats per frame, in the order of SETS, and where it was published; Gaussian, Glow and
# RQ-NSF were not proofread against their papers
PUBLISHED: Sequence[tuple[str, tuple[float, ...], str]] = (
    ("Gaussian", (-7.74, -3.58, -27.93, -37.24, 96.67), _MAF),
    ("MADE", (-3.08, 3.56, -20.98, -15.59, 148.85), _MAF),
    ("RealNVP, 5 couplings", (-0.02, 4.78, -19.62, -13.55, 152.97), _MAF),
    ("RealNVP, 10 couplings", (0.17, 8.33, -18.71, -13.84, 153.28), _MAF),
    ("MAF, 5 layers", (0.14, 9.07, -17.70, -11.75, 155.69), _MAF),
    ("MAF, 10 layers", (0.24, 10.08, -17.73, -12.24, 154.93), _MAF),
    ("MAF MoG, 5 layers", (0.30, 9.59, -17.39, -11.68, 156.36), _MAF),
    ("Glow", (0.17, 8.15, -18.92, -11.35, 155.07), _FFJORD),
    ("FFJORD", (0.46, 8.59, -14.92, -10.43, 157.40), _FFJORD),
    ("Glow, as trained for splines", (0.42, 12.24, -16.99, -10.55, 156.95), _SPLINES),
    ("RQ-NSF, coupling", (0.64, 13.09, -14.75, -9.67, 157.54), _SPLINES),
)


def published_table(reached: dict[str, tuple[float, float]]) -> str:
    """Markdown: ours, {set: (test LogLL, twice its standard error)}, below the published ones."""
    lines = [
        f"| test LogLL, nats per frame | {' | '.join(reached)} | source |",
        f"| --- |{' ---: |' * len(reached)} --- |",
    ]
    for name, values, source in PUBLISHED:
        row = dict(zip(SETS, values, strict=True))
        lines.append(f"| {name} | {' | '.join(f'{row[key]:.2f}' for key in reached)} | {source} |")
    own = " | ".join(f"{mean:.2f} ± {error:.2f}" for mean, error in reached.values())
    return "\n".join([*lines, f"| flowlid | {own} | this run |"])
