"""From a static network to a program ready for a backend: binding, passes, placement, memory planning."""
