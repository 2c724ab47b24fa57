"""Checks of prompts and pictures, and the operator's policy on them."""
