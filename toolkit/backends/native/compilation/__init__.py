"""How assembly becomes functions of this process: LLVM, its object files linked in memory, and what the disk keeps."""
