"""Conversations that another system kept: read tolerantly, checked row by row, written in batches, as often as one likes."""
