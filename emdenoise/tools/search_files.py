"""What a search writes: the best parameters file, ready to run, and a page that shows all trials."""

import base64
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from emdenoise.config.schema import RunConfig
from emdenoise.config.searches import SearchConfig, change_settings, choose_as_the_file, write_choice
from emdenoise.evaluation.metrics import find_metric
from emdenoise.files.atomic import write_atomically
from emdenoise.results.search_figures import Axis, draw_parallel_coordinates, draw_shares
from emdenoise.tasks import TASKS
from emdenoise.tools.study_files import describe_metric
from emdenoise.tools.trials import REASON, TRIALS_FOLDER, Trial

PARAMETERS_FILE, PAGE_FILE = "best.parameters.yaml", "search.html"
SPEED_HEADING = "images/s"
LINE_LENGTH = 118
STATES = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True)
class FoundTrials:
    """What a search has found so far.

    Attributes
    ----------
    search : SearchConfig
    base : RunConfig
        Settings of the parameters file.
    metric : str
        Name of the score.
    trials : list of Trial
        By number.
    best : list of int
        Numbers of those that no other one beats in score and speed, the best score first.
    shares : list of dict of str to float
        Which share of the spread of the score, and of the speed, each setting explains; empty where unknown.
    """

    search: SearchConfig
    base: RunConfig
    metric: str
    trials: list[Trial]
    best: list[int]
    shares: list[dict[str, float]]

    @property
    def first(self) -> Trial | None:
        """The trial that has the values of the parameters file, if it is complete."""
        chosen = choose_as_the_file(self.search, self.base)
        return next((trial for trial in self.trials if trial.chosen == chosen and trial.values), None)

    def show_score(self, trial: Trial) -> str:
        """Write the score of a trial with its unit."""
        found = find_metric(self.metric)
        heading, factor = describe_metric(self.metric)
        unit = heading.partition(" [")[2].rstrip("]")
        decimals = 3 if found is None else found[0].decimals
        return f"{factor * trial.values[0]:.{decimals}f} {unit}".rstrip()

    def make_table(self, max_rows: int | None = None) -> list[list[str]]:
        """Make the table of the trials, the best first."""
        heading, found = describe_metric(self.metric)[0], find_metric(self.metric)
        sign = -1 if found is not None and found[0].is_larger_better else 1
        names = list(self.search.settings)
        rows = [["trial", "state", heading, SPEED_HEADING, "epochs", "train [s]", *names, "reason"]]
        trials = sorted(
            self.trials,
            key=lambda trial: (STATES.index(trial.state), sign * trial.values[0] if trial.values else 0, trial.number),
        )
        for trial in trials[:max_rows]:
            facts = trial.facts
            rows.append(
                [
                    f"{trial.number}{' (the file)' if trial == self.first else ''}",
                    trial.state,
                    self.show_score(trial).partition(" ")[0] if trial.values else "–",
                    f"{facts['images_per_second']:.1f}" if trial.values else "–",
                    str(facts.get("num_epochs", trial.num_epochs)),
                    f"{facts['train_s']:.1f}" if "train_s" in facts else "–",
                    *(_show(trial.chosen[name]) if name in trial.chosen else "–" for name in names),
                    facts.get(REASON, "").partition(";")[0],
                ]
            )
        has_reason = any(row[-1] for row in rows[1:])
        return rows if has_reason else [row[:-1] for row in rows]


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else write_choice(value)


def describe_trial(found: FoundTrials, number: int) -> str:
    """Say in one line what a trial came to."""
    trial = next(trial for trial in found.trials if trial.number == number)
    chosen = ", ".join(f"{name} {_show(value)}" for name, value in trial.chosen.items())
    said = {
        "complete": lambda: f"{found.show_score(trial)}{', the best so far' if found.best[:1] == [number] else ''}",
        "pruned": lambda: f"ended early, after epoch {trial.num_epochs}",
        "failed": lambda: f"failed: {trial.facts.get(REASON, '')}",
    }.get(trial.state, lambda: trial.state)()
    return f"Trial {number}: {said} ({chosen})"


