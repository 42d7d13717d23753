"""docs/tls-conformance.md: what was said, what came of it, and why that differs where it does."""

import re

# Why what comes of a conversation is not what rustls makes of it, by what its name begins with or contains.
REASONS = [
    (
        r"empty records of data|warnings user_canceled|KeyUpdates? [01]$|times ClientHello|in the middle of a KeyUpdate"
        r"|a message of 16 MiB$|a record of padding alone|a record with nothing inside",
        "rustls ends the connection without an alert; here an alert says why (RFC 8446 sections 5.1, 5.4 and 6.2)",
    ),
    (
        r"a record of \d+ bytes of data|a header that promises",
        "a length that no record may have is record_overflow (RFC 8446 section 5.2, RFC 5246 section 6.2.1), and is refused with the"
        " header; rustls says decode_error for what no version allows, and waits for what TLS 1.3 alone forbids",
    ),
    (
        r"1\.3: a record whose (kind|version)|1\.3: .* in clear",
        "a record of TLS 1.3 is one of data with version 3.3 on the outside, and its header is authenticated as it came (RFC 8446"
        " section 5.2); rustls takes other kinds and versions for that, and finds out when it deciphers",
    ),
    (
        r"1\.2: a record whose version",
        "another version than the one that was agreed on is protocol_version; rustls looks at a part of it",
    ),
    (
        r"record of kind \d+( in clear)?$|ServerHello|NewSessionTicket|Certificate$|CertificateRequest|message_hash"
        r"|an alert that is \[\]|1\.2: a KeyUpdate|sealed ChangeCipherSpec",
        "what may not come is unexpected_message (RFC 8446 sections 5 and 5.1) before anybody looks at what is in it; rustls decodes"
        " first, and says decode_error",
    ),
    (
        r"1\.2: .*ChangeCipherSpec",
        "everything is sealed when the handshake is over, so what is in clear cannot be deciphered; rustls looks at the kind first",
    ),
    (
        r"1\.3: an alert of level",
        "the level is ignored, and an alert that is not known ends the connection (RFC 8446 sections 6 and 6.2); rustls insists on a"
        " level that fits",
    ),
    (r"an alert of level 2, user_canceled", "the same"),
    (
        r"a record without a message",
        "no record of the handshake may be empty (RFC 8446 section 5.1): unexpected_message; rustls passes over it",
    ),
    (
        r"close_notify instead of Finished",
        "the server of rustls alone goes on waiting for a client that has said its last word in the middle of its handshake",
    ),
    (
        r"a record of kind 24 with",
        "during the handshake, what has the header of no record ends it without an alert",
    ),
]

HEAD = """\
# TLS: what is said to the server, and what comes of it

Written by `tests/conformance/run --write` from what it saw. Do not edit.

{conversations} conversations of a client that says right and wrong things ([`conversations.py`](../tests/conformance/conversations.py),
on tlslite-ng), each with four servers: one of rustls alone ([`rustls_echo`](../tls/examples/rustls_echo.rs)), `reactord`, `reactord`
that is taken over between the handshake and what follows it, and `reactord` that is taken over all the time, also in the middle of
handshakes: {takeovers} takeovers in all. With and without takeovers the same comes of every conversation{moved}. It is what rustls makes
of it in {same}; the others are the last table, with the reason.

tlsfuzzer, whose scripts have many of these conversations, is in no registry that the project is built from (PyPI, crates.io, Debian,
npm), so it was not run.

`end` is the end of the connection, other words are alerts; `there` is the answer to the line that ends every conversation: the server
has made nothing of what came before it.

```sh
{command}
```
"""

COMMAND = """\
cargo build && cargo build -p reactord-tls --example rustls_echo
python3 -m venv target/clients && target/clients/bin/pip install tlslite-ng
target/clients/bin/python tests/conformance/run --write"""


def reason(name):
    """Why that differs, if it may."""
    return next((why for pattern, why in REASONS if re.search(pattern, name)), None)


def short(verdict):
    return verdict.replace("is anybody there/", "there").replace("|", "\\|").replace("fatal ", "")


def split(name):
    version, rest = name.split(": ", 1)
    return version.removeprefix("TLS "), rest


def page(names, found, takeovers):
    """The page, of what each server has made of each conversation."""
    equal, differing, moved = {}, [], 0
    for name in names:
        rustls, *ours = (found[column][name] for column in ("rustls", "reactord", "between", "throughout"))
        moved += len(set(ours)) > 1
        if rustls == ours[0]:
            version, rest = split(name)
            equal.setdefault(rest, {})[version] = rustls
        else:
            differing.append((name, rustls, ours[0]))
    lines = [
        HEAD.format(
            conversations=len(names),
            takeovers=takeovers,
            moved=f", but for {moved}" if moved else "",
            same=len(names) - len(differing),
            command=COMMAND,
        )
    ]
    lines += ["## As rustls has it", "", "| said | TLS 1.3 | TLS 1.2 |", "| --- | --- | --- |"]
    for rest, verdicts in equal.items():
        cells = (short(verdicts[version]) if version in verdicts else "–" for version in ("1.3", "1.2"))
        lines.append(f"| {rest} | {' | '.join(cells)} |")
    lines += ["", "## Otherwise than rustls has it", ""]
    groups = {}
    for name, rustls, ours in differing:
        groups.setdefault(reason(name) or "not explained", []).append((name, rustls, ours))
    for why, members in groups.items():
        lines += [f"{why[0].upper()}{why[1:]}:", "", "| said | rustls | reactord |", "| --- | --- | --- |"]
        lines += [f"| {name} | {short(rustls)} | {short(ours)} |" for name, rustls, ours in members]
        lines.append("")
    return "\n".join(lines)
