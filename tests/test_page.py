"""The pages for the lecture hall: what they show is what was sampled, and they work in a browser without a network."""

import base64
import html
import json
import shutil
import subprocess
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import code_of
from PIL import Image
from tiny import make_data, make_trained

import ddim
import ddpm
import p2p
from ddim.__main__ import main as ddim_main
from ddpm.diffusion import predict, predict_x0
from ddpm.experiments import common, page
from ddpm.utils.images import from_bytes, to_bytes
from p2p.__main__ import main as p2p_main

SOURCE = "a photo of a large red circle on a blue background"
TARGETS = [SOURCE.replace("red", "green"), SOURCE.replace("red", "red yellow"), "a photo of a circle"]
TRAINED, STEPS = make_trained(), 5
GRID = [20, 16, 12, 8, 4, 0]
LABELS = [*(f"step {k} of 5, from t = {t}" for k, t in enumerate(GRID[:-1], 1)), "after 5 steps, t = 0"]
REAL = make_data(5, 16)
RESULTS = Path(__file__).parent.parent / "notebooks" / "results"
SHIPPED = sorted(RESULTS.glob("*/page-*.html"))


class Parsed(HTMLParser):
    """A page: tags [(name, attributes)], text of each script, text outside of scripts, and the images by id."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.scripts, self.words, self.source = [], [], [], path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.images = {tag["id"]: decoded(tag["src"]) for name, tag in self.tags if name == "img"}
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        (self.scripts if self.tags and self.tags[-1][0] == "script" and data.strip() else self.words).append(data)

    def cut(self, atlas: str, place: int) -> np.ndarray:
        """(h, w, C) or (h, w): an image out of its atlas."""
        size, columns = self.data[atlas]["size"], self.data[atlas]["columns"]
        row, column = divmod(place, columns)
        return self.images[atlas][row * size : (row + 1) * size, column * size : (column + 1) * size]

    def frames(self, choice: int, level: int) -> np.ndarray:
        """uint8 (panels, steps, 3, H, W)."""
        places = self.data["scenes"][choice][level]["frames"]
        return np.array([[self.cut("frames", i) for i in panel] for panel in places]).transpose(0, 1, 4, 2, 3)

    def maps(self, choice: int, level: int, side: int) -> np.ndarray:
        """(words, steps, h, w): the weights."""
        scene = self.data["scenes"][choice][level]
        bytes_ = np.array([[self.cut("maps", i) for i in word] for word in scene["maps"][side]])
        return bytes_ / 255 * np.array(scene["scales"][side])[:, None, None, None]


def decoded(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(BytesIO(base64.b64decode(content, validate=True)))
    assert image.format == "PNG"
    return np.asarray(image)


def run_p2p(model: Path, out: Path, *flags) -> int:
    given = ("--model", model, "--device", "cpu", "--steps", STEPS, "--scale", 1, "--source", SOURCE)
    seeds = () if {"--seeds", "--image"} & {*flags} else ("--seeds", "0,4")
    return code_of(p2p_main, "edit", *given, *seeds, "--out", out, *flags)


@pytest.fixture(scope="module")
def edited(model, tmp_path_factory) -> SimpleNamespace:
    """A page of two images and three edits, and the trajectories and maps of the same edits by hand."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    how = {"cross_until": 0.6, "self_until": 0.4}
    assert run_p2p(model, path, "--target", *TARGETS, "--cross-until", 0.6, "--self-until", 0.4) == 0
    x_T, truth = ddpm.Noise([0, 4]).start(TRAINED.shape), []
    for target in TARGETS:
        store = p2p.AttentionStore([SOURCE] * 2 + [target] * 2, by_time=True, kinds=("cross", "self"))
        truth.append((list(p2p.edit(TRAINED, SOURCE, target, x_T, STEPS, store=store, **how)), store))
    return SimpleNamespace(page=Parsed(path), path=path, truth=truth, x_T=x_T)


def run_ddim(model: Path, out: Path, *flags) -> int:
    given = ("--model", model, "--device", "cpu", "--source", SOURCE, "--out", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "model_data", lambda *_: REAL)
        return code_of(ddim_main, "edit", *given, *flags)


@pytest.fixture(scope="module")
def encoded(model, tmp_path_factory) -> SimpleNamespace:
    """A page of `python -m ddim edit` for image 3 of a test split, at two strengths."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    flags = ("--image", 3, "--target", *TARGETS[:2], "--steps", STEPS, "--seed", 7, "--strength", 0.8, 0.4)
    assert run_ddim(model, path, *flags) == 0
    return SimpleNamespace(page=Parsed(path), path=path, x_0=from_bytes(REAL.images[3:4]))


@pytest.fixture(scope="module")
def injected(model, tmp_path_factory) -> SimpleNamespace:
    """A page of one image and two edits at three shares of injection."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    flags = ("--seeds", 4, "--target", *TARGETS[:2], "--cross-until", 1, 0, 0.6)
    assert run_p2p(model, path, *flags) == 0
    return SimpleNamespace(page=Parsed(path), path=path)


