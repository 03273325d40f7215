"""The live page in headless Chromium gives the images of `p2p.edit` and `ddim.sample`, and fetches nothing."""

import base64
import fcntl
import gzip
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import code_of
from torch import nn

import ddim
import ddpm
import p2p
from ddpm.data import scenes
from ddpm.evaluation.edits import scene_edits
from ddpm.utils.export import convolved
from ddpm.utils.images import from_bytes, squared_error
from p2p.__main__ import main
from p2p.experiments.live import TEMPLATE

PAGE = Path(os.environ.get("LIVE_PAGE", Path(__file__).parent.parent / "notebooks/results/p2p/live.html"))
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --remote-debugging-pipe""".split()
needs_browser = pytest.mark.skipif(BROWSER is None or not PAGE.exists(), reason="no Chromium, or no page")
CAT = "a photo of a gray cat on a red couch"
EDITS = {  # kind of edit -> captions, settings of the page, words of the local blend
    "replace": (CAT, "a photo of a gray dog on a blue couch", {"cross": 0.6, "self": 0.4}, None),
    "refine": (CAT, "a photo of a tiger on a couch", {"cross": 0.4, "self": 0.2}, None),
    "reweight": (CAT, CAT, {"cross": 0.8, "self": 0, "weights": {"red": -1}}, None),
    "blend": (CAT, CAT.replace("cat", "dog"), {"cross": 0.4, "self": 0, "blend": True}, [["cat"], ["dog"]]),
}


class Browser:
    """A page in headless Chromium, driven through the DevTools protocol over a pipe."""

    def __init__(self, page: Path, folder: Path):
        self.log, self.count, self.rest, self.session = folder / "network.json", 0, b"", {}
        read, self.sent, self.got, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (*os.pipe(), *os.pipe()))
        self.process = subprocess.Popen(
            [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={self.log}", "about:blank"],
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),  # where Chromium reads and writes
            preexec_fn=lambda: (os.dup2(read, 3), os.dup2(write, 4)),
        )
        target = self.call("Target.createTarget", url=page.absolute().as_uri())["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        is_there = {"expression": "'live' in globalThis"}
        while not self.call("Runtime.evaluate", **is_there).get("result", {}).get("value"):
            time.sleep(0.1)
        self.run("live.loading")

    def call(self, method: str, **params) -> dict:
        """The result of a command of the protocol."""
        self.count += 1
        os.write(self.sent, json.dumps({"id": self.count, "method": method, "params": params} | self.session).encode())
        os.write(self.sent, b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.got, 1 << 20)
            message, _, self.rest = self.rest.partition(b"\0")
            if (answer := json.loads(message)).get("id") == self.count:
                return answer.get("result", {})

    def run(self, script: str):
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def images(self, job: str, settings: dict) -> dict[str, np.ndarray]:
        """The last images of a job of the page by name, (3, H, W)."""
        pairs = ".then((all) => Object.entries(all).map(([name, bytes]) => [name, [...bytes]]))"
        found = self.run(f"live.run('{job}', {json.dumps(settings)}){pairs}")
        side = int((len(found[0][1]) / 4) ** 0.5)
        return {name: np.array(x).reshape(side, side, 4)[..., :3].transpose(2, 0, 1) for name, x in found}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(PAGE, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.process.kill()
    browser.process.wait()


@pytest.fixture(scope="module")
def trained():
    return ddpm.load("scenes64")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_an_edit_is_that_of_python_to_one_level(browser, trained, kind, seed):
    source, target, page, words = EDITS[kind]
    how = {"steps": 6, "scale": 1 if seed == 5 else 2}
    found = browser.images("edit", {"source": source, "target": target, "seed": seed} | how | page)
    x_T, blend = ddpm.Noise([seed]).start(trained.shape), p2p.LocalBlend(words) if words else None
    plan = {"cross_until": page["cross"], "self_until": page["self"], "weights": page.get("weights"), "blend": blend}
    both = trained.images(ddpm.last(p2p.edit(trained, source, target, x_T, **how, **plan)))
    plain = ddpm.last(ddim.sample(trained.eps([target], how["scale"]), trained.schedule, x_T, how["steps"]))
    for name, image in zip(("source", "edit", "plain"), (*both, *trained.images(plain)), strict=True):
        assert np.abs(found[name] - image.astype(int)).max() <= 1, name


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind, strength", [("thing", 0.75), ("colour", 1.0), ("add spikey", 0.0)])
def test_edits_of_a_given_image_are_those_of_python_to_one_level(browser, trained, kind, strength):
    before, after, *captions = scene_edits(kind, 1)[0]
    pixels, truth = (scenes.draw(scene, 64) for scene in (before, after))
    rgba = np.concatenate([pixels, np.full((1, 64, 64), 255)]).transpose(1, 2, 0)
    how = {"source": captions[0], "target": captions[1], "steps": 6, "scale": 2, "seed": 3, "cross": 0.6, "self": 0.4}
    found = browser.images("real", how | {"strength": strength, "image": rgba.flatten().tolist()})
    x_0, schedule = trained.encode(from_bytes(pixels[None])), trained.schedule
    at_1, target = trained.eps(captions[:1]), trained.eps(captions[1:], 2)
    grid = ddim.editing.last_steps(schedule.T, 6, strength)
    x_t = ddpm.last(ddim.invert(at_1, schedule, x_0, grid)) if strength else x_0
    expected = {
        "sdedit": ddim.edit_naive(target, schedule, x_0, strength, 6, generator=ddpm.Noise([3])),
        "inverted": ddim.edit_inverted(at_1, target, schedule, x_0, strength, 6),
        "injected": p2p.edit(trained, *captions, x_t, grid, 2, 0.6, 0.4) if strength else [(0, x_0, x_0)],
    }
    for name, states in expected.items():
        image = trained.images(ddpm.last(states))[-1]
        assert np.abs(found[name] - image.astype(int)).max() <= 1, name
    edited = np.concatenate([truth, np.full((1, 64, 64), 255)]).transpose(1, 2, 0).flatten().tolist()
    error = browser.run(f"live.error({rgba.flatten().tolist()}, {edited})")
    assert error == pytest.approx(1000 * squared_error(pixels[None], truth[None])[0])


@needs_browser
@pytest.mark.slow
def test_steps_with_noise_are_those_of_ddim_to_one_level(browser, trained):
    found = browser.images("grid", {"source": CAT, "seed": 3, "scale": 2, "columns": [4]})
    for eta in (0, 0.2, 0.5, 1):
        noise = ddpm.Noise([3])
        x_T, eps = noise.start(trained.shape), trained.eps([CAT], 2)
        x_0 = ddpm.last(ddim.sample(eps, trained.schedule, x_T, 4, eta, generator=noise))
        assert np.abs(found[f"4 {eta}"] - trained.images(x_0)[0].astype(int)).max() <= 1, eta


@needs_browser
@pytest.mark.slow
def test_a_word_that_the_model_does_not_know_is_named_beside_its_field(browser):
    browser.run("document.getElementById('target').value = 'a photo of a castle'")
    browser.run("document.getElementById('target').dispatchEvent(new Event('input'))")
    assert "does not know castle" in browser.run("document.getElementById('target-says').textContent")
    assert browser.run("document.getElementById('source-says').textContent") == ""


@needs_browser
@pytest.mark.slow
def test_whatever_takes_the_keyboard_has_a_name_for_a_screen_reader(browser):
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    focusable = [node for node in nodes if "focusable" in (each["name"] for each in node.get("properties", []))]
    roles = {node["role"]["value"] for node in focusable}
    assert {"button", "tab", "textbox", "slider", "checkbox", "combobox"} <= roles
    assert [node for node in focusable if not node["name"]["value"]] == []


@needs_browser
@pytest.mark.slow
def test_nothing_is_fetched(tmp_path):
    """In the browser's log of its network the page and its worker ask for nothing, even where a script tries to."""
    browser = Browser(PAGE, tmp_path)
    browser.images("edit", {"source": CAT, "target": CAT, "steps": 2, "seed": 0, "scale": 1, "cross": 1, "self": 0})
    browser.run("fetch('http://localhost/').catch(() => 0)")
    browser.call("Browser.close")
    browser.process.wait()
    events = [event.get("params", {}) for event in json.loads(browser.log.read_text(encoding="utf-8"))["events"]]
    its_own = "not an origin"  # what the browser itself asks for
    assert [p["url"] for p in events if p.get("initiator", its_own) != its_own] == []


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_lavin_eq_8_is_the_convolution(side, rows):
    conv, x = nn.Conv2d(3, 5, 3, padding=1), torch.randn(rows, 3, side, side)
    torch.testing.assert_close(convolved(conv, x), conv(x), atol=1e-5, rtol=1e-5)


