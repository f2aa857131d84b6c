"""``memobert-serve``: a page in the browser, and ``POST /predict``, on this machine."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.console import CommandParser, note, run_command, say
from ..core.errors import UserError, pip_install
from ..core.version import shipped_model
from .extract_flags import add_transcribe_flag

if TYPE_CHECKING:
    from ..serve.desk import Desk

EPILOG = """\
The page takes a clip, a recording by camera and microphone, or a sentence, follows a long film while it is worked on,
and hands out the page of memobert-predict --report and the answers as JSON lines. For programs:

  curl -F clip=@clip.mp4 -F text="I can't believe it" http://127.0.0.1:8000/predict

Uploads lie in a private folder and are deleted once they are answered; the answers are kept for 15 minutes. Requests
that another site or another name of the host sends are refused. There is no account and no encryption: to serve others
than yourself, put a server that has both in front, and name the host by --allow-host.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        command="serve",
        description="Answer for clips in the browser and over HTTP, on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: %(default)s, this machine alone)")
    add("--port", type=int, default=8000, metavar="N", help="listen here; 0: any free one (default: %(default)s)")
    add(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name by which browsers may reach this host"
    )
    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--model", type=Path, metavar="MODEL", help="a bundle or a checkpoint (default: the shipped model)")
    add("--labels", metavar="LABELS", help="choose among these alone, as in memobert-predict")
    add_transcribe_flag(model, "clips without text")
    add("--voice", choices=("silero", "energy"), help="detector of speech (default: as trained)")
    add("--weights", type=Path, metavar="PATH", help="the speech encoder's, for a model trained on its frames")
    told = "another DenseFace or ONNX file, for a model trained on its frames"
    add("--face-weights", type=Path, metavar="FILE", help=told)
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="default: float32")
    limits = parser.add_argument_group("limits")
    add = limits.add_argument
    add("--max-megabytes", type=float, default=200, metavar="N", help="of an upload (default: %(default)s)")
    add("--max-seconds", type=float, default=600, metavar="S", help="length of a clip (default: %(default)s)")
    add(
        "--timeout",
        type=float,
        default=120,
        metavar="S",
        help="work on one clip or stretch of a clip (default: %(default)s)",
    )
    add("--queue", type=int, default=16, metavar="N", help="clips that wait (default: %(default)s)")
    add("--workers", type=int, default=1, metavar="N", help="processes, each with the model (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C and return the exit status."""
    options = build_parser().parse_args(argv)
    for flag, least in (("max_megabytes", 0.01), ("max_seconds", 0.1), ("timeout", 0.1), ("queue", 1), ("workers", 1)):
        if not least <= getattr(options, flag) <= 1e6:
            raise UserError(f"--{flag.replace('_', '-')} {getattr(options, flag):g}: give {least:g} to 1000000")
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port}: give 0 to 65535")
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; {pip_install('serve')}") from None
    from ..serve.answering import Settings
    from ..serve.desk import Desk, Limits

    model = {
        "path": options.model or shipped_model(),
        "labels": options.labels,
        "transcribe": options.transcribe,
        "voice": options.voice,
        "weights": options.weights,
        "face_weights": options.face_weights,
        "device": options.device,
        "dtype": options.dtype,
    }
    limits = Limits(bytes=round(options.max_megabytes * (1 << 20)), seconds=options.timeout, queue=options.queue)
    desk = Desk(Settings(model, options.max_seconds), limits, options.workers)
    return asyncio.run(_serve(desk, options))


async def _serve(desk: Desk, options: argparse.Namespace) -> int:
    import socket

    import uvicorn

    from ..serve.app import build_app

    local = _is_loopback(options.host)
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listening = socket.create_server((options.host, options.port), family=family, backlog=128)
    except OSError as error:
        raise UserError(f"--host {options.host} --port {options.port}: cannot listen ({error.strerror})") from None
    note("loading the model")
    try:
        await desk.start()
        port = listening.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        say(f"serving http://{host}:{port} (Ctrl-C ends it)")
        if not local:
            note("whoever reaches this address can use it; there is no account and no encryption")
        config = uvicorn.Config(
            build_app(desk, local=local, names=options.allow_host),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http="h11",
            ws="none",
            limit_concurrency=options.queue + 256,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
        )
        await uvicorn.Server(config).serve(sockets=[listening])
    finally:
        await desk.close()
        listening.close()
    return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cli_main() -> None:
    """Run the command and leave the process."""
    run_command(main)
