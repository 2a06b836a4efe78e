"""The workflow on a real Slurm: two nodes on this machine, one run on one of them and one across both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from tiny_project import copy_of_sources

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


def test_jobs_run_on_one_node_and_across_two(cluster, tmp_path):
    (tmp_path / "project").mkdir()
    project = copy_of_sources(tmp_path / "project")
    (project.folder / "slurm.yaml").write_text(OVERLAY)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("snakemake")), "--workflow-profile", "profiles/slurm"),
            *("--configfile", "tiny.yaml", "slurm.yaml", "--slurm-status-command", "squeue"),
            *("--slurm-init-seconds-before-status-checks", "6", "--seconds-between-status-checks", "6"),
            *("--default-resources", "slurm_account=lab", "mem_mb=1000", "runtime=10"),
            *("--", "results/mini/scores.json"),
        ],
        cwd=project.folder,
        env=project.environment | {"MASTER_ADDR": "127.0.0.1"},  # the names n1 and n2 resolve nowhere
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    results = project.folder / "results/mini/octathlon/results"
    spans = {system: (results / system / "resnet/result_0.txt").read_text() for system in ("one", "two")}
    assert '"key": "model_bn_span", "value": 32' in spans["one"]
    assert '"key": "model_bn_span", "value": 16' in spans["two"]  # two ranks shared the batch
    assert all(text.count('"run_stop"') == 1 for text in spans.values())
