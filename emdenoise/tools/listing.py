"""`emdenoise list`: the names that settings and options know, each with one line of what it is."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from emdenoise.errors import SettingsError
from emdenoise.tasks import Outcome


def list_names(*, table: str) -> Outcome:
    """List the names of one kind: workloads, sources, networks, baselines, metrics or objectives.

    Raises
    ------
    SettingsError
        If there is no such table.
    """
    if table not in TABLES:
        nearest = get_close_matches(table, TABLES, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else f"give one of {', '.join(TABLES)}."
        raise SettingsError(f"there is no list of {table}; {advice}")
    entries = TABLES[table]()
    columns = EXTRA_COLUMNS.get(table, {})
    rows = [["name", *columns, "description"]]
    for name, entry in entries.items():
        rows.append([name, *(show(entry) for show in columns.values()), describe_entry(entry)])
    return Outcome(f"{len(entries)} {table}:", rows)


def describe_entry(entry: Any) -> str:
    """Describe an entry of a table in one line: its description, or the first line of its docstring.

    Examples
    --------
    >>> describe_entry(describe_entry)
    'Describe an entry of a table in one line: its description, or the first line of its docstring.'
    """
    text: str = entry if isinstance(entry, str) else getattr(entry, "description", None) or entry.__doc__ or ""
    return text.strip().partition("\n")[0]


def _find_workloads() -> Mapping[str, Any]:
    from emdenoise.workloads import WORKLOADS

    return WORKLOADS


def _find_sources() -> Mapping[str, Any]:
    from emdenoise.sources import SOURCES

    return SOURCES


def _find_networks() -> Mapping[str, Any]:
    from emdenoise.config.loading import ARCHITECTURES

    return ARCHITECTURES


def _find_baselines() -> Mapping[str, Any]:
    from emdenoise.evaluation.baselines.filters import BASELINES
    from emdenoise.evaluation.baselines.segmenters import SEGMENTERS

    return {name: baseline.denoise for name, baseline in BASELINES.items()} | SEGMENTERS


def _find_metrics() -> Mapping[str, Any]:
    from emdenoise.evaluation.metrics.atoms import score_atoms
    from emdenoise.evaluation.metrics.intensity import mse, psnr, ssim
    from emdenoise.evaluation.metrics.masks import score_masks

    return {"mse": mse, "psnr_db": psnr, "ssim": ssim, "atom_f1": score_atoms, "dice": score_masks}


def _find_objectives() -> Mapping[str, Any]:
    from emdenoise.training.objectives import compute_dice_cross_entropy

    return {
        "mean_squared_error": "Mean squared error of the intensity.",
        "mean_absolute_error": "Mean absolute error of the intensity.",
        "dice_cross_entropy": compute_dice_cross_entropy,
    }


TABLES: dict[str, Callable[[], Mapping[str, Any]]] = {
    "workloads": _find_workloads,
    "sources": _find_sources,
    "networks": _find_networks,
    "baselines": _find_baselines,
    "metrics": _find_metrics,
    "objectives": _find_objectives,
}
"""By the words of the command; imported when they are asked for, since some bring Keras."""
EXTRA_COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "sources": {"network": lambda source: "yes" if source.needs_network else "no"},
}
"""More columns of a table, each with what it shows of an entry. `run/docker.sh` reads the one of the sources."""