def write_found(found: FoundTrials, search_dir: Path) -> None:
    """Write ``search.html`` and, of the best trial, ``best.parameters.yaml``.

    Parameters
    ----------
    found : FoundTrials
    search_dir : Path

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    if found.best:
        with write_atomically(search_dir / PARAMETERS_FILE) as partial:
            partial.write_text(_write_best(found), encoding="utf-8")
    with write_atomically(search_dir / PAGE_FILE) as partial:
        partial.write_text(_write_page(found), encoding="utf-8")


def _write_best(found: FoundTrials) -> str:
    """Write the parameters file of the best score: what the file had, with the values of the trial."""
    trial = next(trial for trial in found.trials if trial.number == found.best[0])
    config = change_settings(found.base, trial.chosen, PARAMETERS_FILE)
    heading = describe_metric(found.metric)[0].partition(" [")[0]
    machine = ", ".join([trial.facts["machine"], *trial.facts["accelerators"]])
    chosen = ", ".join(f"{name} {_show(value)}" for name, value in trial.chosen.items())
    first = found.first
    compared = "; these are the values of the file itself" if first == trial else ""
    if first is not None and first != trial:
        compared = f"; with its own values {_name_file(found)} has {found.show_score(first)}"
    purpose = f"The best of {_count_trials(found)} of `emdenoise search`, beginning with {_name_file(found)}."
    commands = [f"emdenoise {task} --parameters_file={PARAMETERS_FILE}" for task in TASKS]
    result = (
        f"Trained in {trial.facts['train_s']:.0f} s on {machine}. {heading} {found.show_score(trial)} on the "
        f"validation images, by which it was chosen{compared}. Chosen: {chosen}."
    )
    lines = [*wrap(purpose, LINE_LENGTH), "", *(f"  {command}" for command in commands), "", *wrap(result, LINE_LENGTH)]
    settings = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + settings


def _count_trials(found: FoundTrials) -> str:
    return "1 trial" if len(found.trials) == 1 else f"{len(found.trials)} trials"


def _name_file(found: FoundTrials) -> str:
    return Path(found.search.parameters_file).name


def _write_page(found: FoundTrials) -> str:
    environment = Environment(
        loader=PackageLoader("emdenoise", "results"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    heading, factor = describe_metric(found.metric)
    shares = dict(zip((heading.partition(" [")[0], "speed"), found.shares, strict=False))
    fronts = ", ".join(f"{TRIALS_FOLDER}/{number:04d}/run.parameters.yaml" for number in found.best[1:])
    return environment.get_template("search.html.j2").render(
        workload=found.base.workload,
        lead=f"{_count_trials(found)} for workload {found.base.workload}, beginning with {_name_file(found)}.",
        facts=_collect_facts(found),
        table=found.make_table(),
        table_note=f"As good in their own way, faster but with a lower score: {fronts}." if fronts else "",
        parallel=_encode(_draw_trials(found, heading, factor)) if found.best else "",
        shares=_encode(draw_shares(shares)) if all(shares.values()) else "",
        search_text=yaml.safe_dump(found.search.model_dump(mode="json", exclude_unset=True), sort_keys=False),
        base_text=yaml.safe_dump(found.base.model_dump(mode="json", exclude_unset=True), sort_keys=False),
    )


def _collect_facts(found: FoundTrials) -> list[dict[str, str]]:
    heading = describe_metric(found.metric)[0].partition(" [")[0]
    numbers = {state: sum(trial.state == state for trial in found.trials) for state in STATES}
    counts = ", ".join(f"{number} {state}" for state, number in numbers.items() if number)
    facts = [{"value": str(len(found.trials)), "meaning": f"trials: {counts}"}]
    if found.best:
        best = next(trial for trial in found.trials if trial.number == found.best[0])
        facts.append({"value": found.show_score(best), "meaning": f"{heading} of the best one, trial {best.number}"})
    if found.first is not None:
        facts.append({"value": found.show_score(found.first), "meaning": f"{heading} of {_name_file(found)} itself"})
    return facts


def _draw_trials(found: FoundTrials, heading: str, factor: float) -> bytes:
    axes = []
    for name, setting in found.search.settings.items():
        values = [trial.chosen.get(name) for trial in found.trials]
        if setting.choices is not None:
            values = [write_choice(trial.chosen[name]) if name in trial.chosen else None for trial in found.trials]
        axes.append(Axis(name, values, setting.log))
    if found.search.speed:
        axes.append(Axis(SPEED_HEADING, [trial.values[1] if trial.values else None for trial in found.trials]))
    axes.append(Axis(heading, [factor * trial.values[0] if trial.values else None for trial in found.trials]))
    metric = find_metric(found.metric)
    is_complete = [bool(trial.values) for trial in found.trials]
    return draw_parallel_coordinates(axes, is_complete, metric is not None and metric[0].is_larger_better)


def _encode(png: bytes) -> str:
    return base64.b64encode(png).decode()
