"""Training by several processes as a program: its launch, and how it ends when one of them is killed, hangs or errs."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tools import ROOT, call, feature_dir

from flowlid.flow.checkpoint import load_model, load_payload
from flowlid.training import launcher
from flowlid.training.directory import locked
from flowlid.training.experiment import prepare
from flowlid.training.processes import Processes

PATIENCE = 240  # seconds; a busy machine may take many of them
SPEAKERS = {f"a-{number}": ("en", "es")[number % 2] for number in range(8)}
YAML = """\
data: {train: train, dev: dev}
frames: {context: 1}
model: {type: dnf, blocks: 2, hidden: 8, layers: 1, normalization: batchnorm, precision: float32}
training: {epochs: %d, batch_size: 101, warmup_steps: 2, learning_rate: 1.0e-2, select: last}
"""
EPOCHS = 15  # of a training that something happens to on its way


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data, and configurations of a short, a disturbed and an endless training."""
    place = tmp_path_factory.mktemp("place")
    feature_dir(place / "data/train", SPEAKERS, frames=100)
    feature_dir(place / "data/dev", SPEAKERS, seed=1)
    (place / "conf").mkdir()
    for name, epochs in (("some", EPOCHS), ("endless", 10**6)):
        (place / f"conf/{name}.yaml").write_text(YAML % epochs)
    feature_dir(place / "data/other", dict.fromkeys(SPEAKERS, "fr"))
    unknown = YAML.replace("dev: dev", "dev: other").replace("select: last", "select: dev_accuracy")
    (place / "conf/unknown.yaml").write_text(unknown % EPOCHS)  # wrong, but only the first epoch's end shows it
    return place


