"""The console program `microseg`, one module for each of its commands."""
