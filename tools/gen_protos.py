"""Generate ``vecstore/v1`` from ``protos/vecstore/v1``: ``python tools/gen_protos.py [FOLDER]``.

Needs the ``dev`` extra. FOLDER (default: the repository root) receives ``vecstore/v1/*``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
INIT = '"""Messages and services generated from protos/vecstore/v1 by tools/gen_protos.py; do not edit."""\n'


def sources() -> list[str]:
    """Give the proto files, relative to ``protos``, sorted."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))


def run_protoc(*options: str) -> None:
    """Run the protoc of grpcio-tools over all protos.

    Raises
    ------
    RuntimeError
        protoc failed; the message is its own.
    """
    well_known = resources.files("grpc_tools") / "_proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{well_known}", *options, *sources()]
    # The plug-in for typed stubs is a script beside the interpreter, which need not be on PATH.
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    command.insert(3, f"--plugin=protoc-gen-mypy_grpc={plugin}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed command)
    if done.returncode:
        raise RuntimeError(f"protoc failed:\n{done.stderr}")


def generate(folder: Path) -> None:
    """Write ``vecstore/v1`` under ``folder``: messages, their types, service stubs, their types."""
    run_protoc(
        f"--python_out={folder}", f"--pyi_out={folder}", f"--grpc_python_out={folder}", f"--mypy_grpc_out={folder}"
    )
    package = folder / "vecstore" / "v1"
    (package / "__init__.py").write_text(INIT)
    for source in sources():
        if "\nservice " not in (PROTOS / source).read_text():
            for empty in package.glob(f"{Path(source).stem}_pb2_grpc.py*"):
                empty.unlink()


def main() -> None:
    """Generate into the folder named on the command line."""
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)


if __name__ == "__main__":
    main()
