"""The version of this Malha."""

VERSION = "0.1.0"
