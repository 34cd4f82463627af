"""What is computed element by element, and what activations do to gradients."""
