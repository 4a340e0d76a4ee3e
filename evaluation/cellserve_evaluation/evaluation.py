"""How well the service segments labelled images and volumes, told their diameters and not, next to other methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cellserve
from cellserve_formats.files import write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .sample import Sample
from .scores import THRESHOLDS, DiameterAgreement, ImageScore, Summary, compare_diameters, score, summarize
from .sources import Folder, Otsu, Prediction, PredictionError, Service, Source

DEFAULT_ADDRESS = "127.0.0.1:50051"

DiameterChoice = Literal["true", "estimated", "both"]


class EvaluationError(Exception):
    """Nothing can be evaluated; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """An image, what was found in it, and how good that is.

    Attributes:
        sample: The image and its truth.
        labels: Integers of the axes of the sample, what was found.
        score: Agreement of the two.
    """

    sample: Sample
    labels: NDArray[Any]
    score: ImageScore


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """An image without a segmentation.

    Attributes:
        sample: The image.
        problem: Why there is none.
    """

    sample: Sample
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """All images segmented in one way.

    Attributes:
        name: The source's.
        scored: In the order of the samples.
        failures: Likewise.
        summaries: Per set and kind; the last is of all images.
        diameters: How good the estimates are; None where the diameter was told, or cannot be compared.
        models: Versions of the model that answered, none but for the service.
        parameters: All that decided the outcome, as the service used it; one entry per combination that occurred.
    """

    name: str
    scored: tuple[Scored, ...]
    failures: tuple[Failure, ...]
    summaries: tuple[Summary, ...]
    diameters: DiameterAgreement | None
    models: tuple[dict[str, Any], ...]
    parameters: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Several passes over the same images.

    Attributes:
        passes: In the order they were made.
        notes: What was not done, and why.
    """

    passes: tuple[Pass, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Number of images that could not be segmented, over all passes."""
        return sum(len(entry.failures) for entry in self.passes)

    def to_json(self) -> dict[str, Any]:
        """Returns every figure of every image, the summaries, models and parameters, as JSON takes them."""
        return {
            "thresholds": list(THRESHOLDS),
            "notes": list(self.notes),
            "passes": [
                {
                    "name": entry.name,
                    "models": list(entry.models),
                    "parameters": list(entry.parameters),
                    "summaries": [asdict(summary) for summary in entry.summaries],
                    "diameters": asdict(entry.diameters) if entry.diameters else None,
                    "images": [asdict(scored.score) for scored in entry.scored],
                    "failed": [
                        {"name": f.sample.name, "group": f.sample.group, "kind": f.sample.kind, "problem": f.problem}
                        for f in entry.failures
                    ],
                }
                for entry in self.passes
            ],
        }

    def write_json(self, path: Path) -> None:
        """Writes `to_json` to a file."""
        write_json(path, self.to_json())


def evaluate(
    samples: Sequence[Sample],
    *,
    address: str | None = DEFAULT_ADDRESS,
    model: str | None = None,
    diameter: DiameterChoice = "both",
    single: bool = False,
    predictions: Iterable[Path] = (),
    networks: Iterable[Source] = (),
    otsu: bool = False,
    params: cellserve.SegmentParams | None = None,
    concurrency: int = 8,
    deadline_s: float = 300.0,
    console: Console | None = None,
) -> Evaluation:
    """Segments labelled images through a running service, and in other ways, and scores what comes back.

    Args:
        samples: The images. Of their planes the service uses those it would choose by itself.
        address: "host:port" of the service; None: without it.
        model: Model family; None: the service's default.
        diameter: Whether the service is told the true median diameter, estimates it, or one after the other.
        single: True: network 0 alone as well.
        predictions: Folders of label images that another program wrote; see `sources.Folder`.
        networks: Networks that are not served.
        otsu: True: the baseline as well.
        params: What the service does otherwise than by default.
        concurrency: Images under way at a time.
        deadline_s: Seconds one image may take, waiting behind the others included; what takes longer fails.
        console: Where a progress bar goes; None: none.

    Raises:
        EvaluationError: No service answers there, it has no such family, there is no such folder, or nothing is left
            to be done.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        sources: list[Source] = []
        if address is not None:
            client = stack.enter_context(cellserve.Client(address, deadline_s=deadline_s))
            sources += _service(client, model, diameter, single, params, concurrency, notes)
        sources += networks
        for path in predictions:
            if not path.is_dir():
                raise EvaluationError(f"{path}: no such folder")
            sources.append(Folder(path))
        sources += [Otsu()] if otsu else []  # last: the pictures are of the first pass
        if not sources:
            raise EvaluationError("; ".join(["nothing to evaluate", *notes]))
        return Evaluation(tuple(run_pass(source, samples, console) for source in sources), tuple(notes))


def run_pass(source: Source, samples: Sequence[Sample], console: Console | None = None) -> Pass:
    """Segments every image with one source and scores it.

    Args:
        source: Where the segmentations come from.
        samples: The images.
        console: Where a progress bar goes; None: none.
    """
    scored: dict[Sample, Scored] = {}
    failures: dict[Sample, Failure] = {}
    models: list[dict[str, Any]] = []
    parameters: list[dict[str, Any]] = []
    with _progress(console) as progress:
        for sample, outcome in progress.track(source.predict(samples), len(samples), description=source.name):
            if isinstance(outcome, PredictionError):
                failures[sample] = Failure(sample, str(outcome))
                continue
            scored[sample] = Scored(sample, outcome.labels, score(sample, outcome.labels, outcome.diameter))
            _note_origin(outcome, models, parameters)
    scores = [scored[sample].score for sample in samples if sample in scored]
    return Pass(
        name=source.name,
        scored=tuple(scored[sample] for sample in samples if sample in scored),
        failures=tuple(failures[sample] for sample in samples if sample in failures),
        summaries=tuple(summarize(scores, list(failures))),
        diameters=compare_diameters(scores) if source.estimates else None,
        models=tuple(models),
        parameters=tuple(parameters),
    )


def _service(
    client: cellserve.Client,
    model: str | None,
    diameter: DiameterChoice,
    single: bool,
    params: cellserve.SegmentParams | None,
    concurrency: int,
    notes: list[str],
) -> list[Source]:
    """The passes wanted of the service; adds to the notes what it cannot do."""
    try:
        family = client.model(model or client.models().default)
    except cellserve.UnavailableError as error:
        raise EvaluationError(f"{error.message} `make up` starts one, --address says where") from error
    except cellserve.CellServeError as error:
        raise EvaluationError(error.message) from error
    if not family.ready:
        raise EvaluationError(f"the family {family.name} is not being served now")
    wanted = [estimates for estimates in (False, True) if diameter in ("both", "estimated" if estimates else "true")]
    if True in wanted and not family.has_size_model:
        wanted.remove(True)
        notes.append(f"the family {family.name} has no size model: no pass with estimated diameters")
    return [
        Service(client, family, ensemble, estimates, concurrency, params)
        for ensemble in ((True, False) if single else (True,))
        for estimates in wanted
    ]


def _note_origin(outcome: Prediction, models: list[dict[str, Any]], parameters: list[dict[str, Any]]) -> None:
    for known, found in ((models, dict(outcome.model)), (parameters, dict(outcome.parameters))):
        if found and found not in known:
            known.append(found)


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = console is not None and console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=not shown)
