"""The benchmarks run, and what they print is true of what they ran."""

import re
import sys
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from tools import ROOT
from torch import Tensor, nn

sys.path.append(str(ROOT / "tests" / "benchmarks"))  # where the programs find one another
flows, tables, peers, timing = map(import_module, ("flows", "flow_tables", "peers", "timing"))
CPU = torch.device("cpu")
ROWS = pytest.mark.parametrize("row", flows.ROWS.values(), ids=list(flows.ROWS))

Run = Callable[..., str]


@pytest.fixture
def run(one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """`run(options)` measures tiny flows on the CPU, and gives what the program prints."""

    def call(*options: str) -> str:
        fixed = ["--device", "cpu", "--sizes", "6x8", "--batch", "32", "--rounds", "2", "--seconds", "0"]
        monkeypatch.setattr(sys, "argv", [flows.__file__, *fixed, *options])
        flows.main()
        return capsys.readouterr().out

    return call


def cells(output: str, start: str) -> list[str]:
    """The cells of the one line of a table that starts with these."""
    (line,) = (line for line in output.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_flows_measures_ours(run: Run) -> None:
    out = run("--rows", "ours-float32", "--trainer")
    assert "`tests/benchmarks/flows.py --device cpu --sizes 6x8 " in out
    assert f"torch {torch.__version__}" in out
    train, score = map(int, cells(out, "| ours, float32 |")[1].split(" / "))
    assert train > 0 and score > 0
    # each of 10 blocks: two nets 3 -> 8 -> 8 -> 3 with biases, and actnorm's shift and scale of 6 dims
    weights = 10 * 2 * (3 * 8 + 8 * 8 + 8 * 3)
    parameters = weights + 10 * 2 * (8 + 8 + 3) + 10 * 2 * 6
    size, name, counts, work, kind, error, *_ = cells(out, "| 6x8 |")
    assert (size, name, kind) == ("6x8", "ours, float32", "float32")
    assert counts.startswith(f"{parameters / 1e6:.2f} (")
    assert work.startswith(f"{2 * weights / 1e6:.2f} (")
    assert 0 < float(error) < 1e-3
    assert re.search(r"6x8: whole epochs of flowlid's Trainer: [1-9]\d* frames per second", out)
    assert re.search(r"ceiling of float32 products, GFLOP/s: .*torch\.mm, 32 x \d+ x \d+: \d+ ±", out)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_flows_measures_on_a_gpu(run: Run) -> None:
    out = run("--device", "cuda", "--peers", "tf32", "--trainer")
    assert torch.cuda.get_device_name() in out
    for row in ("ours, float32", "ours, bfloat16"):
        assert all(int(rate) > 0 for rate in cells(out, f"| {row} |")[1].split(" / "))


@pytest.mark.parametrize("option", [("--sizes", "7x8"), ("--sizes", "8"), ("--rounds", "0"), ("--seconds", "nan")])
def test_flows_refuses_what_it_cannot_measure(run: Run, option: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(*option)
    assert f"argument {option[0]}: {option[1]!r} is no " in capsys.readouterr().err


def test_flows_shows_where_the_time_goes(run: Run) -> None:
    shares = re.findall(r"([a-z -]+) (\d+)%", run("--rows", "ours-float32", "--profile").splitlines()[1])
    assert [name.strip(" -") for name, _ in shares] == [
        "optimizer", "matrix products", "activations", "copies", "other element-wise", "rest",
    ]  # fmt: skip
    assert 95 <= sum(int(share) for _, share in shares) <= 105
    assert dict((name.strip(" -"), int(share)) for name, share in shares)["matrix products"] > 0


def test_a_library_that_is_not_installed_is_left_out_with_the_reason(
    run: Run, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    out = run("--rows", "zuko", "ours-float32")
    assert "left out: zuko: zuko is not installed (utils/setup_env.sh benchmark)" in messages.text
    assert "zuko" not in out.partition("\n")[2]
    assert cells(out, "| ours, float32 |")


def test_the_extra_installs_what_the_benchmark_knows() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = re.search(r"^benchmark = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    peers = {row.package for row in flows.ROWS.values()} - {None}
    assert set(re.findall(r'"(\w+)[><=]', extra[1])) == peers - {"zuko"}
    assert '    "zuko>=' in text.replace(extra[0], "")  # the tests need it too, and the extra adds to theirs


@ROWS
def test_a_row_is_a_right_flow(row: "flows.Row", one_thread: None) -> None:
    reason = row.missing(CPU)
    if reason:
        pytest.skip(reason)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    entry = flows.prepare(row, 6, 8, x, row.precision)  # raises where log p(x) is not that of its latents
    assert entry.used <= entry.parameters and entry.needed <= entry.multiplied
    before = entry.score.run()
    for _ in range(5):
        entry.train.run()
    assert entry.score.run().mean() > before.mean()


class Shifted(peers.Model):
    """z = x + x A + t, with A strictly triangular and half of x and t masked; log p(x) is wrong by `off` nats."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = off
        self.mixing = nn.Parameter(torch.eye(4) + 0.1)
        self.shift = nn.Parameter(torch.ones(4))
        self.register_buffer("mask", torch.tensor([1.0, 1.0, 0.0, 0.0]))

    def latents(self, x: Tensor) -> Tensor:
        return x + self.mask * self.shift + (x * self.mask) @ self.mixing.triu(2)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(self.latents(x)).sum(1) + self.off


def test_a_flow_with_a_wrong_density_is_not_timed() -> None:
    x = torch.randn(2, 4, dtype=torch.float64)
    flows.check_density("right", Shifted().exact(), x)
    with pytest.raises(ValueError, match=r"wrong: log p\(x\) differs by 0\.001 nats"):
        flows.check_density("wrong", Shifted(0.001).exact(), x)


def test_weights_that_do_not_matter_are_counted_as_not_used() -> None:
    row = flows.Row("x", "x", lambda dim, hidden: Shifted())
    entry = flows.prepare(row, 4, 8, torch.randn(8, 4), "float32")
    # of the matrix (4, 4) the entries (0, 2), (0, 3) and (1, 3); of the shift the two that are not masked
    assert (entry.parameters, entry.used, entry.multiplied, entry.needed) == (20, 5, 16, 3)


def test_tasks_alternate_and_a_figure_is_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def task(name: str, durations: list[float]) -> "timing.Task":
        left = iter(durations)

        def work() -> None:
            calls.append(name)
            clock[0] += next(left)

        return timing.Task(work, amount=10)

    a, b = task("a", [9, 1, 1, 2, 5]), task("b", [9, 2, 2, 2, 2])
    timing.measure([a, b], rounds=3, seconds=0.5, device=CPU)
    assert calls == ["a", "a", "b", "b", *"ab", *"ba", *"ab"]
    assert a.rates == [10, 5, 2] and a.rate == 5 and a.spread == pytest.approx(0.8)
    assert b.rates == [5, 5, 5] and b.spread == 0
    c = task("c", [9, 0.2] + [0.1] * 6)
    timing.measure([c], rounds=2, seconds=0.5, device=CPU)
    assert c.steps == 3 and c.rates == pytest.approx([100, 100])


def entry(row: str, used: int, train: list[float], score: list[float], kind: str = "float32") -> "flows.Entry":
    tasks = [timing.Task(lambda: None, 1, rates=rates) for rates in (train, score)]
    return flows.Entry(flows.ROWS[row], kind, used, used, used, used, 0.0, *tasks)


def test_ratios_are_of_the_same_round_and_of_the_best_peer() -> None:
    ours = entry("ours-float32", 100, [20, 40, 60], [30, 30, 30])
    alike = entry("freia-rnvp", 120, [10, 10, 20], [10, 10, 10])
    slower = entry("normflows-masked", 90, [1, 1, 1], [15, 15, 15])
    small = entry("zuko", 50, [40, 40, 40], [60, 60, 60])
    line = tables.Size("6x8", [alike, slower, small, ours], None).ratios(ours)
    assert line == (
        "6x8: ours, float32: 3.00 x (freia-rnvp) / 2.00 x (normflows-masked) the best peer of its size; "
        "1.00 x (zuko) / 0.50 x (zuko) the best peer of all"
    )


def test_shares_are_of_the_ceiling_of_the_same_arithmetic() -> None:
    ceilings = {"float32": 6000.0, "bfloat16": 12000.0}
    assert entry("ours-float32", 100, [1], [3]).shares(ceilings) == (0.1, 0.1)
    assert entry("ours-bfloat16", 100, [1], [3], "bfloat16").shares(ceilings) == (0.05, 0.05)
    assert entry("zuko", 100, [1], [3], "autocast").shares(ceilings) == (0.05, 0.05)


@pytest.mark.parametrize(
    ("operator", "work"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mm", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::tanh_backward", "activations"),
        ("aten::threshold_backward", "activations"),
        ("aten::index_select", "copies"),
        ("aten::copy_", "copies"),
        ("aten::mul", "other element-wise"),
        ("aten::sum", "other element-wise"),
        ("aten::_fused_adam_", "optimizer"),
        ("Optimizer.step#Adam.step", "optimizer"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "rest"),
    ],
)
def test_work_is_told_by_an_operators_name(operator: str, work: str) -> None:
    assert timing.work_of(operator) == work
