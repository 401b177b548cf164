"""Laws are what they say, densities that are none are found, and published data sets are prepared as published."""

import re
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from tools import ROOT

sys.path.append(str(ROOT / "tests" / "benchmarks"))  # where the programs find one another
densities, laws, tabular = map(import_module, ("densities", "laws", "tabular"))
LAWS = pytest.mark.parametrize("name", laws.LAWS)
TINY = ("--laws", "sheared-gaussian", "--dims", "2", "--test-frames", "4000")


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    fixed = [densities.__file__, "--device", "cpu", "--blocks", "2", "--hidden", "8", "--precision", "float32"]
    monkeypatch.setattr(sys, "argv", [*fixed, *options])
    densities.main()


@LAWS
def test_draws_of_a_law_have_its_density(name: str, one_thread: None) -> None:
    # for a density q within the law's bulk, E_p[q(x) / p(x)] = 1: wrong draws, or a p that is no density, give another
    law = laws.LAWS[name](3)
    x = law.sample(100000, torch.Generator().manual_seed(5))
    logp = law.log_prob(x)
    within = torch.distributions.Normal(x.median(0).values, 0.4 * x.std(0))
    ratio = (within.log_prob(x).sum(1) - logp).exp()
    assert x.dtype == torch.float64
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / len(x) ** 0.5 < 0.1
    if law.entropy is not None:
        assert abs(float(logp.mean()) + law.entropy) < 4 * float(logp.std()) / len(x) ** 0.5


def test_a_flow_comes_near_the_truth_and_not_above(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, one_thread: None
) -> None:
    run(monkeypatch, *TINY, "--frames", "10000", "--epochs", "2", "--batch-size", "100", "--learning-rate", "0.01")
    out = capsys.readouterr().out
    assert "densities.py --device cpu " in out
    (line,) = (line for line in out.splitlines() if line.startswith("| sheared-gaussian |"))
    dim, truth, loglik, gap, error, per_dim, near = (cell.strip() for cell in line.strip("|").split("|")[1:8])
    assert abs(float(truth) + 2 * 1.4189385) < 0.1 and near == "yes"
    assert float(gap) == pytest.approx(float(loglik) - float(truth), abs=0.002)
    assert -0.02 < float(gap) <= float(error) < 0.01
    assert float(per_dim) == pytest.approx(float(gap) / int(dim), abs=4e-4)


