"""Requests to one server: signed, repeated where the server asks for a newer nonce, and their answers checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from librats._core.stun import StunMessage, serialise
from librats.errors import OperationTimeout, RatsError, StunError
from librats.stun.constants import Attribute, ErrorCode, MessageClass, Method
from librats.turn.allocation_events import TurnCounters
from librats.turn.client_auth import Authentication
from librats.turn.client_events import turn_error
from librats.turn.client_transactions import Transactions
from librats.types import Entropy

__all__ = ["Request", "Requester"]

MAX_CHALLENGES = 4
MAX_REJECTIONS = 1

Done = Callable[[StunMessage, float], None]
Failed = Callable[[RatsError, StunMessage | None, float], None]


class Request:
    """One thing that is asked of the server, over as many transactions as it takes.

    Args:
        method: What is asked.
        attributes: Beyond those that sign it.
        done: Called with the success response and the time.
        failed: Called with the error, the error response where there is one, and the time.
        patience: Seconds to wait for each response at the most; None for as long as the RFC says.
    """

    __slots__ = (
        "attributes",
        "challenges",
        "denials",
        "done",
        "failed",
        "integrity",
        "key",
        "method",
        "nonce",
        "patience",
        "rejections",
        "unproven",
    )

    def __init__(
        self,
        method: Method,
        attributes: Sequence[tuple[int, Any]],
        done: Done,
        failed: Failed,
        patience: float | None = None,
    ) -> None:
        self.method = method
        self.attributes = attributes
        self.done = done
        self.failed = failed
        self.patience = patience
        self.challenges = 0
        self.denials = 0
        self.rejections = 0
        self.nonce = ""
        self.key: bytes | None = None
        self.integrity = 0
        self.unproven: RatsError | None = None


class Requester:
    """Sends requests over one path to one server, and hands out their answers.

    Args:
        authentication: How to sign; may be shared by several paths to the same server.
        entropy: Makes transaction ids.
        counters: Where what is ignored is counted.
        reliable: True over TCP and TLS.
        want_login: Called where a login is needed, with whether the last one was rejected and the time;
            :meth:`go_on` or :meth:`give_up` answers it, at once or later.
    """

    def __init__(
        self,
        authentication: Authentication,
        entropy: Entropy,
        counters: TurnCounters,
        *,
        reliable: bool,
        want_login: Callable[[bool, float], None],
    ) -> None:
        self._authentication = authentication
        self._counters = counters
        self._reliable = reliable
        self._want_login = want_login
        self._transactions: Transactions[Request] = Transactions(entropy, reliable=reliable)
        self._waiting: list[Request] = []
        self._out: list[bytes] = []

    def send(self, request: Request, now: float) -> None:
        """Send a request; where it must be signed and nobody has told who we are, once that is known."""
        authentication = self._authentication
        transaction_id = self._transactions.new_id()
        attributes = list(request.attributes)
        request.key = None
        if authentication.realm:
            if not authentication.can_sign:
                self._waiting.append(request)
                self._want_login(False, now)
                return
            attributes += authentication.attributes()
            request.key, request.integrity = authentication.key, authentication.integrity
            request.nonce = authentication.nonce
        data = serialise(
            request.method,
            MessageClass.REQUEST,
            transaction_id,
            attributes,
            key=request.key,
            integrity=request.integrity or Attribute.MESSAGE_INTEGRITY,
        )
        self._transactions.begin(transaction_id, request, data, now, request.patience)
        self._out.append(data)

    def write(self, message: bytes) -> None:
        """Send a message that is complete."""
        self._out.append(message)

    def indicate(self, method: Method, attributes: Sequence[tuple[int, Any]]) -> None:
        """Send an indication, which nobody answers."""
        self._out.append(serialise(method, MessageClass.INDICATION, self._transactions.new_id(), attributes))

    def data_to_send(self) -> list[bytes]:
        """Return what is to be sent, message by message."""
        out, self._out = self._out, []
        return out

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is due."""
        return self._transactions.next_time()

    def handle_timer(self, now: float) -> None:
        """Send again what was not answered, and give up what was not for too long."""
        again, over = self._transactions.due(now)
        self._out += again
        for request in over:
            request.failed(request.unproven or OperationTimeout("the TURN server does not answer"), None, now)

    def abandon(self) -> None:
        """Forget every request; nobody is told."""
        self._transactions.abandon()
        self._waiting.clear()

    @property
    def waits_for_login(self) -> bool:
        """True where a request cannot be sent, because nobody has told who we are, or who we said was rejected."""
        return bool(self._waiting)

    def go_on(self, now: float) -> None:
        """Send what waits for a login."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self.send(request, now)

    def give_up(self, error: RatsError, now: float) -> None:
        """Fail what waits for a login."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request.failed(error, None, now)

    # Answers

    def receive(self, message: StunMessage, now: float) -> bool:
        """Take a response.

        Returns:
            False where it belongs to nothing that was asked, or is not of the server.
        """
        request = self._transactions.find(message.transaction_id)
        if request is None or request.method != message.method:
            self._counters.unmatched += 1
            return False
        try:
            return self._take(request, message, now)
        except StunError as error:
            # A value that does not parse, in an answer that need not be of the server: the right one may still come.
            self._counters.malformed += 1
            self._leave_unproven(request, message, error, now)
            return False

    def _take(self, request: Request, message: StunMessage, now: float) -> bool:
        succeeded = message.message_class == MessageClass.SUCCESS_RESPONSE
        code, words = (0, "") if succeeded else message.get(Attribute.ERROR_CODE) or (ErrorCode.BAD_REQUEST, "")
        if code in (ErrorCode.UNAUTHENTICATED, ErrorCode.STALE_NONCE):
            return self._take_challenge(request, message, code, words, now)
        if request.key is not None and not self._authentication.proves(message, request.integrity, request.key):
            self._counters.forged += 1
            error = turn_error(code, words) if code else turn_error(400, "an answer that is not signed as it must be")
            self._leave_unproven(request, message, error, now)
            return False
        self._transactions.end(message.transaction_id)
        if not succeeded:
            if code == ErrorCode.UNKNOWN_ATTRIBUTE:
                unknown = message.get(Attribute.UNKNOWN_ATTRIBUTES) or ()
                words = "the server does not know " + ", ".join(map(_attribute_name, unknown))
            request.failed(turn_error(code, words), message, now)
        elif unknown := message.unknown_required():
            words = "an answer with attributes that are not known here: " + ", ".join(map(_attribute_name, unknown))
            request.failed(turn_error(ErrorCode.UNKNOWN_ATTRIBUTE, words), None, now)
        else:
            request.done(message, now)
        return True

    def _leave_unproven(self, request: Request, message: StunMessage, error: RatsError, now: float) -> None:
        """Ignore an answer that anybody may have sent; over a stream none other will come (RFC 8489, 9.2.5)."""
        request.unproven = error
        if self._reliable:
            self._transactions.end(message.transaction_id)
            request.failed(error, None, now)

    def _take_challenge(self, request: Request, message: StunMessage, code: int, words: str, now: float) -> bool:
        authentication = self._authentication
        self._transactions.end(message.transaction_id)
        signed = request.key is not None
        # Else another request has brought a newer nonce meanwhile, and this one is only late.
        newest = not signed or request.nonce == authentication.nonce
        if newest:
            try:
                authentication.take_challenge(message)
            except StunError as error:
                request.failed(error, message, now)
                return True
        request.challenges += 1
        if code == ErrorCode.UNAUTHENTICATED and signed and newest:
            # A server that has just been started may know the user, and only not its own old nonce.
            request.denials += 1
            if request.denials > 1 or request.nonce == authentication.nonce:
                self._take_rejection(request, words, message, now)
                return True
        if request.challenges > MAX_CHALLENGES:
            request.failed(turn_error(code, words), message, now)
        else:
            self.send(request, now)
        return True

    def _take_rejection(self, request: Request, words: str, message: StunMessage, now: float) -> None:
        if request.rejections >= MAX_REJECTIONS:
            request.failed(turn_error(ErrorCode.UNAUTHENTICATED, words), message, now)
            return
        request.rejections += 1
        request.challenges = request.denials = 0
        self._waiting.append(request)
        self._want_login(True, now)


def _attribute_name(number: int) -> str:
    return Attribute(number).name.replace("_", "-") if number in list(Attribute) else f"0x{number:04X}"