# ---- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["edited", "encoded", "injected", *SHIPPED])
def test_a_page_loads_nothing_and_its_images_are_pngs_of_whole_frames(name, request):
    path = name if isinstance(name, Path) else request.getfixturevalue(name).path
    parsed = Parsed(path)
    assert path.stat().st_size < 4e6
    assert "http:" not in parsed.source and "https:" not in parsed.source
    assert not {"link", "iframe", "base"} & {name for name, _ in parsed.tags}
    assert not [tag for name, tag in parsed.tags if name == "script" and "src" in tag]
    assert all(tag["alt"] for name, tag in parsed.tags if name == "img")
    for atlas, image in parsed.images.items():
        size, columns = parsed.data[atlas]["size"], parsed.data[atlas]["columns"]
        assert image.shape[1] == size * columns and image.shape[0] % size == 0
        assert image.shape[2:] == ((3,) if atlas == "frames" else ())


def test_the_shipped_pages_are_small_together_and_of_this_template():
    assert len(SHIPPED) == 4 and sum(path.stat().st_size for path in SHIPPED) < 5e6
    script = page.TEMPLATE.read_text(encoding="utf-8").split("<script>")[-1]
    assert all(path.read_text(encoding="utf-8").split("<script>")[-1] == script for path in SHIPPED)


def test_words_and_titles_with_special_characters_stay_text(tmp_path):
    """They neither end the script nor start a tag."""
    title, pages = "<b> &amp; \"quoted\" 'it' </script><script>alert(1)</script> <!--data-->", []
    for text in (title, "plain"):
        atlas = page.Atlas()
        data = {"places": atlas.add(np.zeros((1, 3, 4, 4), np.uint8)), "captions": page.captions(text, text)}
        data |= {"level": {"values": ["0"]}, "scenes": [[{"labels": ["t = 0"]}]]}
        pages.append(Parsed(page.write(tmp_path / "x.html", text, data, atlas)))
    special, plain = pages
    assert special.data["captions"][0]["words"] == p2p.words.split(title) and title in special.words
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


# ---- Prompt-to-Prompt ------------------------------------------------------------------------------------------------


def test_the_frames_are_the_samples_at_all_times_and_the_prediction_is_of_the_frame_beside_it(edited):
    for choice, (states, _) in enumerate(edited.truth):
        x = [torch.cat([edited.x_T, edited.x_T]), *(x for _, x, _ in states)]
        x_0 = [*(x_0 for *_, x_0 in states), x[-1]]
        for image in (0, 1):
            shown = edited.page.frames(choice, image)
            assert shown.shape == (4, STEPS + 1, 3, 16, 16)
            for panel, way in enumerate([x, x_0, x, x_0]):
                row = image if panel < 2 else 2 + image
                assert np.array_equal(shown[panel], np.stack([to_bytes(each)[row] for each in way]))
            labels = edited.page.data["scenes"][choice][image]["labels"]
            assert labels == LABELS


def test_the_maps_are_those_of_each_step_and_at_the_end_their_mean(edited):
    for choice, (target, (_, store)) in enumerate(zip(TARGETS, edited.truth, strict=True)):
        for image in (0, 1):
            for side, prompt in enumerate((SOURCE, target)):
                shown, row = edited.page.maps(choice, image, side), 2 * side + image
                step = np.array(edited.page.data["scenes"][choice][image]["scales"][side]) / 255  # of one level
                assert shown.shape == (len(prompt.split()), STEPS + 1, 16, 16)
                for word, weights in enumerate(shown):
                    for i, t in enumerate(GRID[:-1]):
                        expected = store.maps(16, t=t)[row, ..., word + 1].numpy()
                        assert abs(weights[i] - expected).max() <= 0.51 * step[word]
                    mean = store.maps(16)[row, ..., word + 1].numpy()
                    assert abs(weights[-1] - mean).max() <= 0.51 * step[word]
                    assert abs(weights[:-1].mean(axis=0) - mean).max() <= 0.51 * step[word]


