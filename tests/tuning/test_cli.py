"""The command line: what a user can get wrong is one sentence and status 2, before anything starts."""

import sys
from pathlib import Path

import pytest
import typer

from pipelines.cli import main
from tuning import cli

BAD = {
    "sampler.step=3": "did you mean steps?",
    "sampler.scheduler=ddimm": "sampler",
    "sampler.steps=-1": "greater than 0",
    "prompts={kind: list, prompts: []}": "at least 1",
    "prompts={kind: file, path: /no/such.txt}": "expected a file, found none",
    "prompts.classes=imagenet": "imagenet100",
    "model=zoo:text2image": "text-to-image",
    "model=./no/such/folder": "no/such/folder",
    "model=not a name": "not a name",
    "classifier=zoo:clasifier": "classifier",
    "run.device=cuda": "run.generate.gpus",
    "run.address=127.0.0.1:1": "running Ray",
    "run.output=/proc/nowhere": "cannot be written",
    "seeds.count=0": "greater than 0",
    "perturbations={kind: uniform_mean_shft, shift: 1}": "uniform_mean_shift",
    "sampler={scheduler: ddim, steps: 5, spacing: trailing, terminal_snr: zero}": "pure noise, of which an epsilon",
    "sampler={scheduler: ddim, steps: 5, upsampling: {}}": "has no second stage; leave upsampling out",
}


def status(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["seedquake", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize("override", BAD)
def test_a_mistake_is_one_sentence(override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    output = [] if override.startswith("run.output") else [f"run.output={tmp_path / 'runs'}"]
    assert status(monkeypatch, "robustness", "robustness_demo", *output, override) == 2
    err = capsys.readouterr().err
    assert BAD[override] in err
    assert "Traceback" not in err
    assert err.count("seedquake: ") == 1


@pytest.mark.parametrize(
    "words",
    [
        *("robustnes x", "robustness", "plan no-such", "report nowhere", "ui nowhere"),
        *("zoo train x", "zoo verify x", "zoo verify upsampler"),
        *("convert x", "convert glide", "convert glide nowhere.pt --output nowhere"),
    ],
)
def test_unknown_commands_and_names(words: str, monkeypatch: pytest.MonkeyPatch, capsys):
    assert status(monkeypatch, *words.split()) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_weights_that_were_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    import shutil

    from stages.models import zoo

    shutil.copytree(zoo.WEIGHTS, tmp_path / "weights")
    file = tmp_path / "weights" / "classifier" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    zoo.path.cache_clear()
    assert status(monkeypatch, "plan", "robustness_demo", f"run.output={tmp_path / 'runs'}") == 2
    zoo.path.cache_clear()
    assert "SHA-256" in capsys.readouterr().err


def test_a_plan_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedquake", "plan", "robustness_demo", f"run.output={tmp_path / 'runs'}"])
    cli.main()
    assert "to draw" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_the_zoo_is_listed(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedquake", "zoo", "list"])
    cli.main()
    out = capsys.readouterr().out
    for name in ("zoo:text-to-image", "zoo:classifier", "zoo:judge", "zoo:clip"):
        assert name in out


@pytest.mark.parametrize(("error", "code", "said"), [(typer.Exit(1), 1, ""), (KeyboardInterrupt(), 130, "stopped; ")])
def test_a_status_is_passed_on(error, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys):
    application = typer.Typer()

    @application.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["seedquake"])
    with pytest.raises(SystemExit) as caught:
        main(application)
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(said)
