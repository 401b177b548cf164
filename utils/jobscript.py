"""One piece of work on a cluster: the script that its nodes run, and the files by which they answer.

The files are in the folder q beside the folder of the log, as Kaldi has it:
    BASE.job               what was submitted last, for the next start
    BASE.lock              held by the program that submits and waits
    BASE.TOKEN.sh          the script
    BASE.TOKEN.out...      what the cluster itself has to say of a job
    BASE.TOKEN.NUMBER.tries  one byte for each start of a job, where the cluster does not count them
    BASE.TOKEN.NUMBER.rc   "code attempt host seconds": how a job ended, written by the job in one move
"""

import hashlib
import json
import os
import re
import secrets
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs import Call

SCRIPT = r"""#!/bin/bash
# Written by utils/@PROGRAM@. The argument is added to the number of the array's task.
__monitor=-m                            # the command is a process group of its own
__kill() { kill "$1" -- "-$__child"; }  # a signal to all of it
@PROLOGUE@
__number=$((__task + ${1:-0})) __newline=$'\n' __began=$SECONDS __child=
__log=@LOG@
__command=@COMMAND@
@NUMBERED@
__rc=@RC@.$__number.rc

__date() { LC_ALL=C date '+%a %b %e %H:%M:%S %Z %Y'; }

__end() { # CODE, and how the log calls it
  trap '' TERM USR1 USR2
  printf '# Accounting: time=%d threads=@THREADS@\n# Ended (%s) at %s, elapsed time %d seconds\n' \
    $((SECONDS - __began)) "$2" "$(__date)" $((SECONDS - __began)) >>"$__log" || set -- 1
  printf '%d %d %s %d\n' "$1" "$__attempt" "$__host" $((SECONDS - __began)) >"$__rc.tmp" &&
    sync -- "$__rc.tmp" && mv -f -- "$__rc.tmp" "$__rc"
  exit $(($1 != 0))
}

# Whether it is cancelled, preempted or out of time cannot be seen here: no exit code is written, the cluster knows.
__stop() { # SIGNAL
  local try
  trap '' TERM USR1 USR2
  if [ -n "$__child" ]; then
    __kill -TERM
    for ((try = 0; try < 450; try++)); do __kill -0 || break; sleep 0.2; done
  fi 2>/dev/null
  printf '# Interrupted (SIG%s), attempt %d\n' "$1" "$__attempt" >>"$__log"
  if [ "$1" != TERM ]; then __again "$1"; fi
  exit 1
}
for __signal in TERM USR1 USR2; do
  # shellcheck disable=SC2064  # now, not when the signal comes
  trap "__stop $__signal" "$__signal"
done

cd -- @CWD@ || exit 1
mkdir -p -- "$(dirname -- "$__log")"
printf '# %s\n# Started at %s\n# Host %s, %s, attempt %d\n#\n' "${__command//$__newline/$__newline# }" \
  "$(__date)" "$__host" "$__job" "$__attempt" >>"$__log" || __end 1 'code 1'
if [ "$__attempt" -gt $((@REQUEUE@ + 1)) ]; then __end 75 'code 75'; fi
export OMP_NUM_THREADS=@THREADS@ MKL_NUM_THREADS=@THREADS@
@GPU@
__launcher=@LAUNCHER@
set "$__monitor"
bash <<<"if [ -f path.sh ]; then . ./path.sh </dev/null || exit 1; fi
$__launcher$__command
) </dev/null" >>"$__log" 2>&1 &
__child=$!
set +m
wait "$__child"
__code=$?
# A signal to end the whole job may reach the command first: then the trap is run after this pause.
if [ "$__code" -ne 0 ]; then sleep 0.3; fi
if [ "$__code" -gt 128 ] && kill -l $((__code - 128)) >/dev/null 2>&1; then
  __end "$__code" "code 1; signal $((__code - 128))"
fi
__end "$__code" "code $__code"
"""


