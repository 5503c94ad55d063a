"""A mail server: prints its port, then each mail it takes as a line of JSON.

What the part before the @ says is done: `hang…` is never answered, `refuse…` gets a 550, `later…` a 451
the first time.
"""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    seen = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local.startswith("hang"):
            await asyncio.Event().wait()
        if local.startswith("refuse"):
            return f"550 5.1.1 <{address}>: nobody here has that name"
        if local.startswith("later") and address not in self.seen:
            self.seen.add(address)
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {part.get_content_subtype(): part.get_content() for part in mail.iter_parts()}
        line = {
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "text": parts.get("plain"),
            "html": parts.get("html"),
            "user": getattr(session, "auth_data", None) and session.auth_data.login.decode(),
        }
        print(json.dumps(line), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (b"user", b"p@ss")
    return AuthResult(success=right, auth_data=data if right else None)


async def main(wants_auth):
    handler = Handler()
    auth = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    make = lambda: SMTP(handler, hostname="test", enable_SMTPUTF8=True, **(auth if wants_auth else {}))
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main("auth" in sys.argv[1:]))
