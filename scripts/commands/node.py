"""`ctp-stroke node`: studies from a PACS in, results back."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

import typer

from .options import Debug

NAME = "node"
EXAMPLES = "Example: ctp-stroke node --send 10.0.0.5:104:PACS --dir /var/lib/ctp-stroke --allow PACS"


def ae_title(value: str) -> str:
    """1 to 16 printable ASCII characters without a backslash."""
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", value) or not value.strip():
        raise typer.BadParameter(f"expected an AE title of 1 to 16 characters, got '{value}'")
    return value.strip()


def ae_titles(values: list[str] | None) -> list[str]:
    """AE titles."""
    return [ae_title(value) for value in values or []]


def networks(values: list[str] | None) -> list[str]:
    """Addresses or networks."""
    for value in values or []:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise typer.BadParameter(f"expected an address or network such as 10.0.0.0/24, got '{value}'") from None
    return values or []


def filters(values: list[str] | None) -> list[str]:
    """Keywords of DICOM with values."""
    for value in values or []:
        if not re.fullmatch(r"[A-Z][A-Za-z]+=.+", value):
            raise typer.BadParameter(f"expected KEYWORD=VALUE such as StudyDescription=*STROKE*, got '{value}'")
    return values or []


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="FOLDER", help="queue, instances and results; made if not there.")
    ],
    segment_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- OPTION...", help="options of `ctp-stroke segment`.", show_default=False),
    ] = None,
    ae: Annotated[str, typer.Option(metavar="TITLE", help="own AE title.", callback=ae_title)] = "CTPSTROKE",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="where to listen; default: 11112, with --dicomweb not at all.", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST", help="address to listen on; another one needs --allow-address.")
    ] = "127.0.0.1",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TITLE",
            help="calling AE title that may send; repeat; default: any.",
            callback=ae_titles,
            show_default=False,
        ),
    ] = None,
    allow_address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK", help="address or network that may send; repeat.", callback=networks, show_default=False
        ),
    ] = None,
    send: Annotated[
        str | None, typer.Option(metavar="HOST:PORT:AE", help="send results by C-STORE.", show_default=False)
    ] = None,
    stow: Annotated[
        str | None, typer.Option(metavar="URL", help="send results by STOW-RS.", show_default=False)
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="fetch studies by WADO-RS; results go back there by default.", show_default=False
        ),
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="study to fetch from --dicomweb; repeat.", show_default=False),
    ] = None,
    poll_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="look so often for new CT studies of today and yesterday on --dicomweb.",
            show_default=False,
        ),
    ] = None,
    filter_by: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEYWORD=VALUE",
            help="look only for such studies, for instance StudyDescription=*STROKE*; repeat.",
            callback=filters,
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="end when the studies of --study are done.")] = False,
    quiet_s: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="a study is complete when nothing came for so long.")
    ] = 30.0,
    instances: Annotated[int, typer.Option(min=1, help="a study with fewer CT instances fails, until more come.")] = 1,
    attempts: Annotated[int, typer.Option(min=1, help="tries of processing, or of sending what is refused.")] = 3,
    timeout_s: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="longest processing of a study.")] = 3600.0,
    keep_h: Annotated[
        float, typer.Option(metavar="HOURS", min=0, help="remove studies that are done after this time.")
    ] = 24.0,
    max_instance_mb: Annotated[float, typer.Option(metavar="MB", min=1, help="largest instance.")] = 1024.0,
    max_study_gb: Annotated[float, typer.Option(metavar="GB", min=0.001, help="largest study.")] = 16.0,
    max_study_instances: Annotated[int, typer.Option(min=1, help="most instances of a study.")] = 20_000,
    min_free_gb: Annotated[float, typer.Option(metavar="GB", min=0, help="disk space that stays free.")] = 2.0,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of the health page (HTTP, JSON).", show_default=False)
    ] = None,
    health_listen: Annotated[str, typer.Option(metavar="HOST", help="address of the health page.")] = "127.0.0.1",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="begin studies that failed again.")] = False,
    debug: Debug = False,
) -> int:
    """Receive studies from a PACS, segment them, and send the results back.

    Runs until it gets SIGTERM or SIGINT. The queue lies in the folder and survives a kill: the next start does what is
    left. See docs/how-to/pacs.md.
    """
    if (send is not None and stow is not None) or (send or stow or dicomweb) is None:
        raise typer.BadParameter("expected one of --send and --stow, or --dicomweb")
    if dicomweb is None and (study or poll_s or once):
        raise typer.BadParameter("--study, --poll-s and --once need --dicomweb")
    if dicomweb is not None and not study and poll_s is None:
        raise typer.BadParameter("--dicomweb needs --study or --poll-s")
    if once and (poll_s is not None or port is not None):
        raise typer.BadParameter("--once ends when --study is done; expected no --poll-s and no --port")
    if not is_loopback(listen) and not allow_address:
        raise typer.BadParameter(f"listening on {listen} needs --allow-address, such as --allow-address 10.0.0.0/24")
    try:
        import pynetdicom  # noqa: F401
    except ModuleNotFoundError as error:
        text = f"the node needs {error.name}: pip install 'ctp-stroke-lesion-segmentation[dicom]'"
        raise ModuleNotFoundError(text) from error
    from ..dicom.node.inbox import Limits
    from ..dicom.node.processing import SegmentCommand
    from ..dicom.node.receiver import Access
    from ..dicom.node.running import run_until_signal, target
    from ..dicom.node.service import Settings
    from ..dicom.node.worker import Rules

    listens = port is not None or dicomweb is None
    access = Access(ae, 11112 if port is None else port, listen, tuple(allow or ()), tuple(allow_address or ()))
    settings = Settings(
        folder,
        access if listens else None,
        Limits(int(max_instance_mb * 2**20), int(max_study_gb * 2**30), max_study_instances, int(min_free_gb * 2**30)),
        Rules(quiet_s, instances, attempts, keep_s=keep_h * 3600),
        None if health_port is None else (health_listen, health_port),
    )
    failed = run_until_signal(
        settings,
        SegmentCommand(segment_options or (), timeout_s),
        target(send, stow or dicomweb, ae),
        dicomweb=dicomweb,
        studies=study or (),
        poll_s=poll_s,
        filters=dict(item.split("=", 1) for item in filter_by or []),
        once=once,
        retry_failed=retry_failed,
    )
    return 1 if once and failed else 0
