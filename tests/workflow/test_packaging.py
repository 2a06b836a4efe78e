"""`snakemake package`: the package holds what its receipt lists, and no file of Snakemake's."""

import json
import sys
from pathlib import Path

from tiny_project import copy_of_sources

from octathlon.scoring.describe import describe_system

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import closed_log, write_log


def test_the_package_has_no_file_of_snakemakes(tmp_path):
    (tmp_path / "project").mkdir()
    project = copy_of_sources(tmp_path / "project")
    tree, package = project.folder / "results/mini/octathlon", project.folder / "package/mini"
    for number in range(5):
        write_log(tree / f"results/local/resnet/result_{number}.txt", closed_log("resnet", number))
    (tree / "systems").mkdir()
    system = {"submitter": "octathlon", "division": "closed", "status": "onprem", "nodes": 1, "overrides": {}}
    (tree / "systems/local.json").write_text(json.dumps(describe_system("local", **system)))
    only = ("package", "--allowed-rules", "package", "--config", "benchmarks=[resnet]", "runs=5")
    for _ in range(2):  # the second one replaces the first
        project.run(*only, "--force")
        files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
        assert files - {"package.json"} == set(json.loads((package / "package.json").read_text())["files"])
