"""The passes over a program, one file each; ``toolkit.compiler.pipeline`` says in which order they run.

Those of quantised arithmetic have a folder.
"""
