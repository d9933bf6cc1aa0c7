"""The storage service: who may send, and how an instance goes into the inbox (pynetdicom)."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from .identity import uids_of_encoded
from .inbox import Inbox, RefusedError
from .transfer import STORAGE, TRANSFER_SYNTAXES

LOGGER = logging.getLogger("ctp_stroke.node")

SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
PDU_BYTES = 128 << 10
REQUEST_BYTES = 1 << 20
"""No PDU is larger: data PDUs by agreement, a request for an association with 128 contexts by far."""
COMMAND_BYTES = 64 << 10


@dataclass(frozen=True)
class Access:
    """Where the node listens, and to whom."""

    ae: str = "CTPSTROKE"
    port: int = 11112
    listen: str = "127.0.0.1"
    allowed_aes: tuple[str, ...] = ()
    """Calling AE titles; any if there are none."""
    allowed_addresses: tuple[str, ...] = ()
    """Addresses or networks, such as 10.1.2.0/24; any if there are none."""
    associations: int = 8
    """At most so many at a time; each may hold one instance in memory."""
    idle_s: float = 60.0
    """An association on which nothing comes for so long is aborted."""

    def allows(self, address: str) -> bool:
        """Whether an address may connect."""
        host = ipaddress.ip_address(address.partition("%")[0])
        host = getattr(host, "ipv4_mapped", None) or host
        return not self.allowed_addresses or any(
            host in ipaddress.ip_network(network, strict=False) for network in self.allowed_addresses
        )


class _Excess(BytesIO):
    """In the place of the data of an instance that is too large: what still comes of it is not kept."""

    def write(self, data: Any) -> int:
        return len(data)


class Receiver:
    """A storage and verification SCP.

    Args:
        inbox: where instances go.
        access: where to listen, and to whom.
        note: is told each refusal, in a line without identity.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, inbox: Inbox, access: Access, note: Callable[[str], None] = lambda line: None) -> None:
        self._inbox, self._access, self._note = inbox, access, note
        self.counts: Counter[str] = Counter()
        self._of_association: dict[Association, Counter[str]] = {}
        ae = AE(access.ae)
        ae.require_called_aet = True
        ae.require_calling_aet = list(access.allowed_aes)
        ae.maximum_associations = access.associations
        ae.maximum_pdu_size = PDU_BYTES
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = access.idle_s
        ae.add_supported_context(Verification)
        for uid in STORAGE:
            ae.add_supported_context(uid, list(TRANSFER_SYNTAXES))
        handlers: Sequence[tuple[Any, Callable[[evt.Event], Any]]] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._limit),
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
            (evt.EVT_CONN_CLOSE, self._ended),
        ]
        self._server: ThreadedAssociationServer = ae.make_server(
            (access.listen, access.port),
            evt_handlers=list(handlers),
            server_class=_server_class(self._is_allowed),
            request_handler=_Handler,
        )
        ae._servers.append(self._server)  # as start_server does: its shutdown takes it out again
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def stop(self, grace_s: float) -> None:
        """Accept no more associations, let those that are there end, and abort them after `grace_s`."""
        self._server.shutdown()
        deadline = time.monotonic() + grace_s
        while any(one.is_established for one in self._server.active_associations) and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in self._server.active_associations:
            association.abort() if association.is_established else association.kill()

    def _is_allowed(self, address: str) -> bool:
        if self._access.allows(address):
            return True
        self.counts["refused_connections"] += 1
        self._note(f"connection from {address} refused: the address is not allowed")
        return False

    def _store(self, event: evt.Event) -> Dataset | int:
        """Answer a C-STORE request: success only when the instance is on the disk."""
        try:
            outcome = self._keep(event)
        except RefusedError as error:
            return self._refuse(event, OUT_OF_RESOURCES, f"refused: {error}")
        except ValueError as error:
            return self._refuse(event, CANNOT_UNDERSTAND, f"refused: {error}")
        except OSError as error:
            return self._refuse(event, OUT_OF_RESOURCES, f"not stored: {error.strerror or error}")
        self._count(event.assoc, outcome)
        return SUCCESS

    def _keep(self, event: evt.Event) -> str:
        request: Any = event.request
        if isinstance(request.DataSet, _Excess):
            raise RefusedError(f"an instance of more than {self._inbox.limits.instance_bytes} bytes")
        syntax = event.context.transfer_syntax
        with request.DataSet.getbuffer() as encoded:
            uids = uids_of_encoded(encoded, syntax)
            if (uids.sop_class, uids.instance) != (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID):
                raise ValueError("the dataset is not what the request says")
            new_study = not self._inbox.count(uids.study_key)
            header = b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta)
            stored = self._inbox.store(uids, [header, encoded])
        if stored and new_study:
            LOGGER.info("study %s: first instance", uids.study_key)
        return "stored" if stored else "not_kept"

    def _refuse(self, event: evt.Event, status: int, reason: str) -> Dataset:
        self._count(event.assoc, "refused")
        self._note(f"instance from {event.assoc.requestor.ae_title}: {reason}")
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = reason[:64]
        return answer

    def _limit(self, event: evt.Event) -> None:
        """Stop keeping what comes of an instance that is too large; end an association whose command is."""
        message = event.assoc.dimse.message
        if not isinstance(event.pdu, P_DATA_TF) or message is None:
            return
        if message.encoded_command_set.tell() > COMMAND_BYTES:
            event.assoc.abort(block=False)
        if message.data_set is not None and message.data_set.tell() > self._inbox.limits.instance_bytes:
            message.data_set = _Excess()

    def _count(self, association: Association, outcome: str) -> None:
        self.counts[outcome] += 1
        if association in self._of_association:
            self._of_association[association][outcome] += 1

    def _established(self, event: evt.Event) -> None:
        self._of_association[event.assoc] = Counter()

    def _rejected(self, event: evt.Event) -> None:
        self.counts["refused_associations"] += 1
        peer = event.assoc.requestor
        self._note(f"association of {peer.ae_title or 'no AE title'} from {peer.address} refused")

    def _ended(self, event: evt.Event) -> None:
        counts = self._of_association.pop(event.assoc, None)
        if counts is not None:
            words = ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in ("stored", "not_kept", "refused"))
            LOGGER.info("association of %s: %s", event.assoc.requestor.ae_title, words)


class _Handler(RequestHandler):
    """Makes associations that read no PDU beyond a limit into memory."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        socket: Any = association.dul.socket
        receive = socket.recv
        socket.recv = lambda count: receive(count) if count <= REQUEST_BYTES else bytearray()  # as of a closed one
        return association


def _server_class(is_allowed: Callable[[str], bool]) -> type[ThreadedAssociationServer]:
    class Server(ThreadedAssociationServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return is_allowed(client_address[0])

    return Server
