import base64
import hashlib
import hmac

from malha.store.roles import scram_verifier


def test_a_verifier_is_rfc_5803s_and_does_not_hold_the_password() -> None:
    verifier = scram_verifier("pässword")
    kind, rounds, keys = verifier.split("$")
    iterations, salt = rounds.split(":")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    salted = hashlib.pbkdf2_hmac("sha256", "pässword".encode(), base64.b64decode(salt), int(iterations))
    assert kind == "SCRAM-SHA-256"
    assert stored == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    assert server == hmac.digest(salted, b"Server Key", "sha256")
    assert scram_verifier("pässword") != verifier
