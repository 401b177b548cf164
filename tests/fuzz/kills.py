"""Kill whole runs at random moments, repeat them, and compare what they make with what a run without a kill makes.

Usage:   python3 -m tests.fuzz.kills [--count N] [--seed S] [--in-a-row N]
Example: python3 -m tests.fuzz.kills --count 100 --seed 1
Example: python3 -m tests.fuzz.kills --count 10 --in-a-row 5     (two runs, killed five times each: the quick way)

The run is egs/table's, all stages, on made-up speech of two languages. Each time it is killed (-9) at a moment drawn
uniformly over the time that a whole run takes: either its process group, as a scheduler does, which leaves jobs in
groups of their own to end by themselves; or all of its processes at once, as when a machine stops. Then the same
command runs again: it must end with 0, leave no lock, no process and no temporary file, and the same features, models,
scores and report. With --in-a-row a run is killed so often, each time in what the kills before left, before it may end.
"""

import argparse
import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import soundfile
import torch

from .kinds import tone

ROOT = Path(__file__).resolve().parent.parent.parent
EXPERIMENT = """\
data: {train: train, dev: dev, tests: [test], plots: []}
model: {type: dnf, blocks: 2, hidden: 8, layers: 1}
training: {epochs: 2, batch_size: 64, warmup_steps: 2}
"""
MARK = "FLOWLID_KILLS_RUN"  # in the environment of all processes of a run
SHARE = 2  # whole runs: the time that a run which is killed several times gets at most before the last kill
PATIENCE = 600  # seconds that a run may take
# Not compared: logs, locks, and what holds times of files or places. The names of packs follow the times of archives.
UNCOMPARED = re.compile(r"(.*/)?(log/[^.].*|\.run\.lock|\.train\.lock|\.lock|\.made|made_from\.json|(meta|done)\.json)")
MADE = ("data", "exp", "tmp")
TIMES = ("seconds", "frames_per_second", "provenance")
TIME_IN_TEXT = re.compile(rb"\d{4}-\d\d-\d\d[T ][\d:,.]+|\b\d+(\.\d+)? (s|seconds|min)\b|\d+ frames per second")


