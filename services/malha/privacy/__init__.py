"""Erasure, retention and legal holds: what is kept of people, and how it goes."""
