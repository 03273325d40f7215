"""The page for the lecture hall: what it shows is what was sampled, and it works in a browser without a network."""

import base64
import html
import json
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers import code_of, far
from PIL import Image
from tiny import make_data, make_trained

import ddim
import ddpm
from ddim.__main__ import main
from ddpm.diffusion import predict, predict_x0
from ddpm.experiments import common, page
from ddpm.utils.images import from_bytes, to_bytes
from unet.vocabulary import split_words

SOURCE = "a photo of a large red circle on a blue background"
TARGETS = [SOURCE.replace("red", "green"), SOURCE.replace("red", "red yellow")]
TRAINED, REAL = make_trained(), make_data(5, 16)
SHIPPED = Path(__file__).parent.parent / "notebooks" / "results" / "ddim" / "page-tiger.html"


class Parsed:
    """A page: tags [(name, attributes)], text of each script, text outside of scripts, and its image of all frames."""

    def __init__(self, path: Path):
        self.source = path.read_text(encoding="utf-8")
        self.scripts = re.findall(r"(?s)<script[^>]*>(.*?)</script>", self.source)
        self.tags = re.findall(r"<(\w+)([^>]*)>", re.sub(r"(?s)(<script[^>]*>).*?</script>", r"\1", self.source))
        self.words = html.unescape(re.sub(r"(?s)<script.*?</script>|<[^>]*>", "", self.source))
        content = re.search(r'<img\b[^>]* src="?data:image/png;base64,([^">]+)', self.source)[1]
        self.image = np.asarray(Image.open(BytesIO(base64.b64decode(content, validate=True))))
        self.data = json.loads(self.scripts[0])

    def frames(self, choice: int, level: int) -> np.ndarray:
        """uint8 (panels, steps, 3, H, W)."""
        size, columns = self.data["frames"]["size"], self.data["frames"]["columns"]

        def cut(place: int) -> np.ndarray:
            row, column = divmod(place, columns)
            return self.image[row * size : (row + 1) * size, column * size : (column + 1) * size]

        places = self.data["scenes"][choice][level]["frames"]
        return np.array([[cut(i) for i in panel] for panel in places]).transpose(0, 1, 4, 2, 3)


