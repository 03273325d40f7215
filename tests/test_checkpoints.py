"""Checkpoints: saved weights come back, damaged files are named, and no failed save costs the old file."""

import errno
import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from test_real_data import Evil
from tiny import CONFIG, make_training

import ddpm
from ddpm import Schedule
from ddpm.analytic import gaussian_like
from ddpm.data import scenes, shapes
from ddpm.experiments.ship import ship
from ddpm.model import CheckpointError, Trained, description, generate, load, read
from ddpm.training import Settings
from ddpm.utils import files
from ddpm.utils.files import CHECKPOINT, save
from ddpm.utils.images import save_figure
from unet import Tokenizer, UnknownWordError

SETTINGS = Settings(batch=8, images=24, ema=(0.05, 0.5), T=100, schedule="cosine", warmup=0, learning_rate=1e-3)
WORDS = tuple(reversed(Tokenizer().words))  # another order: a checkpoint keeps its own list of words


@pytest.fixture(scope="module")
def training():
    run = make_training(SETTINGS, replace(CONFIG, predicts="v"))
    list(run.run())
    return run


def content_of(training) -> dict:
    """A checkpoint as train.py writes it."""
    about = description(training.unet.config, Tokenizer(WORDS), training.schedule)
    return about | {"settings": {}, "info": {"ema": 0.5, "data": "noise"}} | training.state()


@pytest.fixture
def folder(tmp_path, training):
    """A run folder with a checkpoint in it."""
    save(tmp_path / CHECKPOINT, content_of(training))
    return tmp_path


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A place of its own for shipped models, so that no test touches the real ones."""
    place = tmp_path / "weights"
    monkeypatch.setattr(ddpm.model, "SHIPPED", place)
    return place


def eps_of(trained: Trained, prompts=("a red circle", "a blue square"), **keywords) -> torch.Tensor:
    """The model's eps for two fixed noisy images."""
    x = torch.randn(2, *trained.shape, generator=torch.Generator().manual_seed(0))
    return trained.eps(None if prompts is None else list(prompts), **keywords)(x, torch.tensor([20, 90]))


@pytest.mark.parametrize("share", [None, 0.05])
def test_a_model_comes_back_without_a_flag(folder, training, share):
    trained = load(folder, ema=share)
    assert trained.unet.config == training.unet.config and trained.tokenizer.words == WORDS
    assert (trained.schedule.T, trained.schedule.kind) == (100, "cosine")
    assert torch.equal(trained.unet.alpha_bar, Schedule(100, "cosine").alpha_bar)
    assert trained.info["ema"] == (share or 0.5) and trained.info["data"] == "noise"
    assert not trained.unet.training and not any(p.requires_grad for p in trained.unet.parameters())
    original = Trained(training.averaged(share or 0.5), Tokenizer(WORDS), training.schedule, {})
    assert torch.equal(eps_of(trained), eps_of(original))
    with pytest.raises(CheckpointError, match=r"no average 0\.3; there are 0\.05, 0\.5"):
        load(folder, ema=0.3)


def test_a_model_keeps_the_words_of_its_training_captions(tmp_path, shelf, training):
    """Stored; from before they were stored: those of its dataset, if a shipped model has learned it, else all."""
    content, few = content_of(training), ("red", "a")
    del content["known"]
    shelf.mkdir()
    entry = {"file": "x.pt", "sha256": "", "data": "moons", "words": "a red"}
    (shelf / "manifest.json").write_text(json.dumps({"x": entry}))
    save(tmp_path / "stored.pt", content | {"known": few})
    save(tmp_path / "moons.pt", content | {"info": content["info"] | {"data": "moons"}})
    save(tmp_path / "own.pt", content)
    for name, known in (("stored", few), ("moons", few), ("own", WORDS)):
        trained = load(tmp_path / f"{name}.pt")
        assert set(trained.info["words"]) == set(trained.tokenizer.known) == set(known)
        assert "words" not in trained.card  # results keep the form that they have
    with pytest.raises(UnknownWordError, match="'circle'.* knows, nearest first, "):
        load(tmp_path / "moons.pt").eps(["a red circle"])
    assert load(ship(tmp_path / "moons.pt", "tiny")).tokenizer.known == load(tmp_path / "moons.pt").tokenizer.known


@pytest.mark.parametrize("data", [shapes, scenes])
def test_a_shipped_model_knows_the_words_of_its_training_captions(data):
    """Those of photographs: see their grammars' tests."""
    captions = {caption for drawn in data.scatter(3000, "train", 0) for caption in data.variants(drawn)}
    assert set(load(data.__name__.split(".")[-1]).tokenizer.known) == set(" ".join(captions).split())


