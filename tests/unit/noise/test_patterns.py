"""Reading protocol names."""

from __future__ import annotations

import pytest

from librats.errors import UsageError
from librats.noise import NoiseProtocol, Token


def test_name_gives_the_messages_of_its_pattern() -> None:
    protocol = NoiseProtocol.parse("Noise_IK_25519_ChaChaPoly_BLAKE2s")
    assert protocol.digest == "blake2s"
    assert protocol.pattern.messages == (
        (Token.E, Token.ES, Token.S, Token.SS),
        (Token.E, Token.EE, Token.SE),
    )
    assert protocol.pattern.responder_known
    assert not protocol.pattern.initiator_known
    assert not protocol.pattern.is_one_way
    assert protocol.pattern.psk_count == 0


def test_psk_modifiers_stand_where_their_number_says() -> None:
    pattern = NoiseProtocol.parse("Noise_NNpsk0+psk1+psk2_25519_ChaChaPoly_SHA256").pattern
    assert pattern.messages == ((Token.PSK, Token.E, Token.PSK), (Token.E, Token.EE, Token.PSK))
    assert pattern.psk_count == 3


@pytest.mark.parametrize(
    ("pattern", "initiator_known", "responder_known"),
    [
        ("N", False, True),
        ("K", True, True),
        ("X", False, True),
        ("NN", False, False),
        ("XX", False, False),
        ("KN", True, False),
        ("K1X1", True, False),
        ("NK1", False, True),
        ("I1K", False, True),
        ("K1K1", True, True),
    ],
)
def test_letters_tell_which_keys_are_known_beforehand(
    pattern: str, initiator_known: bool, responder_known: bool
) -> None:
    parsed = NoiseProtocol.parse(f"Noise_{pattern}_25519_ChaChaPoly_SHA256").pattern
    assert (parsed.initiator_known, parsed.responder_known) == (initiator_known, responder_known)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Noise_XX_25519_ChaChaPoly_SHA256\n",
        "noise_XX_25519_ChaChaPoly_SHA256",
        "Noise_XX_25519_ChaChaPoly",
        "Noise_XX_25519_ChaChaPoly_SHA1",
        "Noise_XX_25519_AESGCM_SHA256",
        "Noise_XX_448_ChaChaPoly_SHA256",
        "Noise_XXfallback_25519_ChaChaPoly_SHA256",
        "Noise_YY_25519_ChaChaPoly_SHA256",
        "Noise_N1_25519_ChaChaPoly_SHA256",
        "Noise_NN1_25519_ChaChaPoly_SHA256",
        "NoisePSK_XX_25519_ChaChaPoly_SHA256",
    ],
)
def test_name_that_is_not_supported_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a supported Noise protocol"):
        NoiseProtocol.parse(name)


@pytest.mark.parametrize("modifiers", ["psk2+psk0", "psk0+psk0", "psk3", "psk0+psk9"])
def test_psk_modifiers_without_a_meaning_are_refused(modifiers: str) -> None:
    with pytest.raises(UsageError, match="psk"):
        NoiseProtocol.parse(f"Noise_NN{modifiers}_25519_ChaChaPoly_SHA256")
