"""The scenarios: a state of a folder and a command on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.world import commands, states
from tests.faults.world.commands import CT, FEATURES, VIDEO, Words
from tests.faults.world.preload import HEAVY, LIGHT


@dataclass(frozen=True)
class Scenario:
    """A command on a state of a folder, which `prepare` creates.

    `results` are the caches, runs and files to compare. `weight` is how often the scenario is tried, relative to
    others. If `done` is not empty, the command fails with an error containing it when repeated after it has succeeded.
    """

    name: str
    part: str
    prepare: Callable[[Path], None]
    words: Callable[[Path], Words]
    results: tuple[str, ...]
    weight: int = 1
    done: str = ""


SCENARIOS = (
    Scenario("ct", LIGHT, states.sources_ct, commands.preprocess_ct, (CT,), weight=6),
    Scenario("ct-again", LIGHT, states.cache_ct, commands.preprocess_ct, (CT,), weight=2),
    Scenario("ct-changed", LIGHT, states.changed_ct, commands.preprocess_ct, (CT,), weight=6),
    Scenario("ct-broken", LIGHT, states.broken_ct, commands.preprocess_ct, (CT,), weight=2),
    Scenario("ct-second-source", LIGHT, states.second_source, commands.preprocess_second_source, (CT,), weight=2),
    Scenario("video", LIGHT, states.sources_video, commands.preprocess_video, (VIDEO,), weight=4),
    Scenario("video-changed", LIGHT, states.changed_video, commands.preprocess_video, (VIDEO,), weight=3),
    Scenario("repair-ledger", LIGHT, states.lost_ledger, commands.repair, (CT,), weight=5),
    Scenario("repair-log", LIGHT, states.lost_log, commands.repair, (CT,), weight=2),
    Scenario("repair-line", LIGHT, states.damaged_line, commands.repair, (CT,), weight=3),
    Scenario("repair-chunks", LIGHT, states.damaged_chunks, commands.repair, (CT,), weight=3),
    Scenario("label", LIGHT, states.relabelled_ct, commands.label, (CT,), weight=2),
    Scenario("remove", LIGHT, states.cache_ct, commands.remove, (CT,), weight=2, done="no input S02"),
    Scenario("features", HEAVY, states.cache_video, commands.features, (FEATURES, VIDEO), weight=4),
    Scenario("features-again", HEAVY, states.outdated_features, commands.features, (FEATURES, VIDEO), weight=4),
    Scenario("pretrain", HEAVY, states.cache_video, commands.pretrain, ("run", VIDEO), weight=3),
    Scenario(
        "pretrain-features", HEAVY, states.cache_features, commands.pretrain_from_features, ("run", FEATURES), weight=3
    ),
    Scenario(
        "finetune", HEAVY, states.pretrained_for_finetuning, commands.finetune, ("run", "pretrained", CT), weight=2
    ),
    Scenario("experiment", HEAVY, states.caches_for_experiment, commands.experiment, ("table",)),
    Scenario("predict", HEAVY, states.pretrained, commands.predict, ("out.csv", "run"), weight=4),
)


def scenarios(names: list[str]) -> list[Scenario]:
    """The scenarios in `names` whose command exists."""
    import click

    import cli

    folder, available = Path(), cli.main.list_commands(click.Context(cli.main))
    return [each for each in SCENARIOS if each.name in names and each.words(folder)[0] in available]