def test_the_shipped_page_is_small_and_of_this_template():
    script = '<script type="text/plain"'
    template, shipped = (path.read_text(encoding="utf-8").split(script) for path in (TEMPLATE, PAGE))
    assert shipped[1:] == template[1:] and PAGE.stat().st_size < 20e6


def test_the_weights_are_one_part_of_the_page_with_nothing_else_in_it(trained):
    """So that another page of the same model has the same bytes there: each weight once, by name, exact in float16."""
    coded = PAGE.read_text(encoding="utf-8").partition('id="weights">')[2].partition("<")[0]
    networks = {"0": trained.unet, "1": trained.autoencoder}
    weights = {f"{i}.{name}": x for i, each in networks.items() for name, x in each.state_dict().items()}
    expected = torch.cat([weights[name].flatten() for name in sorted(weights)])
    found = np.frombuffer(gzip.decompress(base64.b64decode(coded)), np.float16)
    torch.testing.assert_close(torch.tensor(found).float(), expected, atol=0, rtol=0)


def test_what_the_page_is_built_from_is_refused_with_what_to_install(tmp_path, capsys):
    assert code_of(main, "live", "--runtime", tmp_path, "--out", tmp_path / "live.html") == 2
    assert "npm install onnxruntime-web@" in capsys.readouterr().err
