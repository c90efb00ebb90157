"""`datachan doctor` with coturn: what works, what fails with which code, and what it advises."""

from __future__ import annotations

import asyncio
import json

import pytest

from datachan.cli import main
from datachan.ice import IceServer
from datachan.tools import doctor
from datachan.tools.doctor import DEPENDENT, INDEPENDENT, OPEN, UNKNOWN, Diagnosis, diagnose
from datachan.udp import UdpSocket
from tests.interop import coturn
from tests.interop.coturn import server

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use 127.0.0.1, where coturn listens, as if it were the address of an interface."""
    found = doctor.usable_addresses()
    one = doctor.InterfaceAddress(coturn.HOST, "eth0", prefix_length=24)
    monkeypatch.setattr(doctor, "usable_addresses", lambda exclude: type(found)((one,), ((one, "it is a test"),)))


def finding(diagnosis: Diagnosis, transport: str) -> doctor.ServerFinding:
    [found] = [one for one in diagnosis.servers if one.transport == transport]
    return found


async def test_a_turn_server_is_asked_over_udp_and_tcp(server: coturn.Coturn) -> None:
    given = IceServer((f"turn:{coturn.HOST}:{server.port}",), coturn.USER, coturn.PASSWORD)
    diagnosis = await diagnose([given])
    assert diagnosis.healthy
    for transport in ("udp", "tcp"):
        found = finding(diagnosis, transport)
        assert found.address is not None
        assert found.address.startswith("127.0.0.1:")
        assert str(found).startswith("works  turn:127.0.0.1")


async def test_errors_have_the_codes_of_the_servers(server: coturn.Coturn) -> None:
    diagnosis = await diagnose([server.turn(password="wrong"), server.turns()])
    assert (finding(diagnosis, "udp").code, finding(diagnosis, "udp").text) == (401, "Unauthorized")
    assert finding(diagnosis, "tls").code == 701
    assert "certificate verify failed" in str(finding(diagnosis, "tls"))
    assert not diagnosis.healthy
    assert any("refuses the credentials (401)" in sentence for sentence in diagnosis.advice)


async def test_a_server_without_a_nat_between_says_so(server: coturn.Coturn) -> None:
    diagnosis = await diagnose([server.stun()])
    assert diagnosis.mapping == OPEN
    assert diagnosis.healthy


@pytest.mark.parametrize(("translators", "mapping"), [(1, INDEPENDENT), (2, DEPENDENT)])
async def test_two_servers_tell_how_the_nat_maps_ports(server: coturn.Coturn, translators: int, mapping: str) -> None:
    # Both servers behind one translator see one port; behind two they see two.
    ways = [coturn.Translator((coturn.HOST, server.port)) for _ in range(translators)]
    urls = [f"stun:{coturn.HOST}:{way.inside}" for way in ways]
    if translators == 1:
        second = UdpSocket.bind(coturn.HOST)
        second.set_receiver(lambda datagrams, source: answer(second, datagrams, source, ways[0].outside))
        urls.append(f"stun:{coturn.HOST}:{second.local_address[1]}")
    diagnosis = await diagnose([IceServer(tuple(urls))])
    for way in ways:
        way.close()
    if translators == 1:
        second.close()
    assert diagnosis.mapping == mapping
    assert any("TURN server" in sentence for sentence in diagnosis.advice) == (mapping == DEPENDENT)


def answer(sock: UdpSocket, datagrams: list[bytes], source: object, port: int) -> None:
    """Answer a query with the address that the translator gives."""
    from datachan.ice_agent import stun  # noqa: PLC0415

    for one in datagrams:
        request = stun.parse_untrusted(one)
        value = stun.xor_address((coturn.HOST, port), request.transaction_id)
        message = stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id, {stun.XOR_MAPPED_ADDRESS: value})
        sock.send([stun.serialize(message)], source)  # type: ignore[arg-type]


async def test_a_silent_server_is_unreachable_and_udp_may_be_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.3)
    silent = UdpSocket.bind(coturn.HOST)
    port = silent.local_address[1]
    servers = [IceServer((f"stun:{coturn.HOST}:{port}", "stun:nobody.invalid", "stuns:127.0.0.1"))]
    servers.append(IceServer((f"turn:{coturn.HOST}:{port}?transport=udp",), "user", "password"))
    diagnosis = await diagnose(servers)
    silent.close()
    assert {one.code for one in diagnosis.servers} == {701}
    assert diagnosis.mapping == UNKNOWN
    assert any("TURN over TLS on port 443" in sentence for sentence in diagnosis.advice)


async def test_the_command_prints_a_page_or_json(server: coturn.Coturn, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"turn:{coturn.HOST}:{server.port}?transport=udp,{coturn.USER},{coturn.PASSWORD}"
    assert await asyncio.to_thread(main, ["doctor", "--ice-server", url]) == 0
    page = capsys.readouterr().out
    assert "Addresses for candidates, best first:\n  127.0.0.1 (eth0)" in page
    assert "Left out:\n  127.0.0.1 (eth0): it is a test" in page
    assert await asyncio.to_thread(main, ["doctor", "--ice-server", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True


async def test_the_command_without_servers_advises_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["doctor"]) == 0
    assert "Name a STUN server" in capsys.readouterr().out


async def test_the_command_refuses_a_wrong_proxy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--proxy", "proxy.example"])
    assert "http://host:port" in capsys.readouterr().err
