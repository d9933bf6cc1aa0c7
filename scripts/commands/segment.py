"""`ctp-stroke segment`: the lesion of one or many cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import Debug, Identify, Interval, Orientation, SeriesUid, Times, not_negative

NAME = "segment"
EXAMPLES = "Example: ctp-stroke segment ctp.nii.gz --out results"


def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="SERIES|FOLDER|DATALIST|STUDY...",
            help="4D NIfTI files in HU, folders with such files, datalists (.json), or DICOM studies: folders, "
            "DICOMDIR, zip.",
            exists=True,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write: one folder for each case, cases.csv.")],
    maps: Annotated[bool, typer.Option("--maps", help="also write what `ctp-stroke maps` does.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="also write the report (HTML and PDF), and so the maps.")
    ] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="also write the results as DICOM objects of each study, and so the maps.")
    ] = False,
    submission: Annotated[
        Literal["isles2018"] | None,
        typer.Option(
            help="also write the masks as this challenge names them, into OUT/submission.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:1; default: the first GPU, else the CPU.", show_default=False)
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="mixed precision: faster, not the same bytes.")] = False,
    dt_s: Interval = None,
    times: Times = None,
    orientation: Orientation = None,
    series_uid: SeriesUid = None,
    identify: Identify = False,
    use_given_maps: Annotated[
        bool, typer.Option("--use-given-maps", help="take the maps of a datalist's cases instead of computing them.")
    ] = False,
    mirror: Annotated[bool, typer.Option(help="average with the prediction of the mirrored image.")] = True,
    min_lesion_ml: Annotated[
        float, typer.Option(metavar="ML", help="drop components below this volume.", callback=not_negative)
    ] = 1.0,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="weights; default: those that ship.", show_default=False, exists=True),
    ] = None,
    section: Annotated[str, typer.Option(help="section of the datalists.")] = "testing",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="segment complete cases again; replace results of other series.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Segment the ischemic lesion that diffusion-weighted MRI would show.

    Writes for each case, on the grid of its series, the lesion mask, its probability and the pseudo-DWI, a picture, and
    one table of all volumes (ml). Cases that are complete already are skipped. A case that fails does not stop the
    others; the exit status is then 1.
    """
    given = {"device": device, "dt_s": dt_s, "times": times, "orientation": orientation, "ckpt_path": weights}
    given |= {"series_uid": series_uid}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if identify:
        options["identify"] = True
    options |= {"amp": amp, "mirror": mirror, "min_lesion_ml": min_lesion_ml, "section": section}
    if use_given_maps:
        options["use_given_maps"] = True
    return segment(
        inputs, out, options, overwrite=overwrite, maps=maps, report=report, dicom=dicom, submission=submission
    )


def segment(inputs: list[Path], out: Path, options: dict[str, Any], **more: Any) -> int:
    """Segment, say which cases failed, and return the exit status; see `Segmentation` for the arguments."""
    from .segmentation import Segmentation

    segmentation = Segmentation(inputs, out, options, **more)
    failed = segmentation.run()
    if failed and len(segmentation.cases) > 1:
        typer.echo(f"{len(failed)} of {len(segmentation.cases)} cases failed: {', '.join(failed)}", err=True)
    return 1 if failed else 0
