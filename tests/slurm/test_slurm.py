"""The workflow on a real Slurm, of two nodes on this machine: runs on one of them, runs across both, runs that it ends.

With OCTATHLON_SLURM=all, and so by `make slurm`, all benchmarks run; else two of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from octathlon import registry
from octathlon.nn.processes import end_with_parent

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from tiny_project import Project, copy_of_sources

CONF = Path("/etc/slurm/slurm.conf")  # the job step plugin takes no other place
MARK = "# the cluster of Octathlon's tests\n"
MUNGE = Path("/run/munge")
DAEMONS = ("slurmctld", "slurmd", "munged")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(shutil.which(name) for name in DAEMONS), reason="needs Debian's slurm-wlm and munge"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start the daemons"),
    pytest.mark.skipif(
        CONF.exists() and not CONF.read_text().startswith(MARK),
        reason="this machine belongs to a real cluster",
    ),
]

SLURM_CONF = (
    MARK
    + """\
ClusterName=mini
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=5
OverTimeLimit=0
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
MinJobAge=300
MpiDefault=none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17001 CPUs=3 RealMemory=9000 Feature=slim
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17002 CPUs=3 RealMemory=9000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=pair Nodes=n1,n2 MaxTime=INFINITE State=UP
"""
)
BENCHMARKS = registry.benchmarks() if os.environ.get("OCTATHLON_SLURM") == "all" else ["dlrm", "resnet"]
SYSTEMS = f"""\
benchmarks: {BENCHMARKS}
systems:
  local: null
  one: {{memory_mb: 2500, runtime_min: 20, constraint: slim, slurm_extra: --nice=5}}
  two:
    nodes: 2
    processes_per_node: 2
    cores_per_node: 2
    memory_mb: 5000
    launcher: srun
    slurm_partition: pair
    slurm_account: owners
    environment: {{MASTER_ADDR: 127.0.0.1}}  # the names n1 and n2 resolve nowhere
