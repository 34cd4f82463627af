"""Products by seven multiplications instead of eight (Strassen's): pointwise convolutions, dense layers, and gradients.

``products`` is the arithmetic with its innermost loop, ``panels`` how right factors lie, ``positions`` how rows are
taken two by two, ``sizes`` what it pays for. ``convolution``, ``matrix_product`` and ``weight_gradient`` are the
kernels.
"""
