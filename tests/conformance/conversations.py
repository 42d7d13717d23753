"""What is said to a server, right and wrong. Each conversation has two parts: its handshake, in which `change` may replace what
the client says, and `then`, what is said when it is over. A takeover fits between the two."""

import socket
from dataclasses import dataclass, field
from typing import Callable, Optional

from tlslite.constants import ExtensionType, HandshakeType
from tlslite.extensions import TLSExtension

from talk import ALERT, CCS, DATA, HANDSHAKE

BOTH = ("1.3", "1.2")


@dataclass
class Conversation:
    name: str
    version: str
    then: Optional[Callable] = None
    change: Optional[Callable] = None
    settings: dict = field(default_factory=dict)

    def __str__(self):
        return f"TLS {self.version}: {self.name}"


ALL = []


def after(name, versions=BOTH, settings=None):
    """What is said after a handshake in which nothing is changed."""

    def add(then):
        ALL.extend(Conversation(name, version, then, None, settings or {}) for version in versions)
        return then

    return add


def during(name, versions=BOTH, settings=None):
    """What is said instead of a message of the handshake, by a function that gets the message."""

    def add(change):
        ALL.extend(Conversation(name, version, None, change, settings or {}) for version in versions)
        return change

    return add


# ── Data ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@after("nothing")
def _(talk):
    pass


for suite in ("aes128gcm", "aes256gcm", "chacha20-poly1305"):

    @after(f"lines with {suite}", settings={"cipherNames": [suite]})
    def _(talk):
        for number in range(5):
            talk.line(f"line {number}")


for bytes_max in (1, 2, 100):

    @after(f"a line in records of {bytes_max} bytes")
    def _(talk, bytes_max=bytes_max):
        line = b"a line in many records\n"
        talk.raw(b"".join(talk.record(DATA, line[at : at + bytes_max]) for at in range(0, len(line), bytes_max)))


for count in (1, 16, 32, 33, 64, 100):

    @after(f"{count} empty records of data")
    def _(talk, count=count):
        talk.raw(b"".join(talk.record(DATA, b"") for _ in range(count)))


@after("empty records between the bytes of a line")
def _(talk):
    for byte in b"between\n":
        talk.say(DATA, b"")
        talk.say(DATA, bytes([byte]))


for content_bytes in (2**14 - 1, 2**14, 2**14 + 1, 2**14 + 2, 2**14 + 255, 2**14 + 1024, 2**14 + 2048, 2**14 + 2049):

    @after(f"a record of {content_bytes} bytes of data")
    def _(talk, content_bytes=content_bytes):
        talk.say(DATA, b"x" * (content_bytes - 1) + b"\n")


for padding in (1, 15, 255, 2**14 - 5, 2**14 - 4, 2**14 - 3):

    @after(f"a record of 5 bytes of data and {padding} of padding", ["1.3"])
    def _(talk, padding=padding):
        talk.say(DATA, b"data\n", padding)


@after("a record of padding alone", ["1.3"])
def _(talk):
    talk.raw(talk.inner(bytes(20)))


@after("a record with nothing inside", ["1.3"])
def _(talk):
    talk.raw(talk.inner(b""))


@after("a padded KeyUpdate", ["1.3"])
def _(talk):
    talk.say(HANDSHAKE, [24, 0, 0, 1, 0], 300)
    talk.next_key()


@after("a padded alert", ["1.3"])
def _(talk):
    talk.say(ALERT, [1, 0], 300)


# ── What arrives otherwise than it was sent ─────────────────────────────────────────────────────────────────────────────

for where, at in (("kind", 0), ("version, first byte", 1), ("version, second byte", 2), ("length", 4), ("first byte", 5), ("tag", -1)):

    @after(f"a record whose {where} is another one")
    def _(talk, at=at):
        record = bytearray(talk.record(DATA, b"a line\n"))
        record[at] ^= 1
        talk.raw(record)


