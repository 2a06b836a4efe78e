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
    threads: lambda wildcards: system_of(wildcards).cores_per_node
    resources:
        mem_mb=lambda wildcards: system_of(wildcards).memory_mb,
        runtime=lambda wildcards: system_of(wildcards).runtime_min,
        nodes=lambda wildcards: system_of(wildcards).nodes,
        gpu=lambda wildcards: system_of(wildcards).accelerators_per_node,
    params:
        code=train_code,
        launch=lambda wildcards: system_of(wildcards).launch(),
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
