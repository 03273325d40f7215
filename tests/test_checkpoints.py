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
from tiny import CONFIG, make_training

from ddpm import Schedule, checkpoints, files
from ddpm.checkpoints import CHECKPOINT, CheckpointError, description, load, read, ship
from ddpm.config import Settings
from ddpm.files import save
from ddpm.images import save_figure
from ddpm.model import Trained, generate, to_bytes
from ddpm.noise import Noise
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
    monkeypatch.setattr(checkpoints, "SHIPPED", place)
    return place


def eps_of(trained: Trained, prompts=("a red circle", "a blue square"), **keywords) -> torch.Tensor:
    """The model's eps for two fixed noisy images."""
    x = torch.randn(2, *trained.shape, generator=torch.Generator().manual_seed(0))
    return trained.eps(list(prompts), **keywords)(x, torch.tensor([20, 90]))


# ---- saving and loading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [None, 0.05, 0.5])
def test_a_model_comes_back_without_a_flag(folder, training, share):
    trained = load(folder, ema=share)
    assert trained.unet.config == training.unet.config and trained.tokenizer.words == WORDS
    assert (trained.schedule.T, trained.schedule.kind) == (100, "cosine")
    assert torch.equal(trained.unet.alpha_bar, Schedule(100, "cosine").alpha_bar)
    assert trained.info["ema"] == (share or 0.5) and trained.info["data"] == "noise"
    assert not trained.unet.training and not any(p.requires_grad for p in trained.unet.parameters())
    for name, p in trained.unet.named_parameters():
        assert torch.equal(p, training.averages.of[share or 0.5][name])
    original = Trained(training.averaged(share or 0.5), Tokenizer(WORDS), training.schedule, {})
    assert torch.equal(eps_of(trained), eps_of(original))


def test_a_model_is_found_by_folder_file_and_string(folder):
    models = [load(name) for name in (folder, str(folder), folder / CHECKPOINT, str(folder / CHECKPOINT))]
    assert all(torch.equal(eps_of(model), eps_of(models[0])) for model in models)
    assert {model.info["path"] for model in models} == {str(folder / CHECKPOINT)}


def test_the_file_is_read_by_torch_alone(folder):
    """weights_only: tensors and plain values, nothing that would need our classes."""
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    assert content["words"] == WORDS and content["step"] == 3


def test_an_average_that_is_not_there_is_named(folder):
    with pytest.raises(CheckpointError, match=r"no average 0\.3; there are 0\.05, 0\.5"):
        load(folder, ema=0.3)


def test_an_unknown_name_says_what_is_known(shelf, tmp_path):
    for name in ("nothing", str(tmp_path)):  # no such thing, and a folder without a checkpoint
        with pytest.raises(CheckpointError, match=f"no model '{re.escape(name)}'.*none yet"):
            load(name)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read(tmp_path / "nothing.pt")


# ---- damaged files -------------------------------------------------------------------------------------------------


def damaged(whole: bytes) -> dict[str, bytes]:
    """Files that are no checkpoint, or no longer one."""
    middle = bytearray(whole)
    middle[len(middle) // 2] ^= 16  # one bit, in the middle of somebody's weights
    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "short of its last byte": whole[:-1],
        "one bit": bytes(middle),
        "zeros": bytes(len(whole)),
        "text": b"hello world\n",
        "json": b'{"unet_config": {}}',
        "a pickle": pickle.dumps({"unet_config": {}}),
        "protocol 2": b"\x80\x02nonsense.",
        "an empty archive": b"PK\x05\x06" + bytes(18),
    }


def test_a_damaged_file_is_named_in_one_line(folder):
    path = folder / CHECKPOINT
    for content in damaged(path.read_bytes()).values():
        path.write_bytes(content)
        for call in (load, read):
            with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
                call(path)
            assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=re.escape(str(folder))):
        read(folder)