def test_the_bars_count_the_steps_whose_maps_are_the_sources(edited):
    """The maps say which: those of source and edit are equal bit for bit where they were injected."""
    for choice, (target, (_, store)) in enumerate(zip(TARGETS, edited.truth, strict=True)):
        cross, own = edited.page.data["scenes"][choice][0]["tracks"]
        assert (cross["injected"], own["injected"]) == (3, 2)  # 0.6 and 0.4 of five steps
        kind = p2p.swap_map if choice == 0 else p2p.refine_map
        place = {j - 1: i for i, j in kind(SOURCE, target, 16).nonzero().tolist()}  # word -> the source's token
        if choice < 2:  # where a word is removed, the others take a part of its attention
            for word, count in enumerate(cross["words"]):
                pairs = [store.maps(16, t=t)[[0, 2]] for t in GRID[:-1]]
                same = [word in place and torch.equal(a[..., place[word]], b[..., word + 1]) for a, b in pairs]
                assert same == [i < count for i in range(STEPS)], (target, word)
        sites = [site for site in store.sites if site.kind == "self"]
        same = [all(torch.equal(*store.by_time[t][site][[0, 2]]) for site in sites) for t in GRID[:-1]]
        assert same == [True, True, False, False, False]
    words = edited.page.data["scenes"][1][0]["tracks"][0]["words"]
    assert words == [3, 3, 3, 3, 3, 3, 0, 3, 3, 3, 3, 3]  # none of yellow, which is new


def test_several_shares_are_levels_and_self_attention_is_injected_no_longer(injected):
    """At share 0 the edit is plain sampling of the target; at each share source and edit are those made by hand."""
    assert injected.page.data["level"] == {"name": "share", "values": ["0", "0.6", "1"]}
    x_T = ddpm.Noise([4]).start(TRAINED.shape)
    plain = ddpm.to_bytes(ddpm.last(ddim.sample(TRAINED.eps(TARGETS[:1]), TRAINED.schedule, x_T, STEPS)))[0]
    assert abs(injected.page.frames(0, 0)[2, -1].astype(int) - plain).max() <= 1  # rounding depends on the batch
    for choice, target in enumerate(TARGETS[:2]):
        for level, share in enumerate((0, 0.6, 1)):
            tracks = injected.page.data["scenes"][choice][level]["tracks"]
            cross, own = (track["injected"] for track in tracks)
            assert cross == round(share * STEPS) and own <= cross
            way = list(p2p.edit(TRAINED, SOURCE, target, x_T, STEPS, cross_until=share, self_until=own / STEPS))
            frames = injected.page.frames(choice, level)
            for panel, row in ((0, 0), (2, 1)):
                assert (frames[panel, -1] == ddpm.to_bytes(way[-1][1])[row]).all()


def test_changed_words_are_marked_and_paired(edited):
    names = [choice["name"] for choice in edited.page.data["choices"]]
    assert names[:2] == ["red -> green", "+ yellow"] and len(names) == 3
    marked = [
        [[w for w, new in zip(c["words"], c["changed"], strict=True) if new] for c in choice["captions"]]
        for choice in edited.page.data["choices"]
    ]
    assert marked[:2] == [[["red"], ["green"]], [[], ["yellow"]]]
    first, second, _ = (choice["pairs"] for choice in edited.page.data["choices"])
    assert first == [[i, i] for i in range(11)]
    words = SOURCE.split(), TARGETS[1].split()
    assert [words[0][i] for i, _ in second] == [words[1][j] for _, j in second] == SOURCE.split()


def test_a_real_image_has_a_page_too_which_starts_with_the_pair_of_its_exact_inversion(model, tmp_path):
    Image.fromarray(REAL.images[0].transpose(1, 2, 0)).save(tmp_path / "real.png")
    out, x_0 = tmp_path / "page.html", from_bytes(REAL.images[:1])
    assert run_p2p(model, out, "--target", TARGETS[0], "--image", tmp_path / "real.png") == 0
    pair = p2p.real.latent_pair(TRAINED, [SOURCE], x_0, STEPS)
    between = list(p2p.edit(TRAINED, SOURCE, TARGETS[0], pair, STEPS, sampler=ddim.sample_exact))
    source, predicted, *_ = Parsed(out).frames(0, 0)
    states = [*pair, *(x[:1] for _, x, _ in between)]
    guesses = [between[0][2], *(guess for *_, guess in between), states[-1]]  # no prediction belongs to the pair
    for shown, way in ((source, states), (predicted, guesses)):
        assert all(far(image, x[:1]) <= 1 for image, x in zip(shown, way, strict=True))
    assert len(source) == STEPS + 1 and far(source[-1], x_0) <= 1


# ---- the sampler's edits ---------------------------------------------------------------------------------------------