for bit in range(8):

    @after(f"a record whose bit {bit} in the middle is another one")
    def _(talk, bit=bit):
        record = bytearray(talk.record(DATA, b"a line of some length\n"))
        record[len(record) // 2] ^= 1 << bit
        talk.raw(record)


@after("a record that comes twice")
def _(talk):
    talk.raw(talk.record(DATA, b"a line\n") * 2)


@after("a record that is missing")
def _(talk):
    talk.record(DATA, b"a line\n")
    talk.line("the next")


@after("two records in the wrong order")
def _(talk):
    first, second = talk.record(DATA, b"first\n"), talk.record(DATA, b"second\n")
    talk.raw(second + first)


@after("a record that is one byte short, and the next one")
def _(talk):
    talk.raw(talk.record(DATA, b"first\n")[:-1] + talk.record(DATA, b"second\n"))


@after("half a record, and the end")
def _(talk):
    talk.raw(talk.record(DATA, b"a line\n")[:10])
    talk.socket.shutdown(socket.SHUT_WR)


@after("the end without a word")
def _(talk):
    talk.socket.shutdown(socket.SHUT_WR)


for tag_bytes in (0, 1, 15, 16, 24):

    @after(f"a record of {tag_bytes} bytes in all")
    def _(talk, tag_bytes=tag_bytes):
        talk.raw(bytes([DATA, 3, 3, 0, tag_bytes]) + bytes(tag_bytes))


for body_bytes in (2**14 + 256, 2**14 + 257, 2**14 + 2048, 2**14 + 2049, 2**16 - 1):

    @after(f"a header that promises {body_bytes} bytes")
    def _(talk, body_bytes=body_bytes):
        talk.raw(bytes([DATA, 3, 3]) + body_bytes.to_bytes(2, "big") + bytes(100))


# ── Kinds of records ────────────────────────────────────────────────────────────────────────────────────────────────────

for kind in (0, 1, 19, 24, 25, 26, 64, 127, 128, 255):

    @after(f"a sealed record of kind {kind}")
    def _(talk, kind=kind):
        talk.say(kind, b"a line\n")

    @after(f"a record of kind {kind} in clear")
    def _(talk, kind=kind):
        talk.raw(bytes([kind, 3, 3, 0, 7]) + b"a line\n")


for name, kind, content in (
    ("an alert", ALERT, [2, 40]),
    ("a close_notify", ALERT, [1, 0]),
    ("a KeyUpdate", HANDSHAKE, [24, 0, 0, 1, 0]),
    ("data", DATA, b"a line\n"),
    ("a ChangeCipherSpec", CCS, [1]),
    ("a ChangeCipherSpec of two bytes", CCS, [1, 1]),
    ("an empty ChangeCipherSpec", CCS, []),
    ("a ChangeCipherSpec that says 2", CCS, [2]),
):

    @after(f"{name} in clear")
    def _(talk, kind=kind, content=content):
        talk.raw(bytes([kind, 3, 3]) + len(content).to_bytes(2, "big") + bytes(content))


@after("a sealed ChangeCipherSpec")
def _(talk):
    talk.say(CCS, [1])


# ── Alerts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

for level in (0, 1, 2, 3, 255):
    for name, description in (("close_notify", 0), ("user_canceled", 90), ("handshake_failure", 40), ("unknown", 200)):

        @after(f"an alert of level {level}, {name}")
        def _(talk, level=level, description=description):
            talk.say(ALERT, [level, description])


@after("a warning no_renegotiation", ["1.2"])
def _(talk):
    talk.say(ALERT, [1, 100])


for count in (3, 4, 5, 6, 20):

    @after(f"{count} warnings user_canceled")
    def _(talk, count=count):
        for _ in range(count):
            talk.say(ALERT, [1, 90])


for content in ([], [1], [1, 0, 0], [1, 90, 1, 90], [2, 40, 2, 40]):

    @after(f"an alert that is {content}")
    def _(talk, content=content):
        talk.say(ALERT, content)


@after("an alert in two records")
def _(talk):
    talk.say(ALERT, [1])
    talk.say(ALERT, [90])


@after("data after close_notify")
def _(talk):
    talk.raw(talk.record(ALERT, [1, 0]) + talk.record(DATA, b"too late\n"))


@after("garbage after close_notify")
def _(talk):
    talk.raw(talk.record(ALERT, [1, 0]) + b"GET / HTTP/1.1\r\n\r\n")


@after("a line, and close_notify at once")
def _(talk):
    talk.raw(talk.record(DATA, b"the last\n") + talk.record(ALERT, [1, 0]))


# ── KeyUpdate ───────────────────────────────────────────────────────────────────────────────────────────────────────────

for wants_one in (0, 1):

    @after(f"a KeyUpdate {wants_one}, between two lines", ["1.3"])
    def _(talk, wants_one=wants_one):
        talk.line("before")
        talk.hear_line("before")
        talk.key_update(wants_one)
        talk.line("after")

    for count in (2, 16, 32, 33, 100):

        @after(f"{count} KeyUpdates {wants_one}", ["1.3"])
        def _(talk, wants_one=wants_one, count=count):
            wire = b""
            for _ in range(count):
                wire += talk.record(HANDSHAKE, [24, 0, 0, 1, wants_one])
                talk.next_key()
            talk.raw(wire)

    @after(f"a KeyUpdate {wants_one} in two records", ["1.3"])
    def _(talk, wants_one=wants_one):
        talk.say(HANDSHAKE, [24, 0])
        talk.say(HANDSHAKE, [0, 1, wants_one])
        talk.next_key()

    @after(f"a KeyUpdate {wants_one}, byte by byte", ["1.3"])
    def _(talk, wants_one=wants_one):
        for byte in [24, 0, 0, 1, wants_one]:
            talk.say(HANDSHAKE, [byte])
        talk.next_key()


for name, message in (
    ("that says 2", [24, 0, 0, 1, 2]),
    ("that says 255", [24, 0, 0, 1, 255]),
    ("that is empty", [24, 0, 0, 0]),
    ("of two bytes", [24, 0, 0, 2, 0, 0]),
    ("twice in a record", [24, 0, 0, 1, 0] * 2),
    ("with the beginning of another one behind it", [24, 0, 0, 1, 0, 24]),
    ("behind a message that is unknown", [99, 0, 0, 0, 24, 0, 0, 1, 0]),
):

    @after(f"a KeyUpdate {name}")
    def _(talk, message=message):
        talk.say(HANDSHAKE, message)


@after("data in the middle of a KeyUpdate", ["1.3"])
def _(talk):
    talk.say(HANDSHAKE, [24, 0, 0])
    talk.line("between")


@after("an alert in the middle of a KeyUpdate", ["1.3"])
def _(talk):
    talk.say(HANDSHAKE, [24, 0, 0])
    talk.say(ALERT, [1, 90])


@after("data with the key before the KeyUpdate", ["1.3"])
def _(talk):
    talk.say(HANDSHAKE, [24, 0, 0, 1, 0])
    talk.line("still the old key")


@after("a key that is changed without a word", ["1.3"])
def _(talk):
    talk.next_key()
    talk.line("the new key")


# ── Messages of the handshake when it is over ───────────────────────────────────────────────────────────────────────────

HELLO = bytes([1, 0, 0, 43, 3, 3]) + bytes(32) + bytes([0, 0, 2, 0x13, 1, 1, 0, 0, 0])

for name, message in (
    ("HelloRequest", [0, 0, 0, 0]),
    ("ClientHello", HELLO),
    ("ServerHello", [2, 0, 0, 2, 3, 3]),
    ("NewSessionTicket", [4, 0, 0, 4, 0, 0, 0, 0]),
    ("EndOfEarlyData", [5, 0, 0, 0]),
    ("EncryptedExtensions", [8, 0, 0, 2, 0, 0]),
    ("Certificate", [11, 0, 0, 4, 0, 0, 0, 0]),
    ("CertificateRequest", [13, 0, 0, 3, 0, 0, 0]),
    ("CertificateVerify", [15, 0, 0, 4, 8, 4, 0, 0]),
    ("ClientKeyExchange", [16, 0, 0, 1, 0]),
    ("Finished", [20, 0, 0, 32] + [0] * 32),
    ("message that is unknown", [99, 0, 0, 0]),
    ("message_hash", [254, 0, 0, 0]),
    ("message of 16 MiB", [24, 255, 255, 255, 0]),
    ("record without a message", []),
):

    @after(f"a {name}")
    def _(talk, message=message):
        talk.say(HANDSHAKE, message)


for count in (2, 3, 10):

    @after(f"{count} times ClientHello", ["1.2"])
    def _(talk, count=count):
        for _ in range(count):
            talk.say(HANDSHAKE, HELLO)


@after("a ClientHello in two records", ["1.2"])
def _(talk):
    talk.say(HANDSHAKE, HELLO[:10])
    talk.say(HANDSHAKE, HELLO[10:])


# ── The handshake itself ────────────────────────────────────────────────────────────────────────────────────────────────


def is_hello(message):
    return message.contentType == HANDSHAKE and message.write()[0] == HandshakeType.client_hello


def is_finished(message):
    return message.contentType == HANDSHAKE and message.write()[0] == HandshakeType.finished


def hello(name, versions=BOTH, settings=None):
    """A ClientHello with something changed, by a function that gets it."""

    def add(change):
        def changed(message):
            if is_hello(message):
                return change(message)

        during(name, versions, settings)(changed)
        return change

    return add


for bytes_max in (1, 3, 100):

    @hello(f"ClientHello in records of {bytes_max} bytes")
    def _(message, bytes_max=bytes_max):
        content = message.write()
        return [(HANDSHAKE, content[at : at + bytes_max]) for at in range(0, len(content), bytes_max)]


@hello("ClientHello byte by byte on the wire")
def _(message):
    content = message.write()
    wire = bytes([HANDSHAKE, 3, 1]) + len(content).to_bytes(2, "big") + bytes(content)
    return [("wire", bytes([byte])) for byte in wire]


for version in ((2, 0), (3, 0), (3, 1), (3, 3), (3, 4), (3, 5), (4, 3), (0, 0)):

    @hello(f"ClientHello in a record of version {version}")
    def _(message, version=version):
        content = message.write()
        return [("wire", bytes([HANDSHAKE, *version]) + len(content).to_bytes(2, "big") + bytes(content))]

    @hello(f"ClientHello that names version {version}")
    def _(message, version=version):
        message.client_version = version


@hello("ClientHello behind an empty record")
def _(message):
    return [(HANDSHAKE, b""), (HANDSHAKE, message.write())]


@hello("ClientHello with an empty record in the middle")
def _(message):
    content = message.write()
    return [(HANDSHAKE, content[:20]), (HANDSHAKE, b""), (HANDSHAKE, content[20:])]


for kind, content in ((ALERT, [1, 90]), (ALERT, [2, 40]), (ALERT, [1, 0]), (CCS, [1]), (DATA, b"data"), (24, b"x"), (99, b"x")):

    @hello(f"a record of kind {kind} with {list(content)} before ClientHello")
    def _(message, kind=kind, content=content):
        return [(kind, content), (HANDSHAKE, message.write())]

    @hello(f"a record of kind {kind} with {list(content)} in the middle of ClientHello")
    def _(message, kind=kind, content=content):
        whole = message.write()
        return [(HANDSHAKE, whole[:20]), (kind, content), (HANDSHAKE, whole[20:])]


@hello("ClientHello twice")
def _(message):
    return [(HANDSHAKE, message.write()), (HANDSHAKE, message.write())]


@hello("another message than ClientHello")
def _(message):
    return [(HANDSHAKE, [20, 0, 0, 12] + [0] * 12)]


@hello("a message of 16 MiB instead of ClientHello")
def _(message):
    return [(HANDSHAKE, [1, 255, 255, 255] + [0] * 100)]


@hello("ClientHello that is one byte short")
def _(message):
    content = bytearray(message.write())
    content[1:4] = (len(content) - 5).to_bytes(3, "big")
    return [(HANDSHAKE, content[:-1])]


@hello("ClientHello with a byte behind it")
def _(message):
    content = bytearray(message.write()) + b"\0"
    content[1:4] = (len(content) - 4).to_bytes(3, "big")
    return [(HANDSHAKE, content)]


for session_id_bytes in (1, 31, 32, 33, 255):

    @hello(f"ClientHello with a session id of {session_id_bytes} bytes")
    def _(message, session_id_bytes=session_id_bytes):
        message.session_id = bytearray(session_id_bytes)


for name, methods in (("no compression method", []), ("compression alone", [1]), ("two compression methods", [0, 1])):

    @hello(f"ClientHello with {name}")
    def _(message, methods=methods):
        message.compression_methods = methods


for name, suites in (
    ("no suite", []),
    ("unknown suites alone", [0xEEEE, 0xEEEF]),
    ("a suite with CBC alone", [0xC013]),
    ("a suite without forward secrecy", [0x009C]),
    ("TLS_FALLBACK_SCSV", None),
):

    @hello(f"ClientHello with {name}")
    def _(message, suites=suites):
        message.cipher_suites = message.cipher_suites + [0x5600] if suites is None else suites


@hello("ClientHello without extensions")
def _(message):
    message.extensions = None


for kind in (
    ExtensionType.supported_versions,
    ExtensionType.supported_groups,
    ExtensionType.signature_algorithms,
    ExtensionType.key_share,
    ExtensionType.server_name,
    ExtensionType.extended_master_secret,
    ExtensionType.ec_point_formats,
):

    @hello(f"ClientHello without extension {kind}")
    def _(message, kind=kind):
        message.extensions = [extension for extension in message.extensions if extension.extType != kind]

    @hello(f"ClientHello with extension {kind} twice")
    def _(message, kind=kind):
        message.extensions = message.extensions + [
            extension for extension in message.extensions if extension.extType == kind
        ]

    for content in (b"", b"\0", b"\0\0", b"\xff\xff\xff"):

        @hello(f"ClientHello whose extension {kind} is {list(content)}")
        def _(message, kind=kind, content=content):
            # What the client believes that it has said stays what it was.
            offered = message.extensions
            other = TLSExtension(extType=kind).create(kind, bytearray(content))
            message.extensions = [other if extension.extType == kind else extension for extension in offered]
            if other not in message.extensions:
                message.extensions.append(other)
            records = [(HANDSHAKE, message.write())]
            message.extensions = offered
            return records


for kind, content in (
    (10794, b"grease"),
    (ExtensionType.early_data, b""),
    (ExtensionType.heartbeat, b"\1"),
    (ExtensionType.alpn, b"\0\0"),
    (ExtensionType.alpn, b"\0\3\2h2"),
    (ExtensionType.record_size_limit, b"\0\x40"),
    (ExtensionType.max_fragment_length, b"\1"),
    (ExtensionType.pre_shared_key, b"\0\0"),
    (ExtensionType.cookie, b"\0\0"),
    (ExtensionType.post_handshake_auth, b""),
    (ExtensionType.session_ticket, b"no ticket at all"),
):

    @hello(f"ClientHello with another extension {kind} that is {list(content)}")
    def _(message, kind=kind, content=content):
        kept = [extension for extension in message.extensions if extension.extType != kind]
        message.extensions = kept + [TLSExtension(extType=kind).create(kind, bytearray(content))]


@hello("ClientHello of 15 KiB")
def _(message):
    message.extensions.append(TLSExtension(extType=21).create(21, bytearray(15_000)))


@hello("ClientHello of 60 KiB")
def _(message):
    message.extensions.append(TLSExtension(extType=21).create(21, bytearray(60_000)))


@during("a HelloRetryRequest", ["1.3"], {"keyShares": [], "eccCurves": ["secp256r1", "x25519"]})
def _(message):
    return None


# Each of these is told when its turn comes: the last message of the client.


def finished(name, versions=BOTH):
    def add(change):
        during(name, versions)(lambda message: change(message) if is_finished(message) else None)
        return change

    return add


for at in (4, 10, 15):

    @finished(f"Finished whose byte {at} is another one")
    def _(message, at=at):
        content = bytearray(message.write())
        content[at] ^= 1
        return [(HANDSHAKE, content)]


@finished("Finished in two records")
def _(message):
    content = message.write()
    return [(HANDSHAKE, content[:5]), (HANDSHAKE, content[5:])]


@finished("Finished byte by byte")
def _(message):
    return [(HANDSHAKE, [byte]) for byte in message.write()]


@finished("Finished that is short")
def _(message):
    return [(HANDSHAKE, [20, 0, 0, 4, 0, 0, 0, 0])]


@finished("Finished that is long")
def _(message):
    content = bytearray(message.write()) + b"\0"
    content[1:4] = (len(content) - 4).to_bytes(3, "big")
    return [(HANDSHAKE, content)]


@finished("Finished with a KeyUpdate behind it in its record", ["1.3"])
def _(message):
    return [(HANDSHAKE, bytes(message.write()) + bytes([24, 0, 0, 1, 0]))]


@finished("Finished behind an empty record")
def _(message):
    return [(HANDSHAKE, b""), (HANDSHAKE, message.write())]


@finished("Finished twice")
def _(message):
    return [(HANDSHAKE, message.write())] * 2


@finished("data before Finished")
def _(message):
    return [(DATA, b"early\n"), (HANDSHAKE, message.write())]


@finished("close_notify instead of Finished")
def _(message):
    return [(ALERT, [1, 0])]


@finished("a fatal alert instead of Finished")
def _(message):
    return [(ALERT, [2, 40])]


@finished("a warning before Finished")
def _(message):
    return [(ALERT, [1, 90]), (HANDSHAKE, message.write())]


@finished("a KeyUpdate before Finished", ["1.3"])
def _(message):
    return [(HANDSHAKE, [24, 0, 0, 1, 0]), (HANDSHAKE, message.write())]


@finished("Certificate that nobody asked for", ["1.3"])
def _(message):
    return [(HANDSHAKE, [11, 0, 0, 4, 0, 0, 0, 0]), (HANDSHAKE, message.write())]


for count in (1, 2, 5):

    @finished(f"{count} ChangeCipherSpec before Finished")
    def _(message, count=count):
        return [(CCS, [1])] * count + [(HANDSHAKE, message.write())]


@finished("a ChangeCipherSpec that says 2 before Finished")
def _(message):
    return [(CCS, [2]), (HANDSHAKE, message.write())]


for name, at, instead in (
    ("ClientKeyExchange that is empty", 4, b""),
    ("ClientKeyExchange with a short point", 4, b"\1\4"),
    ("ClientKeyExchange with a point of zeros", 4, b"\x20" + bytes(32)),
):

    @during(name, ["1.2"])
    def _(message, instead=instead):
        if message.contentType == HANDSHAKE and message.write()[0] == HandshakeType.client_key_exchange:
            return [(HANDSHAKE, bytes([16]) + len(instead).to_bytes(3, "big") + instead)]


@during("no ChangeCipherSpec", ["1.2"])
def _(message):
    if message.contentType == CCS:
        return []


for content in ([], [0], [2], [1, 1]):

    @during(f"a ChangeCipherSpec that is {content}", ["1.2"])
    def _(message, content=content):
        if message.contentType == CCS:
            return [(CCS, content)]
