"""Products of stacks of matrices, and the attention that is made of them: one matrix of a stack after the other, while
it is in a thread's own cache.

``stack`` says where the matrices lie, ``panels`` how a right factor is packed, ``rows`` multiplies rows by it.
"""
