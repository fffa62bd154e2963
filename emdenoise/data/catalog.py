"""SOURCES: where images can come from. A new source is a module of its own and a line here."""

from emdenoise.data.emps import EMPS
from emdenoise.data.folder import FOLDER
from emdenoise.data.graphene import GRAPHENE
from emdenoise.data.records import Source
from emdenoise.data.stfc import EM_GRAPHENE_SIM

SOURCES: dict[str, Source] = {
    "graphene": GRAPHENE,
    "em_graphene_sim": EM_GRAPHENE_SIM,
    "emps": EMPS,
    "folder": FOLDER,
}
