"""SOURCES: where images can come from. A new source is a module of its own and a line here."""

from emdenoise.dataset.record import Source
from emdenoise.sources.crystals import CRYSTALS
from emdenoise.sources.em_graphene_sim import EM_GRAPHENE_SIM
from emdenoise.sources.emps import EMPS
from emdenoise.sources.folder import FOLDER
from emdenoise.sources.graphene import GRAPHENE

SOURCES: dict[str, Source] = {
    "graphene": GRAPHENE,
    "crystals": CRYSTALS,
    "em_graphene_sim": EM_GRAPHENE_SIM,
    "emps": EMPS,
    "folder": FOLDER,
}
