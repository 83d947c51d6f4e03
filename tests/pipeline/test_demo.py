"""The demo writes phantoms once, into its own folder only; then it runs the commands that it shows."""

import concurrent.futures
import json
from dataclasses import asdict, replace

import click
import pytest

from console import exit_codes
from console.app import main
from console.commands import demo
from pipeline.demo import story
from pipeline.demo.generate import generate
from pipeline.demo.report import write_report
from pipeline.demo.story import Size
from pipeline.errors import PipelineError

SIZE = Size({"per_class": 1, "size": 16, "slices": (4, 5)}, {"groups": 1, "clips": 1}, "", "", "", "")


class InThisProcess(concurrent.futures.Executor):
    """A process pool that calls each function immediately in this process."""

    def __init__(self, *_):
        pass

    def submit(self, function, /, *words, **options):
        future = concurrent.futures.Future()
        future.set_result(function(*words, **options))
        return future


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A folder with the phantoms of `SIZE`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.demo.generate.ProcessPoolExecutor", InThisProcess)
        folder = tmp_path_factory.mktemp("demo")
        generate(folder, SIZE, print)
    return folder


@pytest.fixture
def calls(monkeypatch):
    """The folders that generators of phantoms are called with; they write nothing."""
    calls = []
    monkeypatch.setattr("pipeline.demo.generate.ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr("pipeline.demo.phantoms.write_scans", lambda folder, **_: calls.append(folder.name))
    monkeypatch.setattr("pipeline.demo.phantom_clips.write_clips", lambda folder, **_: calls.append(folder.name))
    return calls


def test_the_demo_writes_scans_clips_and_labels(generated):
    assert any((generated / "scans").iterdir())
    assert any((generated / "clips").iterdir())
    assert (generated / "labels.csv").exists()
    assert (generated / "demo.json").exists()


def test_a_demo_of_the_same_size_is_not_generated_again(generated, calls):
    generate(generated, SIZE, print)
    assert calls == []


def test_options_of_later_steps_do_not_cause_another_generation(generated, calls):
    generate(generated, replace(SIZE, epochs="--epochs 9"), print)
    assert calls == []


def test_an_interrupted_demo_is_generated_again(tmp_path, calls, generated):
    for state in ("new", "interrupted"):
        generate(tmp_path / "demo", SIZE, print)
        assert sorted(calls) == ["clips", "scans"], state
        calls.clear()
        marker = (tmp_path / "demo/demo.json").read_text()
        assert marker == (generated / "demo.json").read_text()
        (tmp_path / "demo/demo.json").write_text(marker.replace("true", "false"))
        (tmp_path / "demo/scans").mkdir(exist_ok=True)


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"generated": true}', "[" * 100_000])
def test_a_folder_that_is_not_a_demo_of_this_size_is_rejected(tmp_path, calls, generated, marker):
    other = tmp_path / "other"
    other.mkdir()
    (other / "demo.json").write_text(marker)
    file = tmp_path / "file"
    file.write_text("mine")
    larger = replace(SIZE, clips={"groups": 2, "clips": 1})
    for folder, size in ((other, SIZE), (file, SIZE), (generated, larger)):
        with pytest.raises(PipelineError, match="holds something other than this demo"):
            generate(folder, size, print)
    assert calls == []
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", SIZE, print)
    assert len(calls) == 2


def test_demo_json_records_the_size_of_the_demo(generated):
    assert json.loads((generated / "demo.json").read_text()) == json.loads(
        json.dumps({"generated": True, **asdict(SIZE)})
    )


@pytest.mark.parametrize("size", [story.QUICK, story.FULL])
def test_every_command_of_the_story_is_a_valid_command_line(tmp_path, size):
    folder = tmp_path / "a folder"
    for step in story.steps(folder, size):
        if isinstance(step, story.Command):
            command, words = main, list(step.words)
            while isinstance(command, click.Group):
                command = command.get_command(click.Context(command), words.pop(0))
            command.make_context("demo", words)  # raises if an option is unknown or has an invalid value


@click.command()
@click.argument("words", nargs=-1)
def steps(words):
    demo.run_command(words)
    click.echo("next step")


def test_each_step_is_printed_and_run_before_the_next(shared_tiny, capsys):
    steps.main(["info", str(shared_tiny)], standalone_mode=False)
    output = capsys.readouterr().out
    assert f"$ python cli.py info {shared_tiny}" in output
    assert "complete" in output
    assert output.endswith("next step\n")


def test_a_failed_step_stops_the_demo(tmp_path, capsys):
    assert steps.main(["info", str(tmp_path / "none")], standalone_mode=False) == exit_codes.FAILED
    assert "next step" not in capsys.readouterr().out


def test_the_report_has_the_table_of_strategies_under_its_own_title(tmp_path, monkeypatch, shared_tiny):
    (tmp_path / "table1").mkdir()
    (tmp_path / "table1/report.md").write_text("# Strategies\n\nText # no title\n\n![kappa](kappa.png)\n")
    monkeypatch.setattr("pipeline.demo.report._samples", lambda *_: ["samples"])
    for name in ("clips.zarr", "ct.zarr"):
        (tmp_path / name).symlink_to(shared_tiny)
    for name in ("sequence", "one_frame", "table1/seed0/pretrained"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text('{"kappa": 0.5}')
    write_report(tmp_path, lambda metrics: f"kappa {metrics['kappa']}")
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "## Strategies" in lines
    assert "Text # no title" in lines
    assert "![kappa](table1/kappa.png)" in lines
    assert "| cached features of all frames | kappa 0.5 |" in lines


def test_exit_codes_match_the_readme():
    codes = exit_codes.DONE, exit_codes.FAILED, exit_codes.QUARANTINED, exit_codes.STOPPED, exit_codes.TERMINATED
    assert codes == (0, 1, 3, 130, 143)
