"""Products of matrices: small ones held in registers, large ones block by block, and what is fused behind their sums.

``tile`` is the innermost loop of all large ones, ``blocking`` the arithmetic of their sizes, ``packing`` the layouts of
matrices that are known beforehand.
"""
