"""Convolutions with windows of 3 x 3 or 5 x 5, and their gradients, by Winograd's minimal filtering.

``transforms`` is the arithmetic, ``strided`` that of windows two positions apart, ``tiles`` how a convolution is cut
and what that costs, ``order`` which tiles do without some product, ``images`` what a tile reads. ``functions`` and
``filter_functions`` are what kernels of all shapes have in common; ``windows`` and ``filters`` are multiplied, and
``results`` brought back. ``convolution``, ``few_tiles`` and ``weight_gradient`` are the kernels. Images may be of
bfloat16 where the processor multiplies such numbers.
"""
