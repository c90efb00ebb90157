"""The table of socket options: each with the function that reads it and the function that sets it."""

from __future__ import annotations

import errno
from typing import Any, Final

from datachan.sctp import InvalidAddress, InvalidState, InvalidStream, UnknownKey

from . import association_options as about_one
from . import auth_options as auth
from . import parameter_options as parameters
from .ancillary import Address
from .option_values import SocketOption
from .parameter_options import Getter, Setter
from .socket_state import SocketState
from .validation import check_arguments, check_option

_O = SocketOption


def get_value(sock: SocketState, option: SocketOption, assoc_id: int, address: Address | None) -> Any:
    """Return the value of an option.

    Raises:
        OSError: the option cannot be read, or there is no such association.
    """
    check_arguments(option=option, assoc_id=assoc_id, address=address)
    getter = _TABLE[option][0]
    if getter is None:
        raise OSError(errno.ENOPROTOOPT, f"{option.name} cannot be read")
    return getter(sock, sock._chosen(assoc_id), address)


def set_value(sock: SocketState, option: SocketOption, value: object, assoc_id: int) -> None:
    """Set an option.

    Raises:
        OSError: the option cannot be set, the value is not acceptable, or there is no such association.
    """
    check_arguments(option=option, assoc_id=assoc_id)
    setter = _TABLE[option][1]
    check_option(option, value)
    if setter is None:
        raise OSError(errno.ENOPROTOOPT, f"{option.name} cannot be set")
    try:
        setter(sock, value, assoc_id)
    except (ValueError, InvalidAddress, InvalidStream, UnknownKey) as error:
        raise OSError(errno.EINVAL, str(error)) from None
    except InvalidState as error:
        raise OSError(errno.ENOTCONN, str(error)) from None


_TABLE: Final[dict[SocketOption, tuple[Getter | None, Setter | None]]] = {
    _O.SO_LINGER: parameters.attribute("_linger", lambda value: value),
    _O.SO_RCVBUF: (parameters.parameter("receive_window")[0], parameters.set_rcvbuf),
    _O.SO_SNDBUF: parameters.parameter("send_buffer"),
    _O.SCTP_RTOINFO: (parameters.get_rtoinfo, parameters.set_rtoinfo),
    _O.SCTP_ASSOCINFO: (parameters.get_assocparams, parameters.set_assocparams),
    _O.SCTP_INITMSG: (parameters.get_initmsg, parameters.set_initmsg),
    _O.SCTP_NODELAY: (parameters.get_nodelay, parameters.set_nodelay),
    _O.SCTP_AUTOCLOSE: (parameters.get_autoclose, parameters.set_autoclose),
    _O.SCTP_PRIMARY_ADDR: (about_one.get_primary, about_one.set_primary),
    _O.SCTP_ADAPTATION_LAYER: parameters.parameter("adaptation_indication"),
    _O.SCTP_DISABLE_FRAGMENTS: (parameters.get_disable_fragments, parameters.set_disable_fragments),
    _O.SCTP_PEER_ADDR_PARAMS: (about_one.get_paddrparams, about_one.set_paddrparams),
    _O.SCTP_PEER_ADDR_THLDS: (about_one.get_thresholds, about_one.set_thresholds),
    _O.SCTP_MAXSEG: (parameters.parameter("max_fragment")[0], parameters.set_maxseg),
    _O.SCTP_DELAYED_SACK: (parameters.get_sack, parameters.set_sack),
    _O.SCTP_FRAGMENT_INTERLEAVE: (parameters.get_interleave, parameters.set_interleave),
    _O.SCTP_PARTIAL_DELIVERY_POINT: (parameters.parameter("partial_delivery_point")[0], parameters.set_delivery_point),
    _O.SCTP_MAX_BURST: (parameters.get_max_burst, parameters.set_max_burst),
    _O.SCTP_CONTEXT: parameters.setting("context"),
    _O.SCTP_EVENT: (parameters.get_subscribed, parameters.set_event),
    _O.SCTP_RECVRCVINFO: parameters.attribute("_recvrcvinfo", bool),
    _O.SCTP_RECVNXTINFO: parameters.attribute("_recvnxtinfo", bool),
    _O.SCTP_DEFAULT_SNDINFO: parameters.setting("sndinfo"),
    _O.SCTP_DEFAULT_PRINFO: parameters.setting("prinfo"),
    _O.SCTP_STATUS: (about_one.get_status, None),
    _O.SCTP_GET_PEER_ADDR_INFO: (about_one.get_paddrinfo, None),
    _O.SCTP_GET_ASSOC_NUMBER: (about_one.get_number, None),
    _O.SCTP_GET_ASSOC_ID_LIST: (about_one.get_ids, None),
    _O.SCTP_RESET_STREAMS: (None, about_one.set_reset_streams),
    _O.SCTP_RESET_ASSOC: (None, about_one.set_reset_assoc),
    _O.SCTP_ADD_STREAMS: (None, about_one.set_add_streams),
    _O.SCTP_ENABLE_STREAM_RESET: (parameters.get_enable_reset, parameters.set_enable_reset),
    _O.SCTP_REMOTE_UDP_ENCAPS_PORT: (parameters.get_encaps, parameters.set_encaps),
    _O.SCTP_PR_SUPPORTED: (parameters.extension("partial_reliability"), parameters.set_pr_supported),
    _O.SCTP_PR_ASSOC_STATUS: (about_one.get_pr_status, None),
    _O.SCTP_INTERLEAVING_SUPPORTED: (parameters.extension("interleaving"), parameters.set_interleaving),
    _O.SCTP_STREAM_SCHEDULER: (parameters.get_scheduler, parameters.set_scheduler),
    _O.SCTP_STREAM_SCHEDULER_VALUE: (None, about_one.set_stream_value),
    _O.SCTP_AUTH_SUPPORTED: (parameters.extension("authentication"), auth.set_supported),
    _O.SCTP_AUTH_CHUNK: (None, auth.set_chunk),
    _O.SCTP_AUTH_KEY: (None, auth.set_key),
    _O.SCTP_AUTH_ACTIVE_KEY: (auth.get_active, auth.set_active),
    _O.SCTP_AUTH_DEACTIVATE_KEY: (None, auth.deactivate_key),
    _O.SCTP_AUTH_DELETE_KEY: (None, auth.delete_key),
    _O.SCTP_HMAC_IDENT: (auth.get_hmacs, None),
    _O.SCTP_PEER_AUTH_CHUNKS: (auth.get_peer_chunks, None),
    _O.SCTP_LOCAL_AUTH_CHUNKS: (auth.get_local_chunks, None),
    _O.SCTP_ASCONF_SUPPORTED: (parameters.extension("dynamic_addresses"), auth.set_asconf),
    _O.SCTP_SET_PEER_PRIMARY_ADDR: (None, auth.set_peer_primary),
}