overrides:
  unet3d: {{global_batch_size: 4}}
  rnnt: {{global_batch_size: 4}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes that are idle; stopped at the end."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "n1", "n2"):
        (folder / name).mkdir()
    CONF.write_text(SLURM_CONF.format(folder=folder))
    started = start_munge()
    try:
        for command in (["slurmctld"], ["slurmd", "-N", "n1"], ["slurmd", "-N", "n2"]):
            subprocess.run(command, check=True)
        # srun waits until both nodes have reported
        subprocess.run(["srun", "--nodes=2", "--ntasks=2", "true"], check=True, timeout=60)
        yield
    finally:
        CONF.unlink()
        for pid in [*folder.glob("*.pid"), *(MUNGE.glob("*.pid") if started else ())]:
            subprocess.run(["kill", pid.read_text().strip()], check=False)


def start_munge() -> bool:
    """Whether that was needed: where a package was installed it may run already."""
    if subprocess.run(["munge", "--no-input"], capture_output=True, check=False).returncode == 0:
        return False
    MUNGE.mkdir(exist_ok=True)
    shutil.chown(MUNGE, "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
    return True


@pytest.fixture(scope="module")
def project(cluster, tmp_path_factory) -> Project:
    """A project whose data are prepared, without Slurm: jobs on it start two more Snakemakes each."""
    project = copy_of_sources(tmp_path_factory.mktemp("project"))
    (project.folder / "slurm.yaml").write_text(SYSTEMS)
    project.run("data", overlays=("tiny.yaml", "slurm.yaml"))
    return project


def on_slurm(project: Project, *targets: str, overlay: str = "slurm.yaml") -> subprocess.Popen[str]:
    """Snakemake with the profile for Slurm; what it prints is in slurm.out."""
    command = [
        *(str(Path(sys.executable).with_name("snakemake")), "--workflow-profile", "profiles/slurm"),
        *("--configfile", "tiny.yaml", overlay, "--slurm-status-command", "squeue"),
        *("--slurm-init-seconds-before-status-checks", "6", "--seconds-between-status-checks", "6"),
        *("--default-resources", "slurm_account=lab", "mem_mb=1000", "runtime=10", "--", *targets),
    ]
    with (project.folder / "slurm.out").open("w") as output:
        return subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,  # without Slurm it would wait for ever
        )


def succeeded(snakemake: subprocess.Popen[str], project: Project) -> bool:
    """When it has ended."""
    if code := snakemake.wait(timeout=900):
        print((project.folder / "slurm.out").read_text()[-20000:])
    return code == 0


def queue(columns: str) -> list[str]:
    """Columns of all jobs, those that ended included, by the letters that squeue knows them by."""
    command = ["squeue", "--states=all", "--noheader", f"--format={columns}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_runs_on_one_node_and_by_four_ranks_on_two(project):
    assert succeeded(on_slurm(project, "results/mini/scores.json"), project)
    results = project.folder / "results/mini/octathlon/results"
    logs = {
        (system, benchmark): (results / system / benchmark / "result_0.txt").read_text()
        for system in ("one", "two")
        for benchmark in BENCHMARKS
    }
    assert {log.count('"run_stop"') for log in logs.values()} == {1}
    assert '"key": "model_bn_span", "value": 32' in logs["one", "resnet"]
    assert '"key": "model_bn_span", "value": 8' in logs["two", "resnet"]  # four ranks shared the batch
    places = {"one": "all|slim|lab|5", "two": "pair|(null)|owners|0"}  # partition, feature, account, nice
    placed = dict(line.split("|", 1) for line in queue("%k|%P|%f|%a|%y"))
    for system, place in places.items():
        jobs = [f"system_wildcards_{system}", *(f"train_wildcards_{system}_{name}_0" for name in BENCHMARKS)]
        assert {placed[f"rule_{job}"] for job in jobs} == {place}


HELD = """\
results: held
benchmarks: [dlrm]
systems:
  local: null
  single: {memory_mb: 2500, constraint: slim}
  poor: {memory_mb: 100}
  pair: {nodes: 2, memory_mb: 2500, launcher: srun, environment: {MASTER_ADDR: 127.0.0.1}}
overrides:
  dlrm:
    cadence: {first: 200, every: 200, limit: 1000000}  # no machine is so fast that a run ends by itself
    target: {AUC: 2}
    checkpoint_minutes: 0.0001
"""
"""Systems of their own, as jobs and their logs are named by them."""
REASONS = {
    "single/0": "it was told to end, for its time limit was near",
    "single/1": "it was cancelled",
    "poor/0": "it took more memory than it had asked for",
    "pair/0": "it was told to end",
}
GOES_ON = '"key": "resumed"'


def log_of(run: str) -> str:
    system, number = run.split("/")
    return f"held/mini/octathlon/results/{system}/dlrm/result_{number}.txt"


def job_of(run: str) -> str:
    """The newest job of a run."""
    system, number = run.split("/")
    jobs = (line.split("|") for line in queue("%i|%k"))
    return max((job for job, name in jobs if name == f"rule_train_wildcards_{system}_dlrm_{number}"), key=int)


def scontrol(*arguments: str) -> int:
    return subprocess.run(
        ["scontrol", "update", *arguments], check=False, stderr=subprocess.DEVNULL
    ).returncode


def test_runs_that_slurm_ends_leave_no_log_are_named_with_the_reason_and_go_on(project):
    folder = project.folder
    (folder / "held.yaml").write_text(HELD)
    snakemake = on_slurm(project, *map(log_of, REASONS), overlay="held.yaml")

    def told(run: str) -> Path:
        system, number = run.split("/")
        return folder / f"logs/train/{system}/dlrm/{number}.log"

    def trains(run: str, *, put_back: bool = False) -> bool:
        """Waits until a run trains. One that was put back Slurm would let wait for minutes."""
        while snakemake.poll() is None:
            if told(run).exists() and any(sign in told(run).read_text() for sign in ("block_start", GOES_ON)):
                return True
            if put_back:
                scontrol(f"JobId={job_of(run)}", "StartTime=now")
            with suppress(subprocess.TimeoutExpired):
                snakemake.wait(0.5)
        return False

    assert trains("single/0") and scontrol(f"JobId={job_of('single/0')}", "TimeLimit=5") == 0
    assert trains("single/1")
    subprocess.run(["scancel", job_of("single/1")], check=True)
    assert trains("pair/0")
    told("pair/0").unlink()
    requeue = ["scontrol", "requeue", job_of("pair/0")]
    subprocess.run(requeue, check=True)  # as after preemption or a node's failure
    assert trains("pair/0", put_back=True) and GOES_ON in told("pair/0").read_text()
    subprocess.run(["scancel", "--signal=TERM", job_of("pair/0")], check=True)  # what --signal does

    assert not succeeded(snakemake, project)
    end = (folder / "slurm.out").read_text().partition("failed (4):")[2]
    for run, reason in REASONS.items():
        assert not (folder / log_of(run)).exists()
        assert f"train {log_of(run)}: {reason}" in end

    with_checkpoints = ("single/0", "single/1", "pair/0")
    for run in with_checkpoints:
        told(run).unlink()
    snakemake = on_slurm(project, *map(log_of, with_checkpoints), overlay="held.yaml")
    for run in with_checkpoints:
        assert trains(run) and GOES_ON in told(run).read_text()
        subprocess.run(["scancel", job_of(run)], check=True)
    assert not succeeded(snakemake, project)
