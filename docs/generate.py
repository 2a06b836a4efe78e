"""Write the generated parts of README.md and docs/: lists that come from the code's own data and from measured runs.

python docs/generate.py           everything that does not need a run
python docs/generate.py results   the results of `make`, from results/mini
python docs/generate.py steps     what benchmarks/steps.py measured, from results/steps.md
python docs/generate.py precision   what benchmarks/precision.py measured, from results/precision.md
python docs/generate.py compiled  what benchmarks/compiled.py measured, from results/compiled.md
python docs/generate.py checkpoints   what benchmarks/checkpoints.py measured, from results/checkpoints.md
python docs/generate.py data      what benchmarks/data.py measured, from results/data.md
python docs/generate.py scaling   what benchmarks/scaling.py measured, from results/scaling.md
python docs/generate.py rounds PATH...   the published results that come with Octathlon, from results trees and from
                                  CSVs of `octathlon score` (of entries whose logs are not at hand); the last of
                                  several rows of one folder counts
"""

from __future__ import annotations

import ast
import csv
import importlib
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePath

from octathlon import registry
from octathlon.scoring import rule_data
from octathlon.scoring.compare import comparison
from octathlon.scoring.entries import score_paths
from octathlon.scoring.results import parts
from octathlon.scoring.results import published as results_of_rounds
from octathlon.scoring.rules import load_round
from octathlon.scoring.tables import COLUMNS, to_csv
from octathlon.scoring.text import markdown_table

ROOT = Path(__file__).parents[1]


def benchmarks() -> str:
    """One row per benchmark: what must be reached at each scale, and in how many runs."""
    rows = [("benchmark", "data set", "target (full)", "runs (full)", "target (mini)", "runs (mini)")]
    for name in registry.benchmarks():
        cells = [
            f"[{name}](../src/octathlon/benchmarks/{name}/README.md)",
            registry.dataset_of(name) or "none",
        ]
        for scale in ("full", "mini"):
            settings = registry.benchmark_settings(name)(**registry.defaults("benchmarks", name, scale))
            sign = "≥" if settings.higher_is_better else "≤"
            cells.append(", ".join(f"{metric} {sign} {value:g}" for metric, value in settings.target.items()))
            cells.append(str(settings.runs))
        rows.append(tuple(cells))
    return _table(rows)


def archives() -> str:
    """One row per upstream archive, or per run of numbered ones: its size and where it comes from."""
    rows = [("data set", "archives", "bytes", "from")]
    for dataset in registry.datasets():
        document = registry.sources(dataset)
        groups: dict[str, list[dict]] = {}
        for archive in document["archives"]:
            groups.setdefault(re.sub(r"(?<!\d)\d{1,5}(?!\d)", "*", archive["name"]), []).append(archive)
        for pattern, members in groups.items():
            sizes = [member.get("size") or member.get("about") for member in members]
            exact = all(member.get("size") for member in members)
            total = f"{'' if exact else 'about '}{sum(sizes):,}" if all(sizes) else "not published"
            name = members[0]["name"] if len(members) == 1 else f"{pattern} ({len(members)} files)"
            origin = "download" if members[0].get("urls") or members[0].get("uri") else "login"
            rows.append((dataset, f"`{name}`", total, origin))
    return _table(rows)


def results() -> str:
    """The table that `make` ends with."""
    return (ROOT / "results/mini/scores.md").read_text()


PUBLISHED_RATES = {
    "resnet": (6555, 7950),
    "maskrcnn": (170, None),
    "unet3d": (68.9, 76.0),
    "rnnt": (1664, None),
    "bert": (838, 998),
    "dlrm": (7.40e6, None),
}
"""Samples a second of each of eight H100-SXM5 in NVIDIA's v2.1 entries, and of eight H200 in its v4.0 entries, by their
logs' throughput events."""


