"""The settings of `datachan serve` from a file, from the environment and from the command line."""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import logging
import sys

import pytest

from datachan.cli import build_parser, main
from datachan.cli_settings import BadSettings, variable_of, words_of_environment, words_of_file
from datachan.json_logs import JsonFormatter
from datachan.serve import RedisAddress
from datachan.signaling.turn_credentials import TurnSecret


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    return build_parser().parse_args(["serve"]).parser


@pytest.fixture
def served(monkeypatch):
    """Run the command line and return the options that the server would start with."""

    def run(*words, environment=None):
        seen = []

        async def record(options, *announcers, **more):
            seen.append(options)

        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("datachan.serve.serve", record)
        assert main(["serve", *words]) == 0
        return seen[0]

    return run


def test_the_command_line_overrides_the_environment_and_that_the_file(served, tmp_path):
    file = tmp_path / "datachan.toml"
    file.write_text(
        'port = 1\nroom-capacity = 2\nmax-rooms = 3\nno-echo = true\nallow-origin = ["https://a.example"]\n'
    )
    environment = {"DATACHAN_PORT": "11", "DATACHAN_ROOM_CAPACITY": "12", "DATACHAN_CONFIG": str(file)}
    options = served("--port", "21", environment=environment)
    assert (options.port, options.server.room_capacity, options.server.max_rooms, options.echo) == (21, 12, 3, False)
    assert options.server.allowed_origins == {"https://a.example"}


def test_every_option_has_a_variable(parser):
    for action in parser._actions:
        for name in (option.removeprefix("--") for option in action.option_strings if option.startswith("--")):
            if name not in {"help", "config"}:
                value = "1" if action.nargs == 0 else "7"
                assert words_of_environment({variable_of(name): value}, parser)


def test_lists_and_switches_of_the_environment(parser):
    environment = {"DATACHAN_ALLOW_ORIGIN": "https://a.example https://b.example", "DATACHAN_NO_ECHO": "no"}
    words = words_of_environment(environment, parser)
    assert words == ["--allow-origin=https://a.example", "--allow-origin=https://b.example"]
    with pytest.raises(BadSettings, match="DATACHAN_NO_ECHO is either true or false"):
        words_of_environment({"DATACHAN_NO_ECHO": "maybe"}, parser)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("capacity = 8", "has a setting 'capacity', which does not exist"),
        ("port = ", "is not TOML"),
        ("port = [1]", "port is a text or a number"),
        ("no-echo = 1", "no-echo is either true or false"),
        ("verbose = 'yes'", "verbose is either true or false"),
    ],
)
def test_says_what_is_wrong_in_a_file(parser, tmp_path, text, complaint):
    file = tmp_path / "datachan.toml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=complaint):
        words_of_file(file, parser)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--config", "/nonexistent"], "/nonexistent cannot be read"),
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key belong together"),
        (["--turn", "turn:192.0.2.1"], "--turn needs its secret"),
        (["--turn-secret-file", "/nonexistent"], "the file of the TURN secret cannot be read"),
        (["--redis", "127.0.0.1"], "an address of Redis looks like"),
        (["--redis", "redis://127.0.0.1:port"], "an address of Redis looks like"),
        (["--redis", "redis://:hush@127.0.0.1"], "other users of this machine can read the password"),
        (["--redis", "redis://127.0.0.1", "--redis-password-file", "/nonexistent"], "the password of Redis cannot"),
        (["--drain", "-1"], "the time is a number of seconds"),
    ],
)
def test_says_what_is_wrong_on_the_command_line(words, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert "hush" not in printed


def test_the_password_of_redis_comes_from_a_file_or_the_environment(served, tmp_path):
    (tmp_path / "secret").write_text("of the file\n")
    address = "redis://10.0.0.5:6379/1"
    options = served("--redis", address, "--redis-password-file", str(tmp_path / "secret"))
    assert options.redis == RedisAddress(address, "of the file")
    options = served(environment={"DATACHAN_REDIS": address, "DATACHAN_REDIS_PASSWORD": "of the environment"})
    assert options.redis == RedisAddress(address, "of the environment")
    options = served(environment={"DATACHAN_REDIS": "redis://:inside@10.0.0.5"})
    assert options.redis == RedisAddress("redis://:inside@10.0.0.5", "of the environment")
    assert "inside" not in repr(options)


def test_the_secret_of_turn_comes_from_a_file_or_the_environment(served, tmp_path):
    (tmp_path / "secret").write_text("of the file\n")
    options = served("--turn", "turn:192.0.2.1", "--turn-secret-file", str(tmp_path / "secret"))
    assert options.server.turn == TurnSecret(("turn:192.0.2.1",), "of the file")
    options = served("--turn", "turn:192.0.2.1", environment={"DATACHAN_TURN_SECRET": "of the environment"})
    assert options.server.turn == TurnSecret(("turn:192.0.2.1",), "of the environment")
    assert "environment" not in repr(options)


def test_says_which_package_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("datachan.serve.importlib.util.find_spec", lambda name: None)
    assert main(["serve", "--port", "0", "--redis", "redis://127.0.0.1:1"]) == 1
    assert "pip install 'datachan[redis]'" in capsys.readouterr().err


def test_credentials_are_those_that_coturn_computes():
    server = TurnSecret(("turn:192.0.2.1",), "north", lifetime=60).to_json(1000.4)
    digest = hmac.new(b"north", b"1060:datachan", hashlib.sha1).digest()
    assert server == {
        "urls": ["turn:192.0.2.1"],
        "username": "1060:datachan",
        "credential": base64.b64encode(digest).decode(),
    }


def test_log_records_are_json_lines():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("datachan.x", logging.ERROR, "f", 1, "a %s", ("b",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["logger"], fields["message"]) == ("error", "datachan.x", "a b")
    assert "ValueError: two\nlines" in fields["exception"]
