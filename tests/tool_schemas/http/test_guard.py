"""The network policy: every spelling of an address that is not public, names that resolve to one, and rebinding."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop.tool_schemas import HttpClient, NetworkPolicy, Tool, http_tool
from loraloop.tool_schemas.errors import InputError, ToolError, UnknownNameError
from loraloop.tool_schemas.http.addresses import kind_of, parts
from loraloop.tool_schemas.http.client import Sending
from loraloop.tool_schemas.http.policy import canonical
from loraloop.tool_schemas.http.request import HttpRequest
from loraloop.tool_schemas.http.transport import Deadline, GuardedBackend

ANYTHING = {"type": "object", "properties": {}}

PRIVATE = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1"],
    "link-local": ["169.254.169.254", "fe80::1", "febf::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
    "private": [
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1", "fec0::1"),
        *("::ffff:10.0.0.1", "::ffff:c0a8:101", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    ],
    "shared": ["100.64.0.1", "100.127.255.255", "::ffff:100.64.0.1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "tunnel": ["192.88.99.1", "2001::1", "2002:7f00:1::", "2002:0808:0808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "reserved": [
        "192.0.0.8",
        "240.0.0.1",
        "255.255.255.255",
        "2001:20::1",
        "100::1",
        "4000::1",
        "::7f00:1",
        "::8.8.8.8",
    ],
}
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PRIVATE.items() for text in texts])
def test_addresses_that_are_not_public_are_refused(kind: str, text: str) -> None:
    problem = NetworkPolicy().refusal(ipaddress.ip_address(text))
    assert problem and kind in problem and text.split("%")[0] not in ("", None)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_not(text: str) -> None:
    assert NetworkPolicy().refusal(ipaddress.ip_address(text)) is None


def test_an_allowed_tunnel_still_has_to_end_somewhere_allowed() -> None:
    policy = NetworkPolicy(networks=("tunnel",))
    for text in ("2002:7f00:1::", "2001:0:7f00:1::1", "2002:a9fe:a9fe::1"):
        assert policy.refusal(ipaddress.ip_address(text))
    assert policy.refusal(ipaddress.ip_address("2002:0808:0808::1")) is None
    teredo_to_loopback = ipaddress.ip_address("2001:0:0808:0808:0:0:" + "80ff:fffe")
    assert ipaddress.ip_address("127.0.0.1") in parts(teredo_to_loopback)
    assert policy.refusal(teredo_to_loopback)
    isatap = ipaddress.ip_address("2606:4700::5efe:10.0.0.1")
    assert NetworkPolicy().refusal(isatap)


def test_what_is_allowed_is_only_that() -> None:
    policy = NetworkPolicy(networks=("10.1.0.0/16", "::1/128", "link-local"))
    for text, fine in (("10.1.2.3", True), ("10.2.0.1", False), ("::1", True), ("127.0.0.1", False), ("fe80::1", True)):
        assert (policy.refusal(ipaddress.ip_address(text)) is None) is fine
    assert policy.refusal(ipaddress.ip_address("::ffff:10.1.2.3")) is None


@given(st.ip_addresses())
def test_public_is_no_more_than_the_standard_library_says(address: Any) -> None:
    if kind_of(address) is None and all(part == address for part in parts(address)):
        assert not (address.is_private or address.is_loopback or address.is_link_local or address.is_multicast)
        assert not (address.is_unspecified or address.is_reserved)


@pytest.mark.parametrize(
    "spelling",
    [
        *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1"),
        *("127.0.0.1.", "127.0.0.01", "①②⑦.⓪.⓪.①", "127。0。0。1", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"),
        *("[::1]", "[fe80::1%25lo]", "0", "0x0", "localhost", "0.0.0.0", "[::]", "1.2.3.0x7f", "a..b", "-a.b", "a%2eb"),
    ],
)
def test_no_spelling_of_this_machine_gets_through(service: Any, spelling: str) -> None:
    url = f"http://{spelling}:{service.port}/"
    with pytest.raises((ToolError, InputError)):
        client = HttpClient(NetworkPolicy().allowing(url))
        http_tool("f", "", ANYTHING, "GET", url, client=client, retries=0).call({})
    assert not service.seen


@pytest.mark.parametrize(
    "spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "::ffff:127.0.0.1"]
)
def test_nor_where_only_the_address_is_looked_at(service: Any, spelling: str) -> None:
    backend = GuardedBackend(NetworkPolicy(), Deadline())
    with pytest.raises(ToolError, match="not a public address"):
        backend.connect_tcp(spelling, service.port, 2.0)
    backend = GuardedBackend(NetworkPolicy(networks=("loopback", "unspecified")), Deadline())
    backend.connect_tcp("127.1", service.port, 2.0).close()


def test_hosts() -> None:
    policy = NetworkPolicy(
        hosts=("api.example.com", "*.example.org", "one.test:8080", "any.test:*", "bücher.de", "[2606:4700::1]")
    )
    for url, fine in {
        "https://api.example.com/x": True,
        "http://API.Example.com./x": True,
        "https://api.example.com:8443/": False,
        "https://example.com/": False,
        "https://api.example.com.evil.test/": False,
        "https://evilapi.example.com/": False,
        "https://a.b.example.org/": True,
        "https://example.org/": False,
        "https://notexample.org/": False,
        "http://one.test:8080/": True,
        "http://one.test/": False,
        "http://any.test:1/": True,
        "https://xn--bcher-kva.de/": True,
        "https://bücher.de/": True,
        "https://[2606:4700::1]/": True,
        "https://[2606:4700:0::0:1]/": True,
        "https://[2606:4700::2]/": False,
        "ftp://api.example.com/": False,
        "https://user@api.example.com/": False,
    }.items():
        if fine:
            policy.check_url(httpx.URL(url))
        else:
            with pytest.raises(ToolError):
                policy.check_url(httpx.URL(url))
    with pytest.raises(ToolError, match="https_only"):
        NetworkPolicy(hosts=("a.test",), https_only=True).check_url(httpx.URL("http://a.test/"))


def test_base_urls_are_allowed_at_their_port() -> None:
    policy = NetworkPolicy().allowing("http://a.test/v1", "https://b.test:8443/")
    assert policy.hosts == ("a.test:80", "a.test:443", "b.test:8443")
    for url in ("https://b.test/", "http://b.test.evil.test:8443/", "http://a.test:8080/"):
        with pytest.raises(ToolError):
            policy.check_url(httpx.URL(url))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"hosts": "a.test"}, InputError),
        ({"hosts": ("http://a.test",)}, InputError),
        ({"hosts": ("a b",)}, InputError),
        ({"hosts": ("127.1",)}, InputError),
        ({"hosts": ("*",)}, InputError),
        ({"networks": ("10.0.0.0/33",)}, InputError),
        ({"networks": ("lopback",)}, UnknownNameError),
        ({"redirects": -1}, InputError),
    ],
)
def test_policies_that_cannot_be_meant(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NetworkPolicy(**options)


def test_a_host_that_the_policy_refuses_is_told_when_the_tool_is_made() -> None:
    with pytest.raises(InputError, match=r"networks=\('loopback',\)"):
        http_tool("f", "", ANYTHING, "GET", "http://127.0.0.1:8000/")


# --- resolution ------------------------------------------------------------------------------------------------------


def named(url: str, answers: list[list[str]], *networks: str, hosts: tuple[str, ...] = ()) -> tuple[Tool, list[str]]:
    """A tool whose host name resolves to one answer after the other, the last for ever."""
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    client = HttpClient(NetworkPolicy(hosts=hosts, networks=networks).allowing(url), resolver=resolver)
    return http_tool("f", "", ANYTHING, "GET", url, client=client, retries=0), asked


def test_the_address_that_was_checked_is_the_one_connected_to(service: Any) -> None:
    tool, asked = named(f"http://api.test:{service.port}/x", [["127.0.0.1"]], "loopback")
    assert tool.call({})["headers"]["Host"] == f"api.test:{service.port}"
    tool.call({})
    assert asked == ["api.test"]  # the connection is kept


@pytest.mark.parametrize("text", [text for texts in PRIVATE.values() for text in texts])
def test_a_public_name_with_an_address_that_is_not(text: str) -> None:
    tool, _ = named("http://api.test/", [[text]])
    with pytest.raises(ToolError, match=r"host 'api\.test'.*not a public address"):
        tool.call({})


def test_rebinding(serve: Any) -> None:
    good = serve("127.0.0.2")
    inside = serve("127.0.0.1", good.port)
    good.gives("/", "good", Connection="close")
    tool, asked = named(f"http://api.test:{good.port}/", [["127.0.0.2"], ["127.0.0.1"]], "127.0.0.2/32")
    assert tool.call({}) == "good"
    with pytest.raises(ToolError, match="loopback"):
        tool.call({})
    assert asked == ["api.test"] * 2 and not inside.seen


def test_rebinding_in_a_redirect(serve: Any) -> None:
    good = serve("127.0.0.2")
    inside = serve("127.0.0.1", good.port)
    good.gives("/", status=302, Location=f"http://other.test:{good.port}/admin")
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    hosts = (f"other.test:{good.port}",)
    tool, asked = named(f"http://api.test:{good.port}/", answers, "127.0.0.2/32", hosts=hosts)
    with pytest.raises(ToolError, match=r"'other\.test'.*loopback"):
        tool.call({})
    assert asked == ["api.test", "other.test"] and not inside.seen


def test_only_the_allowed_ones_of_several_addresses_are_used(serve: Any) -> None:
    good = serve("127.0.0.2")
    inside = serve("127.0.0.1", good.port)
    tool, _ = named(f"http://api.test:{good.port}/", [["127.0.0.1", "::1", "127.0.0.2"]], "127.0.0.2/32")
    assert tool.call({})["target"] == "/" and not inside.seen


def test_a_second_address_is_tried_where_the_first_does_not_answer(service: Any) -> None:
    tool, _ = named(f"http://api.test:{service.port}/", [["127.0.0.3", "127.0.0.1"]], "loopback")
    assert tool.call({})["target"] == "/"


def test_a_name_that_does_not_exist() -> None:
    tool, _ = named("http://api.test/", [[]])
    with pytest.raises(ToolError, match="has no address"):
        tool.call({})

    def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    client = HttpClient(NetworkPolicy().allowing("http://api.test/"), resolver=fails)
    with pytest.raises(ToolError, match="cannot be resolved"):
        http_tool("f", "", ANYTHING, "GET", "http://api.test/", client=client, retries=0).call({})


# --- TLS and proxies -------------------------------------------------------------------------------------------------


@pytest.fixture
def secure(serve: Callable[..., Any], tmp_path: Path) -> tuple[Any, str, list[str]]:
    """An https server for api.test, the file of its authority, and the names that clients asked for."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(context)
    asked: list[str] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return serve(tls=context), str(file), asked