def make_corpus(place: Path) -> None:
    """A table of 14 utterances of 2 s, of two languages and eight speakers, and an experiment."""
    rows = ["utt_id path speaker language set".split()]
    (place / "conf").mkdir(parents=True)
    (place / "conf/tiny.yaml").write_text(EXPERIMENT)
    for language in ("aa", "bb"):
        for speaker, part in enumerate(("train", "train", "dev", "test")):
            for index in range(1 if part == "dev" else 2):
                name = f"{language}{speaker}"
                path, seed = place / f"{name}-{index}.wav", 40 * (language == "bb") + 4 * speaker + index
                soundfile.write(path, tone(2.0, seed), 8000, subtype="PCM_16")
                rows.append([f"{name}-{index}", path.name, name, language, part])
    (place / "my.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))


class Run:
    """A run of all stages in `place`, in a session of its own; what it says goes to the file `said`."""

    def __init__(self, place: Path) -> None:
        self.said = place / "said"
        self.mark = f"{MARK}={os.getpid()}-{time.monotonic_ns()}"
        options = ["--table", "my.tsv", "--experiments", "tiny", "--conf", place / "conf", "--data", place / "data"]
        options += ["--exp", place / "exp", "--nj", "1", "--tsne-frames", "20", "--device", "cpu"]
        (place / "tmp").mkdir(exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(place / "tmp")}
        environment[MARK] = self.mark.partition("=")[2]
        with open(self.said, "wb") as file:
            self.process = subprocess.Popen(
                [ROOT / "egs/table/run.sh", *options], cwd=place, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Its exit status; None if it has not ended by then."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def members(self) -> list[int]:
        """Ids of its processes that live, in whatever group and session."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if self.mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
        return found

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_all(self) -> None:
        """Kill every process of it, also those that are started meanwhile."""
        self.kill_group()
        while members := self.members():
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)

    def stage(self) -> str:
        """Where it is: the stage after the last one that it told to be done."""
        done = re.findall(r"^stage (\d)  (\w+)", self.said.read_text(errors="replace"), re.MULTILINE)
        return f"after stage {' '.join(done[-1])}" if done else "before stage 0 was done"


def digests(place: Path) -> dict[str, str]:
    """What a run made or left: each file of it, with a digest of what does not change from run to run."""
    found = {}
    for top in MADE:
        for path in sorted((place / top).rglob("*")):
            name = re.sub(r"packed/[0-9a-f]{12}", "packed/_", str(path.relative_to(place)))
            if path.is_file() and not UNCOMPARED.fullmatch(name):
                found[name] = hashlib.sha256(lasting(path)).hexdigest()[:16]
    return found


def lasting(path: Path) -> bytes:
    """The content of a file without times and provenance."""
    data = path.read_bytes()
    if path.suffix == ".pt":
        state = torch.load(io.BytesIO(data), weights_only=True)
        tensors = {name: (tuple(value.shape), bytes_of(value)) for name, value in state["state"].items()}
        return repr((state["config"], state["classes"], tensors)).encode()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".json":
        return json.dumps(without_times(json.loads(data))).encode()
    if path.suffix == ".jsonl":
        return json.dumps([without_times(json.loads(line)) for line in data.splitlines()]).encode()
    if path.suffix in (".md", ".html", ".yaml"):
        return TIME_IN_TEXT.sub(b"TIME", data)
    return data


def bytes_of(value: torch.Tensor) -> bytes:
    """Those of its elements, of any type: numpy has no bfloat16."""
    return value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def lock_is_held(path: Path) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass
class Kill:
    """A kill: when, how and where it hit, and what was wrong after the repeat."""

    moment: float
    how: str
    stage: str
    problems: list[str]

    def __str__(self) -> str:
        return f"{self.moment:6.2f} s  {self.how:5}  {self.stage:30}  {'; '.join(self.problems) or 'same'}"


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} was left behind" for name in found.keys() - wanted.keys()]
    return sorted(
        problems + [f"{name} differs" for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
    )


def remove(place: Path) -> None:
    for name in MADE:
        shutil.rmtree(place / name, ignore_errors=True)


def repeat(killed: Run, place: Path, wanted: dict[str, str]) -> list[str]:
    """Run again what was killed; what is then not as it should be."""
    again = Run(place)
    code = again.wait()
    if code != 0:
        problems = [f"the repeat ended with {code}: {again.said.read_text(errors='replace')[-400:]!r}"]
    else:
        problems = differences(wanted, digests(place))
        problems += [f"{path} is locked" for path in sorted(place.rglob(".*lock")) if lock_is_held(path)]
    left = [*killed.members(), *again.members()]
    killed.kill_all()
    again.kill_all()
    return problems + ([f"processes {left} are left"] if left else [])


def kills(count: int, seed: int, place: Path, in_a_row: int = 1) -> Iterator[Kill]:
    """Kill runs in `place`, an empty directory, `count` times in all, and each `in_a_row` times before it is repeated.

    What is wrong after the repeat is told with the last of these kills.

    Raises:
        RuntimeError: the run without a kill fails.
    """
    make_corpus(place)
    began = time.monotonic()
    whole = Run(place)
    if whole.wait() != 0:
        whole.kill_all()
        raise RuntimeError(f"the run without a kill: {whole.said.read_text(errors='replace')}")
    seconds, wanted = time.monotonic() - began, digests(place)
    print(f"seed {seed}: a whole run takes {seconds:.1f} s, and makes {len(wanted)} files", flush=True)
    random, killed = Random(seed), 0
    while count:
        if killed == 0:
            remove(place)
        moment, how, began = (
            random.uniform(0, min(1, SHARE / in_a_row) * seconds),
            random.choice(("group", "all")),
            time.monotonic(),
        )
        run = Run(place)
        if run.wait(moment) is not None:  # the machine is less busy now, or little was left
            seconds, killed = min(seconds, time.monotonic() - began) if killed == 0 else seconds, 0
            continue
        (run.kill_group if how == "group" else run.kill_all)()
        count, killed = count - 1, killed + 1
        last = killed == in_a_row or count == 0
        yield Kill(moment, how, run.stage(), repeat(run, place, wanted) if last else [])
        killed = 0 if last else killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10, help="kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-a-row", type=int, default=1, help="kills of a run before it may end")
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="flowlid-kills-") as place:
        for number, kill in enumerate(kills(args.count, args.seed, Path(place) / "run", args.in_a_row), 1):
            print(f"{number:4}  {kill}", flush=True)
            failed += bool(kill.problems)
    print(f"seed {args.seed}: {args.count} kills, {failed} with another result")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
