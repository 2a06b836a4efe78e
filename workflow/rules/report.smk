# The page: results, runs, curves and systems, in one file.
localrules:
    report_page,


rule report_page:
    input:
        scores=results("scores.json"),
        systems=descriptions(),
        rehearsals=held_rehearsals,
    output:
        report(
            results("report.html"),
            caption="../report/page.rst",
            category="Results",
            labels={"file": "the page"},
        ),
    log:
        "logs/report.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.report.page"),
        data=data_digest(
            "report/*.html",
            "report/*.css",
            "report/*.js",
            "rounds/*.yaml",
            "rounds/*.csv",
        ),
        options=report_options,
    shell:
        "octathlon report {input.scores:q} --html {output:q} {params.options:q} &> {log:q}"


# The submission package, as a round wants it: `snakemake package`.
rule package:
    input:
        logs=logs(),
        systems=descriptions(),
    output:
        # not its folder: Snakemake would leave a timestamp in the package
        str(Path(package_folder(), names.folder(KEYS.submitter), "README.md")),
    log:
        "logs/package.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("octathlon.scoring.package"),
        data=data_digest("rounds/*.yaml", "rounds/*.csv"),
        folder=subpath(output[0], ancestor=2),
        options=package_options,
    shell:
        "octathlon package {input.logs:q} --out {params.folder:q} {params.options:q} &> {log:q}"
