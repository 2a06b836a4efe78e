# The timed runs. A run has its system to itself: the system's cores and accelerators are the job's. A scheduler whose
# time limit is near signals the shell, too, which must outlive the run's last checkpoint: hence the trap.
# Runs of a benchmark with kernels come last: by then these are compiled.
rule train:
    input:
        manifest,
    output:
        of_organisation("results", "{system}", "{benchmark}", "result_{n}.txt"),
    log:
        "logs/train/{system}/{benchmark}/{n}.log",
    priority: lambda wildcards: -(wildcards.benchmark in registry.with_kernels())
    threads: of_system("threads")
    resources:
        mem_mb=of_system("mem_mb"),
        runtime=of_system("runtime"),
        nodes=of_system("nodes"),
        gpu=of_system("gpu"),
        mpi=of_system("mpi"),
        tasks_per_node=of_system("tasks_per_node"),
        tasks=of_system("tasks"),
        tasks_per_gpu=of_system("tasks_per_gpu"),
        slurm_partition=placement("slurm_partition"),
        slurm_account=placement("slurm_account"),
        constraint=placement("constraint"),
        qos=placement("qos"),
        slurm_extra=placement("slurm_extra", before="--signal=TERM@300"),
    params:
        code=train_code,
        launch=launch,
        options=train_options,
    shell:
        "trap : TERM USR1; {params.launch:q} octathlon train {wildcards.benchmark} --output {output:q} {params.options:q} &> {log:q}"


# Kernels take a minute to compile, once for all runs: so before any other job. No run names them as its input, as none
# is old for their sake: a run that does not find them compiles them itself, off the clock.
rule kernels:
    output:
        touch(kernels("{benchmark}")),
    log:
        "logs/kernels/{benchmark}.log",
    wildcard_constraints:
        benchmark="|".join(registry.with_kernels()),
    priority: 1
    threads: 1
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        code=lambda wildcards: code(
            f"octathlon.benchmarks.{wildcards.benchmark}.kernels"
        ),
    shell:
        "octathlon compile {wildcards.benchmark} &> {log:q}"


# On a node like the runs': what the configuration leaves open is what is seen there.
rule system:
    output:
        of_organisation("systems", "{system}.json"),
    log:
        "logs/system/{system}.log",
    threads: of_node("threads")
    resources:
        mem_mb=of_node("mem_mb"),
        runtime=5,
        nodes=of_node("nodes"),
        gpu=of_node("gpu"),
        slurm_partition=placement("slurm_partition"),
        slurm_account=placement("slurm_account"),
        constraint=placement("constraint"),
        qos=placement("qos"),
        slurm_extra=placement("slurm_extra"),
    params:
        code=code("octathlon.scoring.describe"),
        launch=launch_alone,
        options=system_options,
    shell:
        "{params.launch:q} octathlon system {wildcards.system:q} --output {output:q} {params.options:q} &> {log:q}"
