# What each benchmark's steps would take on each system: `snakemake rehearsal`, before days of training. Needs no data.
localrules:
    rehearsal,


rule rehearsal:
    input:
        rehearsals(),


rule rehearse:
    output:
        results("rehearsals", "{system}", "{benchmark}.json"),
    log:
        "logs/rehearse/{system}/{benchmark}.log",
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
        slurm_extra=placement("slurm_extra"),
    params:
        code=rehearse_code,
        launch=launch,
        options=rehearse_options,
    shell:
        "{params.launch:q} octathlon rehearse {wildcards.benchmark} --json {output:q} {params.options:q} &> {log:q}"
