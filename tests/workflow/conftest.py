"""Projects in which the workflow has run."""

from __future__ import annotations

import shutil

import pytest
from filelock import FileLock
from tiny_project import Project, copy_of_sources


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Project:
    """A project whose workflow has run, once for all of pytest-xdist's workers. Don't change it: copy it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            project = copy_of_sources(tmp_path_factory.mktemp("project"))
            made = project.run()
            assert "report_page results/mini/report.html" in made
            project.folder.rename(folder)
    return Project(folder)


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished project, time stamps included."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
