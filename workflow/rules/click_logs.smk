# Click logs: each day is read twice, for the dictionaries and for the rows; then each bucket is shuffled.


rule click_logs_scan:
    input:
        needs("click_logs"),
    output:
        prepared("click_logs", "receipts", "{step}.json"),
    log:
        "logs/prepare/click_logs/{step}.log",
    wildcard_constraints:
        step=r"scan-\d+",
    threads: 1
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        code=code("octathlon.datasets.click_logs.prepare"),
        options=prepare_options("click_logs"),
    shell:
        "POLARS_MAX_THREADS={threads} octathlon prepare click_logs {wildcards.step} {params.options:q} &> {log:q}"


rule click_logs_dictionaries:
    input:
        receipts("click_logs", "scan"),
    output:
        prepared("click_logs", "receipts", "dictionaries.json"),
    log:
        "logs/prepare/click_logs/dictionaries.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code("octathlon.datasets.click_logs.prepare"),
        options=prepare_options("click_logs"),
    shell:
        "POLARS_MAX_THREADS={threads} octathlon prepare click_logs dictionaries {params.options:q} &> {log:q}"


use rule click_logs_scan as click_logs_encode with:
    wildcard_constraints:
        step=r"encode-\d+",
    resources:
        mem_mb=6000,
        runtime=240,


use rule click_logs_scan as click_logs_bucket with:
    input:
        receipts("click_logs", "encode"),
    wildcard_constraints:
        step=r"bucket-\d+",
    resources:
        mem_mb=5000,
        runtime=60,


rule click_logs_manifest:
    input:
        prepared("click_logs", "receipts", "dictionaries.json"),
        receipts("click_logs", "encode", "bucket"),
    output:
        prepared("click_logs", "manifest.json"),
    log:
        "logs/prepare/click_logs/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.click_logs.prepare"),
        options=prepare_options("click_logs"),
    shell:
        "octathlon prepare click_logs manifest {params.options:q} &> {log:q}"
