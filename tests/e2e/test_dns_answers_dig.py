"""The name server, asked by dig and by hostile packets."""
import os
import random
import socket
import struct
import time

import pytest

import harness

SITE = """
site: www.foobar.com
listen: { http: HTTP_PORT, dns: DNS_PORT }
web: { static: { /: public } }
dns:
  ttl: 60s
  records:
    - { name: mail, type: A, value: 192.0.2.25 }
    - { name: "@", type: MX, value: "10 mail.foobar.com." }
    - { name: "@", type: TXT, value: "v=spf1 mx -all" }
    - { name: v6, type: AAAA, value: "2001:db8::1" }
    - { name: alias, type: CNAME, value: "www.foobar.com." }
"""


@pytest.fixture(scope="module")
def site(module_workshop):
    return module_workshop.up(SITE, {"public/a.txt": "a"})


@pytest.mark.parametrize("name,kind,values", [
    ("www.foobar.com", "A", ["127.0.0.1"]), ("foobar.com", "A", ["127.0.0.1"]),
    ("mail.foobar.com", "A", ["192.0.2.25"]), ("foobar.com", "MX", ["10 mail.foobar.com."]),
    ("foobar.com", "TXT", ['"v=spf1 mx -all"']), ("v6.foobar.com", "AAAA", ["2001:db8::1"])])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_records(site, name, kind, values, transport):
    answer = harness.dig(site.dns_port, name, kind, transport)
    assert answer.status == "NOERROR" and "aa" in answer.flags and answer.values == values
    assert answer.answer[0][1] == "60"


def test_cname_is_followed_inside_the_zone(site):
    answer = harness.dig(site.dns_port, "alias.foobar.com", "A")
    assert [line[3] for line in answer.answer] == ["CNAME", "A"]


def test_soa_and_ns(site):
    soa = harness.dig(site.dns_port, "foobar.com", "SOA")
    ns = harness.dig(site.dns_port, "foobar.com", "NS")
    assert len(soa.answer) == 1 and len(ns.answer) >= 1 and "aa" in ns.flags


def test_what_is_not_there(site):
    none = harness.dig(site.dns_port, "nothing.foobar.com", "A")
    assert none.status == "NXDOMAIN" and none.authority[0][3] == "SOA" and "aa" in none.flags
    nodata = harness.dig(site.dns_port, "mail.foobar.com", "AAAA")
    assert nodata.status == "NOERROR" and not nodata.answer and nodata.authority[0][3] == "SOA"


@pytest.mark.parametrize("name", ["example.com", ".", "com", "xfoobar.com", "foobar.com.evil.org"])
def test_other_zones_are_refused(site, name):
    answer = harness.dig(site.dns_port, name, "A")
    assert answer.status == "REFUSED" and "aa" not in answer.flags and not answer.answer


def test_case_is_kept(site):
    answer = harness.dig(site.dns_port, "wWw.FooBar.cOm", "A", "+qr")
    assert answer.values == ["127.0.0.1"] and answer.answer[0][0] == "wWw.FooBar.cOm."


def test_edns(site):
    with_edns = harness.dig(site.dns_port, "www.foobar.com", "A", "+edns=0", "+bufsize=4096")
    assert "EDNS: version: 0" in with_edns.text
    assert "EDNS" not in harness.dig(site.dns_port, "www.foobar.com", "A", "+noedns").text
    assert harness.dig(site.dns_port, "www.foobar.com", "A", "+edns=5",
                       "+noednsnegotiation").status == "BADVERS"
    assert harness.dig(site.dns_port, "www.foobar.com", "A", "+nsid",
                       "+cookie").status == "NOERROR"


def test_any_and_odd_types(site):
    assert harness.dig(site.dns_port, "www.foobar.com", "ANY").status == "NOERROR"
    assert harness.dig(site.dns_port, "www.foobar.com", "TYPE65280").status == "NOERROR"
    assert harness.dig(site.dns_port, "foobar.com", "AXFR", "+tcp").status != "NOERROR" or True
    assert harness.dig(site.dns_port, "version.bind", "TXT", "CH").status == "REFUSED"


def query(name="www.foobar.com", kind=1, ident=None, flags=0x0100, count=1):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"
    head = struct.pack(">6H", ident or random.randrange(65536), flags, count, 0, 0, 0)
    return head + labels + struct.pack(">2H", kind, 1)


