"""Diffusion of ions by molecular dynamics at several temperatures, resumable within one evaluation."""
