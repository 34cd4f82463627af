"""Small convolutions in row-major order: what a convolution looks like, and a kernel for each kind of them."""
