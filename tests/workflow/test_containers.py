"""Jobs in a container: the image is the configuration's, and a missing one is told before anything runs."""

from __future__ import annotations

from tiny_project import copy_of_sources


def test_an_image_that_is_not_there_is_named_with_what_to_do(tmp_path):
    project = copy_of_sources(tmp_path)
    (project.folder / "image.yaml").write_text("container: elsewhere/image.sif\n")
    inside = project.snakemake("-n", "--profile", "profiles/apptainer", overlays=("image.yaml",))
    assert "container: there is no elsewhere/image.sif; docs/containers.md says how" in inside.stdout