class Trap:
    """An object whose unpickling runs code: it would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_never_run(tmp_path, training):
    sprung = tmp_path / "sprung"
    torch.save(content_of(training) | {"info": Trap(sprung)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="never opened"):
        load(tmp_path)
    assert not sprung.exists()
    torch.load(tmp_path / CHECKPOINT, weights_only=False)
    assert sprung.exists()  # the trap was a real one


def test_what_a_model_lacks_is_named(tmp_path, training):
    whole = content_of(training)
    for content in ([1, 2], {}, {"unet": {}}):
        torch.save(content, tmp_path / CHECKPOINT)
        with pytest.raises(CheckpointError, match="is no checkpoint: it has no"):
            load(tmp_path)
    for key in checkpoints.MODEL:
        torch.save({name: value for name, value in whole.items() if name != key}, tmp_path / CHECKPOINT)
        with pytest.raises(CheckpointError, match=f"it has no {key}"):
            load(tmp_path)
    torch.save(whole | {"info": {"data": "noise"}}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match=r"does not say which average to take; there are 0\.05, 0\.5"):
        load(tmp_path)
    assert load(tmp_path, ema=0.5).info["ema"] == 0.5


def test_a_model_of_another_version_is_refused(tmp_path, training):
    content = content_of(training)
    others = [
        {"unet_config": content["unet_config"] | {"colour": 3}},
        {"unet_config": content["unet_config"] | {"channels": 16}},
        {"schedule": {"T": 100, "kind": "sigmoid"}},
        {"words": WORDS[:-1]},
    ]
    for other in others:
        torch.save(content | other, tmp_path / CHECKPOINT)
        with pytest.raises(CheckpointError, match=f"{re.escape(str(tmp_path))}.*does not fit this version") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


# ---- what happens during a save ------------------------------------------------------------------------------------


def broken_save(error: BaseException):
    """torch.save on a disk that takes half of the file, or under the hands of somebody who presses Ctrl-C."""
    write = torch.save

    def half(content, path):
        write(content, path)
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        raise error

    return half


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_an_interrupted_save_leaves_the_old_checkpoint_whole(folder, training, monkeypatch, error, raised):
    before = (folder / CHECKPOINT).read_bytes()
    monkeypatch.setattr(torch, "save", broken_save(error))
    with pytest.raises(raised) as caught:
        save(folder / CHECKPOINT, content_of(training) | {"step": 99})
    if raised is OSError:
        assert str(folder / CHECKPOINT) in str(caught.value) and str(error) in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
    assert (folder / CHECKPOINT).read_bytes() == before


def test_a_save_replaces_the_old_file_and_leaves_nothing_else(folder, training):
    (folder / f".{CHECKPOINT}.k1ll3d").write_bytes(b"half of a killed save")
    save(folder / CHECKPOINT, content_of(training) | {"step": 99})
    assert read(folder / CHECKPOINT)["step"] == 99
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]


def full_disk(path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["nowhere/x", "x.json", "x.txt", "x.png"])
def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path, monkeypatch, name):
    """JSON, texts and images, on a full disk; and a folder that is not there."""
    path = tmp_path / name
    if path.parent.exists():
        path.write_bytes(b"old")
        monkeypatch.setattr(os, "fsync", full_disk)
    kinds = {".json": files.write_json, ".png": lambda p, _: save_figure(Figure(), p)}
    write = kinds.get(path.suffix, files.write_text)
    with pytest.raises(OSError, match=f"cannot write {re.escape(str(path))}: .*unchanged"):
        write(path, "new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"] * path.parent.exists()


# ---- shipping ------------------------------------------------------------------------------------------------------


def test_a_shipped_model_is_half_the_size_and_found_by_name(folder, shelf, training):
    path = ship(folder, "tiny", {"checks": 0.98}, ema=0.05)
    assert path == shelf / "tiny.pt"
    content = torch.load(path, weights_only=True)
    assert list(content["ema"]) == [0.05] and "optimizer" not in content and "unet" not in content
    for name, value in content["ema"][0.05].items():
        assert value.dtype == torch.float16
        assert torch.equal(value, training.averages.of[0.05][name].half())
    trained = load("tiny")
    assert trained.info["numbers"] == {"checks": 0.98} and trained.info["ema"] == 0.05
    assert next(trained.unet.parameters()).dtype == torch.float32
    torch.testing.assert_close(eps_of(trained), eps_of(load(folder, ema=0.05)), rtol=0, atol=0.05)  # 11 bits


def test_the_run_chooses_the_average_that_is_shipped(folder, shelf):
    ship(folder, "tiny", {})
    assert load("tiny").info["ema"] == 0.5
    with pytest.raises(CheckpointError, match=r"no average 0\.3"):
        ship(folder, "other", {}, ema=0.3)
    assert sorted(path.name for path in shelf.iterdir()) == ["manifest.json", "tiny.pt"]


def test_a_shipped_file_that_changed_is_refused(folder, shelf):
    path = ship(folder, "tiny", {})
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"tiny\.pt is missing or not the file that was shipped"):
        load("tiny")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.pt is missing"):
        load("tiny")


def test_a_model_too_large_to_ship_changes_nothing(folder, shelf, monkeypatch):
    ship(folder, "tiny", {})
    before = {path.name: path.read_bytes() for path in shelf.iterdir()}
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 1000)
    for name in ("tiny", "other"):
        with pytest.raises(CheckpointError, match=f"{name} would take"):
            ship(folder, name, {"checks": 1}, replace=True)
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == before


@pytest.mark.parametrize("content", ["{", "[1]", '{"tiny": 3}', '{"tiny": {"file": "tiny.pt"}}'])
def test_a_damaged_manifest_is_named(shelf, content):
    shelf.mkdir()
    (shelf / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        load("tiny")


def test_the_manifest_keeps_the_models_that_were_there(folder, shelf):
    ship(folder, "zebra", {})
    ship(folder, "ant", {}, ema=0.05)
    manifest = json.loads((shelf / "manifest.json").read_text())
    assert list(manifest) == ["ant", "zebra"]
    for entry in manifest.values():
        path = shelf / entry["file"]
        assert entry["bytes"] == path.stat().st_size and entry["sha256"] == files.sha256(path)
    assert {load(name).info["ema"] for name in manifest} == {0.5, 0.05}
    with pytest.raises(CheckpointError, match=r"a shipped model \(ant, zebra\)"):
        load("bee")


# ---- a trained model as samplers want it ---------------------------------------------------------------------------


@pytest.fixture
def trained(training):
    return Trained(training.averaged(0.5), Tokenizer(), training.schedule, {})


def counted(trained: Trained, monkeypatch) -> list[torch.Tensor]:
    """The times of every call of the network."""
    calls, forward = [], trained.unet.forward
    monkeypatch.setattr(trained.unet, "forward", lambda x, t, *rest: calls.append(t) or forward(x, t, *rest))
    return calls


@pytest.mark.parametrize(("scale", "n"), [(1, 1), (1.0, 1), (0.0, 1), (2.0, 2), (7.5, 2)])
def test_guidance_costs_one_call_more_and_none_at_scale_1_and_0(trained, monkeypatch, scale, n):
    calls = counted(trained, monkeypatch)
    eps_of(trained, scale=scale)
    assert len(calls) == n


def test_guidance_is_the_papers_formula(trained):
    conditional, null = eps_of(trained), eps_of(trained, ["", ""])
    torch.testing.assert_close(eps_of(trained, scale=3.0), 3 * conditional - 2 * null, rtol=0, atol=1e-4)
    torch.testing.assert_close(eps_of(trained, scale=0.0), null, rtol=0, atol=1e-6)


def test_no_prompts_is_the_unconditional_model(trained, monkeypatch):
    x, t = torch.randn(2, *trained.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 90])
    expected, calls = eps_of(trained, ["", ""]), counted(trained, monkeypatch)
    assert torch.equal(trained.eps(None)(x, t), expected)
    assert torch.equal(trained.eps(None, scale=5.0)(x, t), expected) and len(calls) == 2


def test_one_prompt_serves_every_image(trained):
    assert torch.equal(eps_of(trained, ["a red circle"]), eps_of(trained, ["a red circle", "a red circle"]))


def test_the_hook_sees_the_conditional_call_alone(trained):
    seen = []
    eps_of(trained, scale=3.0, hook=lambda weights, site, t: seen.append(site) or weights)
    assert seen == trained.unet.sites


def test_wrong_prompts_are_named(trained):
    with pytest.raises(ValueError, match="3 prompts for 2 images"):
        eps_of(trained, ["a", "a", "a"])
    with pytest.raises(ValueError, match="no prompt given"):
        eps_of(trained, [])
    with pytest.raises(UnknownWordError, match="'sqare'.*square"):
        eps_of(trained, ["a red circle", "a sqare"])
    with pytest.raises(ValueError, match="at most 7"):
        eps_of(trained, ["a photo of a small red circle on a blue background"] * 2)
    with pytest.raises(ValueError, match="a list of prompts"):
        trained.eps("a red circle")


def test_no_gradients_leave_the_model(trained):
    trained.unet.requires_grad_(True)
    assert not eps_of(trained).requires_grad


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
    assert torch.equal(Noise([5]).start((3, 4, 4))[0], Noise([4, 5]).start((3, 4, 4))[1])


def test_images_become_bytes_and_back():
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    x = levels.float().repeat(3, 1).reshape(1, 3, 16, 16)
    assert (to_bytes(x).reshape(3, -1) == list(range(256))).all()
    assert to_bytes(torch.tensor([[[[-7.0]], [[7.0]], [[0.0]]]])).ravel().tolist() == [0, 255, 128]
