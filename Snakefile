# Eight events, one clock: archive -> prepared -> run -> score -> page.
#
#   data/<scale>/<dataset>/archives/<archive>.json                      receipt of a verified archive
#   data/<scale>/<dataset>/prepared/manifest.json                       what training reads
#   data/<scale>/kernels/<benchmark>                                    says that they are compiled
#   results/<scale>/<submitter>/systems/<system>.json                   description of a system
#   results/<scale>/<submitter>/results/<system>/<benchmark>/result_<n>.txt   log of a timed run
#   results/<scale>/rehearsals/<system>/<benchmark>.json                what a rehearsal measured
#   results/<scale>/scores.csv, scores.json, scores.md, report.html     what came of it
from snakemake.utils import min_version

min_version("9.18")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


# Of all rules; for jobs in it, see profiles/apptainer.
container: KEYS.container


include: "workflow/rules/archives.smk"
include: "workflow/rules/imagenet.smk"
include: "workflow/rules/click_logs.smk"
include: "workflow/rules/librispeech.smk"
include: "workflow/rules/wikipedia.smk"
include: "workflow/rules/coco.smk"
include: "workflow/rules/kits19.smk"
include: "workflow/rules/minigo_models.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/rehearse.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    data,


# The whole round: every run scored, and the page. What these are made of is named as well, see `preparations`.
rule all:
    default_target: True
    input:
        preparations,
        all_kernels(),
        logs(),
        descriptions(),
        results("scores.csv"),
        results("report.html"),


# The prepared data sets. Where training takes days, call this first: `snakemake data && snakemake`.
rule data:
    input:
        preparations,
