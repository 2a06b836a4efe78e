"""Projects in which the workflow has run."""

from __future__ import annotations

import shutil

import pytest
from tiny_project import Project, copy_of_sources


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project whose workflow has run. Don't change it: copy it."""
    project = copy_of_sources(tmp_path_factory.mktemp("project"))
    made = project.run()
    assert "report_page results/mini/report.html" in made
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished project, time stamps included."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
