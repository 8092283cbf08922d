"""What runs one model over slots: see `base.Runner`, and `load.load_runner` to get one."""
