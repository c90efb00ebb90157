"""The command as users run it: its output, its exit status, and the server it starts."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import urllib.request

import pytest

import datachan
from datachan.cli import build_parser, main
from datachan.ice.interfaces import InterfaceAddress
from datachan.serve import ServeError, ServeOptions, addresses_for_others, serve

PATIENCE = 30.0


async def command(*arguments):
    """Start `python -m datachan` as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error::ResourceWarning",
        "-m",
        "datachan",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "0"},
    )


def test_shows_the_help_without_a_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "serve" in shown
    assert "usage: datachan" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_names_every_option(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    options = (
        ["--version"] if arguments == ["--help"] else ["--host", "--port", "--allow-origin", "--ice-server", "8080"]
    )
    assert all(option in shown for option in options)


def test_prints_the_version_of_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"datachan {datachan.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "a port is a number from 0 to 65535"),
        (["--port", "http"], "a port is a number from 0 to 65535"),
        (["--allow-origin", "example.org"], "an origin looks like https://example.org"),
        (["--ice-server", "http://example.org"], "stun:"),
        (["--ice-server", "turn:example.org"], "username"),
        (["--ice-server", "turn:example.org,ada"], "a password is missing"),
        (["--room-capacity", "0"], "a number from 1 on"),
    ],
)
def test_explains_a_wrong_option(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", *arguments])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_parses_the_options():
    arguments = ["serve", "--ice-server", "stun:192.0.2.1", "--ice-server", "turn:192.0.2.1,ada,secret,with,commas"]
    servers = build_parser().parse_args(arguments).ice_server
    assert [server.to_json() for server in servers] == [
        {"urls": "stun:192.0.2.1"},
        {"urls": "turn:192.0.2.1", "username": "ada", "credential": "secret,with,commas"},
    ]


@pytest.mark.parametrize(("place", "warned"), [("words", True), ("environment", False), ("file", False)])
async def test_warns_of_a_password_that_the_list_of_processes_shows(place, warned, tmp_path, monkeypatch, capsys):
    server = "turn:192.0.2.1,ada,secret"
    (tmp_path / "settings.toml").write_text(f'ice-server = ["{server}"]')
    words = {"words": ["--ice-server", server], "file": ["--config", str(tmp_path / "settings.toml")]}.get(place, [])
    if place == "environment":
        monkeypatch.setenv("DATACHAN_ICE_SERVER", server)
    monkeypatch.setattr("datachan.cli.run_serve", lambda namespace: len(namespace.ice_server))
    assert main(["serve", *words]) == 1
    errors = capsys.readouterr().err
    assert ("list of processes" in errors) is warned
    assert "secret" not in errors


async def test_says_that_no_folder_can_be_made(monkeypatch):
    def fail(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    with pytest.raises(ServeError, match="TMPDIR"):
        await serve(ServeOptions(port=0), lambda address: None, asyncio.Event())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_announces_its_address_serves_the_page_and_stops_on_a_signal(number):
    process = await command("serve", "--port", "0")
    async with asyncio.timeout(PATIENCE):
        line = (await process.stdout.readline()).decode()
        assert line.startswith("datachan is ready: http://127.0.0.1:")
        address = line.removeprefix("datachan is ready: ").strip()
        page = await asyncio.to_thread(_fetch, address)
        config = await asyncio.to_thread(_fetch, address + "config.json")
        process.send_signal(number)
        _, errors = await process.communicate()
    assert b"<title>datachan</title>" in page
    assert b'"iceServers": []' in config
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("host", "others"),
    [
        ("127.0.0.1", []),
        ("0.0.0.0", ["http://192.0.2.7:80/"]),
        ("::", ["http://192.0.2.7:80/", "http://[2001:db8::7]:80/"]),
    ],
)
def test_prints_the_addresses_that_others_can_open(host, others, monkeypatch):
    known = [
        InterfaceAddress("127.0.0.1", "lo", frozenset({"loopback"})),
        InterfaceAddress("192.0.2.7", "eth0"),
        InterfaceAddress("172.17.0.1", "docker0", frozenset({"bridge"})),
        InterfaceAddress("198.51.100.1", "eth1", running=False),
        InterfaceAddress("2001:db8::7", "eth0"),
        InterfaceAddress("fe80::1%eth0", "eth0", frozenset({"link-local"})),
    ]
    monkeypatch.setattr("datachan.serve.host_addresses", lambda: known)
    assert addresses_for_others(host, "http://127.0.0.1:80/") == others


def _fetch(address):
    with urllib.request.urlopen(address, timeout=PATIENCE) as response:
        return response.read()


async def test_explains_a_port_in_use_and_exits_with_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await command("serve", "--port", str(port))
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert output == b""
    assert errors.decode() == (
        f"datachan: Port {port} on 127.0.0.1 is in use by another program. "
        "Stop that program, or choose another port with --port.\n"
    )


async def test_explains_a_foreign_address():
    host = "192.0.2.77"  # RFC 5737: reserved for documentation
    with pytest.raises(ServeError) as caught:
        await serve(ServeOptions(host=host, port=0), lambda address: None, asyncio.Event())
    assert host in str(caught.value)


async def test_stops_on_the_event_and_leaves_no_task():
    tasks_before = asyncio.all_tasks()
    stop = asyncio.Event()
    announced = []

    def announce(address):
        announced.append(address)
        stop.set()

    await asyncio.wait_for(serve(ServeOptions(host="::1", port=0), announce, stop), PATIENCE)
    assert announced[0].startswith("http://[::1]:")
    assert asyncio.all_tasks() == tasks_before