def test_the_shipped_weights_fit_the_network():
    """On images never seen eps is far nearer to the noise than the best linear denoiser's, and captions help."""
    trained, data, t = load("shapes"), shapes.shapes("test", 332), torch.full((32,), 500)
    x_0, captions = ddpm.from_bytes(data.images), [names[0] for names in data.captions[:32]]
    noise = torch.randn(32, *trained.shape, generator=torch.Generator().manual_seed(0))
    x_t = ddpm.q_sample(trained.schedule, x_0[:32], t, noise)
    linear, wrong = gaussian_like(trained.schedule, x_0[32:].double()), trained.eps(captions[::-1])
    right, *others = ((eps(x_t, t) - noise).square().mean() for eps in (trained.eps(captions), linear, wrong))
    assert right < min(others) / 4


def test_a_model_is_found_by_folder_file_and_string(folder, shelf, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in (folder, str(folder), folder / CHECKPOINT, str(folder / CHECKPOINT), f"~/{folder.name}"):
        assert load(name).info["path"] == str(folder / CHECKPOINT)
    for name in ("nothing", str(folder.parent)):  # no such thing, and a folder without a checkpoint
        with pytest.raises(CheckpointError, match=f"no model '{re.escape(name)}'.*none yet"):
            load(name)


def test_a_damaged_file_is_named_in_one_line(folder):
    path = folder / CHECKPOINT
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[len(middle) // 2] ^= 16  # one bit, in the middle of somebody's weights
    for content in (b"", whole[: len(whole) // 2], whole[:-1], bytes(middle), b"hello world\n", pickle.dumps({})):
        path.write_bytes(content)
        for call in (load, read):
            with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
                call(path)
            assert "\n" not in str(caught.value)


def test_code_in_a_file_is_never_run(tmp_path, training):
    sprung = tmp_path / "sprung"
    torch.save(content_of(training) | {"info": Evil(Path.touch, sprung)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="never opened"):
        load(tmp_path)
    assert not sprung.exists()
    torch.load(tmp_path / CHECKPOINT, weights_only=False)
    assert sprung.exists()  # the trap was a real one


def test_what_a_model_lacks_or_has_too_much_is_named(tmp_path, training):
    whole = content_of(training)
    wrong = [({name: whole[name] for name in whole if name != key}, f"it has no {key}") for key in ddpm.model.MODEL]
    wrong += [
        ([1, 2], "is no checkpoint"),
        (whole | {"info": {"data": "noise"}}, "no average None; there are 0.05, 0.5"),
        (whole | {"info": {"ema": 0.5}}, "has no dataset"),
        (whole | {"info": None}, "has no dataset"),
        (whole | {"ema": 5}, "does not fit this version"),
        (whole | {"ema": {0.5: {}}}, "does not fit this version.* Missing key"),
    ]
    spoilt = {share: {k: v * torch.inf for k, v in weights.items()} for share, weights in whole["ema"].items()}
    wrong += [(whole | {"ema": spoilt}, "is broken: its .* is not finite")]
    for other in ({"unet_config": whole["unet_config"] | {"colour": 3}}, {"words": ("red", "red")}):
        wrong += [(whole | other, "does not fit this version")]
    for content, message in wrong:
        torch.save(content, tmp_path / CHECKPOINT)
        with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path))}.*{message}"):
            load(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError("PytorchStreamWriter failed writing file"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_checkpoint_whole(folder, monkeypatch, error):
    """A disk that takes half of the file; the hands of somebody who presses Ctrl-C."""
    before = (folder / CHECKPOINT).read_bytes()

    def half(content, path):
        Path(path).write_bytes(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises((OSError, KeyboardInterrupt)):
        save(folder / CHECKPOINT, {"step": 99})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {CHECKPOINT: before}
    monkeypatch.undo()
    save(folder / CHECKPOINT, {"step": 99})
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]


def test_two_commands_that_write_one_file_do_not_write_into_each_other(tmp_path, monkeypatch):
    with files.whole_file(tmp_path / "x") as one:
        one.write_text("one")
        monkeypatch.setattr(os, "getpid", lambda: 7)
        with files.whole_file(tmp_path / "x") as other:
            other.write_text("other")
        assert (tmp_path / "x").read_text() == "other"
    assert (tmp_path / "x").read_text() == "one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["file/x.pt", "x.pt", "x.json", "x.txt", "x.png"])
def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path, monkeypatch, name):
    """Checkpoints, JSON, texts and images, on a full disk; and in a folder that is a file."""

    def full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / name
    (tmp_path / name.split("/")[0]).write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    kinds = {".json": files.write_json, ".png": lambda p, _: save_figure(Figure(), p), ".pt": save}
    with pytest.raises(OSError, match=f"cannot write {re.escape(str(path))}: .*unchanged"):
        kinds.get(path.suffix, files.write_text)(path, "new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_shipped_models_are_half_the_size_and_found_by_name(folder, shelf, training):
    ship(folder, "zebra")  # the run's own average
    ship(folder, "ant", ema=0.05)
    manifest = json.loads((shelf / "manifest.json").read_text())
    assert list(manifest) == ["ant", "zebra"]
    for name, share in (("ant", 0.05), ("zebra", 0.5)):
        path = shelf / manifest[name]["file"]
        assert manifest[name]["bytes"] == path.stat().st_size and manifest[name]["sha256"] == files.sha256(path)
        content = torch.load(path, weights_only=True)
        assert list(content["ema"]) == [share] and "optimizer" not in content and "unet" not in content
        for key, value in content["ema"][share].items():
            assert value.dtype == torch.float16 and torch.equal(value, training.averages[share][key].half())
            assert value.is_contiguous()  # safetensors refuses others
        assert load(name).info["ema"] == share
    with pytest.raises(CheckpointError, match=r"a shipped model \(ant, zebra\)"):
        load("bee")


def test_a_shipped_file_that_changed_is_refused_and_so_is_a_damaged_manifest(folder, shelf):
    path = ship(folder, "tiny")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"tiny\.pt is missing or not the file that was shipped"):
        load("tiny")
    for content in ("{", "[1]", '{"tiny": {"file": "tiny.pt"}}'):
        (shelf / "manifest.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
            load("tiny")


def test_a_model_that_cannot_be_shipped_changes_nothing(folder, shelf):
    """Neither the files nor the manifest: not even where the old model may be replaced."""
    ship(folder, "tiny")
    (shelf / "foreign.pt").write_bytes(b"not in the manifest")
    content, damaged = read(folder / CHECKPOINT), folder / "damaged.pt"
    before = {path.name: path.read_bytes() for path in shelf.iterdir()}
    large = {name: weight + 1e6 for name, weight in content["ema"][0.5].items()}
    save(damaged, content | {"ema": {0.5: large}})
    for file, name, message in (
        (damaged, "tiny", "has values that half precision cannot hold"),
        (folder, "foreign", "there is a shipped 'foreign'"),
    ):
        with pytest.raises(ValueError, match=message):
            ship(file, name, replace=name == "tiny")
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == before


@pytest.fixture
def trained(training):
    return Trained(training.averaged(0.5), Tokenizer(), training.schedule, {})


def test_guidance_is_the_papers_formula(trained):
    expected = 3 * eps_of(trained) - 2 * eps_of(trained, ["", ""])
    torch.testing.assert_close(eps_of(trained, scale=3.0), expected, rtol=0, atol=1e-4)


def test_one_prompt_serves_every_image_and_none_is_the_unconditional_model(trained):
    assert torch.equal(eps_of(trained, ["a red circle"]), eps_of(trained, ["a red circle", "a red circle"]))
    for scale in (1.0, 5.0):
        assert torch.equal(eps_of(trained, None, scale=scale), eps_of(trained, ["", ""]))
    trained.unet.requires_grad_(True)
    assert not eps_of(trained).requires_grad  # no gradients leave the model


def test_the_hook_sees_the_conditional_call_alone(trained):
    seen = []
    eps_of(trained, scale=3.0, hook=lambda weights, site, t: seen.append(site) or weights)
    assert seen == trained.unet.sites


def one_call(eps, schedule, x_T, noise):
    """A sampler that is quickly done: one call of the network, and noise of its own."""
    yield 0, eps(x_T, torch.full((len(x_T),), schedule.T)) * 0.1 + noise(x_T) * 0.1, None


def test_a_seed_is_the_same_image_in_any_batch_up_to_rounding(trained):
    prompts = ["a red circle", "a blue square"] * 35
    (*_, last) = batches = list(generate(trained, prompts, list(range(70)), one_call, scale=2.0))
    assert [len(batch) for batch in batches] == [64, 6] and last.shape[1:] == trained.shape
    (alone,) = generate(trained, [prompts[66]], [66], one_call, scale=2.0)
    assert abs(last[2].astype(int) - alone[0].astype(int)).max() <= 1  # a rounding may fall to the other side
    assert not (last[0] == last[2]).all()
