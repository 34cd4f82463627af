"""Assembly of a kernel as its author writes it: memory and loops, numbers in registers, functions of them, threads."""
