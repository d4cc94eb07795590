"""Stages: each turns folders into a folder."""
