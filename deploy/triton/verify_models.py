#!/usr/bin/env python3
"""Verifies that a model repository holds the weights that it says it holds.

    verify_models.py REPOSITORY                       model.json, weights, configurations and SHA256SUMS (if any) agree
    verify_models.py REPOSITORY --sums-sha256 HEX     ... and every file is the one that was published
    verify_models.py REPOSITORY --write-sums          writes SHA256SUMS and prints the digest to publish with it

Images are verified when they are built, repositories from an object store before anything reads them. Standard library
only, Python 3.10 or later: it also runs in NVIDIA's container. Exit status: 0 if all is well; 1 with one line on
standard error for each problem; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SUMS = "SHA256SUMS"
SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\\\n]+)")  # as sha256sum writes it; names with a backslash it escapes
SHA256 = re.compile(r"[0-9a-f]{64}")
NETWORK_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
CONFIG_SHA256 = re.compile(r'key:\s*"sha256"\s*,?\s*value\s*:?\s*{\s*string_value:\s*"([^"]*)"')
CHUNK_BYTES = 2**20


class Repository:
    """The files below a folder, named by their paths relative to it, with slashes.

    Only plain files count. A symbolic link could lead out of the repository, and to something else tomorrow.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digests: dict[str, str] = {}
        self.files: set[str] = set()
        self.strange: list[str] = []  # neither folders nor plain files
        for folder, subfolders, names in os.walk(root, onerror=_raise):
            for path in (Path(folder, name) for name in subfolders + names):
                name = path.relative_to(root).as_posix()
                if path.is_symlink() or not (path.is_dir() or path.is_file()):
                    self.strange.append(name)
                elif path.is_file():
                    self.files.add(name)

    def digest(self, name: str) -> str:
        """SHA-256 of a file, hexadecimal; each file is read once."""
        if name not in self._digests:
            sha256 = hashlib.sha256()
            with (self._root / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    sha256.update(chunk)
            self._digests[name] = sha256.hexdigest()
        return self._digests[name]

    def below(self, folder: str) -> list[str]:
        """The files in a folder, at any depth."""
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    def text(self, name: str) -> str:
        """Content of a text file."""
        return (self._root / name).read_text(encoding="utf-8", errors="surrogateescape")

    def write(self, name: str, content: str) -> str:
        """Writes a text file, whole or not at all, and returns its SHA-256."""
        encoded = content.encode("utf-8", errors="surrogateescape")
        draft = self._root / f".{name}.{os.getpid()}"
        draft.write_bytes(encoded)
        draft.replace(self._root / name)
        return hashlib.sha256(encoded).hexdigest()


def _raise(error: OSError) -> None:
    raise error


def networks_of(repository: Repository, model_json: str) -> dict[str, str]:
    """Network name to SHA-256, as a family's model.json says; raises ValueError if it does not say so properly."""
    try:
        content = json.loads(repository.text(model_json))
        family, networks = content["family"], {name: file["sha256"] for name, file in content["networks"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{model_json} does not describe a family: {type(error).__name__}: {error}") from None
    if family != model_json.partition("/")[0]:
        raise ValueError(f"{model_json} describes '{family}', but lies in the folder of another family")
    for name, sha256 in networks.items():
        if not NETWORK_NAME.fullmatch(name):
            raise ValueError(f"{model_json} names a network '{name}', which is no name of a folder in this repository")
        if not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
            raise ValueError(f"{model_json} gives {sha256!r} as the sha256 of {name}")
    return networks


def check_network(repository: Repository, name: str, sha256: str, partial: bool) -> Iterator[str]:
    """Yields what is wrong with one network's weights and configurations."""
    weights, config = f"{name}/1/model.onnx", f"{name}/config.pbtxt"
    if not partial:
        yield from (f"{file} is missing" for file in (weights, config) if file not in repository.files)
    if weights in repository.files and (actual := repository.digest(weights)) != sha256:
        yield f"{weights} has sha256 {actual}, but model.json says {sha256}"
    for file in repository.below(name):
        folder = file.split("/")[1]
        if file == config or (folder == "configs" and file.endswith(".pbtxt")):
            if (found := CONFIG_SHA256.findall(repository.text(file))) != [sha256]:
                yield f"{file} names sha256 {' and '.join(found) or 'nowhere'}, but model.json says {sha256}"
        elif folder.isdigit() and file != weights:
            yield f"{file} is covered by no digest of model.json, and Triton might load it"


def check_sums(repository: Repository, pinned: str | None, partial: bool) -> Iterator[str]:
    """Yields how the repository differs from its SHA256SUMS, and how that differs from the `pinned` digest, if any."""
    if SUMS not in repository.files:
        yield f"{SUMS} is missing"
        return
    if pinned and (actual := repository.digest(SUMS)) != pinned:
        yield f"{SUMS} has sha256 {actual}, but {pinned} is demanded"
        return  # nothing that it says counts
    listed: dict[str, str] = {}
    for number, line in enumerate(repository.text(SUMS).removesuffix("\n").split("\n"), start=1):
        match = SUMS_LINE.fullmatch(line)
        name = match[2].removeprefix("./") if match else ""
        if not match or name in listed:
            yield f"{SUMS}, line {number}: neither a digest and a name nor a name listed once: {line!r}"
        elif name.startswith("/") or ".." in name.split("/"):
            yield f"{SUMS}, line {number}: {name} is outside the repository"
        else:
            listed[name] = match[1]
    for name, sha256 in sorted(listed.items()):
        if name in repository.files:
            if (actual := repository.digest(name)) != sha256:
                yield f"{name} has sha256 {actual}, but {SUMS} says {sha256}"
        elif not partial:
            yield f"{name} is missing, but listed in {SUMS}"
    for name in sorted(repository.files - listed.keys() - {SUMS}):
        yield f"{name} is not listed in {SUMS}"


def check_networks(repository: Repository, partial: bool) -> Iterator[str]:
    """Yields what is wrong with the networks, and prints one line for each that is as its model.json says."""
    yield from (f"{name} is no plain file" for name in sorted(repository.strange))
    families = sorted(name for name in repository.files if re.fullmatch(r"[^/]+/model\.json", name))
    if not families:
        yield "there is no <family>/model.json"
        return
    networks: dict[str, str] = {}
    for model_json in families:
        try:
            for name, sha256 in networks_of(repository, model_json).items():
                if networks.setdefault(name, sha256) != sha256:
                    yield f"{model_json} and another family disagree on the sha256 of {name}"
        except ValueError as error:
            yield str(error)
    for name, sha256 in sorted(networks.items()):
        problems = list(check_network(repository, name, sha256, partial))
        yield from problems
        if not problems:
            there = [file.partition("/")[2] for file in repository.below(name)]
            print(f"{name}  sha256 {sha256}  {', '.join(there) or 'no file here'}")
    # Triton would load these, too.
    folders = {name.partition("/")[0] for name in repository.files if "/" in name}
    yield from (f"{folder} is a network of no family" for folder in sorted(folders - networks.keys()))


def write_sums(repository: Repository) -> str:
    """Writes SHA256SUMS, which `sha256sum --check` reads too, and returns its digest.

    Raises ValueError for a name that such a file cannot hold.
    """
    lines = [f"{repository.digest(name)}  {name}" for name in sorted(repository.files - {SUMS})]
    for line in lines:
        if not SUMS_LINE.fullmatch(line):
            raise ValueError(f"{line[66:]!r} cannot be listed in {SUMS}")
    return repository.write(SUMS, "".join(f"{line}\n" for line in lines))


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="Verify the files of a model repository against their digests.")
    add = parser.add_argument
    add("repository", type=Path, help="folder with <family>/model.json and <network>/1/model.onnx")
    add("--sums-sha256", type=str.lower, metavar="HEX", help=f"demand a {SUMS} that has this SHA-256 itself")
    add("--partial", action="store_true", help="files may be missing: the gateway needs no more than the model.json")
    add("--write-sums", action="store_true", help=f"write {SUMS} if the networks are as model.json says")
    options = parser.parse_args()
    if options.sums_sha256 is not None and not SHA256.fullmatch(options.sums_sha256):
        parser.error("--sums-sha256 takes 64 hexadecimal digits")
    if options.write_sums and (options.partial or options.sums_sha256):
        parser.error(f"--write-sums writes the {SUMS} of a whole repository")
    return options


def main() -> int:
    """Verifies; returns the exit status."""
    options = parse_options()
    try:
        repository = Repository(options.repository)
        problems = list(check_networks(repository, options.partial))
        if not options.write_sums and (options.sums_sha256 or SUMS in repository.files):
            problems += check_sums(repository, options.sums_sha256, options.partial)
            if not problems:
                print(f"{SUMS}  sha256 {repository.digest(SUMS)}  no file differs, none is unlisted")
        if options.write_sums and not problems:
            print(f"{SUMS}  sha256 {write_sums(repository)}  written")
    except (OSError, ValueError) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"{options.repository}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