def test_tls_is_for_the_name_though_the_address_is_pinned(secure: Any) -> None:
    server, authority, asked = secure
    url = f"https://api.test:{server.port}/x"
    policy = NetworkPolicy(networks=("loopback",), ca_file=authority).allowing(url)
    with HttpClient(policy, resolver=lambda *_: ["127.0.0.1"]) as client:
        answer = http_tool("f", "", ANYTHING, "GET", url, client=client).call({})
    assert answer["headers"]["Host"] == f"api.test:{server.port}" and asked == ["api.test"]


@pytest.mark.parametrize(("host", "trusted"), [("other.test", True), ("api.test", False)])
def test_a_certificate_that_does_not_fit(secure: Any, host: str, trusted: bool) -> None:
    server, authority, _ = secure
    url = f"https://{host}:{server.port}/x"
    policy = NetworkPolicy(networks=("loopback",), ca_file=authority if trusted else None).allowing(url)
    client = HttpClient(policy, resolver=lambda *_: ["127.0.0.1"])
    with client, pytest.raises(ToolError, match="certificate verify failed"):
        http_tool("f", "", ANYTHING, "GET", url, client=client, retries=0).call({})
    assert not server.seen


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    policy = NetworkPolicy(ca_file=str(file)).allowing("https://api.test")
    with HttpClient(policy) as client, pytest.raises(ToolError, match=r"cannot read the certificates .*ca\.pem"):
        client.send(HttpRequest("GET", "https://api.test/"), Sending())


