"""No test depends on time, and no two of them on the same memory."""

import importlib
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# A busy machine must not make a property false.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """Whole workflows first: with pytest-xdist's --no-loadscope-reorder, no worker is left with one at the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="module")
def script():
    """Imports a script of benchmarks/ by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        yield importlib.import_module


@pytest.fixture(autouse=True)
def one_big_test_at_a_time(request):
    """Full-size models share the machine's memory with the tests of other workers, but not with each other."""
    if not request.node.get_closest_marker("big"):
        yield
        return
    with FileLock(Path(tempfile.gettempdir()) / "octathlon-big-test.lock"):
        yield
