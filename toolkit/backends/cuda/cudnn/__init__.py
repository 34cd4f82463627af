"""cuDNN 9 through its C interface: graphs as values, plans chosen for them, and the functions beside the graphs."""
