# MiniGo: the model and games to start from, and the model to beat.


rule minigo_models_step:
    input:
        needs("minigo_models"),
    output:
        prepared("minigo_models", "receipts", "{step}.json"),
    log:
        "logs/prepare/minigo_models/{step}.log",
    wildcard_constraints:
        step="checkpoint|target",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        code=code("octathlon.datasets.minigo_models.prepare"),
        options=prepare_options("minigo_models"),
    shell:
        "octathlon prepare minigo_models {wildcards.step} {params.options:q} &> {log:q}"


rule minigo_models_manifest:
    input:
        receipts("minigo_models", "models"),
    output:
        prepared("minigo_models", "manifest.json"),
    log:
        "logs/prepare/minigo_models/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.minigo_models.prepare"),
        options=prepare_options("minigo_models"),
    shell:
        "octathlon prepare minigo_models manifest {params.options:q} &> {log:q}"
