# Archives: fetched and verified, or drawn as miniatures. The receipt is the output, so nothing deletes an archive.
localrules:
    archive,


rule archive:
    output:
        archive("{dataset}", "{archive}"),
    log:
        "logs/archive/{dataset}/{archive}.log",
    retries: 2
    threads: 1
    resources:
        mem_mb=500,
        runtime=2880,
        downloads=download_slots,
    params:
        code=archive_code,
        source=source,
        identity=archive_identity,
        folder=lambda wildcards: archive_folder(wildcards.dataset),
    shell:
        "octathlon {params.source[command]} {wildcards.dataset} {wildcards.archive:q} --folder {params.folder:q}"
        " --identity={params.identity:q} {params.source[options]:q} &> {log:q}"
