"""What caption accuracy scores."""

from helpers import code_of
from tiny import save_model

from ddpm.__main__ import main
from ddpm.data.shapes import shapes
from ddpm.experiments import caption_accuracy


def test_what_is_scored_was_not_trained_on():
    """Neither a drawing, nor a combination that is called unseen; and the captions are no list of training's own."""
    training = shapes("train")
    drawings = {image.tobytes() for image in training.images}
    captions = {caption for variants in training.captions for caption in variants}
    sets = caption_accuracy.of_shapes(200)
    images, _ = sets["on real renderings"]
    assert len(images) == 200 and not any(image.tobytes() in drawings for image in images)
    seen, unseen = sets["combinations seen"][1], sets["combinations never seen"][1]
    assert set(seen) <= captions and not set(unseen) & captions
    assert sum(a == b[0] for a, b in zip(seen, training.captions, strict=False)) < 20  # 1 by chance


def test_what_the_command_cannot_do_is_one_line_and_nothing_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(caption_accuracy, "samples_of", None)  # refused before the first image
    model, other = save_model(tmp_path / "model.pt"), tmp_path / "other.json"
    moons = save_model(tmp_path / "moons.pt", data="moons")
    other.write_text('{"n": 1, "steps": 2}')
    before = sorted(tmp_path.iterdir())
    for flags, message in (
        (["--steps", 21], "--steps is 21: expected 1 .. 20"), (["--n", 0], "'0': expected a whole number"),
        (["--n", 10**9], "--n 1000000000 takes"),
        (["--eta", 1.5], "'1.5': expected a number in [0, 1]"), (["--scale", "nan"], "'nan': expected a number"),
        (["--model", moons], "'moons'"), (["--device", "tpu"], "'tpu'"), (["--model", tmp_path / "none"], "no model"),
        (["--out", other], f"{other} is not a record of ddpm score"),
    ):  # fmt: skip
        defaults = {"--model": model, "--out": tmp_path / "new", flags[0]: flags[1]}
        assert code_of(main, "score", *(word for pair in defaults.items() for word in pair)) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
