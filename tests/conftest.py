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
    """Notebook -> its run in the future, for those that are asked for; the other tests keep a core of their own."""
    from test_notebooks import run

    paths = [item.callspec.params["path"] for item in request.session.items if "it_runs" in item.name]
    root, pool = tmp_path_factory.mktemp("runs"), ThreadPoolExecutor(max(1, os.cpu_count() - 1))
    yield {path: pool.submit(run, path, root / path.stem) for path in reversed(paths)}  # the last ones take longest
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A file of `tiny.make_trained`, which nobody writes to."""
    from tiny import make_trained, save_model

    return save_model(tmp_path_factory.mktemp("models") / "tiny.pt", make_trained().unet.config)


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    """A folder of one's own with four images, and a model of it."""
    import numpy as np
    from PIL import Image
    from tiny import CONFIG, save_model

    folder, rng = tmp_path_factory.mktemp("cats"), np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "captions.txt").write_text("".join(f"{i}.png\ta red cat\n" for i in range(4)))
    return folder, save_model(folder / "model.pt", CONFIG, T=100, data="folder")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """A folder with an untrained model of 32 x 32 images, and data in the official format for it."""
    from dataclasses import replace

    from test_real_data import write_cifar
    from tiny import CONFIG, save_model

    folder = tmp_path_factory.mktemp("cifar")
    write_cifar(folder)
    save_model(folder / "model.pt", replace(CONFIG, size=32, stem=4, words=24), data="cifar10")
    return folder
