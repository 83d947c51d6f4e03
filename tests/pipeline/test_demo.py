"""The demo writes phantoms only where it may, and once; then it runs the commands that it shows."""

import concurrent.futures

import click
import pytest

from console import exit_codes
from console.commands import demo
from pipeline.errors import PipelineError

SIZE = {
    "scans": {"per_class": 1, "size": 16, "slices": (4, 5)},
    "clips": {"groups": 1, "clips": 1},
}


class Here(concurrent.futures.Executor):
    """Runs what it is given at once, in this process."""

    def __init__(self, *_):
        pass

    def submit(self, function, /, *words, **options):
        future = concurrent.futures.Future()
        future.set_result(function(*words, **options))
        return future


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concurrent.futures, "ProcessPoolExecutor", Here)
        folder = tmp_path_factory.mktemp("demo")
        assert demo._phantoms(folder, SIZE) == folder / "labels.csv"
    return folder


@pytest.fixture
def generated(monkeypatch):
    """What was generated, instead of doing so."""
    calls = []
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Here)
    monkeypatch.setattr("pipeline.demo.phantoms.write_scans", lambda folder, **_: calls.append(folder.name))
    monkeypatch.setattr("pipeline.demo.phantom_clips.write_clips", lambda folder, **_: calls.append(folder.name))
    return calls


def test_scans_clips_and_labels_are_written(made):
    assert any((made / "scans").iterdir())
    assert any((made / "clips").iterdir())
    assert (made / "demo.json").exists()


def test_a_demo_of_the_same_size_is_not_generated_again(made, generated):
    assert demo._phantoms(made, SIZE) == made / "labels.csv"
    assert generated == []


def test_a_demo_that_was_stopped_is_generated_anew(tmp_path, generated, made):
    for state in ("new", "begun"):
        demo._phantoms(tmp_path / "demo", SIZE)
        assert sorted(generated) == ["clips", "scans"], state
        generated.clear()
        done = (tmp_path / "demo/demo.json").read_text()
        assert done == (made / "demo.json").read_text()
        (tmp_path / "demo/demo.json").write_text(done.replace("true", "false"))
        (tmp_path / "demo/scans").mkdir(exist_ok=True)


def test_what_is_no_demo_of_this_size_is_left_alone(tmp_path, generated, made):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    file = tmp_path / "file"
    file.write_text("mine")
    for folder, size in ((other, SIZE), (file, SIZE), (made, SIZE | {"clips": {"groups": 2, "clips": 1}})):
        with pytest.raises(PipelineError, match="holds something else than this demo"):
            demo._phantoms(folder, size)
    assert generated == []
    (tmp_path / "empty").mkdir()
    demo._phantoms(tmp_path / "empty", SIZE)
    assert len(generated) == 2


@click.command()
@click.argument("words", nargs=-1)
def steps(words):
    demo._demo_step(*words)
    click.echo("and on")


def test_each_step_is_shown_and_the_demo_goes_on_after_it(shared_tiny, capsys):
    steps.main(["info", str(shared_tiny)], standalone_mode=False)
    said = capsys.readouterr().out
    assert f"$ python cli.py info {shared_tiny}" in said
    assert "complete" in said
    assert said.endswith("and on\n")


def test_a_step_that_fails_ends_the_demo(tmp_path, capsys):
    assert steps.main(["info", str(tmp_path / "none")], standalone_mode=False) == exit_codes.FAILED
    assert "and on" not in capsys.readouterr().out


def test_the_report_has_the_table_of_strategies_under_its_own_title(tmp_path, monkeypatch, shared_tiny):
    (tmp_path / "table1").mkdir()
    (tmp_path / "table1/report.md").write_text("# Strategies\n\nText # no title\n\n![kappa](kappa.png)\n")
    monkeypatch.setattr(demo, "_demo_pictures", lambda *_: {})
    monkeypatch.setattr("trainer.evaluation.report.kappa_text", lambda metrics: metrics["kappa"])
    for name in ("sequence", "one_frame", "table1/seed0/pretrained"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text('{"kappa": 0.5}')
    demo._demo_report(tmp_path, shared_tiny, shared_tiny)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "## Strategies" in lines
    assert "Text # no title" in lines
    assert "![kappa](table1/kappa.png)" in lines


def test_exit_codes_are_those_that_the_readme_lists():
    codes = exit_codes
    assert (codes.DONE, codes.FAILED, codes.QUARANTINED, codes.STOPPED, codes.TERMINATED) == (0, 1, 3, 130, 143)
