"""The end of a training step: the loss, what is asked of all gradients, and the update of the parameters."""
