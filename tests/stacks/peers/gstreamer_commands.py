"""Connections in GStreamer's webrtcbin that carry out commands; README.md describes their lines.

It runs under the system's Python, which has Debian's python3-gi:

/usr/bin/python3 gstreamer_commands.py '{"host": …}'
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402 - after the versions

_OUTPUT = threading.Lock()
_TYPES = {"offer": GstWebRTC.WebRTCSDPType.OFFER, "answer": GstWebRTC.WebRTCSDPType.ANSWER}
# GStreamer's names of a channel's parameters, and their types.
_INIT = {
    "ordered": ("ordered", "boolean"),
    "maxRetransmits": ("max-retransmits", "int"),
    "maxPacketLifeTime": ("max-packet-lifetime", "int"),
    "protocol": ("protocol", "string"),
}


def say(line: dict[str, Any]) -> None:
    with _OUTPUT:
        print(json.dumps(line), flush=True)


def _text(description: Any) -> str:
    """Return the SDP of a description, which has to stay referenced: PyGObject frees the SDP along with it."""
    text: str = description.sdp.as_text()
    return text


class Connection:
    """A webrtcbin in a pipeline of its own; its channels echo every message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels: dict[str, Any] = {}
        self.pipeline = Gst.Pipeline.new(None)
        self.bin = Gst.ElementFactory.make("webrtcbin")
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.bin)
        self._gathered = threading.Event()
        self.bin.connect("notify::ice-gathering-state", self._gathering)
        self.bin.connect("on-data-channel", lambda _, channel: self.use(channel))
        self.pipeline.set_state(Gst.State.PLAYING)

    def _gathering(self, *_: object) -> None:
        if self.bin.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            self._gathered.set()

    def create(self, label: str, **init: Any) -> None:
        options = Gst.Structure.new_empty("options")
        for key, value in init.items():
            name, kind = _INIT[key]
            options.set_value(name, GLib.Variant("s", value).get_string() if kind == "string" else value)
        channel = self.bin.emit("create-data-channel", label, options)
        if channel is None:
            raise ValueError("create-data-channel returned nothing")
        self.use(channel)

    def use(self, channel: Any) -> None:
        label = channel.get_property("label")
        self.channels[label] = channel
        channel.connect("on-message-string", lambda _, text: channel.emit("send-string", text))
        channel.connect("on-message-data", lambda _, data: channel.emit("send-data", data))
        channel.connect("on-close", lambda _: say({"event": "closed", "connection": self.name, "label": label}))
        opened = threading.Event()

        def on_open(*_: object) -> None:
            if not opened.is_set():
                opened.set()
                say({"event": "open", "connection": self.name, "label": label, **self._parameters(channel)})

        channel.connect("on-open", on_open)
        if channel.get_property("ready-state") == GstWebRTC.WebRTCDataChannelState.OPEN:
            on_open()

    @staticmethod
    def _parameters(channel: Any) -> dict[str, Any]:
        values = {key: channel.get_property(name) for key, (name, _) in _INIT.items()}
        return {key: None if value == -1 and key != "ordered" else value for key, value in values.items()}

    def _ask(self, signal: str, argument: Any) -> Any:
        """Emit `signal` and return its promise once it is resolved; keep the promise as long as its reply is used."""
        promise = Gst.Promise.new()
        self.bin.emit(signal, argument, promise)
        promise.wait()
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            raise ValueError(str(reply.get_value("error")))
        return promise

    def _describe(self, kind: str) -> dict[str, str]:
        promise = self._ask(f"create-{kind}", None)
        reply = promise.get_reply()
        self._ask("set-local-description", self._description(kind, _text(reply.get_value(kind))))
        if not self._gathered.wait(10):
            raise ValueError("gathering did not end")
        return {"type": kind, "sdp": _text(self.bin.get_property("local-description"))}

    @staticmethod
    def _description(kind: str, sdp: str) -> Any:
        _, message = GstSdp.SDPMessage.new_from_text(sdp)
        return GstWebRTC.WebRTCSessionDescription.new(_TYPES[kind], message)

    def _remote(self, kind: str, sdp: str) -> None:
        self._ask("set-remote-description", self._description(kind, sdp))

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        action = command["do"]
        if action == "offer":
            for channel in command["channels"]:
                self.create(**channel)
            return self._describe("offer")
        if action == "answer":
            self._remote("offer", command["sdp"])
            return self._describe("answer")
        if action == "accept":
            self._remote("answer", command["sdp"])
        elif action == "create":
            self.create(**command["channel"])
        elif action == "close":
            self.channels[command["label"]].emit("close")
        elif action == "end":
            self.pipeline.set_state(Gst.State.NULL)
        else:
            raise ValueError(f"no command {action}")
        return {}


def main() -> None:
    Gst.init(None)
    connections: dict[str, Connection] = {}
    for line in sys.stdin:
        command = json.loads(line)
        name, reply = command["connection"], {"reply": command["call"]}
        try:
            if name not in connections:
                connections[name] = Connection(name)
            say({**reply, **connections[name].obey(command)})
        except Exception as error:
            say({**reply, "error": repr(error)})


if __name__ == "__main__":
    main()