@dataclass
class Work:
    """What one call of slurm.py or gridengine.py has to get done.

    Args:
        call: the command line.
        values: the options that hold, those of the conf file's defaults too.
        program: "slurm.py".
    """

    call: Call
    values: dict[str, str]
    program: str
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    held: tuple[int, ...] = ()  # the open lock, which a command that submits must hold too, should this program die

    @property
    def threads(self) -> int:
        return int(self.values.get("num_threads", 1))

    @property
    def gpus(self) -> int:
        return int(self.values.get("gpu", 0))

    @property
    def nodes(self) -> int:
        return int(self.values.get("nodes", 1))

    @property
    def folder(self) -> Path:
        """q beside the log's folder, which may not be one of a single job."""
        parts = Path(self.call.log).parent.parts
        shared = next((n for n, part in enumerate(parts) if self.call.name and self.call.name in part), len(parts))
        folder = Path(*parts[:shared])
        return (folder.parent if folder.name == "log" else folder) / "q"

    @property
    def base(self) -> str:
        return Path(self.call.log).name.removesuffix(".log")

    @property
    def title(self) -> str:
        """What the cluster's own commands show the job as; no other job has this name."""
        name = self.call.texts.get("name") or f"{self.folder.absolute().parent.name}/{self.base}"
        return re.sub(r"[^\w.+/-]", "_", f"{name}.{self.token}")

    @property
    def digest(self) -> str:
        """Of what is run, without the resources that it asks for."""
        call = self.call
        text = "\0".join([os.getcwd(), call.log, call.command, str(call.name), str(call.first), str(call.last)])
        return hashlib.sha256(os.fsencode(text)).hexdigest()

    def file(self, end: str) -> Path:
        """A file of this submission: "sh", "out"."""
        return self.folder / f"{self.base}.{self.token}.{end}"

    def log(self, number: int) -> Path:
        return Path(self.call.numbered(self.call.log, number))

    def write_script(self, prologue: str, launcher: str) -> None:
        """Write the script.

        Args:
            prologue: lines of bash that set __task (from 1), __attempt (from 1), __host, and __job as the log names it,
                and define __again SIGNAL, which puts the running job back into the queue.
            launcher: lines of bash before the command, up to "( ".
        """
        name = self.call.name
        numbered = [f"{part}=${{{part}//{name}/$__number}}" for part in ("__log", "__command")] if name else []
        parts = {
            "PROGRAM": self.program,
            "PROLOGUE": prologue,
            "LOG": shlex.quote(self.call.log),
            "COMMAND": shlex.quote(self.call.command),
            "NUMBERED": "\n".join(numbered),
            "RC": shlex.quote(str(self.file("").absolute()).rstrip(".")),
            "CWD": shlex.quote(os.getcwd()),
            "THREADS": str(self.threads),
            "REQUEUE": str(self.call.counts.get("requeue", 10)),
            "GPU": "" if self.gpus else "export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-}",
            "LAUNCHER": shlex.quote(launcher),
        }
        text = re.sub("@([A-Z]+)@", lambda match: parts[match[1]], SCRIPT)
        self.file("sh").write_bytes(os.fsencode(text))

    def record(self) -> None:
        """Note what is about to be submitted, for the next start."""
        noted = {"token": self.token, "digest": self.digest, "title": self.title, "since": time.time()}
        path = self.folder / f"{self.base}.job"
        draft = path.with_name(f".{path.name}.tmp")
        with draft.open("w") as file:
            json.dump(noted, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def recorded(self) -> dict[str, str] | None:
        """What an earlier start submitted, unless it saw the end of it; ValueError as `noted`."""
        try:
            return noted(self.folder / f"{self.base}.job")
        except FileNotFoundError:
            return None

    def codes(self) -> dict[int, int]:
        """Exit codes of the jobs that have ended, by number.

        The folder is listed: a file that is asked for by name may seem to be missing for a long time over NFS.
        """
        pattern = re.compile(re.escape(f"{self.base}.{self.token}.") + r"(\d+)\.rc")
        found = {}
        for entry in os.scandir(self.folder):
            if match := pattern.fullmatch(entry.name):
                found[int(match[1])] = int(Path(entry.path).read_text().split()[0])
        return found

    def said(self) -> dict[str, str]:
        """What the cluster itself wrote into the output files of the jobs, by file name."""
        files = sorted(self.folder.glob(f"{self.base}.{self.token}.out*".replace("[", "[[]")))
        return {path.name: path.read_text(errors="replace") for path in files}

    def log_end(self, number: int) -> str:
        """The last lines of a log."""
        try:
            with self.log(number).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 4000))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def last_words(self) -> str:
        """The last line that any job's shell, or the cluster, wrote outside the logs."""
        lines = [line for text in self.said().values() for line in text.splitlines()]
        return lines[-1] if lines else ""

    def remove_files(self, of_all: bool = False) -> None:
        """Remove the files of this submission, or of all earlier ones, but not the lock."""
        token = "[0-9a-f]{8}" if of_all else self.token
        pattern = re.compile(re.escape(self.base) + rf"\.(job|{token}\.(sh|out.*|\d+\.tries|\d+\.rc(\.tmp)?))")
        for entry in os.scandir(self.folder):
            if pattern.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)


def noted(path: Path) -> dict[str, str]:
    """What a file BASE.job says of a submission.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, so that nobody knows whether jobs of it live.
    """
    try:
        found = json.loads(path.read_text())
        return {key: str(found[key]) for key in ("token", "digest", "title", "since")}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path}: damaged; see whether jobs of {path.stem} are still in the queue, cancel them, and remove the file"
        ) from None
