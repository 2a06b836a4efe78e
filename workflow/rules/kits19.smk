# KiTS19: groups of cases, each group a job of its own.


rule kits19_cases:
    input:
        needs("kits19"),
    output:
        prepared("kits19", "receipts", "{step}.json"),
    log:
        "logs/prepare/kits19/{step}.log",
    wildcard_constraints:
        step=r"(train|eval)-\d+",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code("octathlon.datasets.kits19.prepare"),
        published=data_digest("datasets/kits19/published.csv"),
        options=prepare_options("kits19"),
    shell:
        "octathlon prepare kits19 {wildcards.step} {params.options:q} &> {log:q}"


rule kits19_manifest:
    input:
        receipts("kits19", "train", "eval"),
    output:
        prepared("kits19", "manifest.json"),
    log:
        "logs/prepare/kits19/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.kits19.prepare"),
        options=prepare_options("kits19"),
    shell:
        "octathlon prepare kits19 manifest {params.options:q} &> {log:q}"
