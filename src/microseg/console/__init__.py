"""The console program `microseg`, one module for each command."""
