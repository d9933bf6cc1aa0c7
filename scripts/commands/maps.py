"""`ctp-stroke maps`: perfusion maps, core and mismatch of one series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..dicom.detect import is_dicom, require_pydicom
from .options import Debug, Identify, Interval, Orientation, SeriesUid, Times, not_negative

NAME = "maps"
EXAMPLES = "Example: ctp-stroke maps ctp.nii.gz --out maps"

Method = Literal["bayesian", "osvd", "bcsvd", "ssvd"]
DEFAULT_SMOOTHING_MM = 3.5


def run(
    series: Annotated[
        Path,
        typer.Argument(
            help="4D NIfTI file (H, W, D, T) in HU, or a DICOM study: folder, DICOMDIR, zip.",
            exists=True,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write; one folder for each case.")],
    dt_s: Interval = None,
    times: Times = None,
    orientation: Orientation = None,
    series_uid: SeriesUid = None,
    identify: Identify = False,
    aif: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="arterial input: a curve (text file, HU), a mask (NIfTI) or a voxel i,j,k; default: found.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="brain mask (NIfTI); default: found.", show_default=False)
    ] = None,
    motion_correction: Annotated[bool, typer.Option(help="align the frames of a head that moved.")] = True,
    method: Annotated[Method, typer.Option(help="estimate of the maps.")] = "bayesian",
    smoothing_mm: Annotated[
        float,
        typer.Option(
            metavar="MM", help="neighborhood of the filter, a standard deviation; 0 for none.", callback=not_negative
        ),
    ] = DEFAULT_SMOOTHING_MM,
    core_rcbf: Annotated[
        float, typer.Option(metavar="FRACTION", help="core: below this fraction of normal CBF.", callback=not_negative)
    ] = 0.30,
    delay_s: Annotated[
        float, typer.Option(metavar="SECONDS", help="hypoperfusion: Tmax above this.", callback=not_negative)
    ] = 6.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace results of another series.")] = False,
    debug: Debug = False,
) -> None:
    """Compute CBF (ml/100 g/min), CBV (ml/100 g), MTT, Tmax and TTP (s), core, hypoperfusion and mismatch (ml).

    Writes NIfTI files on the grid of the series, summary.json and a picture.
    """
    case: dict[str, Any] = {}
    if is_dicom(series):
        require_pydicom()
        from ..dicom.convert import converted  # with pydicom, which an optional extra installs

        case = converted(series, out, series_uid=series_uid, dt_s=dt_s, identify=identify)
    from .perfusion_maps import MapsRequest, write_maps

    request = MapsRequest(
        series=Path(case.get("image", series)),
        out=out,
        case=case,
        dt_s=dt_s,
        times=times,
        orientation=orientation,
        aif=aif,
        brain=brain,
        motion_correction=motion_correction,
        method=method,
        smoothing_mm=smoothing_mm,
        core_rcbf=core_rcbf,
        delay_s=delay_s,
        overwrite=overwrite,
    )
    for line in write_maps(request):
        typer.echo(line)