def test_what_lies_above_the_truth_is_no_density(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    law = laws.LAWS["sheared-gaussian"](2)
    own = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(densities, "fit", lambda *parts: None)
    for off in (-0.1, 0.0, 0.1):
        shifted = partial(lambda off, flow, x: law.log_prob(x.double()) + 0.001 * own + off, off)
        monkeypatch.setattr(densities, "log_likelihoods", shifted)
        if off > 0:
            with pytest.raises(ValueError, match=r"above the truth: sheared-gaussian, 2 dims: by 0\.100 ± 0\.000 nats"):
                run(monkeypatch, *TINY)
        else:
            run(monkeypatch, *TINY)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def test_power_is_shuffled_dithered_and_standardized(tmp_path: Path) -> None:
    values = np.round(noise(1000, 8))
    values[:, 7] = np.arange(1000)
    write(tmp_path / "power/data.npy", values)
    parts = tabular.read_set(tmp_path, "POWER")
    assert [part.shape for part in parts] == [(810, 6), (90, 6), (100, 6)]
    assert {part.dtype for part in parts} == {np.dtype("float32")}
    order = np.arange(1000)
    np.random.RandomState(42).shuffle(order)
    both = np.concatenate(parts[:2]).astype(float)
    assert both.mean(0) == pytest.approx(0, abs=1e-5) and both.std(0) == pytest.approx(1, abs=1e-5)
    assert (both[:, 5].argsort() == order[:900].argsort()).all()  # the time has no noise, and tells the rows
    # rounded values have become many, those of each meter's step no more than a step apart
    for column, source, step in ((0, 0, 0.001), (1, 2, 0.01), (2, 4, 1.0), (3, 5, 1.0), (4, 6, 1.0)):
        raw = values[order[:900], source]
        slope, start = np.polyfit(both[:, column], raw, 1)
        ones = both[raw == 1, column]
        assert len(set(ones)) > 50 and np.ptp(ones) * slope < 1.3 * step, start


def test_miniboone_is_cut_and_standardized(tmp_path: Path) -> None:
    values = 5 + 2 * noise(200, 43)
    write(tmp_path / "miniboone/data.npy", values)
    train, held, test = tabular.read_set(tmp_path, "MINIBOONE")
    known = values[:180]
    wanted = (values - known.mean(0)) / known.std(0)
    np.testing.assert_allclose(np.concatenate([train, held, test]), wanted, rtol=1e-5, atol=1e-6)
    assert (len(train), len(held), len(test)) == (162, 18, 20)


def test_hepmass_keeps_signals_and_smooth_features(tmp_path: Path) -> None:
    folder = tmp_path / "hepmass"
    folder.mkdir()
    values = noise(600, 4)
    values[:, 2] = values[:, 2] > 0  # discrete
    label = np.arange(600) % 2
    for name, rows, more in (("train", slice(0, 400), 0), ("test", slice(400, 600), 1)):
        lines = [",".join(["# label", *"abcd", *["mass"] * more])]
        lines += [
            ",".join(map(str, [k, *row, *[9.0] * more])) for k, row in zip(label[rows], values[rows], strict=True)
        ]
        (folder / f"1000_{name}.csv").write_text("\n".join(lines) + "\n")
    train, held, test = tabular.read_set(tmp_path, "HEPMASS")
    signal, smooth = values[:400][label[:400] == 1], [0, 1, 3]
    wanted = (values[label == 1] - signal.mean(0)) / signal.std(0, ddof=1)
    np.testing.assert_allclose(np.concatenate([train, held, test]), wanted[:, smooth], rtol=1e-5, atol=1e-6)
    assert (len(train), len(held), len(test)) == (180, 20, 100)


def test_gas_drops_what_another_sensor_says() -> None:
    a, b, c = noise(3, 500)
    values = np.stack([a, b, a + 0.01 * c, c, b + 0.02 * a, -a], axis=1)
    assert np.array_equal(tabular.uncorrelated(values), values[:, [2, 3, 4, 5]])  # of a pair the first one goes


def test_gas_is_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "gas").mkdir()
    values = noise(100, 6)
    pandas.DataFrame(values, columns=["Time", "Meth", "Eth", "R1", "R2", "R3"]).to_pickle(
        tmp_path / "gas/ethylene_CO.pickle"
    )
    wanted = (values[:, 3:] - values[:, 3:].mean(0)) / values[:, 3:].std(0, ddof=1)
    parts = tabular.read_set(tmp_path, "GAS")
    np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-5, atol=1e-6)
    assert [len(part) for part in parts] == [81, 9, 10]


def test_bsds300_comes_as_it_is(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "BSDS300").mkdir()
    values = noise(30, 63).astype(np.float32)
    with h5py.File(tmp_path / "BSDS300/BSDS300.hdf5", "w") as file:
        file["train"], file["validation"], file["test"] = values[:20], values[20:25], values[25:]
    assert np.array_equal(np.concatenate(tabular.read_set(tmp_path, "BSDS300")), values)


@pytest.mark.parametrize("name", tabular.SETS)
def test_what_is_missing_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, _ = tabular.SETS[name]
    with pytest.raises(FileNotFoundError, match=rf"{name}: no .*{re.escape(files[-1])}; unpack the archive of https"):
        tabular.read_set(tmp_path, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for file in files:
        write(tmp_path / file, noise(5, 3))
        (tmp_path / f"{file}.npy").rename(tmp_path / file) if not file.endswith("npy") else None
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / files[0]))):
        tabular.read_set(tmp_path, name)


def test_a_flow_stands_below_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, one_thread: None
) -> None:
    write(tmp_path / "miniboone/data.npy", noise(1000, 43))
    options = ("--maf-data", str(tmp_path), "--sets", "MINIBOONE", "--epochs", "1")
    run(monkeypatch, *options)
    rows = {line.split("|")[1].strip(): line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line}
    assert rows["MAF, 5 layers"][2:4] == [" -11.75 ", " arXiv 1705.07057, table 1 "]
    mean, error = map(float, rows["flowlid"][2].split("±"))
    assert -70 < mean < -55 and 0 < error < 3  # a standard normal of 43 dims has -61