def test_no_downgrade_to_plain_http(secure: Any, service: Any) -> None:
    server, authority, _ = secure
    url = f"https://api.test:{server.port}/x"
    server.gives("/x", status=302, Location=f"http://api.test:{service.port}/y")
    hosts = (f"api.test:{service.port}",)
    policy = NetworkPolicy(hosts=hosts, networks=("loopback",), ca_file=authority).allowing(url)
    client = HttpClient(policy, resolver=lambda *_: ["127.0.0.1"])
    with client, pytest.raises(ToolError, match="from https to plain http"):
        http_tool("f", "", ANYTHING, "GET", url, client=client).call({})
    assert not service.seen


def test_proxies_are_used_only_if_asked_for(service: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve()
    proxy.gives("http://", "through the proxy")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    policy = NetworkPolicy(networks=("loopback",))
    direct = http_tool("f", "", ANYTHING, "GET", service.url + "/x", policy=policy)
    assert direct.call({})["target"] == "/x" and not proxy.seen
    trusting = NetworkPolicy(trust_env=True)
    tool = http_tool("f", "", ANYTHING, "GET", "http://api.test/x", policy=trusting)
    assert tool.call({}) == "through the proxy" and proxy.seen[0].target == "http://api.test/x"
    with pytest.raises(InputError, match="loopback"):
        http_tool("f", "", ANYTHING, "GET", service.url, policy=trusting)


def test_canonical_hosts() -> None:
    assert canonical("EXAMPLE.com.") == "example.com" and canonical("[::0001]") == "::1"
    assert canonical("8.8.8.8") == "8.8.8.8" and canonical("Bücher.de") == "xn--bcher-kva.de"


def test_a_local_service_is_reached_and_nothing_else_of_this_machine(service: Any) -> None:
    url = f"http://localhost:{service.port}/x"
    policy = NetworkPolicy.local(f"localhost:{service.port}")
    assert (
        http_tool("f", "", {"type": "object", "properties": {}}, "GET", url, policy=policy).call({})["target"] == "/x"
    )
    for other in ("http://localhost:1/", f"http://127.0.0.2:{service.port}/"):
        with pytest.raises(ToolError, match="not allowed"):
            policy.check_url(httpx.URL(other))
    assert policy.refusal(ipaddress.ip_address("127.0.0.2")) and policy.refusal(ipaddress.ip_address("10.0.0.1"))
    NetworkPolicy.local("localhost").check_url(httpx.URL(url))
    assert NetworkPolicy.local() == NetworkPolicy()
    for wrong in ("no.such.host.invalid", "a b:1"):
        with pytest.raises(InputError):
            NetworkPolicy.local(wrong)
