#!/usr/bin/env python3
"""Run a command inside a Grid Engine of its own: one host, one queue, nothing outside a temporary directory.

Usage: tests/cluster/grid_cell.py <command> [arguments...]
e.g.:  tests/cluster/grid_cell.py bash -c 'qsub -b y -cwd hostname; sleep 2; qstat -f'

The daemons of Debian's gridengine-master and gridengine-exec run in namespaces of their own (network, mounts, host
name, processes) beside the command. When the command ends, or this program dies in whatever way, nothing of them is
left. A master that was told to end is started again, once there is no file `down` in $FLOWLID_GRIDENGINE.
Exit status: the command's; 77 where the cell cannot start here, with the reason.
Seen with Son of Grid Engine 8.1.9 of Debian 12: ready in 1.3 to 2 seconds.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HOST = "gridhost"
SLOTS = 40  # more than the processors of a small machine
LIBRARY = Path("/usr/lib/gridengine")  # the programs themselves; those in /usr/bin are shell scripts around them
SHARE = Path("/usr/share/gridengine")
CANNOT = 77  # what automake calls a skipped test
PATIENCE = 60.0
UNSHARE = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]

BOOTSTRAP = """\
admin_user none
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {common};{root}/qmaster
binary_path /usr/sbin
qmaster_spool_dir {root}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
# What differs from the package's own configuration, by qconf's names.
CLUSTER = {"min_uid": "0", "min_gid": "0", "load_report_time": "00:00:01", "mailer": "/bin/true"}
CLUSTER |= {"max_aj_tasks": "20", "finished_jobs": "0", "login_shells": "none"}
CLUSTER |= {"reporting_params": "accounting=true reporting=false flush_time=00:00:00 joblog=false sharelog=00:00:00"}
SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
SCHEDULER |= {"job_load_adjustments": "NONE", "load_adjustment_decay_time": "0:0:0"}
QUEUE = {"qname": "all.q", "hostlist": HOST, "load_thresholds": "NONE", "slots": str(SLOTS), "pe_list": "smp"}
QUEUE |= {"notify": "00:00:05", "rerun": "TRUE", "min_cpu_interval": "00:00:01"}


def why_not() -> str | None:
    """Why no cell can start here, or None."""
    if missing := [name for name in ("sge_qmaster", "sge_execd") if not (LIBRARY / name).exists()]:
        packages = "gridengine-master gridengine-exec gridengine-client"
        return f"{LIBRARY / missing[0]} is missing: apt-get install -y --no-install-recommends {packages}"
    if os.geteuid() != 0:
        return "only root can make the namespaces"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"namespaces are not allowed: {tried.stderr.strip()}"


def with_values(text: str, values: dict[str, str]) -> str:
    """A configuration of qconf with some values replaced."""
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key}\s.*$", f"{key} {value}", text)
        assert count == 1, f"{key} is not in the configuration"
    return text


def call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def prepare(root: Path) -> None:
    """Host name, loopback, and the files that the master needs to start."""
    socket.sethostname(HOST)
    with socket.socket() as one:  # the loopback of a new network namespace is down; 0x8914 is SIOCSIFFLAGS
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
    (root / "hosts").write_text(f"127.0.0.1 {HOST} localhost\n")
    call("mount", "--bind", root / "hosts", "/etc/hosts")
    common = root / "default" / "common"
    for folder in (common, root / "qmaster", root / "execd"):
        folder.mkdir(parents=True)
    for name in ("bin", "lib", "utilbin", "util"):
        (root / name).symlink_to(Path("/var/lib/gridengine") / name)
    (common / "bootstrap").write_text(BOOTSTRAP.format(root=root, common=common))
    (common / "act_qmaster").write_text(f"{HOST}\n")
    os.environ |= {"SGE_ROOT": str(root), "SGE_CELL": "default", "SGE_QMASTER_PORT": "6444", "SGE_EXECD_PORT": "6445"}
    configuration = (SHARE / "default-configuration").read_text()
    (root / "cluster").write_text(with_values(configuration, CLUSTER | {"execd_spool_dir": str(root / "execd")}))
    call(LIBRARY / "spoolinit", "classic", "libspoolc", f"{common};{root}/qmaster", "init")
    for kind, what in (("configuration", root / "cluster"), ("managers", "root")):
        call(LIBRARY / "spooldefaults", kind, what)
    for kind, folder in (("complexes", "centry"), ("usersets", "usersets")):
        call(LIBRARY / "spooldefaults", kind, SHARE / "util" / "resources" / folder)


