# The olympic scores of all runs, by the rules of the round.
rule score:
    input:
        logs=logs(),
        systems=descriptions(),
    output:
        csv=report(
            results("scores.csv"),
            caption="../report/scores.rst",
            category="Results",
            labels={"file": "scores, every column"},
        ),
        json=results("scores.json"),
        markdown=results("scores.md"),
    log:
        "logs/score.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code(
            "octathlon.scoring.commands",
            "octathlon.scoring.entries",
            "octathlon.scoring.tables",
        ),
        rounds=data_digest("rounds/*.yaml"),
        runs=run_counts(),
    shell:
        "octathlon score --round v1.1 {input.logs:q} {params.runs:q} --csv {output.csv:q} --json {output.json:q}"
        " --markdown {output.markdown:q} &> {log:q}"
