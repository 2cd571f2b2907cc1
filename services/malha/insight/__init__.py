"""Insight: advice for the operator while the call goes on."""