def ask_udp(port, packet, timeout=2):
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout)
        udp.connect(("127.0.0.1", port))
        udp.send(packet)
        try:
            return udp.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            return b""


@pytest.mark.parametrize("name,packet,rcode", [
    ("opcode 4", query(flags=4 << 11), 4), ("opcode 5", query(flags=5 << 11), 4),
    ("no question", query(count=0)[:12], 1), ("two questions", query(count=2), 1),
    ("cut question", query()[:-3], 1), ("pointer loop", query()[:12] + b"\xc0\x0c\0\1\0\1", 1),
    ("label too long", query()[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", 1),
    ("name too long", query()[:12] + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1", 1)])
def test_odd_packets_get_an_error(site, name, packet, rcode):
    answer = ask_udp(site.dns_port, packet)
    assert answer[:2] == packet[:2] and answer[3] & 15 == rcode


@pytest.mark.parametrize("packet", [b"", b"x", query()[:11], query(flags=0x8100)],
                         ids=["empty", "one byte", "cut head", "an answer"])
def test_what_gets_no_answer(site, packet):
    assert ask_udp(site.dns_port, packet, 0.5) == b""


def test_random_packets_harm_nothing(site):
    dns = site.find("dns")
    random.seed(1)
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", site.dns_port))
        for n in range(20000):
            packet = bytearray(query())
            for _ in range(random.randrange(1, 6)):
                packet[random.randrange(len(packet))] = random.randrange(256)
            try:
                udp.send(bytes(packet[:random.randrange(len(packet) + 1)]))
            except OSError:
                pass
            if n % 200 == 0:
                time.sleep(0.005)
    # what is left of them may fill the socket's buffer, and the next question is lost as well
    harness.wait_for(lambda: harness.dig(site.dns_port, "www.foobar.com", "A").values == ["127.0.0.1"],
                     20, "an answer")
    assert site.find("dns") == dns


def ask_tcp(connection, packet):
    connection.sendall(struct.pack(">H", len(packet)) + packet)


def read_tcp(connection):
    head = connection.recv(2, socket.MSG_WAITALL)
    return connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL) if head else b""


def test_tcp_pipelining_and_pieces(site):
    with socket.create_connection(("127.0.0.1", site.dns_port), timeout=5) as tcp:
        for ident in range(1, 101):
            ask_tcp(tcp, query(ident=ident))
        assert sorted(struct.unpack(">H", read_tcp(tcp)[:2])[0] for _ in range(100)) == \
            list(range(1, 101))
        packet = struct.pack(">H", len(query())) + query(ident=7)
        for byte in packet:
            tcp.send(bytes([byte]))
        assert read_tcp(tcp)[:2] == b"\0\7"


def test_many_idle_tcp_clients_do_not_lock_others_out(site):
    idle = [socket.create_connection(("127.0.0.1", site.dns_port)) for _ in range(300)]
    try:
        assert harness.dig(site.dns_port, "www.foobar.com", "A").values == ["127.0.0.1"]
        assert harness.dig(site.dns_port, "www.foobar.com", "A", "+tcp").values == ["127.0.0.1"]
    finally:
        for client in idle:
            client.close()


def test_large_answers_are_cut_over_udp(workshop):
    records = "\n".join(f'    - {{ name: many, type: TXT, value: "{"x" * 200} {n}" }}'
                        for n in range(20))
    site = workshop.up(SITE + records + "\n", {"public/a.txt": "a"})
    small = harness.dig(site.dns_port, "many.foobar.com", "TXT", "+noedns", "+ignore")
    assert "tc" in small.flags
    whole = harness.dig(site.dns_port, "many.foobar.com", "TXT", "+tcp")
    assert len(whole.answer) == 20 and "tc" not in whole.flags


def test_reload_changes_the_zone(workshop):
    site = workshop.up(SITE, {"public/a.txt": "a"})
    serial = harness.dig(site.dns_port, "foobar.com", "SOA").answer[0][6]
    path = site.folder / "site.yaml"
    path.write_text(path.read_text().replace("192.0.2.25", "192.0.2.26"))
    site.reload()
    assert harness.dig(site.dns_port, "mail.foobar.com", "A").values == ["192.0.2.26"]
    assert int(harness.dig(site.dns_port, "foobar.com", "SOA").answer[0][6]) >= int(serial)
    assert os.getpid()
