"""One thread: the networks of the tests are so small that a second one only waits, and on a busy machine spins."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """What waits for a notebook comes last: they run beside the other tests from the start on."""
    items.sort(key=lambda item: "it_runs" in item.name)


@pytest.fixture(scope="session", autouse=True)
def runs(request, tmp_path_factory):
    """Notebook -> its run in the future, for those that are asked for; as many at a time as there are cores."""
    from test_notebooks import run

    paths = [item.callspec.params["path"] for item in request.session.items if "it_runs" in item.name]
    root, pool = tmp_path_factory.mktemp("runs"), ThreadPoolExecutor(os.cpu_count())
    yield {path: pool.submit(run, path, root / path.stem) for path in reversed(paths)}  # the last ones take longest
    pool.shutdown(cancel_futures=True)