def rehearsals() -> str:
    """One row per rehearsal that docs/rehearsals.json holds, in the format of `benchmarks/gpu/rehearse.py`."""
    head = "benchmark|settings|batch|ms|samples/s|of an H100|of an H200|kernels|their ms|GB|eval/s|ready in s|run, s"
    rows = [tuple(head.split("|"))]
    for found in json.loads((ROOT / "docs/rehearsals.json").read_text()):
        name, settings = found["benchmark"], found["settings"]
        facts = found["benchmarks"][name]
        training, evaluation = facts["training"], facts["evaluation"]
        kernels, rate = training["kernels"], training["samples_per_s"]
        published = (rate / each if each else None for each in PUBLISHED_RATES.get(name, (None, None)))
        rows.append(
            (
                name,
                ", ".join(f"{key}: {json.dumps(value)}" for key, value in settings.items()),
                str(facts["local_batch"]),
                f"{training['median_s'] * 1000:.4g}",
                f"{rate:,.4g}",
                *("" if each is None else f"{each:.2f}" for each in published),
                str(kernels["count"]),
                f"{kernels['busy_s'] * 1000:.4g}",
                f"{training['device_bytes'] / 1e9:.1f}",
                f"{evaluation['samples_per_s']:,.4g}" if evaluation else "",
                f"{facts['ready_s']:.3g}",
                f"{facts['forecast']['run_s']:,.0f}",
            )
        )
    return _table(rows)


def measured(script: str) -> str:
    """The table of a script in benchmarks/."""
    return (ROOT / f"results/{script}.md").read_text()


def history() -> str:
    """Speed-up since the first round with the same task, as `octathlon compare` prints it."""
    found = results_of_rounds()
    tables = comparison(found, parts(found))
    table = next(each for each in tables if each.title.startswith("Speed-up since"))
    return markdown_table(table.header, table.rows, table.numbers)


def rounds(paths: list[Path]) -> None:
    """Write published_<round>.csv of every round that `paths` hold."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path in paths:
        text = path.read_text() if path.suffix == ".csv" else to_csv(score_paths([path])[0])
        for row in csv.DictReader(text.splitlines()):
            found.setdefault(row["round"], {})[row["folder"]] = row
    for name, rows in found.items():
        with (rule_data.ROUNDS / f"published_{load_round(name).name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[folder] for folder in sorted(rows, key=PurePath))


BOUND = re.compile(
    r"([A-Z]+_)*(LIMITS?|DEEPEST|MOST|ENTRIES|RECORDS|OPERATIONS|TENSORS|FIELDS|RATIO|FREE|LONGEST(_\w+)?)"
)
"""The names of constants that bound what a reader of untrusted bytes takes."""


def bounds() -> str:
    """One row per bound in the code that opens files from elsewhere: its value, and the text under it."""
    rows = [("module", "bound", "what it bounds, and why")]
    for folder in ("formats", "archives", "datasets", "scoring"):
        for path in sorted((registry.ROOT / folder).rglob("*.py")):
            module = path.relative_to(registry.ROOT)
            if module.stem not in ("loader", "throughput", "shapes"):
                rows += [(f"`{module}`", *bound) for bound in _bounds(path)]
    return _table(rows)


def _bounds(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a module that sets bounds, and the text under it."""
    source = path.read_text()
    for line, below in pairwise([*ast.parse(source).body, ast.Pass()]):
        names = re.findall(r"\w+", ast.unparse(line.targets[0])) if isinstance(line, ast.Assign) else []
        if names and all(map(BOUND.fullmatch, names)) and not isinstance(line.value, ast.Dict):
            under = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            text = " ".join(str(below.value.value).split()) if under else ""
            yield f"`{ast.get_source_segment(source, line)}`", text


STAGES = {
    "Configuration and command line": "cli config names options overlays registry settings systems digest",
    "Archives": "archives",
    "Preparation": "formats datasets",
    "Runs and rehearsals": "harness nn benchmarks rehearsal",
    "Scores and pages": "scoring report rounds",
    "At any stage": "errors receipts",
}
"""The road's stages -> the parts of the package whose errors a user meets there."""


