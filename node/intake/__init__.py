"""Receive, record and complete studies."""
