from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_client import flags
from tunnel_client.config import Settings, load
from tunnel_client.core.addresses import Family
from tunnel_client.credentials import Credentials, from_json, from_token, to_token
from tunnel_client.errors import UsageError

TUNNEL = UUID("6ff42ae2-765d-4adf-8112-31c55c1551ef")
SECRET = bytes(range(32))
TOKEN = to_token(Credentials("acc", TUNNEL, SECRET))
CREDENTIALS = json.dumps(
    {
        "AccountTag": "acc",
        "TunnelSecret": base64.b64encode(SECRET).decode(),
        "TunnelID": str(TUNNEL),
    }
)


def wrong(argv: list[str], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(argv, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shortest_command_line() -> None:
    settings = load(["run", "--token", TOKEN, "--url", "http://localhost:8000"], {})
    assert settings.credentials == Credentials("acc", TUNNEL, SECRET)
    assert settings.ingress.as_json() == [{"service": "http://localhost:8000", "originRequest": {}}]
    assert settings.policy.connections == 4
    assert settings.policy.family is Family.AUTO
    assert settings.ca is None


def test_a_long_one_as_cloudflared_takes_it() -> None:
    words = (
        "tunnel --no-autoupdate --edge 127.0.0.1:7844 --edge=[::1]:7845 --cacert ca.pem --protocol http2 "
        "--metrics 127.0.0.1:9190 --retries 3 --grace-period 1m --ha-connections 2 --loglevel debug "
        "--edge-ip-version 4 --region us -no-prechecks --tag a=b --tag c=d --heartbeat-interval 500ms "
        "--heartbeat-count 5 --post-quantum=false "
        f"run --token {TOKEN} --url http://127.0.0.1:9100 {TUNNEL}"
    )
    settings = load(words.split(), {})
    assert settings.edges == (("127.0.0.1", 7844), ("::1", 7845))
    assert settings.metrics == ("127.0.0.1", 9190)
    assert settings.tags == (("a", "b"), ("c", "d"))
    assert settings.region == "us"
    assert settings.ca == "ca.pem"
    policy = settings.policy
    assert (policy.retries, policy.grace_period_s, policy.connections) == (3, 60.0, 2)
    assert (policy.heartbeat_interval_s, policy.heartbeat_count) == (0.5, 5)
    assert policy.family is None, "addresses given by hand are used whatever their family"
    assert settings.reported_flags["loglevel"] == "debug"


def test_the_environment_alone() -> None:
    environ = {
        "TUNNEL_TOKEN": TOKEN,
        "TUNNEL_URL": "http://a:1",
        "TUNNEL_TRANSPORT_PROTOCOL": "http2",
        "NO_AUTOUPDATE": "true",
        "TUNNEL_EDGE": "10.0.0.1:1,10.0.0.2:2",
        "POPNET_ADMIN": "/run/a.sock",
        "TUNNEL_LOGLEVEL": "",
    }
    settings = load(["tunnel", "run"], environ)
    assert settings.edges == (("10.0.0.1", 1), ("10.0.0.2", 2))
    assert settings.admin == "/run/a.sock"
    over = load(["tunnel", "--edge", "10.0.0.3:3", "run", "--url", "http://b:2"], environ)
    assert over.edges == (("10.0.0.3", 3),)
    assert over.ingress.rules[0].service.text == "http://b:2"


def test_the_secret_is_not_shown() -> None:
    settings = load(["run", "--token", TOKEN], {})
    assert repr(SECRET)[2:20] not in repr(settings)
    assert TOKEN[:20] not in wrong(["run", "--token", TOKEN[:-9]])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "which command"),
        ("tunnel", "which command"),
        ("login", "unknown command 'login'"),
        ("run --tokn x", "unknown flag --tokn; did you mean --token?"),
        ("run --zzzzz", "unknown flag --zzzzz"),
        ("run --token", "--token needs a value"),
        ("run", "which tunnel"),
        ("run --token x", "not base64"),
        ("run T1 T2 T3", "unexpected 'T2'"),
        ("run --post-quantum", "cannot promise"),
        ("run --no-autoupdate=maybe", "true or false"),
        (f"run --token {TOKEN} --protocol quic", "speaks http2 only"),
        (f"run --token {TOKEN} --url ftp://x", "--url: service 'ftp://x'"),
        (f"run --token {TOKEN} --edge x", "HOST:PORT"),
        (f"run --token {TOKEN} --edge-ip-version 5", "4, 6 or auto"),
        (f"run --token {TOKEN} --ha-connections 0", "a number from 1"),
        (f"run --token {TOKEN} --grace-period soon", "a duration"),
        (f"run --token {TOKEN} --heartbeat-interval 0s", "above 0"),
        (f"run --token {TOKEN} --region mars", "us or fed"),
        (f"run --token {TOKEN} --loglevel loud", "debug, info"),
        (f"run --token {TOKEN} --tag x", "KEY=VALUE"),
        (f"run --token {TOKEN} --config /no/such", "No such file"),
        (f"run --token {TOKEN} mytunnel", "give its UUID"),
        (f"run --token {TOKEN} {UUID(int=5)}", "the credentials are those of"),
    ],
)
def test_wrong_usage_is_one_line(words: str, why: str) -> None:
    assert why in wrong(words.split())


