# Wikipedia: shares of the dump, parts of the text, the samples of each part, the evaluation set, the checkpoint. With
# `start: text` the reference's finished parts are archives, and nothing is extracted.


rule wikipedia_extract:
    input:
        needs("wikipedia"),
    output:
        prepared("wikipedia", "receipts", "{step}.json"),
    log:
        "logs/prepare/wikipedia/{step}.log",
    wildcard_constraints:
        step=r"extract-\d+",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        code=code("octathlon.datasets.wikipedia.prepare"),
        options=prepare_options("wikipedia"),
    shell:
        "octathlon prepare wikipedia {wildcards.step} {params.options:q} &> {log:q}"


use rule wikipedia_extract as wikipedia_text with:
    wildcard_constraints:
        step=r"text-\d+",


use rule wikipedia_extract as wikipedia_samples with:
    wildcard_constraints:
        step=r"samples-\d+|eval",
    resources:
        mem_mb=3000,
        runtime=60,


use rule wikipedia_extract as wikipedia_checkpoint with:
    wildcard_constraints:
        step="checkpoint",
    resources:
        mem_mb=6000,
        runtime=60,


rule wikipedia_manifest:
    input:
        archive("wikipedia", "vocab.txt"),
        receipts("wikipedia", "samples", "eval", "checkpoint"),
    output:
        prepared("wikipedia", "manifest.json"),
    log:
        "logs/prepare/wikipedia/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.wikipedia.prepare"),
        options=prepare_options("wikipedia"),
    shell:
        "octathlon prepare wikipedia manifest {params.options:q} &> {log:q}"
