# ImageNet: groups of synsets and runs of validation images, each shard a job of its own.


rule imagenet_train_shard:
    input:
        archive("imagenet", "ILSVRC2012_img_train.tar"),
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
    output:
        prepared("imagenet", "receipts", "{shard}.json"),
    log:
        "logs/prepare/imagenet/{shard}.log",
    wildcard_constraints:
        shard=r"train-\d+",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        code=code("octathlon.datasets.imagenet.prepare"),
        options=prepare_options("imagenet"),
    shell:
        "octathlon prepare imagenet {wildcards.shard} {params.options:q} &> {log:q}"


use rule imagenet_train_shard as imagenet_val_shard with:
    input:
        archive("imagenet", "ILSVRC2012_img_val.tar"),
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
    wildcard_constraints:
        shard=r"val-\d+",


rule imagenet_manifest:
    input:
        archive("imagenet", "ILSVRC2012_devkit_t12.tar.gz"),
        receipts("imagenet", "train", "val"),
    output:
        prepared("imagenet", "manifest.json"),
    log:
        "logs/prepare/imagenet/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.imagenet.prepare"),
        options=prepare_options("imagenet"),
    shell:
        "octathlon prepare imagenet manifest {params.options:q} &> {log:q}"
