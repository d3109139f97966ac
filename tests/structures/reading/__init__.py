"""Tests of the door for structures from outside."""
