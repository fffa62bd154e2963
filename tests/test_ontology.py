"""The entry for the ontology of MLCommons Science has what its format requires."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise import __version__

(ENTRY,) = yaml.safe_load((Path(__file__).parents[1] / "docs" / "mlcommons.yaml").read_text(encoding="utf-8"))
REQUIRED = {
    "date",
    "valid",
    "valid_date",
    "name",
    "url",
    "focus",
    "summary",
    "licensing",
    "task_types",
    "type",
    "results",
}
AT_LEAST_ONE = {"domain", "keywords", "ai_capability_measured", "metrics", "models", "ml_motif", "ml_task", "cite"}
RATED = {"software", "specification", "dataset", "metrics", "reference_solution", "documentation"}


def test_all_required_fields_are_there() -> None:
    assert set(ENTRY) >= REQUIRED | AT_LEAST_ONE | {"fair", "datasets"}
    assert all(isinstance(ENTRY[name], list) and ENTRY[name] for name in AT_LEAST_ONE)
    assert ENTRY["datasets"]["links"]
    assert set(ENTRY["fair"]) == {"reproducible", "benchmark_ready"}
    assert ENTRY["version"] == f"v{__version__.rpartition('.')[0]}"


@pytest.mark.parametrize("name", sorted(RATED))
def test_each_rating_is_from_0_to_5_with_its_evidence(name: str) -> None:
    assert set(ENTRY["ratings"]) == RATED
    rating: dict[str, Any] = ENTRY["ratings"][name]
    assert 0 <= rating["rating"] <= 5
    assert len(rating["reason"].split()) > 10
