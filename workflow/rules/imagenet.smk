# ImageNet: groups of synsets and runs of validation images, each shard a job of its own.


rule imagenet_train_shard:
    input:
        archive("imagenet", "ILSVRC2012_img_train.tar"),
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
    output:
        prepared("imagenet", "receipts", "{shard}.json"),
    wildcard_constraints:
        shard=r"train-\d+",
    log:
        "logs/prepare/imagenet/{shard}.log",
    params:
        code=code("octathlon.datasets.imagenet.prepare"),
        settings=prepare_params("imagenet"),
        archives=archive_folder("imagenet"),
        out=prepared("imagenet"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    conda:
        "../../envs/octathlon.yaml"
    shell:
        "octathlon prepare imagenet {wildcards.shard} --archives {params.archives:q} --out {params.out:q}"
        " --settings {params.settings:q} &> {log:q}"


rule imagenet_val_shard:
    input:
        archive("imagenet", "ILSVRC2012_img_val.tar"),
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
    output:
        prepared("imagenet", "receipts", "{shard}.json"),
    wildcard_constraints:
        shard=r"val-\d+",
    log:
        "logs/prepare/imagenet/{shard}.log",
    params:
        code=code("octathlon.datasets.imagenet.prepare"),
        settings=prepare_params("imagenet"),
        archives=archive_folder("imagenet"),
        out=prepared("imagenet"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    conda:
        "../../envs/octathlon.yaml"
    shell:
        "octathlon prepare imagenet {wildcards.shard} --archives {params.archives:q} --out {params.out:q}"
        " --settings {params.settings:q} &> {log:q}"


rule imagenet_manifest:
    input:
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
        expand(prepared("imagenet", "receipts", "{shard}.json"), shard=shards("imagenet")),
    output:
        prepared("imagenet", "manifest.json"),
    log:
        "logs/prepare/imagenet/manifest.log",
    params:
        code=code("octathlon.datasets.imagenet.prepare"),
        settings=prepare_params("imagenet"),
        archives=archive_folder("imagenet"),
        out=prepared("imagenet"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/octathlon.yaml"
    shell:
        "octathlon prepare imagenet manifest --archives {params.archives:q} --out {params.out:q}"
        " --settings {params.settings:q} &> {log:q}"
