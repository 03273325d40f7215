"""Reproducing everything with one command: the plan, what it refuses, and a tiny run of it."""

import argparse
import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import code_of

from ddpm.__main__ import main
from ddpm.experiments import reproduce
from ddpm.model import load

SLOW, FAST = {"training": 50.0, "sampling": 400.0}, {"training": 9_000.0, "sampling": 30_000.0}  # a CPU, a GPU


def parsed(*flags: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    reproduce.add_flags(parser)
    return parser.parse_args([str(flag) for flag in flags])


@pytest.mark.parametrize("rates", [SLOW, FAST])
@pytest.mark.parametrize("minutes", [60, 720])
def test_a_plan_fills_the_minutes_and_trains_for_half_of_them_or_more(rates, minutes):
    (training, _, words, _), *others = reproduce.plan(parsed("--minutes", minutes), "cifar10", rates)
    assert training >= minutes / 2 and words[0].endswith("train.py") and words[words.index("--preset") + 1] == "cifar10"
    assert training + sum(spent for spent, *_ in others) == pytest.approx(minutes)
    commands = ["ddim table", "ddim reconstruct", "ddim figures", "ddpm score", "p2p edit", "p2p score"]
    assert [" ".join(words[1:3]) for _, _, words, _ in others] == commands
    n, rows, columns = (flag_of(others[0][2], name) for name in ("--n", "--rows", "--columns"))
    calls = int(n[0]) * len(rows) * sum(map(int, columns))  # S calls of the network for an image of one row and column
    assert others[0][0] == pytest.approx(calls / rates["sampling"] / 60)


def flag_of(words: list[str], name: str) -> list[str]:
    """The values of a flag among the words of a command."""
    rest = words[words.index(name) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), None)]


def test_the_minutes_that_are_asked_for_are_just_enough():
    with pytest.raises(ValueError, match="--minutes is 1e-09: expected at least ") as error:
        reproduce.plan(parsed("--minutes", 1e-9), "shapes", SLOW)
    enough = float(str(error.value).split("at least ")[1].split(",")[0])
    assert reproduce.plan(parsed("--minutes", enough), "shapes", SLOW)
    with pytest.raises(ValueError, match="expected at least"):
        reproduce.plan(parsed("--minutes", enough - 0.02), "shapes", SLOW)


def test_timed_steps_choose_the_largest_network_that_sees_enough_images(tmp_path, monkeypatch):
    rates = {"ddpm": 1000.0, "cifar10": 5000.0, "cifar10-cpu": 10_000.0}
    monkeypatch.setattr(reproduce, "timed", lambda preset, device: {"training": rates[preset], "sampling": 1.0})
    flags = ("--dry-run", "--out", tmp_path, "--device", "cpu")
    found = [reproduce.prepare(parsed(*flags, "--minutes", m)) for m in (1, 100, 3000)]
    assert [record["preset"] for record in found] == ["cifar10-cpu", "cifar10", "ddpm"]  # half of 100 min: 15 million
    assert [record["features"] for record in found] == ["inception"] * 3


def test_what_cannot_be_planned_is_refused_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "timed", lambda preset, device: FAST)
    earlier = tmp_path / "earlier" / "plan.json"
    (earlier.parent / "runs" / "00000-shapes").mkdir(parents=True)
    (earlier.parent / "runs" / "00000-shapes" / "checkpoint.pt").touch()
    other = {"data": "shapes", "minutes": 61.0, "features": "classifier", "preset": "shapes", "rates": FAST, "done": 0}
    for content, message in (("{}", "is not a plan of this command"), (json.dumps(other), "minutes 61.0, not 60.0")):
        earlier.write_text(content)
        assert code_of(main, "reproduce", "--data", "shapes", "--minutes", 60, "--out", earlier.parent) == 2
        assert message in capsys.readouterr().err and earlier.read_text() == content
    for flags, message in (
        (["--minutes", "0"], "--minutes is 0: expected more than 0"), (["--minutes", "1e30"], "at most 10,000,000"),
        (["--data", "celeba", "--data-dir", tmp_path], "is missing"),
    ):  # fmt: skip
        assert code_of(main, "reproduce", *flags, "--out", tmp_path / "new") == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]


def test_every_planned_command_is_one_that_is_there_and_every_caption_one_that_a_model_knows(monkeypatch):
    for data, captions in reproduce.EDITS.items():
        load({"celeba": "celeba64"}.get(data, data)).tokens(captions)
        _, *others = reproduce.plan(parsed("--data", data, "--features", "inception"), data, FAST)
        for _, _, (_, package, command, *flags), folder in others:
            package, seen = importlib.import_module(f"{package}.__main__"), []
            monkeypatch.setattr(package.COMMANDS[command], "run", seen.append)
            assert package.main([command, *flags]) == 0 and seen[0].out == str(folder)


def test_a_run_goes_on_where_it_stopped_and_shows_what_is_there(tmp_path, monkeypatch, capsys):
    """Relative paths are those of the folder where one stands. The third part fails once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "timed", lambda preset, device: FAST)
    ran, codes = [], iter([0, 0, 2, *[0] * 5])

    def fake(words: list[str], env: dict[str, str]) -> SimpleNamespace:
        """In place of a command: it leaves a table and an image, a training a checkpoint."""
        assert env["PYTHONPATH"].split(os.pathsep)[0] == str(reproduce.ROOT)
        ran.append(" ".join(words[1:4]))
        code, out = next(codes), Path(flag_of(words, "--out")[0])
        if words[1].endswith("train.py"):
            out /= "00007-shapes"  # an earlier training has failed
        elif flag_of(words, "--model") != [str(Path("all", "runs", "00007-shapes"))]:
            raise AssertionError(words)
        out.mkdir(parents=True)
        for name in ("checkpoint.pt", "a.txt", "b.png") if code == 0 else ():
            (out / name).write_text(f"<{name} of {words[1]}>")
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(reproduce, "subprocess", SimpleNamespace(run=fake))
    flags = ["reproduce", "--data", "shapes", "--minutes", "60", "--device", "cpu", "--out", "all"]
    assert code_of(main, *flags) == 2
    assert "'DDIM inversion' ended with exit code 2" in capsys.readouterr().err and len(ran) == 3
    Path("all", "ddim-reconstruct").rmdir()
    assert code_of(main, *flags) == 0 and len(ran) == 8 and ran[3] == ran[2]
    page = Path("all", "index.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 7 and page.count("<pre>&lt;a.txt of") == 7
    sources = [part.split("'")[0] for part in page.split("<img src='")[1:]]
    assert len(sources) == 7 and all(Path("all", source).exists() for source in sources)
    assert code_of(main, *flags) == 0 and len(ran) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
