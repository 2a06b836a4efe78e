"""The workflow on a real Slurm: two nodes on this machine, one run on one of them and one across both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from tiny_project import Project, copy_of_sources

CONF = Path("/etc/slurm/slurm.conf")  # the job step plugin takes no other place
MARK = "# the cluster of Octathlon's tests\n"
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
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
MinJobAge=300
MpiDefault=none
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=8000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
)
OVERLAY = """\
benchmarks: [resnet]
runs: 1
systems:
  local: null
  one: {cores_per_node: 1, memory_mb: 2500}
  two: {nodes: 2, cores_per_node: 1, memory_mb: 2500, launcher: srun}
"""


@pytest.fixture
def cluster(tmp_path):
    """Two nodes that are idle; stopped at the end."""
    munge = Path("/run/munge")
    munge.mkdir(exist_ok=True)
    shutil.chown(munge, "munge")
    for name in ("state", "n1", "n2"):
        (tmp_path / name).mkdir()
    CONF.write_text(SLURM_CONF.format(folder=tmp_path))
    try:
        subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
        for command in (["slurmctld"], ["slurmd", "-N", "n1"], ["slurmd", "-N", "n2"]):
            subprocess.run(command, check=True)
        # srun waits until both nodes have reported
        subprocess.run(["srun", "--nodes=2", "--ntasks=2", "true"], check=True, timeout=60)
        yield
    finally:
        CONF.unlink()
        for pid in [*tmp_path.glob("*.pid"), *munge.glob("*.pid")]:
            subprocess.run(["kill", pid.read_text().strip()], check=False)


def on_slurm(project: Project, *targets: str) -> subprocess.Popen[str]:
    """Snakemake with the profile for Slurm; what it prints is in slurm.out."""
    command = [
        *(str(Path(sys.executable).with_name("snakemake")), "--workflow-profile", "profiles/slurm"),
        *("--configfile", "tiny.yaml", "slurm.yaml", "--slurm-status-command", "squeue"),
        *("--slurm-init-seconds-before-status-checks", "6", "--seconds-between-status-checks", "6"),
        *("--default-resources", "slurm_account=lab", "mem_mb=1000", "runtime=10", "--", *targets),
    ]
    with (project.folder / "slurm.out").open("w") as output:
        return subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment | {"MASTER_ADDR": "127.0.0.1"},  # the names n1 and n2 resolve nowhere
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def succeeded(snakemake: subprocess.Popen[str], project: Project) -> bool:
    """When it has ended."""
    if code := snakemake.wait(timeout=600):
        print((project.folder / "slurm.out").read_text()[-5000:])
    return code == 0


def test_jobs_run_on_one_node_and_across_two(cluster, tmp_path):
    (tmp_path / "project").mkdir()
    project = copy_of_sources(tmp_path / "project")
    (project.folder / "slurm.yaml").write_text(OVERLAY)
    assert succeeded(on_slurm(project, "results/mini/scores.json"), project)
    results = project.folder / "results/mini/octathlon/results"
    spans = {system: (results / system / "resnet/result_0.txt").read_text() for system in ("one", "two")}
    assert '"key": "model_bn_span", "value": 32' in spans["one"]
    assert '"key": "model_bn_span", "value": 16' in spans["two"]  # two ranks shared the batch
    assert all(text.count('"run_stop"') == 1 for text in spans.values())


LONG = """\
benchmarks: [dlrm]
runs: 1
systems:
  local: null
  two: {nodes: 2, cores_per_node: 1, memory_mb: 2500, launcher: srun}
overrides:
  dlrm:
    cadence: {first: 200, every: 200, limit: 400}
    target: {AUC: 2}
    checkpoint_minutes: 0.0001
"""


def test_a_run_goes_on_after_it_was_preempted_and_after_its_time_was_up(cluster, tmp_path):
    (tmp_path / "project").mkdir()
    project = copy_of_sources(tmp_path / "project")
    (project.folder / "slurm.yaml").write_text(LONG)
    project.run("data/mini/click_logs/prepared/manifest.json", overlays=("tiny.yaml", "slurm.yaml"))
    log = project.folder / "results/mini/octathlon/results/two/dlrm/result_0.txt"
    told = project.folder / "logs/train/two/dlrm/0.log"
    snakemake = on_slurm(project, str(log.relative_to(project.folder)))

    def training() -> bool:
        """Waits until the job trains, and until the output of the time before is gone."""
        while snakemake.poll() is None:
            if told.exists() and "block_start" in told.read_text():
                return True
            release()
            with suppress(subprocess.TimeoutExpired):
                snakemake.wait(0.5)
        return False

    def release() -> None:
        """Slurm lets a job that was requeued wait for minutes."""
        subprocess.run(
            ["scontrol", "update", f"JobId={job()}", "StartTime=now"], check=False, stderr=subprocess.DEVNULL
        )

    def job() -> str:
        return subprocess.run(
            ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True
        ).stdout.strip()

    assert training()
    told.unlink()
    subprocess.run(["scontrol", "requeue", job()], check=True)  # what preemption does
    assert training(), (project.folder / "slurm.out").read_text()[-5000:]
    subprocess.run(["scancel", "--signal=TERM", job()], check=True)  # what --signal does
    assert not succeeded(snakemake, project) and not log.exists()
    assert "a checkpoint was written" in told.read_text()
    assert succeeded(on_slurm(project, str(log.relative_to(project.folder))), project)
    assert log.read_text().count('"key": "resumed"') == 2
