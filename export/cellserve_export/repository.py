"""What a model repository holds before an export, so that nothing is overwritten or written elsewhere by accident."""

from pathlib import Path

from cellserve_contract import model_card

from cellserve_export.errors import FamilyError

MODELS = ("", "_single", "_style")
"""Endings of the names of a family's models."""


def check_repository(repository: Path) -> None:
    """Checks that a folder is a model repository, is empty, or can be made.

    Raises:
        FamilyError: There is no folder to make the repository in, or the folder holds folders but no model.
    """
    if not repository.exists():
        if not repository.resolve().parent.is_dir():
            raise FamilyError(
                f"{repository.resolve()}: the folder above does not exist either; make that folder, or give the model "
                "repository that Triton reads with --repository"
            )
        return
    if not repository.is_dir():
        raise FamilyError(f"{repository.resolve()} is a file, not a model repository")
    folders = [entry for entry in repository.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if folders and not any(any(folder.glob("config.pbtxt")) or any(folder.glob("*/model.*")) for folder in folders):
        raise FamilyError(
            f"{repository.resolve()} is no model repository: none of its {len(folders)} folders holds a config.pbtxt; "
            "give the repository that Triton reads, or a folder that is empty or new"
        )


def refuse_existing(repository: Path, name: str) -> None:
    """Checks that a repository holds nothing where a family would be written.

    Raises:
        FamilyError: One of the three folders exists; the message says what is in it.
    """
    there = [f"{name}{ending}" for ending in MODELS if (repository / f"{name}{ending}").exists()]
    if there:
        raise FamilyError(
            f"{repository.resolve()} holds {', '.join(there)} already ({_describe(repository / name)}): "
            "--overwrite replaces the family; another name keeps both"
        )


def _describe(folder: Path) -> str:
    try:
        card = model_card.Family.from_json((folder / "model.json").read_bytes())
    except (OSError, model_card.ModelJsonError):
        return "no model.json tells what it is"
    return f"{card.description!r}, {len(card.sources)} network(s){', with a size model' if card.size_model else ''}"