def far(image: np.ndarray, x: torch.Tensor) -> int:
    return abs(image.astype(int) - to_bytes(x)[0]).max()


def test_a_ddim_page_has_the_way_up_and_down_of_each_method(encoded):
    """Four of five steps are times 0 4 8 12 16, up and down again."""
    schedule, x_0, noise = TRAINED.schedule, encoded.x_0, ddpm.Noise([7])
    grid, source, target = GRID[1:], TRAINED.eps([SOURCE]), TRAINED.eps([TARGETS[0]])
    assert encoded.page.data["level"] == {"name": "strength", "values": ["0.4", "0.8"]}
    shown = encoded.page.frames(0, 1)
    assert shown.shape == (7, 9, 3, 16, 16) and encoded.page.frames(1, 0).shape[1] == 5
    assert (shown[0] == to_bytes(x_0)).all() and (shown[1:, 0] == to_bytes(x_0)).all()
    drawn = noise(x_0)
    for i, t in enumerate(grid[::-1]):  # SDEdit, upwards: the noised image in closed form
        a = schedule.alpha_bar[t].item()
        assert far(shown[1, i], a**0.5 * x_0 + (1 - a) ** 0.5 * drawn) <= 1
    assert (shown[4, :4] == to_bytes(x_0)).all()
    noised = a**0.5 * x_0 + (1 - a) ** 0.5 * drawn
    sdedit = [x for _, x, _ in ddim.sample(target, schedule, noised, grid, 1.0, generator=noise)]
    up = [x_0, *(x for _, x, _ in ddim.invert(source, schedule, x_0, grid))]
    down = [x for _, x, _ in ddim.sample(target, schedule, up[-1], grid)]
    exact = [x_0, *(x for _, x, _ in ddim.invert_exact(source, schedule, x_0, grid))]
    pair = (exact[-1], exact[-2])
    back = [exact[-2], *(x for _, x, _ in ddim.sample_exact(target, schedule, pair, grid, dtype=x_0.dtype))]
    for panel, way in ((1, sdedit), (2, up + down), (3, exact + back)):
        assert all(far(a, b) <= 1 for a, b in zip(shown[panel][-len(way) :], way, strict=True)), panel
    for i, (t, x) in enumerate(zip(grid, [up[-1], *down], strict=False)):  # beside x_t, what is predicted from it
        if t:
            assert far(shown[5, 4 + i], predict_x0(schedule, x, t, predict(target, x, t))) <= 1
    assert (shown[4:, -1] == shown[1:4, -1]).all()
    labels = encoded.page.data["scenes"][0][1]["labels"]
    assert labels[0] == "encode 0/4, t = 0" and labels[4] == "encode 4/4, t = 16" and labels[5] == "decode 1/4, t = 12"
    assert labels[-1] == "decode 4/4, t = 0" and encoded.page.data["scenes"][0][1]["turn"] == 4


def test_at_strength_0_a_page_is_the_original(model, tmp_path):
    flags = ("--image", 0, "--target", TARGETS[0], "--steps", 4, "--strength", 0, 0.5)
    assert run_ddim(model, tmp_path / "x.html", *flags) == 0
    shown = Parsed(tmp_path / "x.html").frames(0, 0)
    assert shown.shape[:2] == (7, 1) and (shown == REAL.images[0]).all()


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
  frames: [...document.querySelectorAll(".stack > canvas:not(.heat)")].map(pixels),
  heat: [...document.querySelectorAll(".heat")].filter((canvas) => !canvas.hidden).map(pixels),
  shown: [...document.querySelectorAll(".caption [aria-pressed=true]")].map((button) => button.textContent),
  side: document.querySelector("figure canvas").getBoundingClientRect().width,
  smallest: Math.min(...[...document.body.querySelectorAll("*")].filter((node) => node.innerText).map(
    (node) => parseFloat(getComputedStyle(node).fontSize))) });
