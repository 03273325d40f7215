"""What caption accuracy scores."""

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
