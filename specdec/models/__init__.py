"""What runs one model over slots: see `base.Model`, and `loading.load_model` to get one."""
