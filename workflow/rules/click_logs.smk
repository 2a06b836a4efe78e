# Click logs: each day is read once; then, with the dictionaries, each bucket is shuffled.


rule click_logs_scan:
    input:
        needs("click_logs"),
    output:
        prepared("click_logs", "receipts", "{step}.json"),
    log:
        "logs/prepare/click_logs/{step}.log",
    wildcard_constraints:
        step=r"scan-\d+",
    threads: 2  # unpacking, parsing and sorting keep 2.6 cores busy; of 64, 24 jobs have no more
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        code=code("octathlon.datasets.click_logs.prepare"),
        options=prepare_options("click_logs"),
    shell:
        "octathlon prepare click_logs {wildcards.step} {params.options:q} &> {log:q}"


use rule click_logs_scan as click_logs_dictionaries with:
    wildcard_constraints:
        step="dictionaries",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,


use rule click_logs_scan as click_logs_bucket with:
    wildcard_constraints:
        step=r"bucket-\d+",
    threads: 1
    resources:
        mem_mb=5000,
        runtime=60,


use rule click_logs_scan as click_logs_half with:
    wildcard_constraints:
        step=r"half-\d+",
    threads: 1
    resources:
        mem_mb=6000,
        runtime=120,


rule click_logs_manifest:
    input:
        receipts("click_logs", "dictionaries", "bucket", "half"),
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
