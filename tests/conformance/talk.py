"""A client that says of TLS what it is told to, right or wrong, and hears what a server makes of it. It stands on tlslite-ng,
whose handshake it changes in the middle, and whose keys it seals its own records with."""

import socket

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, ContentType, HandshakeType
from tlslite.errors import BaseTLSException, TLSAbruptCloseError, TLSRemoteAlert

PATIENCE_S = 20

DATA, HANDSHAKE, ALERT, CCS = (
    ContentType.application_data,
    ContentType.handshake,
    ContentType.alert,
    ContentType.change_cipher_spec,
)
VERSIONS = {"1.3": (3, 4), "1.2": (3, 3)}


class Connection(TLSConnection):
    """A connection whose handshake says what `change` makes of each message: a list of records, kind and content."""

    change = None

    def _sendMsg(self, msg, randomizeFirstBlock=True, update_hashes=True):
        if self.change is None:
            yield from super()._sendMsg(msg, randomizeFirstBlock, update_hashes)
            return
        records = self.change(msg)
        if records is None:
            yield from super()._sendMsg(msg, randomizeFirstBlock, update_hashes)
            return
        if update_hashes and msg.contentType == HANDSHAKE:
            said = b"".join(bytes(content) for kind, content in records if kind == HANDSHAKE)
            self._handshake_hash.update(said or msg.write())
        for kind, content in records:
            if kind == "wire":
                self.sock.flush()
                self.sock.socket.sendall(content)
                continue
            yield from self._sendMsgThroughSocket(Record(kind, content))


class Record:
    def __init__(self, kind, content):
        self.contentType, self.content = kind, bytearray(content)

    def write(self):
        return bytearray(self.content)


def name_of(names, number):
    return names.toStr(number) if hasattr(names, "toStr") else str(number)


class Talk:
    """One conversation. What was heard is in `heard`."""

    def __init__(self, address, version, settings=None, change=None):
        self.heard, self.shook = [], False
        self.version = VERSIONS[version]
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = Connection(self.socket)
        self.connection.change = change
        self.connection.closeSocket = False
        self.settings = HandshakeSettings()
        self.settings.minVersion = self.settings.maxVersion = self.version
        self.settings.cipherNames = ["aes128gcm", "aes256gcm", "chacha20-poly1305"]
        self.settings.keyShares = ["x25519"]
        self.settings.eccCurves = ["x25519", "secp256r1", "secp384r1"]
        for name, value in (settings or {}).items():
            setattr(self.settings, name, value)

    def shake_hands(self):
        """Whether that succeeds. What the server says of it otherwise is heard."""
        try:
            self.connection.handshakeClientCert(settings=self.settings, serverName="localhost")
            self.connection.sock.flush()
            self.connection.change = None
            self.shook = True
        except TLSRemoteAlert as alert:
            self.hear_alert(alert.level, alert.description)
            self.hear_end()
        except (TLSAbruptCloseError, ConnectionError):
            self.heard.append("end")
        except socket.timeout:
            self.heard.append("silence")
        except BaseTLSException as error:
            self.heard.append(f"the client gives up: {type(error).__name__}")
        return self.shook

    # What is said.

    def record(self, kind, content, padding=0):
        """A record, sealed with the next number."""
        layer = self.connection._recordLayer
        if self.version == (3, 4):
            content = bytes(content) + bytes([kind]) + bytes(padding)
            return self.inner(content)
        body = layer._encryptThenSeal(bytearray(content), kind)
        return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + bytes(body)

    def inner(self, content):
        """A record of TLS 1.3 with this inside, kind and padding too."""
        body = self.connection._recordLayer._encryptThenSeal(bytearray(content), DATA)
        return bytes([DATA, 3, 3]) + len(body).to_bytes(2, "big") + bytes(body)

    def raw(self, wire):
        try:
            self.socket.sendall(wire)
        except OSError:
            pass  # The server has ended it: what it said before is still to be heard.

    def say(self, kind, content, padding=0):
        self.raw(self.record(kind, content, padding))

    def line(self, text):
        self.say(DATA, text.encode() + b"\n")

    def next_key(self):
        layer, session = self.connection._recordLayer, self.connection.session
        session.cl_app_secret, session.sr_app_secret = layer.calcTLS1_3KeyUpdate_reciever(
            session.cipherSuite, session.cl_app_secret, session.sr_app_secret
        )

    def key_update(self, wants_one):
        self.say(HANDSHAKE, [24, 0, 0, 1, wants_one])
        self.next_key()

    # What is heard.

    def hear_alert(self, level, description):
        levels = {1: "warning", 2: "fatal"}
        self.heard.append(f"{levels.get(level, level)} {name_of(AlertDescription, description)}")

    def hear_end(self):
        """Hears what comes until the server has ended the connection."""
        self.hear(lambda: False)

    def hear_line(self, text):
        """Hears what comes until this line, or the end."""
        ending = text.encode() + b"\n"
        self.data = b""
        self.hear(lambda: self.data.endswith(ending))

    def hear(self, done):
        self.data = getattr(self, "data", b"")
        try:
            while not done():
                for record in self.connection._recordLayer.recvRecord():
                    if record not in (0, 1):
                        break
                self.hear_record(record[0].type, bytes(record[1].bytes))
        except (TLSAbruptCloseError, ConnectionError):
            self.tell_data()
            self.heard.append("end")
        except socket.timeout:
            self.tell_data()
            self.heard.append("silence")
        except BaseTLSException as error:
            self.tell_data()
            self.heard.append(f"what comes is wrong: {type(error).__name__}")
        else:
            self.tell_data()

    def tell_data(self):
        if self.data:
            text = self.data.decode(errors="replace").replace("\n", "/")
            self.heard.append(text if len(text) < 40 else f"{len(text)} bytes of data")
        self.data = b""

    def hear_record(self, kind, content):
        if kind == DATA:
            self.data += content
            return
        self.tell_data()
        if kind == ALERT and len(content) == 2:
            self.hear_alert(*content)
        elif kind == HANDSHAKE:
            self.hear_handshake(content)
        else:
            self.heard.append(f"record {kind} of {len(content)} bytes")

    def hear_handshake(self, content):
        while content:
            kind, length = content[0], int.from_bytes(content[1:4], "big")
            content = content[4 + length :]
            if kind == HandshakeType.new_session_ticket:
                continue
            self.heard.append(name_of(HandshakeType, kind))
            if kind == HandshakeType.key_update:
                layer, session = self.connection._recordLayer, self.connection.session
                session.cl_app_secret, session.sr_app_secret = layer.calcTLS1_3KeyUpdate_sender(
                    session.cipherSuite, session.cl_app_secret, session.sr_app_secret
                )

    def verdict(self):
        return ", ".join(self.heard)

    def close(self):
        self.socket.close()
