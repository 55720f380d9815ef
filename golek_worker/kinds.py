"""What does a worker's model do, and what follows from that?

A worker is of one kind: its model writes text (`inference`), turns texts into vectors (`embedding`), ranks documents by
a query (`rerank`) or says what images show (`vision`). The kind decides where requests are taken and who answers them;
a job's way is the same for all. A model that writes text may see, too: it takes vision requests beside its own.
"""

from pathlib import Path

from golek_client.discovery import ASK_IT
from golek_program.settings import SettingsError
from golek_wire import subjects
from golek_wire.subjects import Kind
from golek_worker import settings
from golek_worker.bus.ingress import Taken
from golek_worker.classifying import ClassifyExecutor
from golek_worker.engine.host import EngineHost
from golek_worker.engine.names import SERVERS
from golek_worker.executor import Executor
from golek_worker.ranking import RankExecutor
from golek_worker.registry.artifacts import kind_of
from golek_worker.settings import Settings
from golek_worker.structure import Stored
from golek_worker.text import TextExecutor
from golek_worker.vectors import VectorExecutor


def find(chosen: Settings, model: Path | None) -> Kind:
    """The kind of a deployment with this model file; without one, which is None, that of a server is as SUBJECT says.

    Raises OSError or GGUFError for the file, SettingsError where SUBJECT does not fit.
    """
    usual: Kind = chosen.guessed_kind if chosen.engine in SERVERS else "inference"
    kind = usual if model is None else kind_of(model)
    mistake = settings.wrong_family(chosen, kind)
    if mistake is not None:
        raise SettingsError([mistake])
    return kind


def taken(chosen: Settings, kind: Kind) -> Taken:
    """Requests of this kind; those of the others are told where to ask, unless SUBJECT names a place of its own."""
    listed = chosen.request_subjects(kind)
    has_own = listed != chosen.usual_subjects(kind)
    if kind == "inference" and not has_own:
        listed = (*listed, *chosen.usual_subjects("vision"))
    others = [other for other in subjects.SERVED if subjects.request(chosen.model_name, other) not in listed]
    strays = () if has_own else tuple(name for other in others for name in chosen.usual_subjects(other))
    return Taken(
        kind,
        listed,
        submits=tuple(subjects.submit_at(subject) for subject in listed),
        elsewhere=(*strays, *(subjects.submit_at(subject) for subject in strays)),
        redirect=f"{chosen.model_name} {settings.DOES[kind]}{ASK_IT}{listed[0]}",
    )


def executor(
    kind: Kind, host: EngineHost, chosen: Settings, model: Path | None, max_payload: int, stored: Stored
) -> Executor:
    """Who answers jobs of this kind; `max_payload` is the server's, in bytes, `stored` knows the named grammars.

    Raises TurnMarkersError when the deployment's prompt template is wrong.
    """
    if kind == "embedding":
        return VectorExecutor(host, chosen.model_name, max_payload)
    if kind == "rerank":
        return RankExecutor(host, chosen.model_name)
    if kind == "vision":
        return ClassifyExecutor(host, chosen.model_name, chosen.image_limits)
    return TextExecutor(host, chosen, model, stored)
