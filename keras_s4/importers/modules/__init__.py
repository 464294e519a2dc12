"""Modules of published code, recognised by the names and shapes of their parameters: a module a family."""