def errors() -> str:
    """The sentences of all errors by the stage where they are met; in brackets what differs from case to case."""
    text = []
    for stage, areas in STAGES.items():
        found = {
            sentence for area in areas.split() for path in _modules(area) for sentence in _sentences(path)
        }
        text += [f"### {stage}", "", *(f"* {sentence}" for sentence in sorted(found, key=str.lower)), ""]
    return "\n".join(text[:-1]) + "\n"


def _modules(area: str) -> list[Path]:
    return sorted((registry.ROOT / area).rglob("*.py")) or [registry.ROOT / f"{area}.py"]


def _sentences(path: Path) -> Iterator[str]:
    """The texts that a module makes errors of; not those that it only passes on."""
    for call in ast.walk(ast.parse(path.read_text())):
        made = isinstance(call, ast.Call) and ast.unparse(call.func) in ("OctathlonError", "FormatError")
        if made and isinstance(call.args[0], ast.JoinedStr | ast.Constant):
            parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else call.args
            sentence = " ".join("".join(_part(part, path) for part in parts).split())
            if len(re.findall(r"(?<!⟨)\b[a-z]+\b(?!⟩)", sentence)) > 2:
                yield sentence.replace("*", "\\*")


def _part(part: ast.expr, path: Path) -> str:
    """A piece of a sentence: words, a constant's value, or the name of what stands there."""
    value = part.value if isinstance(part, ast.FormattedValue | ast.Constant) else part
    if isinstance(value, ast.Name) and value.id.isupper():
        module = path.relative_to(registry.ROOT.parent).with_suffix("")
        return str(getattr(importlib.import_module(".".join(module.parts)), value.id))
    if isinstance(value, ast.Name | ast.Attribute):
        name = value.id if isinstance(value, ast.Name) else value.attr
        return f"⟨{name.replace('_', ' ').strip().lower()}⟩"
    return "⟨…⟩" if isinstance(value, ast.expr) else str(value)


PAGES = (
    "quickstart full cluster containers own-data weights rehearsal scoring performance adding design security "
    "troubleshooting"
)
"""In the order of reading; others follow."""


def pages() -> str:
    """One row per page of docs/: its title, and the paragraph that it begins with."""
    order = PAGES.split()
    paths = [
        path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem not in ("README", "v1.1-part")
    ]
    rows = [("page", "what it says")]
    for path in sorted(paths, key=lambda path: order.index(path.stem) if path.stem in order else len(order)):
        title, first = path.read_text().split("\n\n")[:2]
        first = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(first.split()))
        rows.append((f"[{title.removeprefix('# ')}]({path.name})", re.match(r".*?[.?](?= |$)", first)[0]))
    return _table(rows)


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"


def replaced(text: str, name: str, content: str) -> str:
    """`text` with `content` between the marks of `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


GENERATED = {
    "docs/README.md": {"pages": pages, "benchmarks": benchmarks},
    "docs/full.md": {"archives": archives},
    "docs/rehearsal.md": {"rehearsals": rehearsals},
    "docs/scoring.md": {"history": history},
    "docs/security.md": {"bounds": bounds},
    "docs/troubleshooting.md": {"errors": errors},
}
MEASURED = {
    "results": {"README.md": {"results": results}},
    "steps": {"docs/performance.md": {"steps": partial(measured, "steps")}},
    "precision": {"docs/performance.md": {"precision": partial(measured, "precision")}},
    "compiled": {"docs/performance.md": {"compiled": partial(measured, "compiled")}},
    "checkpoints": {"docs/full.md": {"checkpoints": partial(measured, "checkpoints")}},
    "data": {"docs/performance.md": {"data": partial(measured, "data")}},
    "scaling": {"docs/performance.md": {"scaling": partial(measured, "scaling")}},
}


def main(files: dict) -> None:
    for name, contents in files.items():
        text = (ROOT / name).read_text()
        for part, make in contents.items():
            text = replaced(text, part, make())
        (ROOT / name).write_text(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["rounds"]:
        rounds([Path(argument) for argument in sys.argv[2:]])
    else:
        main(MEASURED[sys.argv[1]] if sys.argv[1:] else GENERATED)