def test_help() -> None:
    for word in ("--help", "-h", "help"):
        with pytest.raises(flags.HelpError):
            load([word], {})
    text = flags.help_text()
    assert "--token" in text
    assert "TUNNEL_TOKEN" in text


def test_names_are_unique() -> None:
    names = [name for flag in flags.FLAGS for name in (flag.name, *flag.aliases)]
    assert len(names) == len(set(names))
    variables = [name for flag in flags.FLAGS for name in flag.env]
    assert len(variables) == len(set(variables))


# Files


def from_file(tmp_path: Path, text: str, *words: str) -> Settings:
    (tmp_path / "credentials.json").write_text(CREDENTIALS)
    config = tmp_path / "config.yml"
    config.write_text(text.replace("DIR", str(tmp_path)))
    return load(["tunnel", "--config", str(config), *words, "run"], {})


def test_a_configuration_file(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        f"""
tunnel: {TUNNEL}
credentials-file: DIR/credentials.json
edge: [10.0.0.1:7844, 10.0.0.2:7844]
grace-period: 10s
retries: 2
no-autoupdate: true
warp-routing: {{enabled: false}}
originRequest:
  connectTimeout: 5s
ingress:
  - hostname: app.example.com
    service: http://localhost:8000
  - service: http_status:404
""",
        "--retries",
        "4",
    )
    assert settings.credentials.tunnel_id == TUNNEL
    assert settings.policy.grace_period_s == 10.0
    assert settings.policy.retries == 4, "the command line ranks above the file"
    assert len(settings.edges) == 2
    assert settings.ingress.rules[0].origin_request.connect_timeout == 5.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "config.yml:"),
        ("- x", "keys and values are expected"),
        ("\ncredentails-file: x", "config.yml:2: unknown key 'credentails-file'"),
        ("credentials-file: DIR/none", "No such file"),
        ("credentials-file: DIR/credentials.json\ntunnel: nope", "give its UUID"),
        (
            "credentials-file: DIR/credentials.json\ningress:\n  - service: x",
            "config.yml:2: ingress[0].service 'x'",
        ),
        ("credentials-file: DIR/credentials.json\nretries: [1]", "config.yml:2: retries"),
        ("credentials-file: DIR/credentials.json\nretries: many", "config.yml:2: retries: 'many'"),
        ("no-autoupdate: 7", "true or false"),
        ("post-quantum: true", "cannot promise"),
    ],
)
def test_a_wrong_file_names_its_place(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_file(tmp_path, text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_credentials_by_rank(tmp_path: Path) -> None:
    other = to_token(Credentials("other", TUNNEL, b"x"))
    token_file = tmp_path / "token"
    token_file.write_text(other + "\n")
    by_file = load(["run", "--token-file", str(token_file)], {})
    assert by_file.credentials.account_tag == "other"
    both = load(["run", "--token-file", str(token_file), "--token", TOKEN], {})
    assert both.credentials.account_tag == "acc"
    contents = load(["run", "--credentials-contents", CREDENTIALS], {})
    assert contents.credentials.secret == SECRET


def test_the_endpoint_is_a_region() -> None:
    token = to_token(Credentials("a", TUNNEL, b"x", "us"))
    assert load(["run", "--token", token], {}).region == "us"
    assert "exclude each other" in wrong(["run", "--token", token, "--region", "us"])


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"x", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a":"x","t":"no","s":"eA=="}', "not the UUID"),
        (b'{"a":1,"t":"no","s":"eA=="}', "a is not text"),
        (json.dumps({"a": "x", "t": str(TUNNEL), "s": "%"}).encode(), "s is not base64"),
        (json.dumps({"a": "x", "t": str(TUNNEL)}).encode(), "s is missing"),
    ],
)
def test_wrong_tokens(document: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        from_token(base64.b64encode(document).decode(), "--token")


@given(
    st.text(max_size=40),
    st.uuids(),
    st.binary(min_size=1, max_size=64),
    st.sampled_from(["", "us", "fed"]),
)
def test_tokens_read_back(account: str, tunnel: UUID, secret: bytes, endpoint: str) -> None:
    credentials = Credentials(account, tunnel, secret, endpoint)
    assert from_token(to_token(credentials), "x") == credentials


@given(st.text())
def test_any_text_is_credentials_or_the_named_error(text: str) -> None:
    for read in (from_token, from_json):
        try:
            read(text, "x")
        except UsageError:
            continue


@given(
    st.lists(
        st.sampled_from(["run", "tunnel", "--url", "--edge", "-x", "--", "", "=", "--token=a"])
    )
)
def test_any_words_are_settings_or_the_named_error(words: list[str]) -> None:
    with suppress(UsageError, flags.HelpError):
        load(words, {})
