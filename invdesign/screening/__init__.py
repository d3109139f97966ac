"""Screens: all candidates of a space through the cheap tiers of a campaign, without holding them."""

from __future__ import annotations
