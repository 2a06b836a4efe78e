# COCO: each split's annotations, then its images in runs of their ids, and the detectors' backbones.


rule coco_annotations:
    input:
        archive("coco", "annotations_trainval2017.zip"),
    output:
        prepared("coco", "receipts", "annotations-{split}.json"),
    log:
        "logs/prepare/coco/annotations-{split}.log",
    wildcard_constraints:
        split="train|val",
    threads: 1
    resources:
        mem_mb=1500,  # two bytes for one: made-up annotations of 582 MiB took 1,156 MiB, upstream has 470 MB
        runtime=30,
    params:
        code=code("octathlon.datasets.coco.prepare"),
        options=prepare_options("coco"),
    shell:
        "octathlon prepare coco annotations-{wildcards.split} {params.options:q} &> {log:q}"


rule coco_images:
    input:
        lambda wildcards: archive("coco", f"{wildcards.split}2017.zip"),
        prepared("coco", "receipts", "annotations-{split}.json"),
    output:
        prepared("coco", "receipts", "{split}-{number}.json"),
    log:
        "logs/prepare/coco/{split}-{number}.log",
    wildcard_constraints:
        split="train|val",
        number=r"\d+",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        code=code("octathlon.datasets.coco.prepare"),
        options=prepare_options("coco"),
    shell:
        "octathlon prepare coco {wildcards.split}-{wildcards.number} {params.options:q} &> {log:q}"


rule coco_backbone:
    input:
        lambda wildcards: archive(
            "coco", registry.preparer("coco").BACKBONES[wildcards.name]
        ),
    output:
        prepared("coco", "receipts", "backbone-{name}.json"),
    log:
        "logs/prepare/coco/backbone-{name}.log",
    wildcard_constraints:
        name=r"resnet\d+",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.coco.prepare"),
        options=prepare_options("coco"),
    shell:
        "octathlon prepare coco backbone-{wildcards.name} {params.options:q} &> {log:q}"


rule coco_manifest:
    input:
        receipts("coco", "annotations", "train", "val", "backbone"),
    output:
        prepared("coco", "manifest.json"),
    log:
        "logs/prepare/coco/manifest.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.datasets.coco.prepare"),
        options=prepare_options("coco"),
    shell:
        "octathlon prepare coco manifest {params.options:q} &> {log:q}"
