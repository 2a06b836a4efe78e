# LibriSpeech: each archive a job of its own; then the word pieces, and all utterances sorted by length.


rule librispeech_part:
    input:
        lambda wildcards: archive("librispeech", f"{wildcards.part}.tar.gz"),
    output:
        prepared("librispeech", "receipts", "{part}.json"),
    log:
        "logs/prepare/librispeech/{part}.log",
    wildcard_constraints:
        part=r"[a-z]+(-[a-z0-9]+)+",
    threads: 8
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        code=code("octathlon.datasets.librispeech.prepare"),
        options=prepare_options("librispeech"),
    shell:
        "octathlon prepare librispeech {wildcards.part} {params.options:q} &> {log:q}"


rule librispeech_manifest:
    input:
        receipts("librispeech", "part"),
    output:
        prepared("librispeech", "manifest.json"),
    log:
        "logs/prepare/librispeech/manifest.log",
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        code=code("octathlon.datasets.librispeech.prepare"),
        options=prepare_options("librispeech"),
    shell:
        "octathlon prepare librispeech manifest {params.options:q} &> {log:q}"
