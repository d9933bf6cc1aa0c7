"""DICOMweb (`dicomweb-client`): find studies (QIDO-RS), retrieve one (WADO-RS), store results (STOW-RS).

TLS certificates are verified; the environment variable `REQUESTS_CA_BUNDLE` names a private authority. Credentials are
`CTP_STROKE_DICOMWEB_USER` and `CTP_STROKE_DICOMWEB_PASSWORD`, or `CTP_STROKE_DICOMWEB_TOKEN` (bearer), or the entry of
the host in `~/.netrc`. They are not sent without TLS, except to this machine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from ..io.atomic import atomic_path

USER, PASSWORD, TOKEN = (f"CTP_STROKE_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
TIMEOUT_S = (10.0, 120.0)
"""To connect, and between two pieces of an answer."""
MAX_ANSWER_BYTES = 16 << 30
MAX_STUDIES = 1000


class Study(NamedTuple):
    """A study that a server has."""

    uid: str
    instances: int
    """0 if the server does not say."""


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def client(url: str, *, max_bytes: int = MAX_ANSWER_BYTES) -> DICOMwebClient:
    """A client of a DICOMweb server.

    Args:
        url: the root of its services, such as https://pacs.example/dicom-web.
        max_bytes: an answer with more is refused while it is read.

    Raises:
        ValueError: the URL is not one of a DICOMweb server, holds credentials, or credentials would go without TLS.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected an address such as https://pacs.example/dicom-web, got '{url}'")
    if parts.username or parts.password:
        raise ValueError(f"expected an address without credentials; set {USER} and {PASSWORD} or use ~/.netrc")
    session = requests.Session()
    session.auth = _credentials()
    has_credentials = session.auth is not None or requests.utils.get_netrc_auth(url) is not None
    if has_credentials and parts.scheme == "http" and not _is_local(parts.hostname):
        raise ValueError(f"expected https for a server that needs credentials, got http://{parts.hostname}")
    web = DICOMwebClient(url.rstrip("/"), session=session, timeout=TIMEOUT_S, callback=_bounded(max_bytes))
    web.set_http_retry_params(retry=False)  # the callers try again, and know for how long
    return web


def _credentials() -> Any:
    if os.environ.get(TOKEN):
        return _Bearer(os.environ[TOKEN])
    if os.environ.get(USER):
        return os.environ[USER], os.environ.get(PASSWORD, "")
    return None  # requests looks into ~/.netrc


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bounded(max_bytes: int) -> Callable[..., requests.Response]:
    """A hook that lets no more than `max_bytes` of an answer be read, after it is decompressed."""

    def limit(response: requests.Response, *args: Any, **kwargs: Any) -> requests.Response:
        read = response.iter_content

        def pieces(*sizes: Any, **options: Any) -> Iterator[bytes]:
            count = 0
            for piece in read(*sizes, **options):
                count += len(piece)
                if count > max_bytes:
                    raise ValueError(f"the server's answer is larger than {max_bytes} bytes")
                yield piece

        response.iter_content = pieces  # type: ignore[method-assign]
        return response

    return limit


def find_studies(url: str, filters: Mapping[str, str] | None = None, *, limit: int = MAX_STUDIES) -> list[Study]:
    """Studies of a server.

    Args:
        url: the root of its services.
        filters: keywords and values of QIDO-RS, such as {"StudyDate": "20260131", "ModalitiesInStudy": "CT"}.
        limit: at most so many.

    Raises:
        ValueError: see `client`.
        OSError: the server does not answer or refuses.
    """
    found = client(url, max_bytes=64 << 20).search_for_studies(
        limit=limit, fields=["NumberOfStudyRelatedInstances"], search_filters=dict(filters or {})
    )
    datasets = [Dataset.from_json(item) for item in found[:limit]]
    return [Study(str(item.StudyInstanceUID), int(item.get("NumberOfStudyRelatedInstances") or 0)) for item in datasets]


def count_instances(url: str, study_uid: str, modality: str = "CT") -> int:
    """How many instances the series of one modality of a study have; 0 if the server does not say.

    Raises:
        ValueError, OSError: see `find_studies`.
    """
    found = client(url, max_bytes=64 << 20).search_for_series(
        study_uid, fields=["NumberOfSeriesRelatedInstances"], search_filters={"Modality": modality}
    )
    return sum(int(Dataset.from_json(item).get("NumberOfSeriesRelatedInstances") or 0) for item in found)


def iter_study(
    url: str, study_uid: str, *, modality: str | None = "CT", max_bytes: int = MAX_ANSWER_BYTES
) -> Iterator[Dataset]:
    """The instances of a study, one after the other, in the transfer syntaxes that the server has them in.

    Args:
        url: the root of the server's services.
        study_uid: the study.
        modality: only series of this modality; None for all.
        max_bytes: a series with more is refused.

    Raises:
        FileNotFoundError: the server has no such series of the study.
        ValueError: see `client`; an answer is too large.
        OSError: the server does not answer or refuses.
    """
    web = client(url, max_bytes=max_bytes)
    filters = {"Modality": modality} if modality else {}
    series = web.search_for_series(study_uid, search_filters=filters)
    if not series:
        raise FileNotFoundError(f"the server has no {modality or ''} series of the study".replace("  ", " "))
    for item in series:
        uid = str(Dataset.from_json(item).SeriesInstanceUID)
        yield from web.iter_series(study_uid, uid, media_types=(("application/dicom", "*"),))


def retrieve_study(
    url: str,
    study_uid: str,
    folder: Path,
    *,
    modality: str | None = "CT",
    max_instances: int = 20_000,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> list[Path]:
    """Write the instances of a study into a folder, as 00000.dcm, 00001.dcm and so on.

    Raises:
        FileNotFoundError, ValueError, OSError: see `iter_study`; there are more than `max_instances`.
    """
    paths: list[Path] = []
    for dataset in iter_study(url, study_uid, modality=modality, max_bytes=max_bytes):
        if len(paths) == max_instances:
            raise ValueError(f"the study has more than {max_instances} instances")
        path = folder / f"{len(paths):05d}.dcm"
        with atomic_path(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
        paths.append(path)
    return paths


def store(url: str, files: Sequence[Path], delivered: Callable[[Path, str], None] | None = None) -> Mapping[Path, str]:
    """Store files on a server, one by one.

    Args:
        url: the root of its services.
        files: DICOM files.
        delivered: called after each file, with the reason if the server refused it and an empty text if not.

    Returns:
        The files that the server refused, with the reason.

    Raises:
        ValueError: see `client`.
        OSError: the server does not answer, or answers that it cannot store now; the rest was not tried.
    """
    web = client(url, max_bytes=64 << 20)
    refused = {}
    for path in files:
        reason = _store_one(web, path)
        if reason:
            refused[path] = reason
        if delivered is not None:
            delivered(path, reason)
    return refused


def _store_one(web: DICOMwebClient, path: Path) -> str:
    try:
        answer = web.store_instances([dcmread(path)])
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (400, 409, 413, 415, 422):  # of this instance; any other is of the server
            return f"the server answered with status {status}"
        raise OSError(f"the server answered with status {status}") from error
    if answer.get("FailedSOPSequence"):
        return f"the server refused it, reason 0x{int(answer.FailedSOPSequence[0].get('FailureReason') or 0):04X}"
    return ""