def daemon(root: Path, name: str) -> int:
    with (root / f"{name}.out").open("w") as out:
        # SGE_ND: do not go into the background
        return subprocess.Popen(
            [LIBRARY / name], env=os.environ | {"SGE_ND": "1"}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ).pid


def until(root: Path, said: str, *command: str | Path) -> str:
    """The first output of a command that succeeds and says this."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode == 0 and said in done.stdout:
            return done.stdout
        if time.monotonic() > deadline:
            logs = "".join(path.read_text() for path in root.glob("*.out"))
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}{logs}")
        time.sleep(0.05)


def start(root: Path) -> int:
    """Start master and execution daemon, and configure what jobs can ask for; the master's process."""
    qconf = LIBRARY / "qconf"

    def change(option: str, name: str, text: str) -> None:
        (root / name).write_text(text)
        call(qconf, option, root / name)

    master = daemon(root, "sge_qmaster")
    until(root, HOST, qconf, "-sh")
    call(qconf, "-as", HOST)
    daemon(root, "sge_execd")
    change("-Msconf", "scheduler", with_values(call(qconf, "-ssconf"), SCHEDULER))
    # As on most sites, memory is counted: each slot has 512M unless it asks, and a host has no more than it has.
    memory = "h_vmem h_vmem MEMORY <= YES YES 512M 0"
    centries, count = re.subn(r"(?m)^h_vmem\s.*$", memory, call(qconf, "-sc"))
    assert count == 1, centries
    change("-Mc", "complexes", centries + "gpu gpu INT <= YES JOB 0 0\n")
    change("-Ap", "smp", (SHARE / "util/resources/pe/smp").read_text())
    until(root, "mem_free=", qconf, "-se", HOST)  # of its first report
    change(
        "-Me",
        "host",
        f"hostname {HOST}\nload_scaling NONE\ncomplex_values slots={SLOTS},h_vmem=32G,gpu=2\n"
        "user_lists NONE\nxuser_lists NONE\nprojects NONE\nxprojects NONE\nusage_scaling NONE\nreport_variables NONE\n",
    )
    change("-Aq", "queue", with_values(call(qconf, "-sq"), QUEUE))
    until(root, "lx-", LIBRARY / "qstat", "-f")
    return master


def inside(root: Path, command: list[str]) -> int:
    """As the first process of the namespaces: start the cell, run the command, and reap what is orphaned."""

    def die_with_the_outer_process() -> None:
        os.read(0, 1)
        os._exit(1)  # the kernel then kills all processes of the namespace

    threading.Thread(target=die_with_the_outer_process, daemon=True).start()
    prepare(root)
    master = start(root)
    environment = os.environ | {"FLOWLID_GRIDENGINE": str(root), "PATH": f"{LIBRARY}:{os.environ['PATH']}"}
    wanted = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL).pid
    while True:
        pid, status = os.wait()
        if pid == master:
            while (root / "down").exists():
                time.sleep(0.1)
            master = daemon(root, "sge_qmaster")
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        return inside(Path(sys.argv[2]), sys.argv[3:])
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    if reason := why_not():
        print(f"grid_cell.py: no Grid Engine here: {reason}", file=sys.stderr)
        return CANNOT
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    root = tempfile.mkdtemp(prefix="grid_cell.")
    os.chmod(root, 0o755)
    command = [*UNSHARE, sys.executable, __file__, "--inside", root, *sys.argv[1:]]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as cell:
            try:
                return cell.wait()
            finally:
                cell.kill()
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