def run(model: Path, out: Path, *flags) -> int:
    given = ("--model", model, "--device", "cpu", "--source", SOURCE, "--out", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "model_data", lambda *_: REAL)
        return code_of(main, "edit", *given, *flags)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory) -> Path:
    """A page of image 3 of a test split, two edits at two strengths."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert run(model, path, "--image", 3, "--target", *TARGETS, "--steps", 5, "--seed", 7, "--strength", 0.8, 0.4) == 0
    return path


def test_a_page_loads_nothing_and_the_shipped_one_is_small_and_of_this_template(written):
    script = page.TEMPLATE.read_text(encoding="utf-8").split("<script>")[-1]
    for path in (written, SHIPPED):
        parsed = Parsed(path)
        assert path.stat().st_size < 4e6 and parsed.source.split("<script>")[-1] == script
        assert "http:" not in parsed.source and "https:" not in parsed.source
        assert not {"link", "iframe", "base"} & {name for name, _ in parsed.tags}
        assert not [tag for name, tag in parsed.tags if name == "script" and "src" in tag]


def test_words_and_titles_with_special_characters_stay_text(tmp_path):
    """They neither end the script nor start a tag."""
    title, pages = "<b> &amp; \"quoted\" 'it' </script><script>alert(1)</script> <!--data-->", []
    for text in (title, "plain"):
        atlas = page.Atlas()
        data = {"places": atlas.add(np.zeros((1, 3, 4, 4), np.uint8)), "captions": page.captions(text, text)}
        data |= {"level": {"values": ["0"]}, "scenes": [[{"labels": ["t = 0"]}]]}
        pages.append(Parsed(page.write(tmp_path / "x.html", text, data, atlas)))
    special, plain = pages
    assert special.data["captions"][0]["words"] == split_words(title) and title in special.words
    assert [name for name, _ in special.tags] == [name for name, _ in plain.tags]
    assert special.scripts[1:] == plain.scripts[1:]


def test_an_atlas_stores_equal_images_once_and_gives_each_back():
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    images[7], atlas = images[31], page.Atlas()
    places = atlas.add(images)
    assert places[7] == places[31] and len(set(places)) == 39 and atlas.add(images[30:]) == places[30:]
    whole = np.asarray(Image.open(BytesIO(atlas.png())))
    for image, place in zip(images, places, strict=True):
        row, column = divmod(place, atlas.COLUMNS)
        found = whole[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert np.array_equal(found.transpose(2, 0, 1), image)


def test_a_ddim_page_has_the_way_up_and_down_of_each_method(written):
    """Four of five steps are times 0 4 8 12 16, up and down again."""
    made, shown = Parsed(written), Parsed(written).frames(0, 1)
    schedule, x_0, times = TRAINED.schedule, from_bytes(REAL.images[3:4]), [0, 4, 8, 12, 16]
    source, target, edit = TRAINED.eps([SOURCE]), TRAINED.eps([TARGETS[0]]), (schedule, x_0, 0.8, 5)
    assert made.data["level"] == {"name": "strength", "values": ["0.4", "0.8"]}
    assert shown.shape == (7, 9, 3, 16, 16) and made.frames(1, 0).shape[1] == 5
    assert all((still == to_bytes(x_0)).all() for still in (shown[0], shown[1:, 0], shown[4, :4]))
    for i, t in enumerate(times):  # SDEdit, upwards: the noised image in closed form
        a = schedule.alpha_bar[t].item()
        assert far(shown[1, i], a**0.5 * x_0 + (1 - a) ** 0.5 * ddpm.Noise([7])(x_0)) <= 1
    sdedit = list(ddim.edit_naive(target, *edit, generator=ddpm.Noise([7])))
    inverted, exact = (list(way(source, target, *edit)) for way in (ddim.edit_inverted, ddim.edit_exact))
    exact.insert(5, exact[3])  # decoding begins with the pair of its last two images
    for panel, way in ((1, sdedit), (2, inverted), (3, exact)):
        assert all(far(a, x) <= 1 for a, (_, x, _) in zip(shown[panel][-len(way) :], way, strict=True)), panel
    for i, (t, x, _) in enumerate(inverted[4:-1]):  # beside x_t, what is predicted from it
        assert far(shown[5, 4 + i], predict_x0(schedule, x, t, predict(target, x, t))) <= 1
    assert (shown[4:, -1] == shown[1:4, -1]).all()
    labels = made.data["scenes"][0][1]["labels"]
    assert labels[0] == "encode 0/4, t = 0" and labels[4] == "encode 4/4, t = 16" and labels[5] == "decode 1/4, t = 12"
    assert labels[-1] == "decode 4/4, t = 0" and made.data["scenes"][0][1]["turn"] == 4


def test_at_strength_0_a_page_is_the_original(model, tmp_path):
    flags = ("--image", 0, "--target", TARGETS[0], "--steps", 4, "--strength", 0, 0.5)
    assert run(model, tmp_path / "x.html", *flags) == 0
    shown = Parsed(tmp_path / "x.html").frames(0, 0)
    assert shown.shape[:2] == (7, 1) and (shown == REAL.images[0]).all()


def test_changed_words_are_marked():
    for target, marked in ((TARGETS[0], [["red"], ["green"]]), (TARGETS[1], [[], ["yellow"]])):
        captions = page.captions(SOURCE, target)
        assert [[w for w, new in zip(c["words"], c["changed"], strict=True) if new] for c in captions] == marked


# ---- JavaScript ------------------------------------------------------------------------------------------------------


def in_browser(path: Path, script: str, window: str = "1280,720") -> list:
    """What a script puts into `seen` after the page has loaded, in a real browser; skips where there is none."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser (chromium, google-chrome) on PATH")
    report = 'addEventListener("load", () => { const seen = []; %s; document.title = JSON.stringify(seen); });'
    copy = path.with_name("driven.html")
    copy.write_text(path.read_text(encoding="utf-8") + f"<script>{report % script}</script>", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={window}", "--dump-dom"]
    command += ["--virtual-time-budget=2000", f"--user-data-dir={path.parent / 'profile'}"]
    if "<p>here" not in run_in(command, "data:text/html,<p>here"):
        pytest.skip(f"{browser} does not start here")
    dom = run_in(command, copy.as_uri())
    title = dom.partition("<title>")[2].partition("</title>")[0]
    return json.loads(html.unescape(title))


def run_in(command: list[str], address: str) -> str:
    return subprocess.run([*command, address], capture_output=True, text=True, timeout=120).stdout


LOOK = """
const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key }));
const pixels = (canvas) => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
const look = () => seen.push({ label: $("label").textContent,
  frames: [...document.querySelectorAll(".stack > canvas")].map(pixels),
  side: document.querySelector("figure canvas").getBoundingClientRect().width });
"""


@pytest.mark.slow
def test_up_and_down_change_the_strength_at_the_same_time_in_a_browser(written):
    """The canvases hold the frames, pixel for pixel, and are large enough."""
    keys = ("ArrowUp", "2", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowDown")  # it starts at strength 0.4, decoded
    seen = in_browser(written, LOOK + "".join(f'press("{key}"); look();' for key in keys))[2:]
    assert [state["label"] for state in seen] == [
        "decode 2/2, t = 0", "decode 4/4, t = 0", "decode 3/4, t = 4", "decode 1/2, t = 4",
    ]  # fmt: skip
    for state, (strength, step) in zip(seen, [(0, 4), (1, 8), (1, 7), (0, 3)], strict=True):
        frames = Parsed(written).frames(1, strength)[:, step]
        shown = np.array(state["frames"]).reshape(len(frames), 16, 16, 4)[..., :3].transpose(0, 3, 1, 2)
        assert np.array_equal(shown, frames) and state["side"] >= 256
