"""TOOLS: the commands beside the four tasks. A new one is a module of its own and a line here."""

from collections.abc import Callable

from emdenoise.tasks import Outcome
from emdenoise.tools import check, crate, export, listing, parts, predict, search, stfc, study, submit, verify

TOOLS: dict[str, Callable[..., Outcome]] = {
    "study": study.run_study,
    "search": search.run_search,
    "verify": verify.verify,
    "rescore": verify.rescore,
    "submit": submit.submit,
    "check": check.check,
    "crate": crate.crate,
    "predict": predict.predict,
    "export": export.export,
    "export-stfc": stfc.export_stfc,
    "simulate-part": parts.simulate_part,
    "list": listing.list_names,
}
