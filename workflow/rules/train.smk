# The timed runs. A run has its system to itself: the system's cores and accelerators are the job's.
rule train:
    input:
        manifest,
    output:
        results(KEYS.submitter, "results", "{system}", "{benchmark}", "result_{n}.txt"),
    log:
        "logs/train/{system}/{benchmark}/{n}.log",
    conda:
        "../../envs/octathlon.yaml"
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
    params:
        code=train_code,
        launch=launch,
        options=train_options,
    shell:
        "{params.launch}octathlon train {wildcards.benchmark} --output {output:q} {params.options:q} &> {log:q}"


rule system:
    output:
        results(KEYS.submitter, "systems", "{system}.json"),
    log:
        "logs/system/{system}.log",
    conda:
        "../../envs/octathlon.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("octathlon.scoring.describe"),
        options=system_options,
    shell:
        "octathlon system {wildcards.system:q} --output {output:q} {params.options:q} &> {log:q}"
