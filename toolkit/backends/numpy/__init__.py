"""The portable backend: every operator by its numpy reference, the frequent ones straight into planned memory."""