@pytest.fixture
def start(place: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(command, log)` starts a program with one thread in `place`; what is left of it ends with the test.

    `patience`: seconds that a launcher gives its processes to end in.
    """
    started = []

    def run(command: list[object], log: Path, patience: int = 30) -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        environment |= {"OMP_NUM_THREADS": "1", "MARK": str(tmp_path), "FLOWLID_PROGRESS": "", "TMPDIR": str(tmp_path)}
        environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(patience)  # seconds, with a process that is to end
        with log.open("w") as file:
            process = subprocess.Popen(
                list(map(str, command)), cwd=place, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.poll() is None and process.kill()
        process.wait()
    for environment in marked(tmp_path):
        os.kill(number("PID", environment), signal.SIGKILL)


def train(*arguments: object) -> list[object]:
    return [sys.executable, ROOT / "steps/train.py", *arguments]


def marked(mark: Path) -> list[bytes]:
    """Environments of the processes that a test started and that still run; PID is in each."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes()  # a zombie has none
        except OSError:
            continue
        if f"MARK={mark}\0".encode() in environment:
            found.append(f"PID={path.name}\0".encode() + environment)
    return found


def number(name: str, environment: bytes) -> int | None:
    match = re.search(rf"(?:^|\0){name}=(\d+)\0".encode(), environment)
    return match and int(match[1])


def two_workers(mark: Path) -> list[int]:
    """Process ids of ranks 0 and 1, as soon as both run."""
    found: dict[int, int] = {}

    def complete() -> bool:
        ranks = ((number("RANK", environment), number("PID", environment)) for environment in marked(mark))
        found.update({rank: pid for rank, pid in ranks if rank is not None})
        return len(found) == 2

    until(complete, "two workers")
    return [found[0], found[1]]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def free(exp: Path) -> bool:
    """Whether nobody trains in a directory; the kernel takes a process's environment away before it ends its locks."""
    try:
        with locked(exp):
            return True
    except BlockingIOError:
        return False


def history(exp: Path) -> list[dict]:
    records = [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]
    return [{key: value for key, value in r.items() if key not in ("seconds", "frames_per_second")} for r in records]


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> Path:
    """The directory of a training by two processes that nothing happened to."""
    command = train("--num-procs", 2, "conf/some.yaml", "data", "exp/undisturbed")
    ended = subprocess.run(
        list(map(str, command)), cwd=place, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr and "ERROR" not in ended.stderr
    assert ended.stderr.count("epoch 7 of") == 1  # the second process says nothing
    return place / "exp/undisturbed"


def test_a_killed_worker_is_started_again_and_the_result_is_the_same(
    place: Path, undisturbed: Path, start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    # by run.sh, so that its option and the job wrapper of cmd.sh are seen to work too
    options = ["--data", place / "data", "--exp", tmp_path, "--conf", place / "conf", "--experiments", "some"]
    options += ["--stage", 3, "--stop-stage", 3, "--num-procs", 2]
    running = start([ROOT / "run.sh", "--recipe", ROOT / "egs/table", *options], tmp_path / "out")
    _, second = two_workers(tmp_path)
    until((tmp_path / "some/checkpoint.pt").exists, "a checkpoint")
    os.kill(second, signal.SIGKILL)
    assert running.wait(PATIENCE) == 0, (tmp_path / "out").read_text()

    log = (tmp_path / "some/log/train.log").read_text()
    assert re.search(r"WARNING .*a process was killed \(.*rank 1: SIGKILL\); starting all again, 1 of 3", log)
    assert re.search(rf"going on after epoch [1-9]\d* of {EPOCHS}, from", log)
    assert "Traceback" not in log
    assert history(tmp_path / "some") == history(undisturbed)
    ours, theirs = (load_model(exp / "final.pt").flow.state_dict() for exp in (tmp_path / "some", undisturbed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads((tmp_path / "some/train.json").read_text())["processes"] == 2
    assert not (tmp_path / "some/checkpoint.pt").exists()


def test_the_program_gives_what_one_process_gives(
    place: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert call("train", "conf/some.yaml", "data", "exp/alone").code == 0
    alone, ours = (json.loads((exp / "train.json").read_text()) for exp in (place / "exp/alone", undisturbed))
    for name in ("loglik_train", "loglik_eval"):
        assert ours[name] == pytest.approx(alone[name], rel=1e-3)
    assert {ours["frames"], alone["frames"]} == {640} and (ours["processes"], alone["processes"]) == (2, 1)
    for two, one in zip(history(undisturbed), history(place / "exp/alone"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["learning_rate"] == one["learning_rate"]


def test_a_hung_worker_fails_the_training_in_bounded_time(
    start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    exp = tmp_path / "exp"
    command = train("--num-procs", 2, "--hang-timeout", 5, "conf/endless.yaml", "data", exp)
    running = start(command, tmp_path / "log", patience=1)
    until((exp / "checkpoint.pt").exists, "a checkpoint")
    os.kill(two_workers(tmp_path)[1], signal.SIGSTOP)
    assert running.wait(PATIENCE) == 1
    log = (tmp_path / "log").read_text()
    assert re.search(r"ERROR .* no sign of life for 5 s: one of the 2 processes hangs .*goes on from its last", log)
    assert "with a longer --hang-timeout" in log and "rank 1: SIGKILL" in log
    assert "starting all again" not in log and "Traceback" not in log
    assert marked(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped process ends with its parent on Linux only")
def test_killing_the_launcher_leaves_no_process_and_no_lock(
    place: Path, start: Callable[..., subprocess.Popen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--num-procs", 2, "conf/endless.yaml", "data", tmp_path / "exp")
    running = start(train(*command), tmp_path / "log")
    until((tmp_path / "exp/checkpoint.pt").exists, "a checkpoint")
    assert len(marked(tmp_path)) == 3
    first, second = two_workers(tmp_path)
    monkeypatch.chdir(place)
    for others in (command, command[2:]):
        ended = call("train", *others)
        who = f"pid {first} on {socket.gethostname()}"
        assert ended.code == 1
        assert f"exp: another training is at work here ({who}); wait for it, or end it" in ended.log.splitlines()[-1]
    os.kill(second, signal.SIGSTOP)  # one of them cannot even look
    running.kill()
    running.wait()
    until(lambda: not marked(tmp_path), "the end of the workers")
    until(lambda: free(tmp_path / "exp"), "the end of the lock")


@pytest.mark.parametrize(
    ("num_procs", "number", "code"), [(1, signal.SIGINT, 130), (2, signal.SIGUSR1, 138), (2, signal.SIGTERM, 143)]
)
def test_a_training_that_is_told_to_end_says_how_far_it_got(
    num_procs: int, number: int, code: int, start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    command = train("--num-procs", num_procs, "conf/endless.yaml", "data", tmp_path / "exp")
    if number == signal.SIGTERM:  # as run.sh ends a stage
        command = [ROOT / "utils/run.py", tmp_path / "log", *command]
    running = start(command, tmp_path / ("job" if number == signal.SIGTERM else "log"))
    until((tmp_path / "exp/checkpoint.pt").exists, "a checkpoint")
    running.send_signal(number)
    assert running.wait(PATIENCE) == code
    until(lambda: not marked(tmp_path), "the end of the workers")
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if not line.startswith("#")]
    state = load_payload(tmp_path / "exp/checkpoint.pt", "training state")["trainer"]
    done = len(state["history"])
    if state["run"] is None:  # it was told between two epochs, perhaps before it noted that the first was saved
        saved = f"epoch ({done}|{done - 1}) of 1000000"
    else:
        saved = f"epoch {done} of 1000000 and {state['run']['done']} of 7 steps"
    assert re.search(r" WARNING .*\) interrupted after " + saved + "; the same command continues$", lines[-1])
    assert sum("interrupted" in line for line in lines) == 1 and "Traceback" not in "".join(lines)


def test_a_worker_that_comes_too_late_ends_too(start: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    program = (
        "import torch; from flowlid.training import launcher; from flowlid.training.processes import Processes\n"
        "with launcher.together(Processes(0, 2, 0), torch.device('cpu'), 1000): pass"
    )
    command = ["env", "FLOWLID_LAUNCHER=1", f"PYTHONPATH={ROOT}", sys.executable, "-c", program]
    assert start(command, tmp_path / "log").wait(PATIENCE) == 1
    assert (tmp_path / "log").read_text() == ""  # no error is the reason


def test_a_wrong_input_is_told_once_and_starts_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    (tmp_path / "data/train/utt2lang").write_text("".join(f"{utt} en\n" for utt in SPEAKERS))
    monkeypatch.setattr(launcher, "launch", lambda num_procs: pytest.fail("it was started"))
    ended = call("train", "--num-procs", 2, place / "conf/some.yaml", tmp_path / "data", tmp_path / "exp")
    assert ended.code == 1
    (told,) = [line for line in ended.log.splitlines() if not line.startswith("INFO")]
    assert told.startswith("ERROR") and "utt2lang: one language, en; a model that decides" in told


def test_an_error_of_a_worker_is_told_once_and_not_tried_again(
    start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    running = start(train("--num-procs", 2, "conf/unknown.yaml", "data", tmp_path / "exp"), tmp_path / "log")
    assert running.wait(PATIENCE) == 1
    told = [line for line in (tmp_path / "log").read_text().splitlines() if " ERROR " in line]
    assert len(told) == 2, told
    assert "training.select: dev_accuracy: the development set has no frame of a class" in told[0]
    assert re.search(r"2 processes ended \(.*rank 0: exit status 1.*\), for the reason above", told[1])
    assert "starting all again" not in (tmp_path / "log").read_text()


def test_torchrun_starts_the_same_program(
    place: Path, undisturbed: Path, start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    engine = [sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1]
    engine += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--local-addr", "localhost"]
    program = [ROOT / "steps/train.py", "--nodes", 2, "--num-procs", 1, "conf/some.yaml", "data", tmp_path / "exp"]
    machines = [start([*engine, *program], tmp_path / f"log.{number}") for number in (1, 2)]
    for number, machine in enumerate(machines, 1):
        assert machine.wait(PATIENCE) == 0, (tmp_path / f"log.{number}").read_text()
    assert history(tmp_path / "exp") == history(undisturbed)
    assert json.loads((tmp_path / "exp/train.json").read_text())["processes"] == 2


def test_all_machines_must_have_the_same_frames(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = Processes(1, 2)
    monkeypatch.setattr(second, "first_alone", nullcontext)
    monkeypatch.setattr(second, "on_rank0", lambda compute: "600 frames of 12 utterances, sha256 of others")
    with pytest.raises(ValueError, match=r"^640 frames.* here, others in the first process; give all machines the"):
        prepare(place / "conf/some.yaml", place / "data", tmp_path, False, False, second)


def outcome(monkeypatch: pytest.MonkeyPatch, *runs: dict[int, int]) -> int:
    """Exit status of a launch whose processes end like this, run by run; fails where it runs them more often."""
    left = list(runs)
    monkeypatch.setattr(launcher, "_run_workers", lambda num_procs: left.pop(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FLOWLID_LAUNCHER", "")
    try:
        launcher.launch(2)
    except SystemExit as ended:
        assert not left
        return ended.code
    assert not left
    return 0


KILLED = {0: 128 + signal.SIGTERM, 1: -signal.SIGKILL}


@pytest.mark.parametrize(
    ("runs", "code", "message"),
    [
        ([{}], 0, ""),
        ([KILLED, {0: 75, 1: -signal.SIGSEGV}, {}], 0, "(rank 0: exit status 75, rank 1: SIGSEGV); starting all again"),
        ([KILLED] * 4, 1, "2 processes ended (rank 0: exit status 143, rank 1: SIGKILL), and 3 restarts did not help"),
        ([{0: 1, 1: -signal.SIGTERM}], 1, "2 processes ended (rank 0: exit status 1, rank 1: SIGTERM), for the reason"),
        ([KILLED, {1: 1}], 1, "starting all again, 1 of 3"),
    ],
)
def test_what_is_tried_again(
    runs: list, code: int, message: str, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    assert outcome(monkeypatch, *runs) == code
    assert message in messages.text


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="no CUDA device on this machine")
def test_one_process_on_each_gpu(place: Path, start: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    gpus = torch.cuda.device_count()
    command = train("--device", "cuda", "--num-procs", gpus + 1, "conf/some.yaml", "data", tmp_path / "exp")
    assert start(command, tmp_path / "log").wait(PATIENCE) == 1
    assert f"use --num-procs {gpus}, or --device cpu" in (tmp_path / "log").read_text()
    program = train("--device", "cuda", "conf/some.yaml", "data", tmp_path / "exp")[1:]
    engine = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", gpus]
    assert start([*engine, *program], tmp_path / "log").wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    assert call("train", "--device", "cuda", place / "conf/some.yaml", place / "data", tmp_path / "alone").code == 0
    for two, one in zip(history(tmp_path / "exp"), history(tmp_path / "alone"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)


def test_the_benchmark_runs() -> None:
    sizes = ["--rounds", 1, "--epochs", 2, "--frames", 800, "--batch-size", 400, "--blocks", 1, "--hidden", 8]
    command = [sys.executable, ROOT / "tests/benchmarks/processes.py", *sizes]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    rows = [line.split("|")[1:-1] for line in ended.stdout.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0]) for row in rows] == [1, 2]
    assert float(rows[1][4]) == pytest.approx(float(rows[1][1]) / float(rows[0][1]), abs=0.01)
