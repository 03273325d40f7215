"""Edits beside the truth: errors are to the drawing of the target, and the scenes fit their captions."""

import numpy as np
import pytest
from helpers import code_of

from ddpm.data import scenes
from ddpm.evaluation import edits
from p2p.__main__ import main
from p2p.experiments import truth

CAT, TIGER = "a photo of a cat on a couch", "a photo of a tiger on a couch"


def test_the_truth_has_no_error_and_doing_nothing_none_outside_of_the_edit():
    chosen = edits.scene_edits("thing", 6)
    right = truth.measure(chosen, truth.drawn([e.after for e in chosen]), "thing")
    same = truth.measure(chosen, truth.drawn([e.before for e in chosen]), "thing")
    assert right["inside x 1000"] == right["outside x 1000"] == 0 and right["new word shown"] == 100
    assert same["inside x 1000"] > 10 and same["outside x 1000"] == 0 and same["new word shown"] == 0


def test_scenes_of_a_caption_show_what_it_says_and_their_edits_the_new_word_alone():
    kind, chosen = truth.edits_of(CAT, TIGER, 4)
    assert kind == "thing" and len(chosen) == 4
    for e in chosen:
        assert (e.before.thing, e.before.setting, e.after) == ("cat", "couch", scenes.replace(e.before, thing="tiger"))
        assert not np.array_equal(scenes.draw(e.before), scenes.draw(e.after))


def test_a_flag_is_added_to_scenes_without_one():
    """A caption that names no flag is true of scenes with one, too."""
    house = "a photo of a house on a mountain"
    kind, chosen = truth.edits_of(house, house.replace("house", "house with a flag"), 4)
    assert kind == "add flag" and [(e.before.flag, e.after.flag) for e in chosen] == [(False, True)] * 4


def test_a_kind_on_record_is_not_measured_again_and_other_settings_are_refused_at_once(tmp_path, monkeypatch, capsys):
    before = truth.drawn([e.before for e in edits.scene_edits("thing", 3)])
    monkeypatch.setattr(truth, "edited", lambda *_: {"nothing": before})
    flags = ("truth", "--kinds", "thing", "--ways", "nothing", "--device", "cpu", "--out", tmp_path)
    assert code_of(main, *flags, "--n", 3) == 0
    monkeypatch.setattr(truth, "edited", lambda *_: pytest.fail("edited first"))
    assert code_of(main, *flags, "--n", 2) == 2
    assert "was made with n 3, not 2" in capsys.readouterr().err
    assert code_of(main, *flags, "--n", 3) == 0
    assert "(read from" in capsys.readouterr().out
