"""Whose work a task is: its project, looked up once and remembered."""
