"""Signature Version 4 against the example AWS publishes ("Authenticating Requests: Using the Authorization Header", GET Object)."""

from datetime import UTC, datetime

from malha.recording.s3 import S3Place, signed

EXAMPLE = S3Place(
    "https://examplebucket.s3.amazonaws.com", "", "", "us-east-1", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
NOW = datetime(2013, 5, 24, tzinfo=UTC)


def signature(method: str, path: str, headers: dict[str, str], content: bytes = b"") -> str:
    made = signed(EXAMPLE, method, f"https://examplebucket.s3.amazonaws.com{path}", headers, content, NOW)
    return made["authorization"].rpartition("Signature=")[2]


def test_the_published_examples() -> None:
    got = signature("GET", "/test.txt", {"Range": "bytes=0-9"})
    assert got == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    put = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    got = signature("PUT", "/test%24file.text", put, b"Welcome to Amazon S3.")
    assert got == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    got = signature("GET", "/?max-keys=2&prefix=J", {})
    assert got == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