"""


def check(state: dict, frames: np.ndarray) -> None:
    """The canvases hold these frames (panels, 3, H, W), pixel for pixel; images and words are large enough."""
    pixels = np.array(state["frames"]).reshape(len(frames), 16, 16, 4)[..., :3].transpose(0, 3, 1, 2)
    assert np.array_equal(pixels, frames)
    assert state["side"] >= 256 and state["side"] % 16 == 0 and state["smallest"] >= 20


FUNCTIONS = """
const same = (a, b) => { if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(JSON.stringify([a, b])); };
const [short, long] = [{ labels: Array(5), turn: 2 }, { labels: Array(9), turn: 4 }];
same([0, 1, 2, 3, 4].map((step) => sameTime(step, short, long)), [0, 1, 6, 7, 8]);
same([0, 3, 4, 5, 6, 8].map((step) => sameTime(step, long, short)), [0, 2, 2, 2, 2, 4]);
same(Array.from(heat([1, 2, 4])), [0, 0, 0, 255, 255, 0, 0, 255, 255, 255, 255, 255]);
same(Array.from(heat([7, 7])), [0, 0, 0, 255, 0, 0, 0, 255]);
same(partners(3, [[1, 2], [4, 2], [0, 0]]), [[1, 4], [2]]);
same(partners(-2, [[1, 2], [4, 2]]), [[1], [2]]);
same(partners(0, [[0, 0]]), [[], []]);
const [green, yellow, circle] = JSON.parse($("data").textContent).choices;
const [{ words }, others] = [green.captions[1], yellow.captions[1].words];
same(others[sameWord(words.indexOf("green") + 1, green, yellow) - 1], "yellow");
same(others[sameWord(words.indexOf("blue") + 1, green, yellow) - 1], "blue");
same(sameWord(words.indexOf("blue") + 1, green, circle), 0);
"""


@pytest.mark.slow
def test_keys_and_clicks_change_the_frames_in_a_browser(edited):
    """And the page's functions give what is worked out by hand: a line that is not so ends the script."""
    keys = """
    const word = (i) => document.querySelectorAll(".caption")[1].querySelectorAll("button")[i].click();
    press("ArrowLeft"); press("ArrowLeft"); word(5); look(); press("ArrowLeft"); look(); press("ArrowUp"); look();
    press("2"); look(); word(5); look();
    press("Escape"); $("back").click(); look(); for (let i = 0; i < 9; i++) press("ArrowLeft"); look();
    [...document.querySelectorAll(".caption button")].at(-1).dispatchEvent(new PointerEvent("pointerenter")); look();
    press("3"); look()
    """
    seen = in_browser(edited.path, LOOK + FUNCTIONS + keys)
    expected = [(0, 0, 3), (0, 0, 2), (0, 1, 2), (1, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 0), (1, 1, 0), (2, 1, 0)]
    for state, (choice, image, step) in zip(seen, expected, strict=True):
        check(state, edited.page.frames(choice, image)[:, step])
        assert state["label"].startswith(LABELS[step])
    shown = [["red", "green"]] * 3 + [["yellow"], ["red", "red"], [], [], ["background"] * 2, []]
    assert [state["shown"] for state in seen] == shown  # another edit: its own changed word; none under the pointer
    heat = np.array(seen[0]["heat"]).reshape(2, 16, 16, 4)
    for side, colours in enumerate(heat):
        values, light = edited.page.maps(0, 0, side)[5, 3], colours[..., :3].astype(int).sum(axis=-1)
        share = (values - values.min()) / np.ptp(values)  # of 765: red, then green, then blue is filled
        assert abs(light - 765 * share).max() <= 1.5
    assert seen[-1]["heat"] == []


@pytest.mark.slow
def test_the_bar_covers_the_places_of_the_slider_whose_maps_are_injected_in_a_browser(edited):
    """Three of five steps: the steps 1 to 3 are at the places 0 to 2 of 0 .. 5, so the bar ends between 2 and 3."""
    script = 'seen.push(...[...document.querySelectorAll("#tracks div div")].map((bar) => bar.style.width))'
    cross, own = (float(width.removesuffix("%")) / 100 * STEPS for width in in_browser(edited.path, script))
    assert 2 < cross < 3 and 1 < own < 2


@pytest.mark.slow
def test_on_a_telephone_source_and_edit_are_in_the_window(edited):
    script = """for (const canvas of document.querySelectorAll(".stack > canvas:not(.heat)")) {
      const { left, right, bottom } = canvas.getBoundingClientRect();
      seen.push(left >= 0 && right <= innerWidth && bottom <= innerHeight);
    }"""
    assert in_browser(edited.path, script, "390,844") == [True] * 4


@pytest.mark.slow
def test_up_and_down_change_the_strength_at_the_same_time_in_a_browser(encoded):
    keys = ("ArrowUp", "2", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowDown")  # it starts at strength 0.4, decoded
    seen = in_browser(encoded.path, LOOK + "".join(f'press("{key}"); look();' for key in keys))[2:]
    assert [state["label"] for state in seen] == [
        "decode 2/2, t = 0", "decode 4/4, t = 0", "decode 3/4, t = 4", "decode 1/2, t = 4",
    ]  # fmt: skip
    for state, (strength, step) in zip(seen, [(0, 4), (1, 8), (1, 7), (0, 3)], strict=True):
        check(state, encoded.page.frames(1, strength)[:, step])
