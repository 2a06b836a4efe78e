# The page: results, runs, curves and systems, in one file.
localrules:
    report_page,


rule report_page:
    input:
        scores=results("scores.json"),
        systems=descriptions(),
    output:
        report(
            results("report.html"),
            caption="../report/page.rst",
            category="Results",
            labels={"file": "the page"},
        ),
    log:
        "logs/report.log",
    params:
        code=code("octathlon.report.page"),
        data=data_digest("report/*", "rounds/*"),
        systems=results(KEYS.submitter, "systems"),
        scale=KEYS.scale,
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/octathlon.yaml"
    shell:
        "octathlon report {input.scores:q} --systems {params.systems:q} --html {output:q}"
        " --scale {params.scale} &> {log:q}"
